//! The language of gates: `asr.pgd <= 50 %`, `accuracy.linf:8/255 >= 0.3`, `peak_drop.* < 0.2`, `accuracy.clean.class.3 >= 0.9`,
//! `regression(asr.*) <= 2 %`.

use std::fmt;

use advmod_attacks::config::did_you_mean;
use advmod_attacks::threat::Norm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::audit::attack::Budget;
use crate::text::glob;

/// A bound on a metric, such as `asr.pgd <= 0.5`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "String")]
#[serde(try_from = "String", into = "String")]
pub struct GateExpr {
    /// What is bounded.
    pub metric: Metric,
    /// From which side.
    pub op: Op,
    /// A share in `[0, 1]`, or a modularity; of a regression, a difference of these.
    pub limit: f64,
}

/// What a gate looks at: `QUANTITY.SUBJECT`, or one class of it, `QUANTITY.SUBJECT.class.CLASS`; or by how much that has become worse than
/// in the baseline, `regression(…)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Metric {
    /// Whether the change for the worse is meant, not the value.
    pub is_regression: bool,
    pub quantity: Quantity,
    pub subject: Subject,
    /// Name or number of a class; `*` for every class.
    pub class: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Broken of attacked images.
    SuccessRate,
    /// Correct of all images.
    Accuracy,
    /// Peak of the clean curve − peak of the adversarial one.
    PeakDrop,
    /// Largest Q of a curve.
    PeakQ,
    /// Share of neighbours of the true class that the attack costs at the last tap.
    RetentionDrop,
    /// Share of the taps that lie before the one from which on the predicted class has more neighbours than the true one.
    CapturedFrom,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    Clean,
    /// Every budget of the audit, one by one.
    Worst,
    /// Every change that lies within a budget, whichever attack made it.
    Within(Budget),
    /// The attacks whose label fits; `*` stands for any characters.
    Attacks(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Where a whole interval lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// On the side that the gate asks for.
    Right,
    /// On the other side.
    Wrong,
    Both,
}

impl Op {
    const ALL: [Self; 4] = [Self::AtMost, Self::AtLeast, Self::Less, Self::Greater];

    /// As it is written.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    pub(crate) fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::AtMost => value <= limit,
            Self::Greater => value > limit,
            Self::AtLeast => value >= limit,
        }
    }

    /// Where the interval from `low` to `high` lies. One that is not a number lies on both sides.
    pub(crate) fn side(self, low: f64, high: f64, limit: f64) -> Side {
        let comparable = !(low.is_nan() || high.is_nan());
        match (self.holds(low, limit), self.holds(high, limit)) {
            (true, true) if comparable => Side::Right,
            (false, false) if comparable => Side::Wrong,
            _ => Side::Both,
        }
    }
}

impl Quantity {
    pub(crate) const ALL: [Self; 6] =
        [Self::SuccessRate, Self::Accuracy, Self::PeakDrop, Self::PeakQ, Self::RetentionDrop, Self::CapturedFrom];

    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SuccessRate => "asr",
            Self::Accuracy => "accuracy",
            Self::PeakDrop => "peak_drop",
            Self::PeakQ => "peak_q",
            Self::RetentionDrop => "retention_drop",
            Self::CapturedFrom => "captured_from",
        }
    }

    /// Whether there is such a thing.
    pub(crate) fn exists_of(self, subject: &Subject) -> bool {
        match subject {
            Subject::Clean => matches!(self, Self::Accuracy | Self::PeakQ),
            Subject::Worst | Subject::Within(_) => self.is_rate(),
            Subject::Attacks(_) => true,
        }
    }

    /// Whether it is a share of images.
    pub(crate) fn is_rate(self) -> bool {
        matches!(self, Self::SuccessRate | Self::Accuracy)
    }

    /// Whether more of it is worse.
    pub(crate) fn is_harm(self) -> bool {
        matches!(self, Self::SuccessRate | Self::PeakDrop | Self::RetentionDrop)
    }

    /// Whether it lies in `[0, 1]`, and is told in percent.
    fn is_share(self) -> bool {
        self.is_rate() || self == Self::CapturedFrom
    }

    /// Whether it says how the model holds against attacks. Q of adversarial images among themselves does not see where a class goes: models that
    /// are wholly broken have peaks as high as others.
    pub(crate) fn measures_robustness(self) -> bool {
        !matches!(self, Self::PeakDrop | Self::PeakQ)
    }

    /// A value of it for people: percent, or three digits.
    pub(crate) fn show(self, value: f64) -> String {
        if self.is_share() { format!("{:.1} %", 100.0 * value) } else { format!("{value:.3}") }
    }

    /// A limit for people, with as many digits as it was given.
    fn show_limit(self, limit: f64) -> String {
        // One more rounding takes the noise of the factor out: 0.07 is 7 %, not 7.000000000000001 %.
        let percent = (100.0 * limit * 1e9).round() / 1e9;
        if self.is_share() { format!("{percent} %") } else { limit.to_string() }
    }
}

