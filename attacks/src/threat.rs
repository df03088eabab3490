//! What the attacker may do: norms, budgets, goals.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How the size of a change is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Number of changed pixels; a pixel counts once, however many of its channels changed.
    L0,
    /// Euclidean length over all channels and pixels.
    L2,
    /// Largest change of any channel of any pixel.
    Linf,
}

impl Norm {
    /// For people: `L∞`, `L2`, `L0`.
    pub fn sign(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L2 => "L2",
            Self::Linf => "L∞",
        }
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::L0 => "l0",
            Self::L2 => "l2",
            Self::Linf => "linf",
        })
    }
}

impl FromStr for Norm {
    type Err = ThreatError;

    fn from_str(text: &str) -> Result<Self, ThreatError> {
        match text.to_ascii_lowercase().as_str() {
            "l0" => Ok(Self::L0),
            "l2" => Ok(Self::L2),
            "linf" => Ok(Self::Linf),
            _ => Err(ThreatError("expected linf, l2 or l0".to_owned())),
        }
    }
}

/// Below this a change of pixels is lost in f32 rounding.
const SMALLEST: f64 = 1e-9;
/// No two images are farther apart in any norm.
const LARGEST: f64 = 1e6;

/// A size in pixel units (pixels lie in `[0, 1]`): between 1e-9 and 1e6. Remembers a fraction such as `8/255`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epsilon {
    numerator: f64,
    denominator: f64,
}

impl Epsilon {
    /// A size given as one number.
    pub fn new(value: f64) -> Result<Self, ThreatError> {
        Self::fraction(value, 1.0)
    }

    /// A size given as a fraction, which [`Display`](fmt::Display) shows again.
    pub fn fraction(numerator: f64, denominator: f64) -> Result<Self, ThreatError> {
        let value = numerator / denominator;
        if (SMALLEST..=LARGEST).contains(&value) && 0.0 < denominator {
            Ok(Self { numerator, denominator })
        } else {
            Err(ThreatError(format!("must be greater than 0: from {SMALLEST:e} to {LARGEST:e}")))
        }
    }

    /// The size as one number.
    pub fn value(self) -> f64 {
        self.numerator / self.denominator
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Exactly 1 is how a plain number is stored.
        if (self.denominator - 1.0).abs() < f64::EPSILON {
            write!(f, "{}", self.numerator)
        } else {
            write!(f, "{}/{}", self.numerator, self.denominator)
        }
    }
}

impl FromStr for Epsilon {
    type Err = ThreatError;

    fn from_str(text: &str) -> Result<Self, ThreatError> {
        let number = |part: &str| -> Result<f64, ThreatError> {
            part.trim().parse().map_err(|_| ThreatError("expected a number or a fraction such as 8/255".to_owned()))
        };
        match text.split_once('/') {
            Some((numerator, denominator)) => Self::fraction(number(numerator)?, number(denominator)?),
            None => Self::new(number(text)?),
        }
    }
}

impl Serialize for Epsilon {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epsilon {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EpsilonVisitor)
    }
}

/// A norm with its budget: all images within epsilon of the original.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ball {
    norm: Norm,
    epsilon: Epsilon,
}

impl Ball {
    /// A ball of L2 or L∞. L0 has none: a count of pixels has no gradient step and no unique nearest point.
    pub fn new(norm: Norm, epsilon: Epsilon) -> Result<Self, ThreatError> {
        match norm {
            Norm::L0 => Err(ThreatError("l0 has no ball: use linf or l2".to_owned())),
            Norm::Linf if 1.0 < epsilon.value() => Err(ThreatError(
                "eps above 1 does not bound linf: pixels lie in [0, 1]; did you mean a fraction such as 8/255?"
                    .to_owned(),
            )),
            Norm::L2 | Norm::Linf => Ok(Self { norm, epsilon }),
        }
    }

    /// Its norm: L2 or L∞.
    pub fn norm(&self) -> Norm {
        self.norm
    }

