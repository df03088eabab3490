//! An attack of a plan as it runs: every default filled in, its threat typed.

use std::collections::BTreeMap;
use std::fmt;

use advmod_attacks::attack::AttackSpec;
use advmod_attacks::config::{AttackConfig, EOT, SHARED_PARAMS, find};
use advmod_attacks::threat::{Epsilon, Goal, Norm, Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far an attacker may change an image: at most ε in a norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    pub norm: Norm,
    pub eps: Epsilon,
}

impl Budget {
    /// For people: `L∞ ε 8/255`.
    pub(crate) fn summary(&self) -> String {
        format!("{} ε {}", self.norm.sign(), self.eps)
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.norm, self.eps)
    }
}

/// One attack with all its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(with = "Written")]
#[serde(try_from = "Written", into = "Written")]
pub struct ResolvedAttack {
    pub label: String,
    pub name: String,
    /// Absent where this version does not know the attack of a stored run.
    pub spec: Option<&'static AttackSpec>,
    pub title: String,
    pub norm: Norm,
    pub epsilon: Option<Epsilon>,
    pub goal: Goal,
    /// Parameters of its own as text; those of the threat are typed, above.
    pub own: BTreeMap<String, String>,
    pub sweep: Option<usize>,
    /// Name of the ensemble that it is in: it attacks what the others of that name left within its budget.
    pub ensemble: Option<String>,
}

// As it stands in files.
/// One attack with all its parameters.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ResolvedAttack")]
struct Written {
    /// Unique within the plan: the attack's name, with a number where the plan has it more than once.
    label: String,
    /// Name of the attack as `advmod attacks` lists it.
    name: String,
    /// Name of the attack for people.
    title: String,
    /// Whether the attack aims at a given class instead of any wrong one.
    targeted: bool,
    /// Norm, size and target of the attack in short.
    summary: String,
    /// Every parameter in effect, defaults included, as text.
    params: BTreeMap<String, String>,
    /// Place in the plan of the first attack of the ε sweep that this one belongs to. A sweep's attacks stand together, the smallest ε
    /// first, and differ in `eps` only.
    #[serde(default)]
    sweep: Option<usize>,
}

impl ResolvedAttack {
    /// As the parser made it; labels tell the attacks of a plan apart.
    fn new(label: String, configured: &Configured) -> Self {
        let Configured { config, sweep, ensemble } = configured;
        let text = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let own = config.params.iter().filter(|(key, _)| !is_shared(key));
        Self {
            label,
            name: config.spec.id.to_owned(),
            spec: Some(config.spec),
            title: config.spec.title.to_owned(),
            norm: config.norm,
            epsilon: config.epsilon,
            goal: config.goal,
            own: own.map(|(key, value)| (key.clone(), text(value))).collect(),
            sweep: *sweep,
            ensemble: ensemble.clone(),
        }
    }

    pub(crate) fn is_targeted(&self) -> bool {
        self.goal.is_targeted()
    }

