//! From an id and a table of values to a checked attack with its threat.

use toml::Value;

use crate::attack::{Attack, AttackSpec, ParamDoc, Preset, show};
use crate::catalog::{ATTACKS, ENSEMBLES};
use crate::error::ParamError;
use crate::threat::{Ball, Epsilon, Goal, Norm, Target, ThreatError};

/// An attack, ready to run: what it is, what it may do, with which parameters.
#[derive(Debug)]
pub struct AttackConfig {
    /// What the catalog says about it.
    pub spec: &'static AttackSpec,
    pub norm: Norm,
    /// The budget of a budget attack; for a minimal attack the largest distance that counts as success, if any.
    pub epsilon: Option<Epsilon>,
    pub goal: Goal,
    /// Forwards whose logits and gradients are averaged wherever the attack asks for one; absent where the victim decides.
    pub eot: Option<u32>,
    pub attack: Attack,
    /// All values in effect, defaults included, for reports.
    pub params: toml::Table,
}

/// Key of [`AttackConfig::eot`].
pub const EOT: &str = "eot";

/// The keys that every attack takes: those of the threat, and [`EOT`].
pub static SHARED_PARAMS: &[ParamDoc] = &[
    ParamDoc {
        name: "eps",
        default: "by preset",
        range: "> 0, a number or a fraction such as 8/255; several with | between them are a sweep",
        help: "Largest change in the norm, in pixel units (pixels lie in [0, 1]), for l0 a number of pixels; optional where the attack minimizes \
               the change: what goes farther counts as failure",
    },
    ParamDoc {
        name: "norm",
        default: "the attack's first",
        range: "linf, l2, l0; see the attack",
        help: "How changes are measured",
    },
    ParamDoc {
        name: "goal",
        default: "untargeted",
        range: "untargeted, targeted",
        help: "Whether any wrong class counts as success or one target class only",
    },
    ParamDoc {
        name: "target",
        default: "none",
        range: "runner-up, random, least-likely, next (label + 1), or a class number",
        help: "The class to reach, chosen per sample; implies goal=targeted, which alone means random",
    },
    ParamDoc {
        name: EOT,
        default: "auto",
        range: "auto, 1 to 1000",
        help: "Expectation over transformation: forward passes whose logits and gradients are averaged each time; auto is 1, or 10 where the model \
               is random",
    },
];

impl AttackConfig {
    /// Builds the attack `id`: the preset's values for the norm in use, and `given` values over them.
    pub fn new(id: &str, preset: Preset, given: &toml::Table) -> Result<Self, ParamError> {
        Self::of(find(id)?, preset, given)
    }

    /// As [`new`](AttackConfig::new), of an attack that need not be in the catalog.
    pub fn of(spec: &'static AttackSpec, preset: Preset, given: &toml::Table) -> Result<Self, ParamError> {
        check_keys(spec, given)?;
        let norm = read_norm(spec, given)?;
        let mut values = preset_values(spec, preset, norm)?;
        values.extend(given.clone());
        check_keys(spec, &values)?;
        values.remove("norm");

        let epsilon = read_epsilon(spec, values.remove("eps").as_ref())?;
        let goal = read_goal(spec, values.remove("goal").as_ref(), values.remove("target").as_ref())?;
        let eot = read_eot(spec, values.remove(EOT).as_ref())?;
        let attack = (spec.build)(&values)?;
        match (&attack, epsilon) {
            (Attack::Budget(_), None) => return Err(ParamError::bad(spec.id, "eps", "nothing", "a budget is needed")),
            (Attack::Budget(_), Some(epsilon)) => {
                Ball::new(norm, epsilon).map_err(|why| ParamError::bad(spec.id, "norm", norm, why))?;
            }
            (Attack::Minimal(_), _) => (),
        }

        let mut params = (spec.defaults)();
        params.extend(values);
        params.insert("norm".to_owned(), norm.to_string().into());
        if let Some(epsilon) = epsilon {
            params.insert("eps".to_owned(), epsilon.to_string().into());
        }
        match goal {
            Goal::Untargeted => params.insert("goal".to_owned(), "untargeted".into()),
            Goal::Targeted(target) => params.insert("target".to_owned(), target.to_string().into()),
        };
        if let Some(eot) = eot {
            params.insert(EOT.to_owned(), i64::from(eot).into());
        }
        Ok(Self { spec, norm, epsilon, goal, eot, attack, params })
    }