    pub fn epsilon(&self) -> Epsilon {
        self.epsilon
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Goal {
    /// Any class but the true one.
    Untargeted,
    Targeted(Target),
}

impl Goal {
    /// Whether a class is to be reached (rather than left).
    pub fn is_targeted(self) -> bool {
        matches!(self, Self::Targeted(_))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untargeted => f.write_str("untargeted"),
            Self::Targeted(target) => write!(f, "targeted ({target})"),
        }
    }
}

impl FromStr for Goal {
    type Err = ThreatError;

    fn from_str(text: &str) -> Result<Self, ThreatError> {
        match text.strip_prefix("targeted (").and_then(|rest| rest.strip_suffix(')')) {
            Some(target) => Ok(Self::Targeted(target.parse()?)),
            None if text == "untargeted" => Ok(Self::Untargeted),
            None => Err(ThreatError("expected untargeted, or a target as in targeted (random)".to_owned())),
        }
    }
}

impl TryFrom<String> for Goal {
    type Error = ThreatError;

    fn try_from(text: String) -> Result<Self, ThreatError> {
        text.parse()
    }
}

impl From<Goal> for String {
    fn from(goal: Goal) -> Self {
        goal.to_string()
    }
}

/// Which class a targeted attack must reach. Rules are resolved per sample from the clean logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The largest clean logit besides the label's.
    RunnerUp,
    /// Uniform over the classes besides the label, drawn per sample from the seed; the same for every attack.
    Random,
    /// The smallest clean logit besides the label's.
    LeastLikely,
    /// The label plus one, the first class after the last: needs neither the model nor the seed.
    Next,
    /// The same class for all; samples of that class are not attacked.
    Class(i64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunnerUp => f.write_str("runner-up"),
            Self::Random => f.write_str("random"),
            Self::LeastLikely => f.write_str("least-likely"),
            Self::Next => f.write_str("next"),
            Self::Class(class) => write!(f, "{class}"),
        }
    }
}

impl FromStr for Target {
    type Err = ThreatError;

    fn from_str(text: &str) -> Result<Self, ThreatError> {
        match text {
            "runner-up" => Ok(Self::RunnerUp),
            "random" => Ok(Self::Random),
            "least-likely" => Ok(Self::LeastLikely),
            "next" => Ok(Self::Next),
            _ => match text.parse() {
                Ok(class) if 0 <= class => Ok(Self::Class(class)),
                _ => Err(ThreatError("expected runner-up, random, least-likely, next or a class number".to_owned())),
            },
        }
    }
}

/// Why a norm, a size or a goal cannot be used; names no parameter, the caller knows which it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ThreatError(String);

struct EpsilonVisitor;

impl de::Visitor<'_> for EpsilonVisitor {
    type Value = Epsilon;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a fraction such as \"8/255\"")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Epsilon, E> {
        Epsilon::new(value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Epsilon, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Epsilon, E> {
        self.visit_f64(value as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Epsilon, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epsilon_reads_fractions_and_numbers_and_shows_what_it_was_given() {
        for text in ["8/255", "0.03", "2", "0.5/3"] {
            let epsilon: Epsilon = text.parse().unwrap();
            assert_eq!(epsilon.to_string(), text);
        }
        assert_eq!("8/255".parse::<Epsilon>().unwrap().value().to_bits(), (8.0_f64 / 255.0).to_bits());
    }

    #[test]
    fn epsilon_refuses_what_is_no_positive_size() {
        for text in ["0", "-1", "nan", "inf", "8/0", "-8/-255", "8/255/2", "", "eight"] {
            assert!(text.parse::<Epsilon>().is_err(), "{text}");
        }
    }

    #[test]
    fn targets_read_back_what_they_show() {
        for text in ["runner-up", "random", "least-likely", "next", "3"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
            let goal = Goal::Targeted(text.parse().unwrap());
            assert_eq!(goal.to_string().parse(), Ok(goal));
        }
        assert_eq!("untargeted".parse(), Ok(Goal::Untargeted));
        assert!("targeted".parse::<Goal>().is_err());
        assert!("-1".parse::<Target>().is_err());
    }

    #[test]
    fn l0_has_no_ball() {
        assert!(Ball::new(Norm::L0, Epsilon::new(3.0).unwrap()).is_err());
    }
}
