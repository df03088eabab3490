//! Ensembles: attacks in an order, each on the images that those before it left.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::attack::{EnsembleSpec, Preset, show};
use crate::catalog::ENSEMBLES;
use crate::config::{AttackConfig, EOT, SHARED_PARAMS, did_you_mean, find, parse_spec_string, preset_values};
use crate::error::ParamError;
use crate::threat::{Epsilon, Norm};

/// The ensemble of this name.
pub fn find_ensemble(id: &str) -> Option<&'static EnsembleSpec> {
    ENSEMBLES.iter().find(|spec| spec.id == id).copied()
}

/// An ensemble's attacks as they are given, in their order, within the budget of `given`: `norm`, and `eps`, which may be several sizes. Each lets go
/// of an image that it breaks, as in the publication, unless results are rounded afterwards.
///
/// # Errors
/// A norm that it does not know, a size that is none, anything else than these two keys.
pub fn members(spec: &EnsembleSpec, given: &Table, is_rounded: bool) -> Result<Vec<(&'static str, Table)>, ParamError> {
    let known = ["norm", "eps"];
    if let Some(param) = given.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(ParamError::UnknownParam {
            attack: spec.id,
            param: param.clone(),
            hint: did_you_mean(param, known.into_iter()),
            known: format!("{}; its attacks run as published, and alone with any parameters", known.join(", ")),
        });
    }
    let norm = given.get("norm").map_or_else(|| spec.norms[0].to_string(), show);
    let Some(norm) = spec.norms.iter().find(|known| known.to_string() == norm) else {
        let known = spec.norms.iter().map(Norm::to_string).collect::<Vec<_>>().join(", ");
        return Err(ParamError::bad(spec.id, "norm", norm, format!("expected {known}")));
    };
    let mut sizes = sizes(given.get("eps"));
    if sizes.is_empty() {
        // The budget that the first of them has by itself.
        let (first, _) = parse_spec_string(spec.members[0])?;
        sizes.extend(preset_values(find(&first)?, Preset::Standard, *norm)?.remove("eps"));
    }
    // What is broken at a small size is broken at every larger one.
    let value = |size: &Value| show(size).parse::<Epsilon>().map_or(f64::NAN, Epsilon::value);
    sizes.sort_by(|a, b| value(a).total_cmp(&value(b)));
    let mut members = Vec::new();
    for size in sizes {
        for member in spec.members {
            let (id, mut params) = parse_spec_string(member)?;
            let attack = find(&id)?;
            params.insert("norm".to_owned(), norm.to_string().into());
            params.insert("eps".to_owned(), size.clone());
            if attack.params.iter().any(|param| param.name == "stop") {
                params.insert("stop".to_owned(), if is_rounded { "never" } else { "first" }.into());
            }
            members.push((attack.id, params));
        }
    }
    Ok(members)
}

/// Whether these attacks, given by their ids and the texts of their own parameters, are an ensemble as it was published. When they let go
/// of an image that they broke does not matter.
pub fn is_published<'a>(
    spec: &EnsembleSpec,
    attacks: impl Iterator<Item = (&'a str, &'a BTreeMap<String, String>)>,
) -> bool {
    let is_own = |key: &str| key != "stop" && (key == EOT || !SHARED_PARAMS.iter().any(|shared| shared.name == key));
    let published = spec.members.iter().map(|member| {
        let (id, given) = parse_spec_string(member).ok()?;
        let params = AttackConfig::new(&id, Preset::Standard, &given).ok()?.params;
        let own = params.iter().filter(|(key, _)| is_own(key)).map(|(key, value)| (key.clone(), show(value)));
        Some((id, own.collect::<BTreeMap<String, String>>()))
    });
    let found = attacks.map(|(id, own)| {
        let own = own.iter().filter(|(key, _)| is_own(key)).map(|(key, value)| (key.clone(), value.clone()));
        Some((id.to_owned(), own.collect()))
    });
    published.eq(found)
}

