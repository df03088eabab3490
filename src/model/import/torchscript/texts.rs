//! Texts of the code. Each letter is paid for, and a text of which it is not known how PyTorch writes it serves messages only.

use super::evaluator::{Evaluator, Result};
use super::value::Value;
use crate::model::program::Size;

/// Letters of a text, and members of a list, that code may make.
const LONGEST: usize = 100_000;
/// Members of a list that a message shows.
const MOST_SHOWN: usize = 16;

impl<'a> Evaluator<'a> {
    pub(super) fn check_length(&mut self, length: usize) -> Result<()> {
        if length <= LONGEST {
            return Ok(());
        }
        // Images of another size would not help.
        self.steps = 0;
        Err(self.error(format!("it makes more than {LONGEST} values, or letters, at once")))
    }

    /// Pays for the letters of a text.
    pub(super) fn charge_text(&mut self, length: usize) -> Result<()> {
        self.check_length(length)?;
        self.charge(1 + length / 8)
    }

    /// A text, which may be used as such if it is exact.
    pub(super) fn text(&mut self, text: &str, exact: bool) -> Result<Value<'a>> {
        self.charge_text(text.len())?;
        Ok(if exact { Value::Text(text.into()) } else { Value::Words(text.into()) })
    }

    /// `str`.
    pub(super) fn written(&mut self, value: &Value<'a>) -> Result<Value<'a>> {
        let (text, exact) = text_of(value);
        self.text(&text, exact)
    }

    /// `torch.format("{} of {}", …)`.
    pub(super) fn formatted(&mut self, pattern: &str, mut exact: bool, values: &[Value<'a>]) -> Result<Value<'a>> {
        self.charge_text(pattern.len())?;
        let mut whole = String::new();
        let mut values = values.iter();
        let mut parts = pattern.split("{}");
        whole.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (text, known) = values.next().map_or(("{}".to_owned(), false), text_of);
            self.charge_text(text.len())?;
            exact &= known;
            whole.push_str(&text);
            whole.push_str(part);
            self.check_length(whole.len())?;
        }
        self.text(&whole, exact && values.next().is_none())
    }
}

/// A value as text, and whether PyTorch writes it exactly so.
pub(super) fn text_of(value: &Value<'_>) -> (String, bool) {
    match value {
        Value::Text(text) => (text.to_string(), true),
        Value::Words(text) => (text.to_string(), false),
        Value::Int(Size::Fixed(number)) => (number.to_string(), true),
        Value::Side(number, _) => (number.to_string(), false),
        Value::Int(Size::Batch(times)) | Value::Held(Size::Batch(times)) => (format!("{times}·N"), false),
        // TorchScript writes 1. where Python writes 1.0; other numbers it writes with 17 digits.
        Value::Float(number) if number.fract().abs() == 0.0 && number.abs() < 1e10 && !number.is_sign_negative() => {
            (format!("{number}."), true)
        }
        Value::Float(number) => (number.to_string(), false),
        Value::Bool(flag) => (if *flag { "True" } else { "False" }.to_owned(), true),
        Value::None => ("None".to_owned(), true),
        Value::List(list) => {
            let members = list.members.borrow();
            let shown: Vec<String> = members
                .iter()
                .take(MOST_SHOWN)
                .map(|member| match member {
                    Value::List(_) => "[…]".to_owned(),
                    member => text_of(member).0.chars().take(200).collect(),
                })
                .collect();
            (format!("[{}]", shown.join(", ")), false)
        }
        _ => (value.what().to_owned(), false),
    }
}