    /// How far it may change an image. A minimal attack may have no such bound.
    pub(crate) fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.norm, eps: self.epsilon? })
    }

    /// The budget within which what it leaves would be evidence: of an untargeted attack that follows gradients more than once, in a norm
    /// that has a ball.
    pub(crate) fn proven_budget(&self) -> Option<Budget> {
        let iterates = self.spec.is_some_and(|spec| spec.kind.repeats_steps());
        self.budget().filter(|budget| iterates && !self.is_targeted() && budget.norm != Norm::L0)
    }

    /// Whether it looks for changes within the budget alone, or for the smallest ones.
    pub(crate) fn tries(&self, budget: &Budget) -> bool {
        // Two ways to write one size differ in their last bits.
        let is_smaller = |own: Epsilon| own.value() <= budget.eps.value() * (1.0 + 1e-9);
        self.norm == budget.norm && self.epsilon.is_none_or(is_smaller)
    }

    /// Whether its success says how the model does within the budget: it may use all of it, and any wrong class will do.
    pub(crate) fn measures(&self, budget: &Budget) -> bool {
        let is_all = |own: Epsilon| own.value() >= budget.eps.value() * (1.0 - 1e-9);
        !self.is_targeted() && self.tries(budget) && self.epsilon.is_none_or(is_all)
    }

    /// Whether another is in its ensemble, with the same budget.
    pub(crate) fn is_with(&self, other: &Self) -> bool {
        self.ensemble.is_some() && self.ensemble == other.ensemble && self.budget() == other.budget()
    }

    /// Norm, size and target, for people.
    pub fn summary(&self) -> String {
        let size = self.epsilon.map_or(String::new(), |epsilon| format!(" ε {epsilon}"));
        let aim = match self.goal {
            Goal::Untargeted => String::new(),
            Goal::Targeted(Target::Class(class)) => format!(" → class {class}"),
            Goal::Targeted(target) => format!(" → {target}"),
        };
        format!("{}{size}{aim}", self.norm.sign())
    }

    /// Every parameter in effect as text, those of the threat included.
    pub fn params(&self) -> BTreeMap<String, String> {
        let goal = match self.goal {
            Goal::Untargeted => ("goal", "untargeted".to_owned()),
            Goal::Targeted(target) => ("target", target.to_string()),
        };
        let threat = [("norm", self.norm.to_string()), goal].into_iter();
        let threat = threat.chain(self.epsilon.map(|epsilon| ("eps", epsilon.to_string())));
        let mut params = self.own.clone();
        params.extend(threat.map(|(key, value)| (key.to_owned(), value)));
        params.extend(self.ensemble.iter().map(|it| (ENSEMBLE.to_owned(), it.clone())));
        params
    }

    /// `key=value` pairs in the order of the keys.
    pub(crate) fn parameters_text(&self) -> String {
        let pairs: Vec<String> = self.params().iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(", ")
    }
}

/// Key of an attack's ensemble in plans and reports.
pub(crate) const ENSEMBLE: &str = "ensemble";

/// Whether a name may be that of an ensemble.
pub(super) fn check_ensemble(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !name.is_empty() && name.len() <= 40 && name.bytes().all(is_plain) {
        true => Ok(()),
        false => Err("expected a name of at most 40 small letters, digits and -"),
    }
}

/// Whether a key says something of the threat.
fn is_shared(key: &str) -> bool {
    key != EOT && SHARED_PARAMS.iter().any(|shared| shared.name == key)
}

impl TryFrom<Written> for ResolvedAttack {
    type Error = String;

    fn try_from(mut written: Written) -> Result<Self, String> {
        let wrong = |key: &str, why: String| format!("attack {:?}: {key}: {why}", written.label);
        let read = |key: &str| written.params.get(key).map(String::as_str);
        let norm: Norm = read("norm")
            .ok_or_else(|| wrong("norm", "missing".to_owned()))?
            .parse()
            .map_err(|why| wrong("norm", format!("{why}")))?;
        let epsilon =
            read("eps").map(str::parse::<Epsilon>).transpose().map_err(|why| wrong("eps", why.to_string()))?;
        let target = read("target").map(str::parse).transpose().map_err(|why| wrong("target", format!("{why}")))?;
        // As `goal = "targeted"` alone means in a plan.
        let target = target.or(written.targeted.then_some(Target::Random));
        let ensemble = read(ENSEMBLE).map(str::to_owned);
        ensemble.iter().try_for_each(|it| check_ensemble(it)).map_err(|why| wrong(ENSEMBLE, why.to_owned()))?;
        written.params.retain(|key, _| !is_shared(key) && key != ENSEMBLE);
        Ok(Self {
            spec: find(&written.name).ok(),
            norm,
            epsilon,
            goal: target.map_or(Goal::Untargeted, Goal::Targeted),
            label: written.label,
            name: written.name,
            title: written.title,
            own: written.params,
            sweep: written.sweep,
            ensemble,
        })
    }
}

impl From<ResolvedAttack> for Written {
    fn from(attack: ResolvedAttack) -> Self {
        Self {
            targeted: attack.is_targeted(),
            summary: attack.summary(),
            params: attack.params(),
            label: attack.label,
            name: attack.name,
            title: attack.title,
            sweep: attack.sweep,
        }
    }
}

