//! How the audit came out, in one word, one sentence and a few figures.

use minijinja::{Value, context};

use super::text::{self, clip, name};
use crate::audit::event::Outcome;
use crate::audit::gate::Severity;
use crate::report::table::worst_cases;
use crate::report::verdict::{accepted, check_counts};
use crate::stats::rates::Rate;
use crate::verdict::Report;
use crate::verdict::across::BudgetResult;
use crate::verdict::conclusion::Conclusion;
use crate::verdict::facts::AttackResult;
use crate::verdict::findings::strongest;
use crate::verdict::gates::{GateResult, GateState, Verdict};
use crate::verdict::validity::ValidityVerdict;

/// The head of the page, of a report in which so many findings are of medium severity or more.
pub(super) fn overall(report: &Report, grave: usize) -> Value {
    let verdict = Verdict::of(&report.gates);
    let (word, class, notes) = word(report, &verdict);
    context! {
        word,
        class,
        notes,
        sentence => sentence(report, &verdict),
        figures => figures(report),
        attacked => attacked(report),
        validity => report.validity.verdict.word(),
        accept_limited => report.plan.accept_limited,
        validity_sentence => validity_sentence(report),
        gates => verdict.gates.iter().map(gate_row).collect::<Value>(),
        findings => match grave {
            0 => "no finding of medium or high severity".to_owned(),
            1 => "1 finding of medium or high severity".to_owned(),
            n => format!("{n} findings of medium or high severity"),
        },
    }
}

/// `PASS`, `FAIL`, `INCONCLUSIVE`, or that there were no gates; its look; and why it is not what the gates alone say.
fn word(report: &Report, verdict: &Verdict) -> (&'static str, &'static str, Vec<String>) {
    let mut notes = Vec::new();
    match report.outcome {
        Outcome::Complete => (),
        Outcome::Interrupted => {
            notes.push("The audit was stopped before its end: what is missing is marked incomplete.".to_owned());
        }
        Outcome::Failed => notes.push("At least one attack broke off: its row says why.".to_owned()),
    }
    let conclusion = Conclusion::of(report);
    if report.clean.accuracy.is_some_and(|it| it.count == 0) {
        notes.push("The model classifies no clean image correctly, so nothing was attacked.".to_owned());
    }
    if report.validity.verdict == ValidityVerdict::Failed && verdict.result != Some(GateState::Fail) {
        notes.push(
            "Attack validity failed: images that the attacks left prove nothing. See attack validity.".to_owned(),
        );
    }
    let (word, class) = match (conclusion, verdict.result) {
        // What was measured before the end may be enough to fail.
        (Conclusion::GateFailed | Conclusion::Interrupted | Conclusion::BrokeOff, Some(GateState::Fail)) => {
            ("FAIL", "fail")
        }
        (Conclusion::Passed, _) => ("PASS", "pass"),
        (Conclusion::NoGates, _) => ("NO GATES", "none"),
        _ => ("INCONCLUSIVE", "unclear"),
    };
    (word, class, notes)
}

fn sentence(report: &Report, verdict: &Verdict) -> String {
    let measured = headline(report);
    if verdict.gates.is_empty() {
        let none = "No gates were set: nothing was required of the model, so it neither passes nor fails.";
        return format!("{none}{measured}");
    }
    let all = verdict.gates.len();
    let count = |state| verdict.count(state);
    let mut parts = vec![format!("{} of {all} gate{} failed", count(GateState::Fail), if all == 1 { "" } else { "s" })];
    let others =
        [(GateState::Inconclusive, "inconclusive"), (GateState::Pending, "pending"), (GateState::Waived, "waived")];
    parts.extend(others.iter().filter(|it| count(it.0) > 0).map(|(state, word)| format!("{} {word}", count(*state))));
    match verdict.gates.iter().filter(|it| it.gate.severity == Severity::Warning).count() {
        0 => (),
        1 => parts.push("1 only warns".to_owned()),
        n => parts.push(format!("{n} only warn")),
    }
    format!("{}.{measured}", parts.join(", "))
}

