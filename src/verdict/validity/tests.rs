//! Each check, on the recorded run and on altered ones.

use advmod_attacks::attack::AttackSpec;
use advmod_attacks::config::find;
use advmod_attacks::threat::{Goal, Norm};

use super::*;
use crate::audit::event::{ControlResult, RiseResult, SampleResult};
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
    let add = "add pgd or apgd or apgd-t: one step says little";
    assert_eq!((found.state, found.found.as_str()), (ValidityState::Suspicious, add));
    let needs = "needs fgsm and pgd or apgd or apgd-t at the same norm and ε";
    assert!(check(&single, "one step breaks").found.starts_with(needs));
    let mut masked = recorded();
    let needs =
        "needs one-pixel or local-search or square or hop-skip-jump beside an attack with gradients, of the same norm";
    assert_eq!(check(&masked, "black-box").found, needs);
    masked.attacks[1].attack.spec = find("square").ok();
    break_all(&mut masked, 1, true);
    break_all(&mut masked, 0, false);
    assert_eq!(state(&masked, "black-box"), ValidityState::Failed);
    // Of another norm and without a bound they say nothing of each other.
    (masked.attacks[1].attack.norm, masked.attacks[1].attack.epsilon) = (Norm::L0, None);
    assert_eq!(state(&masked, "black-box"), ValidityState::NotRun);
    // Weak is weak in an ensemble, too.
    let mut grouped = recorded();
    grouped.attacks[1].attack.own.insert("steps".to_owned(), "1".to_owned());
    break_all(&mut grouped, 1, false);
    let alone = state(&grouped, "standard preset");
    grouped.attacks[1].attack.ensemble = Some("own".to_owned());
    let together = state(&grouped, "standard preset");
    assert_eq!([alone, together], [ValidityState::Suspicious; 2]);
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

/// Breaks every image of an attack, or none.
fn break_all(report: &mut Report, attack: usize, is_broken: bool) {
    for sample in &mut report.attacks[attack].samples {
        let label = report.data.labels[sample.sample];
        (sample.success, sample.prediction) = (is_broken, if is_broken { (label + 1) % 10 } else { label });
    }
    let samples = &report.attacks[attack].samples;
    let n = samples.len();
    report.attacks[attack].success_rate = Rate::new(if is_broken { n } else { 0 }, n);
}

/// A control of the recorded attacks, none of which breaks anything, which breaks so many of 20 images.
fn controlled(kind: ControlKind, broken: usize) -> Report {
    let mut report = recorded();
    break_all(&mut report, 0, false);
    break_all(&mut report, 1, false);
    let budget = report.facts().budgets()[0];
    let one = |at: usize| {
        let sample = report.attacks[0].samples[at].sample;
        let label = report.data.labels[sample];
        let prediction = if at < broken { (label + 1) % 10 } else { label };
        SampleResult { sample, success: at < broken, prediction, ..SampleResult::default() }
    };
    let samples = (0..20).map(one).collect();
    report.controls = vec![ControlResult { samples, ..ControlResult::new(kind, budget) }];
    report
}

#[test]
fn what_controls_break_beyond_the_attacks_fails_them_and_counts() {
    use ValidityState::{Failed, Ok, Suspicious};
    for (kind, word) in [(ControlKind::Noise, "noise"), (ControlKind::BlackBox, "search of the same size")] {
        for (broken, expected) in [(0, Ok), (1, Suspicious), (2, Failed), (20, Failed)] {
            let report = controlled(kind, broken);
            assert_eq!(state(&report, word), expected, "{word} {broken}");
            let budgets = crate::verdict::across::budgets(&report.facts());
            assert_eq!(budgets[0].success_rate.unwrap().count, broken);
            assert_eq!(budgets[0].attacks.len(), 2 + usize::from(broken > 0));
        }
        let mut missing = controlled(kind, 0);
        missing.controls.clear();
        assert_eq!(check(&missing, word).found, "the control did not run within L∞ ε 8/255");
        assert_eq!(state(&missing, word), Suspicious);
        missing = controlled(kind, 0);
        missing.controls[0].error = Some("out of memory".to_owned());
        assert_eq!(check(&missing, word).found, "the control failed: out of memory");
    }
    // An attack that breaks nothing is suspicious until a large ε breaks all.
    let mut large = controlled(ControlKind::LargeEps, 20);
    assert_eq!((state(&large, "large ε"), state(&large, "iterated attack")), (Ok, Ok));
    large.controls[0].samples[3].prediction = large.data.labels[large.controls[0].samples[3].sample];
    assert_eq!((state(&large, "large ε"), state(&large, "iterated attack")), (Failed, Suspicious));
    assert!(check(&large, "large ε").found.starts_with("19 of 20"));
}