/// An attack, or all attacks of a sweep (at least one), as one `--attack` takes them.
pub(crate) fn spec(sweep: &[ResolvedAttack]) -> String {
    let sizes: Vec<String> = sweep.iter().filter_map(|attack| attack.epsilon.map(|it| it.to_string())).collect();
    let pair = |(key, value): (String, String)| match key.as_str() {
        "eps" => format!("eps={}", sizes.join("|")),
        _ => format!("{key}={value}"),
    };
    let pairs: Vec<String> = sweep[0].params().into_iter().map(pair).collect();
    format!("{}:{}", sweep[0].name, pairs.join(","))
}

/// Whether two neighbours in a list of attacks belong to one sweep.
pub(super) fn in_one_sweep(a: &ResolvedAttack, b: &ResolvedAttack) -> bool {
    a.sweep.is_some() && a.sweep == b.sweep
}

/// An attack that can run, and the place of the first attack of the sweep that it belongs to.
#[derive(Debug)]
pub(super) struct Configured {
    pub config: AttackConfig,
    pub sweep: Option<usize>,
    pub ensemble: Option<String>,
}

/// Names each attack uniquely and writes its parameters out.
pub(super) fn label(attacks: &[Configured]) -> Vec<ResolvedAttack> {
    let mut labelled: Vec<ResolvedAttack> = Vec::with_capacity(attacks.len());
    for configured in attacks {
        let name = configured.config.spec.id;
        let before = labelled.iter().filter(|other| other.name == name).count();
        let label = if before == 0 { name.to_owned() } else { format!("{name}-{}", before + 1) };
        labelled.push(ResolvedAttack::new(label, configured));
    }
    labelled
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(name: &str, params: &Value) -> Value {
        let is_targeted = params.get("target").is_some();
        json!({"label": name, "name": name, "title": "T", "targeted": is_targeted, "summary": "", "params": params, "sweep": null})
    }

    #[test]
    fn what_is_read_is_written_again() {
        let runner_up = json!({"eps": "2", "norm": "l2", "target": "runner-up", "steps": "3"});
        for (name, params, summary) in [
            ("pgd", json!({"eps": "8/255", "goal": "untargeted", "norm": "linf", "steps": "3"}), "L∞ ε 8/255"),
            ("jsma", json!({"goal": "untargeted", "norm": "l0"}), "L0"),
            ("square", json!({"ensemble": "own-2", "eps": "1", "goal": "untargeted", "norm": "l2"}), "L2 ε 1"),
            ("pgd", runner_up.clone(), "L2 ε 2 → runner-up"),
            // Of a later version.
            ("newer", json!({"norm": "l0", "target": "7"}), "L0 → class 7"),
        ] {
            let mut file = written(name, &params);
            let read: ResolvedAttack = serde_json::from_value(file.clone()).unwrap();
            assert_eq!((read.spec.is_some(), read.summary().as_str()), (name != "newer", summary));
            file["summary"] = summary.into();
            assert_eq!(serde_json::to_value(&read).unwrap(), file);
        }
        assert_eq!(
            serde_json::from_value::<ResolvedAttack>(written("pgd", &runner_up)).unwrap().parameters_text(),
            "eps=2, norm=l2, steps=3, target=runner-up"
        );
    }

    #[test]
    fn a_threat_that_is_none_is_refused() {
        for (params, message) in [
            (json!({}), "attack \"pgd\": norm: missing"),
            (
                json!({"norm": "l2", "ensemble": "a b"}),
                "attack \"pgd\": ensemble: expected a name of at most 40 small letters, digits and -",
            ),
            (json!({"norm": "l7"}), "attack \"pgd\": norm: expected linf, l2 or l0"),
            (json!({"norm": "l2", "eps": "0"}), "attack \"pgd\": eps: must be greater than 0: from 1e-9 to 1e6"),
        ] {
            let error = serde_json::from_value::<ResolvedAttack>(written("pgd", &params)).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