    /// Builds the attack `id` once per size in `eps`, the smallest first: `2/255|4/255`, or an array. One size, or none, is one attack.
    ///
    /// # Errors
    /// As [`new`](AttackConfig::new) for each size; two equal sizes.
    pub fn sweep(id: &str, preset: Preset, given: &toml::Table) -> Result<Vec<Self>, ParamError> {
        let spec = find(id)?;
        let sizes = match given.get("eps") {
            Some(Value::Array(sizes)) => sizes.clone(),
            Some(Value::String(text)) if text.contains('|') => text.split('|').map(|size| size.trim().into()).collect(),
            _ => return Ok(vec![Self::of(spec, preset, given)?]),
        };
        let bad = |why| Err(ParamError::bad(spec.id, "eps", show(&given["eps"]), why));
        if sizes.is_empty() || sizes.iter().any(|size| show(size).is_empty()) {
            return bad("a size is missing".to_owned());
        }
        let with_size = |size: Value| {
            let mut given = given.clone();
            given.insert("eps".to_owned(), size);
            Self::of(spec, preset, &given)
        };
        let mut configs = sizes.into_iter().map(with_size).collect::<Result<Vec<_>, _>>()?;
        let value = |config: &Self| config.epsilon.map_or(0.0, Epsilon::value);
        configs.sort_by(|a, b| value(a).total_cmp(&value(b)));
        match configs.windows(2).find(|pair| value(&pair[0]).total_cmp(&value(&pair[1])).is_eq()) {
            Some(pair) => bad(format!("{} is there twice", show(&pair[0].params["eps"]))),
            None => Ok(configs),
        }
    }
}

/// Reads `id` or `id:key=value,key=value`, as typed on a command line.
///
/// Values that read as integers, floats or booleans become such; everything else, `8/255` too, stays text.
pub fn parse_spec_string(text: &str) -> Result<(String, toml::Table), ParamError> {
    let (id, pairs) = text.split_once(':').map_or((text, None), |(id, pairs)| (id, Some(pairs)));
    if id.trim().is_empty() {
        return Err(syntax(text, "expected NAME or NAME:key=value,key=value"));
    }
    let table = pairs.map_or_else(|| Ok(toml::Table::new()), |pairs| parse_pairs(text, pairs))?;
    Ok((id.trim().to_owned(), table))
}

/// What the catalog says about the attack `id`.
pub fn find(id: &str) -> Result<&'static AttackSpec, ParamError> {
    let known = || ATTACKS.iter().map(|spec| spec.id).chain(ENSEMBLES.iter().map(|spec| spec.id));
    ATTACKS.iter().find(|spec| spec.id == id).copied().ok_or_else(|| ParamError::UnknownAttack {
        name: id.to_owned(),
        hint: did_you_mean(id, known()),
        known: known().collect::<Vec<_>>().join(", "),
    })
}

fn parse_pairs(text: &str, pairs: &str) -> Result<toml::Table, ParamError> {
    let mut table = toml::Table::new();
    for pair in pairs.split(',') {
        let (key, value) = match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() && !value.trim().is_empty() => (key.trim(), value.trim()),
            _ => return Err(syntax(text, &format!("expected key=value, found {pair:?}"))),
        };
        if table.insert(key.to_owned(), typed(value)).is_some() {
            return Err(syntax(text, &format!("{key} is given twice")));
        }
    }
    Ok(table)
}

/// A value as it is typed on a command line: an integer, a float or a boolean where it reads as one, otherwise text.
pub fn typed(text: &str) -> Value {
    if let Ok(integer) = text.parse::<i64>() {
        Value::Integer(integer)
    } else if let Ok(float) = text.parse::<f64>() {
        Value::Float(float)
    } else if let Ok(boolean) = text.parse::<bool>() {
        Value::Boolean(boolean)
    } else {
        Value::String(text.to_owned())
    }
}

pub(crate) fn preset_values(spec: &AttackSpec, preset: Preset, norm: Norm) -> Result<toml::Table, ParamError> {
    match spec.presets.iter().find(|values| values.preset == preset && values.norm == norm) {
        Some(found) if found.values.is_empty() => Ok(toml::Table::new()),
        Some(found) => parse_pairs(found.values, found.values),
        None => Err(syntax(&preset.to_string(), &format!("{} has no such preset for {norm}", spec.id))),
    }
}

