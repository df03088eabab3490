//! Each check, on the recorded run and on altered ones.

use advmod_attacks::config::find;

use super::*;
use crate::audit::journal::replay;
use crate::stats::rates::Rate;
use crate::verdict::across::SweepPoint;

fn report() -> Report {
    Report::new(&replay(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/run.jsonl"))).0).unwrap()
}

fn state(report: &Report, word: &str) -> ValidityState {
    checks(report).into_iter().find(|it| it.check.contains(word)).unwrap().state
}

#[test]
fn a_plain_run_has_nothing_against_it() {
    let report = report();
    assert!(checks(&report).iter().all(|it| matches!(it.state, ValidityState::Ok | ValidityState::NotRun)));
    assert_eq!(state(&report, "one step breaks"), ValidityState::Ok);
    assert_eq!(state(&report, "black-box"), ValidityState::NotRun);
    assert_eq!(state(&report, "grows"), ValidityState::NotRun);
}

#[test]
fn a_sweep_must_grow_until_nothing_is_left() {
    let point = |eps_value: f64, count: usize, carried: usize| SweepPoint {
        label: "pgd".to_owned(),
        eps: eps_value.to_string().parse().unwrap(),
        eps_value,
        status: AttackStatus::Complete,
        success_rate: Rate::new(count, 100),
        carried,
    };
    let sweep = |attack: &str, points: Vec<SweepPoint>| Sweep {
        attack: attack.to_owned(),
        norm: Norm::Linf,
        goal: Goal::Untargeted,
        points,
    };
    let whole = sweep("pgd", vec![point(0.1, 60, 0), point(0.5, 100, 1)]);
    assert_eq!(
        (growth(std::slice::from_ref(&whole)).0, saturation(&[whole]).0),
        (ValidityState::Ok, ValidityState::Ok)
    );
    let weak = sweep("pgd", vec![point(0.1, 60, 0), point(0.5, 90, 10)]);
    assert_eq!(
        (growth(std::slice::from_ref(&weak)).0, saturation(&[weak]).0),
        (ValidityState::Suspicious, ValidityState::Failed)
    );
    // One step only, or no large ε, is no test.
    let single = sweep("fgsm", vec![point(0.1, 60, 0), point(0.5, 90, 10)]);
    assert_eq!(
        (growth(std::slice::from_ref(&single)).0, saturation(&[single]).0),
        (ValidityState::NotRun, ValidityState::NotRun)
    );
    let small = sweep("pgd", vec![point(0.01, 10, 0), point(0.02, 20, 0)]);
    assert_eq!(saturation(&[small]).0, ValidityState::NotRun);
}

#[test]
fn what_understates_the_weakness_is_seen() {
    let mut weak = report();
    weak.attacks[1].samples.iter_mut().for_each(|it| it.success = false);
    assert_eq!(state(&weak, "one step breaks"), ValidityState::Failed);
    let mut short = report();
    short.attacks[1].attack.epsilon = "0.5".parse().ok();
    short.attacks[1].attack.own.insert("step".to_owned(), "2/255".to_owned());
    assert_eq!((state(&short, "cross"), state(&report(), "cross")), (ValidityState::Suspicious, ValidityState::Ok));
    let mut single = report();
    single.attacks.truncate(1);
    assert_eq!(state(&single, "iterated attack"), ValidityState::Suspicious);
    let mut masked = report();
    masked.attacks[1].attack.spec = find("one-pixel").ok();
    masked.attacks[1].samples.iter_mut().for_each(|it| it.success = true);
    masked.attacks[0].samples.iter_mut().for_each(|it| it.success = false);
    assert_eq!(state(&masked, "black-box"), ValidityState::Failed);
    let mut zero = report();
    zero.attacks[1].samples[0].zero_gradients = 2;
    assert_eq!(state(&zero, "gradients are not"), ValidityState::Suspicious);
    let mut broken_off = report();
    broken_off.attacks[0].status = AttackStatus::Failed;
    assert_eq!(state(&broken_off, "complete"), ValidityState::Failed);
    broken_off.attacks[0].status = AttackStatus::Incomplete;
    assert_eq!(state(&broken_off, "complete"), ValidityState::Suspicious);
}