/// The strongest attack, and the first budgets in which several attacks count.
fn headline(report: &Report) -> String {
    let counted = |rate: &Rate| format!("{} of {} attacked images: {}.", rate.count, rate.of, text::rate(rate));
    let mut parts = Vec::new();
    let strongest = strongest(&report.facts()).or(report.attacks.first()).filter(|it| it.success_rate.of > 0);
    if let Some(it) = strongest {
        let (title, summary) = (name(&it.attack.title), name(&it.attack.summary()));
        parts.push(format!(" {title} ({summary}) breaks {}", counted(&it.success_rate)));
    }
    let together = worst_cases(report).filter_map(|it| Some((it, it.success_rate.filter(|rate| rate.of > 0)?)));
    parts.extend(together.take(3).map(|(it, rate)| {
        format!(" Within {}, {} together break {}", it.budget().summary(), name(&it.attacks.join(", ")), counted(&rate))
    }));
    if parts.is_empty() { " No image was attacked.".to_owned() } else { parts.concat() }
}

/// Numbers that stand for themselves.
fn figures(report: &Report) -> Vec<Value> {
    let figure = |name: String, rate: Option<&Rate>| {
        let interval = rate.filter(|it| it.of > 0).map_or_else(
            || "not measured".to_owned(),
            |it| format!("[{:.1}, {:.1}] · {} of {}", 100.0 * it.low, 100.0 * it.high, it.count, it.of),
        );
        let value = rate.and_then(|it| it.value).map_or_else(|| "–".to_owned(), |it| format!("{:.1} %", 100.0 * it));
        context! { name, value, interval }
    };
    let mut figures = vec![figure("Clean accuracy".to_owned(), report.clean.accuracy.as_ref())];
    let Some(strongest) = strongest(&report.facts()).or(report.attacks.first()) else { return figures };
    let own = strongest.attack.budget();
    let is_own = |it: &&BudgetResult| Some(it.budget()) == own;
    if let Some(it) = report.budgets.iter().find(is_own) {
        let within = it.budget().summary();
        figures.push(figure(format!("Accuracy within {within}"), it.adversarial_accuracy.as_ref()));
        figures.push(figure(format!("Broken within {within}"), it.success_rate.as_ref()));
    } else {
        let label = name(&strongest.attack.label);
        figures.push(figure(format!("Accuracy under {label}"), strongest.adversarial_accuracy.as_ref()));
        figures.push(figure(format!("Broken by {label}"), Some(&strongest.success_rate)));
    }
    figures
}

/// What was attacked, in three lines.
fn attacked(report: &Report) -> [String; 3] {
    let (model, data) = (&report.model, &report.data);
    let split = data.split.as_ref().map_or(String::new(), |split| format!(" {}", name(split)));
    let sized = |it: &AttackResult| {
        let size = it.attack.epsilon.filter(|_| it.attack.sweep.is_some());
        size.map_or_else(|| name(&it.attack.label), |size| format!("{} ε {size}", name(&it.attack.label)))
    };
    let labels: Vec<String> = report.attacks.iter().map(sized).collect();
    let shown = labels.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    let attacks = match labels.len() {
        0 => "no attacks".to_owned(),
        1..=8 => shown,
        n => format!("{shown} and {} more", n - 8),
    };
    [
        format!(
            "{}, {} parameters, {} classes",
            name(&model.architecture),
            text::grouped(model.parameters),
            model.classes
        ),
        format!("{} images of {}{split}", text::grouped(data.indices.len() as u64), name(&data.name)),
        format!("{attacks}; preset {}", report.plan.preset),
    ]
}

fn validity_sentence(report: &Report) -> String {
    let meaning = match report.validity.verdict {
        ValidityVerdict::Valid => {
            "Nothing speaks against the attacks. They bound the model's weakness from below: stronger ones may break more."
        }
        ValidityVerdict::Limited => {
            "A check is in doubt. What the attacks broke counts; what they did not break is not evidence of strength."
        }
        ValidityVerdict::Failed => {
            "The attacks are too weak or run into an obstacle: their failures mean nothing. Only what they did break counts."
        }
    };
    let reason = report.validity.reason.as_ref().map_or(String::new(), |it| clip(it, text::SENTENCE));
    let reason = if reason.is_empty() { reason } else { format!(" {reason}{}.", accepted(report)) };
    format!("{meaning}{reason} Checks: {}.", check_counts(&report.validity))
}

