//! The one place that chooses a device.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::native;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first GPU where there is one, else the processor.
    #[default]
    Auto,
    Cpu,
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => (text.strip_prefix("cuda:").and_then(|index| index.parse().ok()).map(Self::Cuda))
                .ok_or_else(|| format!("device `{text}`: expected auto, cpu, cuda or cuda:N")),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceChoice {
    /// The device to compute on. Loads the CUDA backend if it may be needed.
    ///
    /// # Errors
    /// A sentence, when a GPU was asked for that is not there.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for GPUs")]
    pub fn resolve(self) -> Result<tch::Device, String> {
        if self == Self::Cpu {
            return Ok(tch::Device::Cpu);
        }
        let backend = native::load_cuda();
        let count = if tch::Cuda::is_available() { tch::Cuda::device_count() as usize } else { 0 };
        match self {
            Self::Cpu => Ok(tch::Device::Cpu),
            Self::Auto if count == 0 => Ok(tch::Device::Cpu),
            Self::Auto => Ok(tch::Device::Cuda(0)),
            Self::Cuda(index) if index < count => Ok(tch::Device::Cuda(index)),
            Self::Cuda(index) if count == 0 => {
                let why = backend.err().map_or_else(String::new, |error| format!(" ({error})"));
                Err(format!("device cuda:{index}: this machine has no usable NVIDIA GPU{why}; use --device cpu"))
            }
            Self::Cuda(index) => {
                Err(format!("device cuda:{index}: this machine has {count} GPU(s), the last is cuda:{}", count - 1))
            }
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl From<tch::Device> for DeviceChoice {
    fn from(device: tch::Device) -> Self {
        match device {
            tch::Device::Cuda(index) => Self::Cuda(index),
            _ => Self::Cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        for text in ["auto", "cpu", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("gpu".parse::<DeviceChoice>().unwrap_err().contains("expected auto, cpu, cuda"));
    }

    #[test]
    fn a_gpu_that_is_not_there_is_refused() {
        let message = DeviceChoice::Cuda(4096).resolve().unwrap_err();
        assert!(message.contains("cuda:4096"), "{message}");
    }
}
