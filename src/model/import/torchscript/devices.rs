//! Devices: which one the program will run on is not known while it is translated.

use std::rc::Rc;

use super::evaluator::{Evaluator, Result};
use super::value::{Number, Value};
use crate::model::import::ImportError;
use crate::model::program::Size;

/// The kinds of devices that a program may run on.
const POSSIBLE: [&str; 2] = ["cpu", "cuda"];

impl<'a> Evaluator<'a> {
    fn undecided(&self) -> ImportError {
        self.error("it decides by the device that it runs on, which is not known here; write it without that")
    }

    /// `torch.device("cuda", 0)`.
    pub(super) fn device(&mut self, name: &str, index: Option<&Value<'a>>) -> Result<Value<'a>> {
        self.charge_text(name.len())?;
        match index.map(Value::number) {
            None => Ok(Value::Device(Some(name.into()))),
            Some(Some(Number::Int(Size::Fixed(index)))) => Ok(Value::Device(Some(format!("{name}:{index}").into()))),
            Some(_) => Err(self.error("it names a device by what is no number")),
        }
    }

    /// `x.device.type`.
    pub(super) fn device_kind(&mut self, device: Option<&Rc<str>>) -> Result<Value<'a>> {
        match device {
            None => Ok(Value::DeviceKind),
            Some(name) => self.text(name.split(':').next().unwrap_or_default(), true),
        }
    }

    /// `x.device.index`.
    pub(super) fn device_index(&self, device: Option<&Rc<str>>) -> Result<Value<'a>> {
        let name = device.ok_or_else(|| self.undecided())?;
        match name.split_once(':').map(|(_, index)| index.parse()) {
            None => Ok(Value::None),
            Some(Ok(index)) => Ok(Value::fixed(index)),
            Some(Err(_)) => Err(self.error("it names a device that there is not")),
        }
    }

    /// Whether two devices are one; `None` is that of the program.
    pub(super) fn same_device(&self, first: Option<&Rc<str>>, second: Option<&Rc<str>>) -> Result<bool> {
        match (first, second) {
            // All of it is where the images are, unless something was put elsewhere.
            (None, None) if !self.moved => Ok(true),
            (Some(a), Some(b)) => Ok(a == b),
            _ => Err(self.undecided()),
        }
    }

    /// Whether the program's kind of device is this one.
    pub(super) fn is_device_kind(&self, name: &str) -> Result<bool> {
        match POSSIBLE.contains(&name) {
            true => Err(self.undecided()),
            false => Ok(false),
        }
    }

    /// Whether the program's kind of device is one of several.
    pub(super) fn device_kind_among(&self, members: &[Value<'a>]) -> Result<bool> {
        let named = |name: &&str| members.iter().any(|member| matches!(member, Value::Text(text) if **text == **name));
        match POSSIBLE.iter().filter(|name| named(name)).count() {
            0 => Ok(false),
            count if count == POSSIBLE.len() => Ok(true),
            _ => Err(self.undecided()),
        }
    }

    /// `x.is_cuda` and its kin.
    pub(super) fn is_on(&self, kind: &str) -> Result<bool> {
        self.is_device_kind(kind.trim_start_matches("is_"))
    }
}