fn gate_row(it: &GateResult) -> Value {
    let class = match it.result {
        GateState::Pass => "pass",
        GateState::Waived => "waived",
        GateState::Pending | GateState::Inconclusive => "unclear",
        GateState::Fail => "fail",
    };
    let waiver = it.gate.waiver.as_ref().map(|waiver| {
        context! {
            reason => clip(&waiver.reason, text::SENTENCE),
            expires => waiver.expires.to_string(),
            owner => waiver.owner.as_ref().map_or("nobody named".to_owned(), |owner| clip(owner, 200)),
            is_expired => it.waiver_expired,
        }
    });
    context! {
        class,
        waiver,
        id => name(&it.gate.id),
        limit => clip(&it.gate.expr.to_string(), 200),
        measured => clip(&it.measured_text(), 200),
        word => it.result.word(),
        is_warning => it.gate.severity == Severity::Warning,
        why => clip(&it.sentence(), text::SENTENCE),
        reason => it.gate.reason.as_ref().map(|reason| clip(reason, text::SENTENCE)),
        place => it.gate.place.as_ref().map(|it| format!("{}:{}", clip(&it.file, 200), it.line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::plan::AuditPlan;
    use crate::verdict::gates::evaluate;
    use crate::verdict::testing::recorded;

    fn with(gates: &str) -> Report {
        let mut report = recorded();
        let plan: AuditPlan = toml::from_str(gates).unwrap();
        report.plan.gates = plan.resolve().unwrap().plan.gates;
        report.gates = evaluate(&report.facts(), &report.plan.gates, None, &report.validity, false);
        report
    }

    #[test]
    fn the_word_is_what_the_exit_code_says() {
        let part = |report: &Report, key: &str| overall(report, 0).get_attr(key).unwrap();
        let word = |report: &Report| part(report, "word").to_string();
        let (good, bad) = ("[[gate]]\nexpr = 'accuracy.clean >= 0.1'\n", "[[gate]]\nexpr = 'asr.pgd <= 0.01'\n");
        let waived = format!("{bad}id = 'g'\n[[waiver]]\ngate = 'g'\nreason = 'r'\nexpires = '2030-01-01'\n");
        assert_eq!([with(""), with(good), with(bad)].map(|it| word(&it)), ["NO GATES", "PASS", "FAIL"]);
        let mut report = with(&waived);
        // Without a day, no waiver is known to be in time.
        for (day, expected) in [("no day", "FAIL"), ("2029-01-01", "PASS")] {
            day.clone_into(&mut report.timing.started);
            report.gates = evaluate(&report.facts(), &report.plan.gates, None, &report.validity, false);
            assert_eq!(word(&report), expected);
        }
        let row = part(&report, "gates").get_item_by_index(0).unwrap();
        let expires = row.get_attr("waiver").unwrap().get_attr("expires").unwrap();
        assert_eq!([row.get_attr("class").unwrap(), expires].map(String::from), ["waived", "2030-01-01"]);
        report.validity.verdict = ValidityVerdict::Failed;
        assert_eq!(word(&report), "INCONCLUSIVE");
        let mut report = with(good);
        report.outcome = Outcome::Failed;
        assert_eq!(word(&report), "INCONCLUSIVE");
        let mut report = with(bad);
        report.validity.verdict = ValidityVerdict::Failed;
        assert_eq!(word(&report), "FAIL");
    }

    #[test]
    fn the_sentence_has_the_worst_case_within_the_budget() {
        let report = with("");
        let worst = report.budgets[0].success_rate.unwrap();
        let sentence = overall(&report, 0).get_attr("sentence").unwrap().to_string();
        assert!(sentence.starts_with("No gates were set"), "{sentence}");
        let expected = format!("Within L∞ ε 8/255, fgsm, pgd together break {} of {} attacked", worst.count, worst.of);
        assert!(sentence.contains(&expected), "{sentence}");
        assert!(sentence.contains("(L∞ ε 8/255) breaks "), "{sentence}");
    }
}