impl GateExpr {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |problem: String| format!("gate {text:?}: {problem}");
        let place = comparison(text).ok_or_else(|| {
            wrong("no comparison; expected METRIC <= LIMIT with <=, <, >= or >, as in asr.pgd <= 0.5".to_owned())
        })?;
        let (left, right) = text.split_at(place);
        let op = Op::ALL.into_iter().find(|op| right.starts_with(op.sign())).expect("a comparison begins here");
        let metric = Metric::parse(left.trim()).map_err(wrong)?;
        let limit = limit(right[op.sign().len()..].trim(), &metric).map_err(wrong)?;
        Ok(Self { metric, op, limit })
    }

    /// Whether it asks the model to hold against attacks: then images that the attacks did not break are its evidence.
    pub(crate) fn claims_robustness(&self) -> bool {
        let Metric { is_regression, quantity, subject, .. } = &self.metric;
        let bounds_from_above = self.op.holds(f64::NEG_INFINITY, self.limit);
        // A regression is how much worse something is.
        let is_harm = *is_regression || quantity.is_harm();
        *subject != Subject::Clean && bounds_from_above == is_harm
    }

    /// The limit for people: `<= 50 %`.
    pub(crate) fn limit_text(&self) -> String {
        format!("{} {}", self.op.sign(), self.metric.quantity.show_limit(self.limit))
    }
}

/// Where the comparison begins, outside of quotes.
fn comparison(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(place, character)| {
        quoted ^= character == '"';
        (!quoted && matches!(character, '<' | '>')).then_some(place)
    })
}