fn check_keys(spec: &AttackSpec, table: &toml::Table) -> Result<(), ParamError> {
    let known = || SHARED_PARAMS.iter().chain(spec.params).map(|param| param.name);
    match table.keys().find(|key| !known().any(|name| name == key.as_str())) {
        Some(param) => Err(ParamError::UnknownParam {
            attack: spec.id,
            param: param.clone(),
            hint: did_you_mean(param, known()),
            known: known().collect::<Vec<_>>().join(", "),
        }),
        None => Ok(()),
    }
}

fn read_norm(spec: &AttackSpec, given: &toml::Table) -> Result<Norm, ParamError> {
    let Some(value) = given.get("norm") else { return Ok(spec.norms[0]) };
    let known = spec.norms.iter().map(Norm::to_string).collect::<Vec<_>>().join(", ");
    let found = show(value).parse::<Norm>().ok().filter(|norm| spec.norms.contains(norm));
    found.ok_or_else(|| ParamError::bad(spec.id, "norm", show(value), format!("expected {known}")))
}

fn read_epsilon(spec: &AttackSpec, value: Option<&Value>) -> Result<Option<Epsilon>, ParamError> {
    let Some(value) = value else { return Ok(None) };
    // A float that was typed without a fraction may be huge or tiny; its text reads back as the same number.
    let read: Result<Epsilon, ThreatError> = show(value).parse();
    read.map(Some).map_err(|why| ParamError::bad(spec.id, "eps", show(value), why))
}

fn read_eot(spec: &AttackSpec, value: Option<&Value>) -> Result<Option<u32>, ParamError> {
    let Some(text) = value.map(show).filter(|text| text != "auto") else { return Ok(None) };
    let read = text.parse::<u32>().ok().filter(|draws| (1..=1000).contains(draws));
    read.map(Some).ok_or_else(|| ParamError::bad(spec.id, EOT, text, "expected auto or 1 to 1000"))
}

fn read_goal(spec: &AttackSpec, goal: Option<&Value>, target: Option<&Value>) -> Result<Goal, ParamError> {
    let goal_text = goal.map(show);
    let read = match (goal_text.as_deref(), target.map(show)) {
        (None | Some("untargeted"), None) => Goal::Untargeted,
        (Some("targeted"), None) => Goal::Targeted(Target::Random),
        (None | Some("targeted"), Some(target)) => {
            let read: Result<Target, ThreatError> = target.parse();
            Goal::Targeted(read.map_err(|why| ParamError::bad(spec.id, "target", target, why))?)
        }
        (Some("untargeted"), Some(target)) => {
            return Err(ParamError::bad(spec.id, "target", target, "needs goal = targeted"));
        }
        (Some(other), _) => return Err(ParamError::bad(spec.id, "goal", other, "expected untargeted or targeted")),
    };
    let is_known = if read.is_targeted() { spec.targeted } else { spec.untargeted };
    let other = if read.is_targeted() { "it is untargeted only" } else { "it needs a target" };
    if is_known { Ok(read) } else { Err(ParamError::bad(spec.id, "goal", read, other)) }
}

/// `; did you mean …?` with the known name that is nearest, or nothing where none is near.
pub fn did_you_mean<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let nearest = known.map(|it| (strsim::damerau_levenshtein(name, it), it)).min();
    match nearest {
        // Half the letters wrong is no typing mistake any more.
        Some((distance, it)) if 2 * distance <= it.len().max(2) => format!("; did you mean {it}?"),
        _ => String::new(),
    }
}

