//! Each check, on the recorded run and on altered ones.

use advmod_attacks::attack::AttackSpec;
use advmod_attacks::config::find;
use advmod_attacks::threat::{Goal, Norm};

use super::*;
use crate::stats::rates::Rate;
use crate::verdict::Report;
use crate::verdict::across::SweepPoint;
use crate::verdict::testing::recorded;

fn check(report: &Report, word: &str) -> ValidityCheck {
    checks(&report.facts(), &report.sweeps).into_iter().find(|it| it.check.contains(word)).unwrap()
}

fn state(report: &Report, word: &str) -> ValidityState {
    check(report, word).state
}

#[test]
fn a_plain_run_has_nothing_against_it() {
    let report = recorded();
    assert!(report.validity.checks.iter().all(|it| matches!(it.state, ValidityState::Ok | ValidityState::NotRun)));
    assert_eq!(state(&report, "one step breaks"), ValidityState::Ok);
    assert_eq!(state(&report, "black-box"), ValidityState::NotRun);
    assert_eq!(state(&report, "grows"), ValidityState::NotRun);
}

fn sweep(attack: &str, points: &[(f64, usize, usize)]) -> Sweep {
    let point = |&(eps_value, count, carried): &(f64, usize, usize)| SweepPoint {
        label: attack.to_owned(),
        eps: eps_value.to_string().parse().unwrap(),
        eps_value,
        status: AttackStatus::Complete,
        success_rate: Rate::new(count, 100),
        carried,
    };
    let points = points.iter().map(point).collect();
    Sweep { attack: attack.to_owned(), norm: Norm::Linf, goal: Goal::Untargeted, points }
}

#[test]
fn a_sweep_must_grow_until_nothing_is_left() {
    use ValidityState::{Failed, NotRun, Ok, Suspicious};
    let report = recorded();
    let states = |sweep: Sweep| {
        let sweeps = [sweep];
        (sweeps::growth(&report.facts(), &sweeps).state, sweeps::saturation(&report.facts(), &sweeps).state)
    };
    assert_eq!(states(sweep("pgd", &[(0.1, 60, 0), (0.5, 100, 1)])), (Ok, Ok));
    let weak = [(0.1, 60, 0), (0.5, 90, 10)];
    assert_eq!(states(sweep("pgd", &weak)), (Suspicious, Failed));
    // One step only, or no large ε, is no test.
    assert_eq!(states(sweep("fgsm", &weak)), (NotRun, NotRun));
    assert_eq!(states(sweep("pgd", &[(0.01, 10, 0), (0.02, 20, 0)])), (Ok, NotRun));
}

#[test]
fn what_understates_the_weakness_is_seen() {
    let mut single = recorded();
    single.attacks.truncate(1);
    let found = check(&single, "iterated attack");
    assert_eq!((found.state, found.found.as_str()), (ValidityState::Suspicious, "add pgd: one step says little"));
    assert_eq!(check(&single, "one step breaks").found, "needs fgsm and pgd at the same norm and ε");
    let mut masked = recorded();
    assert_eq!(check(&masked, "black-box").found, "needs one-pixel or local-search beside an attack with gradients");
    masked.attacks[1].attack.spec = find("one-pixel").ok();
    masked.attacks[1].samples.iter_mut().for_each(|it| it.success = true);
    masked.attacks[0].samples.iter_mut().for_each(|it| it.success = false);
    assert_eq!(state(&masked, "black-box"), ValidityState::Failed);
    let mut broken_off = recorded();
    broken_off.attacks[0].status = AttackStatus::Failed;
    assert_eq!(state(&broken_off, "complete"), ValidityState::Failed);
    broken_off.attacks[0].status = AttackStatus::Incomplete;
    assert_eq!(state(&broken_off, "complete"), ValidityState::Suspicious);
    let mut mixed = recorded();
    mixed.model.batch_influence = Some(0.25);
    let found = check(&mixed, "of its batch");
    assert_eq!(found.state, ValidityState::Failed);
    assert!(found.found.contains("25.0 %"), "{}", found.found);
}