#[test]
fn a_gradient_must_foretell_the_rise() {
    use ValidityState::{Failed, Ok, Suspicious};
    let mut report = controlled(ControlKind::Gradient, 0);
    let mut with = |ratio: f64, honest: usize| {
        let rise = |at: usize| {
            let observed = if at < honest { 0.8 } else { ratio };
            RiseResult { sample: at, predicted: 1.0, observed }
        };
        report.controls[0].rises = (0..20).map(rise).collect();
        state(&report, "as the gradient says")
    };
    // Negated, a stranger's, rippled or rounded.
    for ratio in [-0.9, 8.0, 0.03, 0.0, f64::NAN] {
        assert_eq!(
            [20, 16, 15, 10, 9, 0].map(|honest| with(ratio, honest)),
            [Ok, Ok, Suspicious, Suspicious, Failed, Failed]
        );
    }
    report.controls.clear();
    assert_eq!(state(&report, "as the gradient says"), Suspicious);
}

#[test]
fn a_sample_that_proves_nothing_is_seen() {
    use ValidityState::{Failed, Ok, Suspicious};
    let with = |labels: Vec<u32>, predictions: Vec<u32>| {
        let mut report = recorded();
        let correct = labels.iter().zip(&predictions).filter(|(a, b)| a == b).count();
        report.clean.accuracy = Some(Rate::new(correct, labels.len()));
        (report.data.labels, report.clean.predictions) = (labels, Some(predictions));
        (state(&report, "several classes"), state(&report, "above chance"))
    };
    let mixed: Vec<u32> = (0..40).map(|at| u32::from(at % 10 == 0)).collect();
    assert_eq!(with(vec![3; 40], vec![3; 40]), (Failed, Failed));
    assert_eq!(with(mixed.clone(), vec![0; 40]), (Ok, Failed));
    // 36 of 40 are of one class: 38 right are hardly more than that, 34 are less.
    let wrong = |n: usize| {
        mixed.iter().enumerate().map(|(at, label)| if at % 10 == 1 && at / 10 < n { 1 } else { *label }).collect()
    };
    assert_eq!(with(mixed.clone(), wrong(2)), (Ok, Suspicious));
    assert_eq!(with((0..40).map(|at| at % 2).collect(), (0..40).map(|at| at % 2).collect()), (Ok, Ok));
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
    // Of images that are broken, a gradient of zero says nothing; of those that are left, one of twenty is enough.
    assert_eq!(state(&toy(&|it| it.samples[0].zero_gradients = 2), "gradients are finite"), ValidityState::Ok);
    for (left, expected) in [(1, ValidityState::Failed), (20, ValidityState::Suspicious)] {
        let zero = toy(&|it| {
            it.samples[..left].iter_mut().for_each(|it| it.success = false);
            it.samples[0].zero_gradients = 2;
        });
        let found = check(&zero, "gradients are finite");
        assert!(found.state == expected && found.found.starts_with("toy-1: 1 of "), "{found:?}");
    }
    let mut masked = plain.clone();
    break_all(&mut masked, 1, false);
    masked.attacks[0].attack.spec = find("square").ok();
    break_all(&mut masked, 0, true);
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