fn limit(text: &str, metric: &Metric) -> Result<f64, String> {
    let quantity = metric.quantity;
    let (digits, factor) = match text.strip_suffix('%') {
        Some(_) if !quantity.is_share() => {
            return Err(format!("{} is no share; give a number such as 0.2, not percent", quantity.name()));
        }
        Some(percent) => (percent.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let number = digits.parse::<f64>().ok().filter(|it| it.is_finite());
    let number = number.ok_or_else(|| format!("limit {text:?} is no number; expected one such as 0.5 or 50 %"))?;
    let limit = number * factor;
    let least = if metric.is_regression { -1.0 } else { 0.0 };
    if quantity.is_share() && !(least..=1.0).contains(&limit) {
        let instead = if factor < 1.0 { String::new() } else { format!(" or percent; did you mean {number} %?") };
        return Err(format!("limit {text} is no share: expected 0 to 1{instead}"));
    }
    if limit.abs() > 2.0 {
        return Err(format!("limit {text} is out of reach: {} lies between -2 and 2", quantity.name()));
    }
    Ok(limit)
}

impl Metric {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix("regression(") {
            let inner = inner.strip_suffix(')').ok_or_else(|| format!("{text}: no closing parenthesis"))?;
            let metric = Self::parse(inner.trim())?;
            return match metric.is_regression {
                true => Err(format!("{text}: expected a metric in the parentheses, such as asr.pgd")),
                false => Ok(Self { is_regression: true, ..metric }),
            };
        }
        let (name, rest) = text.split_once('.').unwrap_or((text, ""));
        let names = || Quantity::ALL.map(Quantity::name);
        let quantity = Quantity::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| {
            let hint = did_you_mean(name, names().into_iter());
            format!("no metric is called {name:?}{hint}; known: {}", names().join(", "))
        })?;
        // An ε such as 0.5 has a point of its own.
        let norm = rest.split_once(':').and_then(|(norm, _)| norm.parse::<Norm>().ok());
        let end = if norm.is_some() { rest.find(".class.") } else { rest.find('.') };
        let (subject, class) = rest.split_at(end.unwrap_or(rest.len()));
        let subject = match (subject, norm) {
            ("clean", _) => Subject::Clean,
            ("worst", _) => Subject::Worst,
            (budget, Some(norm)) => {
                let eps = budget.split_once(':').map_or("", |(_, eps)| eps);
                let eps = eps.parse().map_err(|why| format!("{text}: ε = {eps:?}: {why}"))?;
                Subject::Within(Budget { norm, eps })
            }
            (label, None) if !label.is_empty() && !label.contains(char::is_whitespace) => {
                Subject::Attacks(label.to_owned())
            }
            _ => return Err(format!("{name} of what? Expected {name}.ATTACK or {name}.*{}", also(quantity))),
        };
        if !quantity.exists_of(&subject) {
            return Err(format!("{text} does not exist; expected {name}.ATTACK or {name}.*{}", also(quantity)));
        }
        let mut parts = class.splitn(3, '.').skip(1);
        let class = match (parts.next(), parts.next()) {
            (None, _) => None,
            (Some("class"), Some(class)) if quantity.is_rate() && !unquoted(class).is_empty() => {
                Some(unquoted(class).to_owned())
            }
            (Some("class"), Some(_)) if !quantity.is_rate() => return Err(format!("{name} has no classes")),
            _ => return Err(format!("{text}: expected nothing, or .class.CLASS after the attack")),
        };
        Ok(Self { is_regression: false, quantity, subject, class })
    }

    /// The classes that are meant, of so many with these names (none when they are unknown). A name wins over a number.
    pub(crate) fn classes(&self, names: &[String], classes: usize) -> Result<Option<Vec<u32>>, String> {
        let Some(class) = &self.class else { return Ok(None) };
        if class == "*" {
            return Ok(Some((0..classes as u32).collect()));
        }
        let named: Vec<u32> = (0..names.len() as u32).filter(|&it| names[it as usize] == *class).collect();
        if !named.is_empty() {
            return Ok(Some(named));
        }
        match class.parse::<u32>() {
            Ok(number) if (number as usize) < classes => Ok(Some(vec![number])),
            _ => {
                let hint = did_you_mean(class, names.iter().map(String::as_str));
                Err(format!("no class is called {class:?}{hint}; expected 0 to {}, or its name", classes.max(1) - 1))
            }
        }
    }
}

/// What a quantity can be of besides attacks.
fn also(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::SuccessRate => ", asr.worst or asr.NORM:ε",
        Quantity::Accuracy => ", accuracy.clean, accuracy.worst or accuracy.NORM:ε",
        Quantity::PeakDrop | Quantity::RetentionDrop | Quantity::CapturedFrom => "",
        Quantity::PeakQ => " or peak_q.clean",
    }
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