fn syntax(text: &str, why: &str) -> ParamError {
    ParamError::Syntax { text: text.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> Result<AttackConfig, String> {
        parse_spec_string(text)
            .and_then(|(id, table)| AttackConfig::new(&id, Preset::Standard, &table))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_spec_string_becomes_typed_values() {
        let (id, table) = parse_spec_string("pgd:eps=8/255,steps=20,step=0.01,random_start=false").unwrap();
        assert_eq!(id, "pgd");
        assert_eq!(table["eps"], Value::String("8/255".to_owned()));
        assert_eq!(table["steps"], Value::Integer(20));
        assert_eq!(table["step"], Value::Float(0.01));
        assert_eq!(table["random_start"], Value::Boolean(false));
        assert!(parse_spec_string("fgsm").unwrap().1.is_empty());
    }

    #[test]
    fn malformed_spec_strings_say_what_was_expected() {
        for text in ["", ":eps=1", "pgd:", "pgd:eps", "pgd:eps=", "pgd:eps=1,,", "pgd:eps=1,eps=2"] {
            assert!(parse_spec_string(text).is_err(), "{text}");
        }
        let error = parse_spec_string("pgd:eps=1,eps=2").unwrap_err();
        assert_eq!(error.to_string(), "\"pgd:eps=1,eps=2\": eps is given twice");
    }

    #[test]
    fn unknown_names_come_with_the_nearest_known_one() {
        let error = build("pdg").unwrap_err();
        assert!(error.starts_with("no attack is called \"pdg\"; did you mean pgd?; known: fgsm"), "{error}");
        let error = build("pgd:stpes=3").unwrap_err();
        let start = "pgd.stpes: unknown parameter; did you mean steps?; known: eps, norm, goal, target, eot, ";
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn every_bad_shared_value_is_named() {
        for (text, message) in [
            ("fgsm:eps=0", "fgsm.eps = 0: must be greater than 0: from 1e-9 to 1e6"),
            ("fgsm:eps=-8/255", "fgsm.eps = -8/255: must be greater than 0: from 1e-9 to 1e6"),
            ("fgsm:eps=big", "fgsm.eps = big: expected a number or a fraction such as 8/255"),
            ("fgsm:norm=l1", "fgsm.norm = l1: expected linf, l2"),
            ("fgsm:eot=0", "fgsm.eot = 0: expected auto or 1 to 1000"),
            ("fgsm:goal=fame", "fgsm.goal = fame: expected untargeted or targeted"),
            (
                "fgsm:target=best",
                "fgsm.target = best: expected runner-up, random, least-likely, next or a class number",
            ),
            ("fgsm:goal=untargeted,target=1", "fgsm.target = 1: needs goal = targeted"),
        ] {
            assert_eq!(build(text).unwrap_err(), message);
        }
    }

    fn sizes(text: &str) -> Result<Vec<String>, String> {
        let configs =
            parse_spec_string(text).and_then(|(id, table)| AttackConfig::sweep(&id, Preset::Standard, &table));
        let configs = configs.map_err(|error| error.to_string())?;
        Ok(configs.iter().map(|config| show(&config.params["eps"])).collect())
    }

    #[test]
    fn a_sweep_is_one_attack_per_size_in_rising_order() {
        assert_eq!(sizes("pgd:eps=8/255|2/255| 0.02,steps=3").unwrap(), ["2/255", "0.02", "8/255"]);
        assert_eq!(sizes("pgd:eps=4/255").unwrap(), ["4/255"]);
        assert_eq!(sizes("pgd").unwrap(), ["8/255"]);
        let table: toml::Table = toml::from_str("eps = [0.5, \"1/4\"]\nnorm = \"l2\"").unwrap();
        let configs = AttackConfig::sweep("fgsm", Preset::Standard, &table).unwrap();
        assert_eq!(configs.iter().map(|it| it.epsilon.unwrap().to_string()).collect::<Vec<_>>(), ["1/4", "0.5"]);
    }

    #[test]
    fn a_sweep_names_the_size_that_is_wrong() {
        for (text, message) in [
            ("pgd:eps=2/255|-1", "pgd.eps = -1: must be greater than 0: from 1e-9 to 1e6"),
            ("pgd:eps=2/255|big", "pgd.eps = big: expected a number or a fraction such as 8/255"),
            ("pgd:eps=2/255||1", "pgd.eps = 2/255||1: a size is missing"),
            ("pgd:eps=2/255|0.5|1/2", "pgd.eps = 2/255|0.5|1/2: 0.5 is there twice"),
        ] {
            assert_eq!(sizes(text).unwrap_err(), message);
        }
        let empty: toml::Table = toml::from_str("eps = []").unwrap();
        assert!(AttackConfig::sweep("pgd", Preset::Standard, &empty).is_err());
    }

    #[test]
    fn given_values_stand_over_the_preset_and_all_values_are_shown() {
        let config = build("pgd:eps=4/255,target=3").unwrap();
        assert_eq!(config.epsilon.unwrap().to_string(), "4/255");
        assert_eq!(config.goal, Goal::Targeted(Target::Class(3)));
        assert_eq!(config.params["step"], Value::String("eps/4".to_owned()));
        assert_eq!(config.params["steps"], Value::Integer(40));
        assert_eq!(config.params["norm"], Value::String("linf".to_owned()));
    }
}
