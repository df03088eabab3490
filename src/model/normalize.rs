//! Mean and standard deviation per channel: they belong to the model; everything else speaks pixels in `[0, 1]`.

use serde::{Deserialize, Serialize};

/// Data sets whose statistics are known by name: (name, mean, standard deviation).
const PRESETS: &[(&str, &[f64], &[f64])] = &[
    ("none", &[0.0], &[1.0]),
    ("cifar10", &[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010]),
    ("cifar100", &[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762]),
    ("imagenet", &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
    ("mnist", &[0.1307], &[0.3081]),
    ("fashion-mnist", &[0.2860], &[0.3530]),
];

/// `(pixels − mean) / std` per channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// As the user or the model file named it.
    pub name: String,
    /// Per channel (or one for all), in pixel units.
    pub mean: Vec<f64>,
    /// Per channel (or one for all), in pixel units, positive.
    pub std: Vec<f64>,
}

impl Normalization {
    pub fn none() -> Self {
        Self { name: "none".to_owned(), mean: vec![0.0], std: vec![1.0] }
    }

    /// Every preset, for trying out which one a model was trained with.
    pub(crate) fn presets() -> impl Iterator<Item = Self> {
        PRESETS.iter().map(|(name, mean, std)| Self {
            name: (*name).to_owned(),
            mean: mean.to_vec(),
            std: std.to_vec(),
        })
    }

    /// Reads a preset's name, or `MEAN[,MEAN…]/STD[,STD…]`.
    ///
    /// # Errors
    /// A sentence that says what is understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(preset) = Self::presets().find(|preset| preset.name == text) {
            return Ok(preset);
        }
        let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
        let expected = format!("expected {} or MEAN,…/STD,… such as 0.5,0.5,0.5/0.25,0.25,0.25", names.join(", "));
        let (mean, std) = text.split_once('/').ok_or_else(|| format!("normalization `{text}`: {expected}"))?;
        let numbers = |part: &str| -> Result<Vec<f64>, String> {
            let parsed: Result<Vec<f64>, _> = part.split(',').map(|number| number.trim().parse::<f64>()).collect();
            let finite = parsed.ok().filter(|all| all.iter().all(|number| number.is_finite()));
            finite.ok_or_else(|| format!("normalization `{text}`: `{part}` is not a list of numbers; {expected}"))
        };
        let (mean, std) = (numbers(mean)?, numbers(std)?);
        if mean.len() != std.len() {
            return Err(format!(
                "normalization `{text}`: {} means but {} deviations; {expected}",
                mean.len(),
                std.len()
            ));
        }
        if std.iter().any(|&std| std <= 0.0) {
            return Err(format!("normalization `{text}`: a standard deviation must be above 0"));
        }
        Ok(Self { name: text.to_owned(), mean, std })
    }

    /// Mean and standard deviation for each of so many channels.
    ///
    /// # Errors
    /// A sentence, when they were given for another number of channels.
    pub(crate) fn for_channels(&self, channels: i64) -> Result<(Vec<f64>, Vec<f64>), String> {
        let channels = channels as usize;
        match self.mean.len() {
            1 => Ok((vec![self.mean[0]; channels], vec![self.std[0]; channels])),
            n if n == channels => Ok((self.mean.clone(), self.std.clone())),
            n => Err(format!(
                "normalization `{}` is for {n} channels, the model takes {channels}; give --normalize for {channels}",
                self.name
            )),
        }
    }

    pub fn is_none(&self) -> bool {
        self.mean.iter().all(|&mean| mean == 0.0) && self.std.iter().all(|&std| (std - 1.0).abs() < f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_and_lists_are_read() {
        assert_eq!(Normalization::parse("imagenet").unwrap().mean, [0.485, 0.456, 0.406]);
        let custom = Normalization::parse("0.5, 0.4,0.3/0.2,0.2,0.1").unwrap();
        assert_eq!((custom.mean, custom.std), (vec![0.5, 0.4, 0.3], vec![0.2, 0.2, 0.1]));
        assert!(Normalization::parse("none").unwrap().is_none());
    }

    #[test]
    fn nonsense_is_refused_with_what_is_understood() {
        for text in ["imagenot", "0.5", "0.5/x", "0.5,0.5/0.2", "0.5/0", "0.5/-1", "nan/1", "/"] {
            let message = Normalization::parse(text).unwrap_err();
            assert!(message.contains(text), "{message}");
        }
    }

    #[test]
    fn one_value_serves_all_channels_and_three_do_not_serve_one() {
        assert_eq!(Normalization::parse("0.5/0.2").unwrap().for_channels(3).unwrap().0, [0.5; 3]);
        assert!(Normalization::parse("imagenet").unwrap().for_channels(1).unwrap_err().contains("3 channels"));
    }
}
