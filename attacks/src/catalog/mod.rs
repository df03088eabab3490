//! The attacks, one file each, and the table that everything else reads.

mod apgd;
mod apgd_t;
mod cw;
mod ddn;
mod fab_t;
mod fgsm;
mod fmn;
mod hop_skip_jump;
mod jsma;
mod local_search;
mod one_pixel;
mod pgd;
mod sigma_zero;
mod square;
#[cfg(feature = "toy")]
mod toy;

use crate::attack::{AttackSpec, EnsembleSpec};
use crate::threat::Norm;

/// All attacks, in the order in which they are listed.
pub static ATTACKS: &[&AttackSpec] = &[
    &fgsm::SPEC,
    &pgd::SPEC,
    &jsma::SPEC,
    &cw::SPEC,
    &one_pixel::SPEC,
    &local_search::SPEC,
    &square::SPEC,
    &apgd::SPEC,
    &apgd_t::SPEC,
    &fab_t::SPEC,
    &ddn::SPEC,
    &fmn::SPEC,
    &sigma_zero::SPEC,
    &hop_skip_jump::SPEC,
    #[cfg(feature = "toy")]
    &toy::SPEC,
];

/// Every ensemble that has a name.
pub static ENSEMBLES: &[&EnsembleSpec] = &[&AUTO_ATTACK, &AUTO_ATTACK_RAND];

static AUTO_ATTACK: EnsembleSpec = EnsembleSpec {
    id: "autoattack",
    title: "AutoAttack standard, version as published 2020",
    what: "Four attacks without parameters to choose, each on the images that those before it left. Its robust accuracy is the one that \
           RobustBench ranks models by.",
    norms: &[Norm::Linf, Norm::L2],
    paper: apgd::PAPER,
    members: &[
        "apgd:loss=ce,steps=100,restarts=1",
        "apgd-t:steps=100,targets=9,restarts=1",
        "fab-t:steps=100,targets=9",
        "square:queries=5000,p=0.8,rescale=false",
    ],
};

static AUTO_ATTACK_RAND: EnsembleSpec = EnsembleSpec {
    id: "autoattack-rand",
    title: "AutoAttack rand, version as published 2020",
    what: "For models that answer at random: two attacks on the mean of 20 answers, the second on the images that the first left.",
    norms: &[Norm::Linf, Norm::L2],
    paper: apgd::PAPER,
    members: &["apgd:loss=ce,steps=100,restarts=1,eot=20", "apgd:loss=dlr,steps=100,restarts=1,eot=20"],
};

/// The iterated attack that controls use.
pub(crate) static ITERATED: &AttackSpec = &pgd::SPEC;

/// The search within a budget that controls use.
pub(crate) static SEARCH: &AttackSpec = &square::SPEC;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use toml::Value;

    use crate::attack::{Attack, AttackKind, Preset};
    use crate::config::{AttackConfig, SHARED_PARAMS, preset_values, typed};
    use crate::victim::Access;

    #[test]
    fn ids_are_unique_and_in_kebab_case() {
        let ids: BTreeSet<&str> = ATTACKS.iter().map(|spec| spec.id).collect();
        assert_eq!(ids.len(), ATTACKS.len());
        for id in ids {
            let is_kebab = id.split('-').all(|word| {
                !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
            });
            assert!(is_kebab, "{id}");
        }
    }

    #[test]
    fn every_file_here_is_in_the_table() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/catalog");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(".rs").replace('_', "-"))
            .filter(|name| name != "mod" && (name != "toy" || cfg!(feature = "toy")))
            .collect();
        names.sort();
        let mut ids: Vec<&str> = ATTACKS.iter().map(|spec| spec.id).collect();
        ids.sort_unstable();
        assert_eq!(names, ids);
    }

    #[test]
    fn documented_defaults_are_the_real_ones() {
        for spec in ATTACKS {
            let defaults = (spec.defaults)();
            let documented: BTreeSet<&str> = spec.params.iter().map(|param| param.name).collect();
            let real: BTreeSet<&str> = defaults.keys().map(String::as_str).collect();
            assert_eq!(documented, real, "{}", spec.id);
            for param in spec.params {
                let real = &defaults[param.name];
                let documented = match real {
                    Value::String(_) => Value::String(param.default.to_owned()),
                    _ => typed(param.default),
                };
                assert_eq!(&documented, real, "{}.{}", spec.id, param.name);
                assert!(!SHARED_PARAMS.iter().any(|shared| shared.name == param.name), "{}.{}", spec.id, param.name);
            }
            assert!((spec.build)(&defaults).is_ok(), "{}", spec.id);
        }
    }

    #[test]
    fn kinds_go_with_what_the_attacks_are() {
        for spec in ATTACKS {
            let built = (spec.build)(&(spec.defaults)()).unwrap();
            let is_budget = matches!(built, Attack::Budget(_));
            match spec.kind {
                AttackKind::OneStep | AttackKind::Iterated(_) => assert!(is_budget, "{}", spec.id),
                AttackKind::Minimizing => assert!(!is_budget, "{}", spec.id),
                AttackKind::Search => (),
            }
            assert_eq!(spec.kind == AttackKind::Search, spec.access < Access::Gradients, "{}", spec.id);
            let steps = spec.kind.steps().into_iter().flat_map(|steps| [Some(steps.count), steps.length]).flatten();
            for name in steps {
                assert!(spec.params.iter().any(|param| param.name == name), "{}.{name}", spec.id);
            }
        }
    }

    #[test]
    fn every_preset_builds_for_every_norm() {
        for spec in ATTACKS {
            for preset in Preset::ALL {
                for norm in spec.norms {
                    assert!(preset_values(spec, preset, *norm).is_ok(), "{} {preset} {norm}", spec.id);
                    let given = toml::Table::from_iter([("norm".to_owned(), Value::from(norm.to_string()))]);
                    if let Err(error) = AttackConfig::new(spec.id, preset, &given) {
                        panic!("{} {preset} {norm}: {error}", spec.id);
                    }
                }
            }
        }
    }
}