/// An iterated attack that the catalog does not have, in the place of PGD, with names of parameters of its own.
fn with_toy() -> Report {
    let mut report = recorded();
    let toy: &'static AttackSpec = Box::leak(Box::new(AttackSpec { id: "toy", title: "Toy", ..*find("pgd").unwrap() }));
    let attack = &mut report.attacks[1].attack;
    (attack.label, attack.name, attack.spec) = ("toy-1".to_owned(), "toy".to_owned(), Some(toy));
    report
}

#[test]
fn every_check_of_iterated_attacks_applies_to_an_attack_that_is_added() {
    let toy = |change: &dyn Fn(&mut AttackResult)| {
        let mut report = with_toy();
        change(&mut report.attacks[1]);
        report
    };
    let plain = toy(&|_| ());
    assert_eq!(check(&plain, "iterated attack").found, "toy-1");
    assert_eq!(check(&plain, "one step breaks").found, "1 pair");
    assert_eq!(check(&plain, "cross").found, "of 1 run");
    assert!(check(&plain, "more steps").found.starts_with("toy-1: "), "{:?}", check(&plain, "more steps"));
    assert_eq!(plain.validity, Validity::of(&recorded().facts(), &[]));
    let nothing = toy(&|it| it.samples.iter_mut().for_each(|it| it.success = false));
    let found = check(&nothing, "one step breaks");
    assert!(found.state == ValidityState::Failed && found.found.starts_with("fgsm and toy-1: "), "{found:?}");
    let short = toy(&|it| {
        it.attack.epsilon = "0.5".parse().ok();
        it.attack.own.insert("step".to_owned(), "2/255".to_owned());
    });
    let expected = "10 steps of 2/255 do not cross ε 0.5";
    assert_eq!(check(&short, "cross").found, format!("toy-1: {expected}"));
    assert!(Validity::of(&short.facts(), &[]).attacks[1].found.contains(expected));
    let leave_one = |it: &mut AttackResult| {
        it.success_rate = Rate::new(it.samples.len() - 1, it.samples.len());
        it.samples[0].success = false;
    };
    let late = toy(&|it| {
        leave_one(it);
        it.samples.iter_mut().for_each(|it| it.forwards_to_success = Some(it.forwards));
    });
    let found = check(&late, "more steps");
    assert!(found.state == ValidityState::Suspicious && found.found.starts_with("toy-1: "), "{found:?}");
    // 3 + 3 passes of 41 + 41.
    let lazy = toy(&|it| {
        leave_one(it);
        it.attack.own.insert("steps".to_owned(), "2".to_owned());
    });
    let found = check(&lazy, "standard preset");
    assert!(found.state == ValidityState::Suspicious && found.found.starts_with("toy-1: "), "{found:?}");
    let zero = toy(&|it| it.samples[0].zero_gradients = 2);
    let found = check(&zero, "gradients are not");
    assert!(found.state == ValidityState::Suspicious && found.found.starts_with("toy-1: "), "{found:?}");
    let mut masked = toy(&|it| it.samples.iter_mut().for_each(|it| it.success = false));
    masked.attacks[0].attack.spec = find("one-pixel").ok();
    masked.attacks[0].samples.iter_mut().for_each(|it| it.success = true);
    assert_eq!(state(&masked, "black-box"), ValidityState::Failed);
    let swept = [sweep("toy", &[(0.1, 60, 0), (0.5, 90, 10)])];
    assert_eq!(sweeps::growth(&plain.facts(), &swept).state, ValidityState::Suspicious);
    assert_eq!(sweeps::saturation(&plain.facts(), &swept).state, ValidityState::Failed);
}

#[test]
fn an_attack_of_another_version_is_left_out() {
    let mut report = recorded();
    report.attacks[1].attack.spec = None;
    assert_eq!(state(&report, "iterated attack"), ValidityState::Suspicious);
    assert_eq!(state(&report, "cross"), ValidityState::NotRun);
    assert_eq!(Validity::of(&report.facts(), &[]).attacks[1].state, ValidityState::Ok);
}