/// Sizes as a sweep has them: an array, or a text with `|` between them.
fn sizes(eps: Option<&Value>) -> Vec<Value> {
    match eps {
        None => Vec::new(),
        Some(Value::Array(sizes)) => sizes.clone(),
        Some(Value::String(text)) => text.split('|').map(|size| size.trim().into()).collect(),
        Some(other) => vec![other.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(text: &str, is_rounded: bool) -> Result<Vec<AttackConfig>, String> {
        let (id, given) = parse_spec_string(text).unwrap();
        let members =
            super::members(find_ensemble(&id).unwrap(), &given, is_rounded).map_err(|error| error.to_string())?;
        members
            .iter()
            .map(|(id, given)| AttackConfig::new(id, Preset::Quick, given).map_err(|error| error.to_string()))
            .collect()
    }

    fn own(config: &AttackConfig) -> BTreeMap<String, String> {
        let shared = ["norm", "eps", "goal", "target"];
        let own = config.params.iter().filter(|(key, _)| !shared.contains(&key.as_str()));
        own.map(|(key, value)| (key.clone(), show(value))).collect()
    }

    #[test]
    fn its_attacks_are_the_published_ones_whatever_the_preset() {
        let standard = members("autoattack", false).unwrap();
        assert_eq!(standard.iter().map(|it| it.spec.id).collect::<Vec<_>>(), ["apgd", "apgd-t", "fab-t", "square"]);
        assert!(standard.iter().all(|it| it.epsilon.unwrap().to_string() == "8/255" && it.norm == Norm::Linf));
        assert_eq!(own(&standard[1])["stop"], "first");
        assert_eq!(own(&members("autoattack", true).unwrap()[1])["stop"], "never");
        let sizes = members("autoattack:norm=l2,eps=1|0.5", false).unwrap();
        assert_eq!(
            sizes.iter().map(|it| it.epsilon.unwrap().to_string()).collect::<Vec<_>>().join(" "),
            "0.5 0.5 0.5 0.5 1 1 1 1"
        );
        let random = members("autoattack-rand", false).unwrap();
        assert_eq!(random.iter().map(|it| it.eot).collect::<Vec<_>>(), [Some(20), Some(20)]);
    }

    #[test]
    fn what_deviates_is_not_called_by_the_publications_name() {
        let spec = find_ensemble("autoattack").unwrap();
        let standard = members("autoattack", false).unwrap();
        let mut attacks: Vec<(&str, BTreeMap<String, String>)> =
            standard.iter().map(|it| (it.spec.id, own(it))).collect();
        let is_published = |attacks: &[(&str, BTreeMap<String, String>)]| {
            super::is_published(spec, attacks.iter().map(|(id, own)| (*id, own)))
        };
        assert!(is_published(&attacks));
        attacks[0].1.insert("stop".to_owned(), "never".to_owned());
        assert!(is_published(&attacks) && !is_published(&attacks[..3]));
        attacks[0].1.insert("steps".to_owned(), "99".to_owned());
        assert!(!is_published(&attacks));
    }

    #[test]
    fn what_cannot_be_chosen_is_refused() {
        for (text, message) in [
            ("autoattack:norm=l0", "autoattack.norm = l0: expected linf, l2"),
            ("autoattack:eps=0", "apgd.eps = 0: must be greater than 0: from 1e-9 to 1e6"),
            (
                "autoattack:steps=3",
                "autoattack.steps: unknown parameter; did you mean eps?; known: norm, eps; its attacks run as published, and alone with any \
                 parameters",
            ),
        ] {
            let message = message.to_owned();
            assert_eq!(
                members(text, false).unwrap_err().replace("; did you mean eps?", ""),
                message.replace("; did you mean eps?", "")
            );
        }
    }

    #[test]
    fn ensembles_and_attacks_have_names_of_their_own() {
        for spec in ENSEMBLES {
            assert!(find(spec.id).is_err());
            for norm in spec.norms {
                assert_eq!(members(&format!("{}:norm={norm}", spec.id), false).unwrap().len(), spec.members.len());
            }
        }
    }
}
