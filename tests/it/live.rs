//! Orders to a running audit: attacks are added and called off, and the results are those of `advmod audit`.

use std::ops::ControlFlow;

use advmod::audit::control::Control;
use advmod::audit::engine::{self, Run};
use advmod::audit::event::{AuditEvent, Outcome, Stage};
use advmod::audit::plan::{AttackPlan, AuditPlan, DataPlan};
use advmod::audit::state::AuditState;
use advmod::verdict::Report;
use serde_json::Value;

fn job(attacks: &[&str]) -> Run {
    let attack = attacks.iter().map(|text| AttackPlan::parse(text).unwrap()).collect();
    let data = DataPlan { first: Some(40), ..DataPlan::default() };
    AuditPlan { attack, data, seed: Some(3), threads: Some(1), batch: Some(8), ..AuditPlan::default() }
        .resolve()
        .unwrap()
        .into()
}

/// Runs a job; `act` sees each event and gives orders.
fn run(job: Run, control: &Control, mut act: impl FnMut(&AuditEvent)) -> AuditState {
    // As the command line does: same threads, same bits.
    tch::set_num_threads(1);
    let mut state = AuditState::default();
    engine::run_on_worker(job, control, &mut |event| {
        state.apply(&event);
        act(&event);
        ControlFlow::Continue(())
    })
    .unwrap();
    state
}

fn report(state: &AuditState) -> Value {
    let mut report = serde_json::to_value(Report::new(state).unwrap()).unwrap();
    report.as_object_mut().unwrap().remove("timing").unwrap();
    report
}

#[test]
fn attacks_added_after_the_end_give_the_report_of_an_audit_that_had_them_from_the_start() {
    let sweep = "pgd:steps=3,eps=4/255|2/255";
    let control = Control::open();
    let (mut finished, mut refused) = (0, Vec::new());
    let mut live = job(&["fgsm"]);
    live.pictures = true;
    let state = run(live, &control, |event| match event {
        AuditEvent::Finished { outcome, .. } => {
            assert_eq!(*outcome, Outcome::Complete);
            finished += 1;
            match finished {
                1 => {
                    control.add(AttackPlan::parse("pgd:target=12").unwrap());
                    control.add(AttackPlan::parse(sweep).unwrap());
                    control.add(AttackPlan::parse("fgsm:eps=1/255").unwrap());
                }
                _ => control.close(),
            }
        }
        AuditEvent::AttackRefused { error } => refused.push(error.clone()),
        _ => (),
    });
    assert_eq!(refused, ["pgd.target = 12: the model has 10 classes, the last is 9"]);
    assert_eq!(state.attacks.iter().filter(|attack| attack.curves.is_some()).count(), 4);
    let at_once = run(job(&["fgsm", sweep, "fgsm:eps=1/255"]), &Control::default(), |_| ());
    assert_eq!(report(&state), report(&at_once));
    let labels: Vec<String> = state.start.unwrap().plan.attacks.into_iter().map(|attack| attack.label).collect();
    assert_eq!(labels, ["fgsm", "pgd", "pgd-2", "fgsm-2"]);
}

#[test]
fn a_waiting_attack_that_is_called_off_does_not_run_and_the_others_do() {
    let control = Control::default();
    let state = run(job(&["fgsm", "pgd:steps=3", "fgsm:eps=1/255"]), &control, |event| {
        if matches!(event, AuditEvent::Started { .. }) {
            control.cancel(1);
        }
    });
    assert_eq!(state.finished.unwrap().0, Outcome::Interrupted);
    assert!(state.attacks[1].cancelled && state.attacks[1].samples.is_empty());
    let without = run(job(&["fgsm", "fgsm:eps=1/255"]), &Control::default(), |_| ());
    for (a, b) in [(0, 0), (2, 1)] {
        assert_eq!(state.attacks[a].samples, without.attacks[b].samples);
        assert_eq!(state.attacks[a].curves, without.attacks[b].curves);
    }
}

#[test]
fn a_running_attack_that_is_called_off_ends_and_the_next_runs() {
    let control = Control::default();
    let mut order = Vec::new();
    let state = run(job(&["pgd:steps=100000", "fgsm"]), &control, |event| match event {
        AuditEvent::StageStarted { stage: Stage::Attack { attack: 0 }, .. } => control.cancel(0),
        AuditEvent::AttackCancelled { attack } | AuditEvent::AttackFinished { attack, .. } => order.push(*attack),
        _ => (),
    });
    assert_eq!(order, [0, 1]);
    assert!(state.attacks[0].cancelled && state.attacks[0].seconds.is_none() && state.attacks[0].curves.is_none());
    assert!(state.attacks[1].curves.is_some());
}