impl Subject {
    pub(crate) fn fits(&self, label: &str) -> bool {
        matches!(self, Self::Attacks(pattern) if glob::matches(pattern, label))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Worst => f.write_str("worst"),
            Self::Within(budget) => budget.fmt(f),
            Self::Attacks(pattern) => f.write_str(pattern),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut name = format!("{}.{}", self.quantity.name(), self.subject);
        match &self.class {
            Some(class) if class.contains(['<', '>']) && !class.contains('"') => {
                name.extend([".class.\"", class, "\""]);
            }
            Some(class) => name.extend([".class.", class]),
            None => (),
        }
        match self.is_regression {
            true => write!(f, "regression({name})"),
            false => f.write_str(&name),
        }
    }
}

impl fmt::Display for GateExpr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {}", self.metric, self.op.sign(), self.limit)
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

impl TryFrom<String> for GateExpr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<GateExpr> for String {
    fn from(expr: GateExpr) -> Self {
        expr.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_written() {
        for (text, canonical) in [
            ("asr.pgd<=0.5", "asr.pgd <= 0.5"),
            (" accuracy.clean  >=  90 % ", "accuracy.clean >= 0.9"),
            ("peak_drop.* < -0.2", "peak_drop.* < -0.2"),
            ("peak_q.clean > .4", "peak_q.clean > 0.4"),
            ("retention_drop.* <= .35", "retention_drop.* <= 0.35"),
            ("captured_from.pgd >= 80 %", "captured_from.pgd >= 0.8"),
            ("asr.worst <= 7%", "asr.worst <= 0.07"),
            ("asr.one-pixel.class.T-shirt/top v1.0 <= 1", "asr.one-pixel.class.T-shirt/top v1.0 <= 1"),
            ("accuracy.pgd-2.class.\"a<b\" >= 0", "accuracy.pgd-2.class.\"a<b\" >= 0"),
            ("asr.linf:8/255<=0.5", "asr.linf:8/255 <= 0.5"),
            ("accuracy.l2:0.5.class.dr. who >= 0.5", "accuracy.l2:0.5.class.dr. who >= 0.5"),
            ("regression(accuracy.L0:3) <= 2 %", "regression(accuracy.l0:3) <= 0.02"),
            ("asr.pgd.class.linf:1 <= 1", "asr.pgd.class.linf:1 <= 1"),
            ("regression(asr.*) <= 2 %", "regression(asr.*) <= 0.02"),
            ("regression( accuracy.clean ) < -1 %", "regression(accuracy.clean) < -0.01"),
            ("regression(asr.pgd.class.a (b)) <= 0", "regression(asr.pgd.class.a (b)) <= 0"),
        ] {
            let expr = GateExpr::parse(text).unwrap();
            assert_eq!(expr.to_string(), canonical);
            assert_eq!(GateExpr::parse(canonical).unwrap(), expr);
        }
        assert_eq!(GateExpr::parse("asr.pgd <= 7%").unwrap().limit_text(), "<= 7 %");
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (text, word) in [
            ("", "no comparison"),
            ("asr.pgd", "no comparison"),
            ("asr.pgd = 0.5", "no comparison"),
            ("asr <= 0.5", "asr.ATTACK"),
            ("acuracy.pgd <= 0.5", "did you mean accuracy?"),
            ("asr. <= 0.5", "asr of what?"),
            ("asr.clean <= 0.5", "asr.worst"),
            ("peak_drop.worst <= 0.5", "peak_drop.*"),
            ("asr.pgd <= 50", "did you mean 50 %?"),
            ("retention_drop.clean <= 0.5", "retention_drop.*"),
            ("retention_drop.worst <= 0.5", "retention_drop.*"),
            ("retention_drop.pgd <= 20 %", "not percent"),
            ("captured_from.pgd >= 5", "did you mean 5 %?"),
            ("asr.pgd <= 150 %", "0 to 1"),
            ("asr.pgd <= x", "no number"),
            ("asr.pgd <= NaN", "no number"),
            ("asr.pgd <== 0.5", "no number"),
            ("peak_drop.pgd <= 20 %", "not percent"),
            ("peak_drop.pgd <= 20", "out of reach"),
            ("peak_drop.pgd.class.3 <= 0.2", "no classes"),
            ("asr.pgd.class. <= 0.2", ".class.CLASS"),
            ("asr.pgd.3 <= 0.2", ".class.CLASS"),
            ("asr.linf:8/0 <= 0.2", "ε = \"8/0\""),
            ("asr.l2: <= 0.2", "such as 8/255"),
            ("peak_q.l2:0.5 <= 0.2", "peak_q.*"),
            ("asr.l2:0.5.3 <= 0.2", "such as 8/255"),
            ("regression(asr.pgd <= 0.2", "no closing parenthesis"),
            ("regression(regression(asr.pgd)) <= 0.2", "expected a metric"),
            ("regression(asr.clean) <= 0.2", "asr.worst"),
            ("regression(asr.pgd) <= 3", "did you mean 3 %?"),
        ] {
            let error = GateExpr::parse(text).unwrap_err();
            assert!(error.contains(word) && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn gates_that_claim_robustness_are_told_from_those_that_ask_for_harm() {
        for (text, claims) in [
            ("asr.pgd <= 0.5", true),
            ("asr.* < 0.5", true),
            ("asr.pgd >= 0.5", false),
            ("accuracy.linf:8/255 >= 0.5", true),
            ("accuracy.pgd > 0.5", true),
            ("accuracy.pgd <= 0.5", false),
            ("accuracy.clean >= 0.5", false),
            ("peak_drop.* <= 0.2", true),
            ("peak_drop.* >= 0.2", false),
            ("retention_drop.* <= 0.2", true),
            ("captured_from.* >= 0.2", true),
            ("peak_q.pgd >= 0.2", true),
            ("peak_q.clean >= 0.2", false),
            ("regression(accuracy.pgd) <= 0.1", true),
            ("regression(asr.pgd) <= 0.1", true),
            ("regression(asr.pgd) >= 0.1", false),
            ("regression(accuracy.clean) <= 0.1", false),
        ] {
            assert_eq!(GateExpr::parse(text).unwrap().claims_robustness(), claims, "{text}");
        }
    }

    #[test]
    fn an_interval_decides_only_as_a_whole() {
        let side = |op: Op, low, high| op.side(low, high, 0.5);
        assert_eq!(side(Op::AtMost, 0.1, 0.5), Side::Right);
        assert_eq!(side(Op::Less, 0.1, 0.5), Side::Both);
        assert_eq!(side(Op::Less, 0.5, 0.6), Side::Wrong);
        assert_eq!(side(Op::AtMost, 0.5, 0.6), Side::Both);
        assert_eq!(side(Op::AtLeast, 0.5, 0.6), Side::Right);
        assert_eq!(side(Op::Greater, 0.5, 0.6), Side::Both);
        assert_eq!(side(Op::Greater, 0.1, 0.5), Side::Wrong);
        assert_eq!(side(Op::AtMost, f64::NAN, f64::NAN), Side::Both);
    }

    #[test]
    fn classes_have_names_and_numbers() {
        let metric = |text: &str| Metric::parse(text).unwrap();
        let names = ["cat", "1", "dog"].map(str::to_owned);
        assert_eq!(metric("asr.pgd").classes(&names, 3), Ok(None));
        assert_eq!(metric("asr.pgd.class.dog").classes(&names, 3), Ok(Some(vec![2])));
        assert_eq!(metric("asr.pgd.class.0").classes(&names, 3), Ok(Some(vec![0])));
        assert_eq!(metric("asr.pgd.class.*").classes(&[], 2), Ok(Some(vec![0, 1])));
        assert!(metric("asr.pgd.class.dgo").classes(&names, 3).unwrap_err().contains("did you mean dog?"));
        assert!(metric("asr.pgd.class.3").classes(&names, 3).unwrap_err().contains("0 to 2"));
    }
}
