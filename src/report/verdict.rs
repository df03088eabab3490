//! What the judgements come to, in plain text: changes, validity, gates.

use crate::audit::event::ModelSummary;
use crate::audit::gate::Severity;
use crate::audit::gate::expr::Subject;
use crate::stats::rates::Measured;
use crate::text::names::shown;
use crate::text::numbers::or_dash;
use crate::text::table::aligned;
use crate::text::wrap::wrapped;
use crate::verdict::Report;
use crate::verdict::change::{Change, ChangeState, Changes};
use crate::verdict::gates::{GateResult, GateState, Verdict};
use crate::verdict::validity::{Validity, ValidityState, ValidityVerdict};

/// Columns of the text: those of the results' table.
const WIDTH: usize = 118;

/// A line per gate, and the verdict. Empty without gates.
pub(crate) fn gates(gates: &[GateResult]) -> String {
    let verdict = Verdict::of(gates);
    let Some(line) = verdict.line() else { return String::new() };
    let show = |gate: &GateResult| {
        [
            gate.gate.id.clone(),
            gate.gate.expr.limit_text(),
            gate.measured_text(),
            match (gate.gate.severity, gate.result) {
                (Severity::Warning, GateState::Fail) => "FAIL (warning only)".to_owned(),
                (_, state) => state.word().to_owned(),
            },
        ]
        .map(|cell| shown(&cell))
    };
    let head = ["gate", "limit", "measured [95 %]", "result"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(head).chain(gates.iter().map(show)).collect();
    let mut text = aligned(&rows, &[]);
    text.extend(["Result: ", &line, "\n"]);
    for gate in gates.iter().filter(|gate| gate.result != GateState::Pass || gate.waiver_expired) {
        let place = gate.gate.place.as_ref().map_or(String::new(), |it| format!(" ({}:{})", it.file, it.line));
        let reason = gate.gate.reason.as_ref().map_or(String::new(), |reason| format!(" [{reason}]"));
        let line = format!("  gate {}{place}: {}{reason}", gate.gate.id, gate.sentence());
        text.push_str(&shown(&line));
        text.push('\n');
    }
    text
}

/// What matters most of what has changed: `accuracy over all images: clean 96.0 % → 52.0 % (worse), within linf:8/255 …`; none without such.
pub(crate) fn headline(changes: &Changes) -> Option<String> {
    let of = |change: &Change| {
        let name = match &change.metric.subject {
            Subject::Clean => "clean".to_owned(),
            Subject::Within(budget) => format!("within {budget}"),
            Subject::Attacks(label) => format!("under {label}"),
            Subject::Worst => "worst".to_owned(),
        };
        let [_, before, now, ..] = change_row(change);
        format!("{name} {before} → {now} ({})", change.state.word())
    };
    let parts: Vec<String> = changes.headline().into_iter().map(of).collect();
    (!parts.is_empty()).then(|| format!("accuracy over all images: {}", parts.join(", ")))
}

/// What is compared, and a line per metric; in short, only where something has changed.
pub(crate) fn changes(changes: &Changes, now: &ModelSummary, in_short: bool) -> String {
    let mut text = format!(
        "since {} ({}): {} → {}, {}\n",
        changes.file,
        changes.started,
        described(&changes.model, &changes.model_sha256),
        described(&now.name, &now.sha256),
        if changes.same_samples { "the same samples" } else { "other samples" },
    );
    text.extend(headline(changes).iter().flat_map(|line| [shown(line), "\n".to_owned()]));
    let quiet = [ChangeState::Same, ChangeState::Unclear, ChangeState::New];
    let is_shown = |change: &&Change| !in_short || !quiet.contains(&change.state);
    let mut rows: Vec<[String; 6]> = changes.changes.iter().filter(is_shown).map(change_row).collect();
    if !rows.is_empty() {
        rows.insert(0, CHANGE_HEAD.map(str::to_owned));
    }
    text.push_str(&aligned(&rows, &[]));
    if in_short {
        let count = |state| changes.changes.iter().filter(|it| it.state == state).count();
        let counts = quiet.map(|state| format!("{} {}", count(state), state.word()));
        text.extend(["since then: ", &counts.join(", "), "\n"]);
    }
    text
}

/// Heads of the columns of a change.
pub(crate) const CHANGE_HEAD: [&str; 6] = ["metric", "before", "now", "difference [95 %]", "images", "the model is"];

pub(crate) fn change_row(change: &Change) -> [String; 6] {
    let quantity = change.metric.quantity;
    let show = |value: f64| quantity.show(value);
    let bare = |value: f64| show(value).trim_end_matches(" %").to_owned();
    let value = |it: Option<Measured>| it.map_or_else(|| "–".to_owned(), |it| show(it.value));
    // Equal image by image: chance has no part in it.
    let difference = change.difference.filter(|_| change.state != ChangeState::Same).map_or_else(
        || "–".to_owned(),
        |it| {
            let sign = if it.value > 0.0 { "+" } else { "" };
            format!("{sign}{} [{}, {}]", show(it.value), bare(it.low), bare(it.high))
        },
    );
    let why = change.why.as_ref().map_or(String::new(), |why| format!(": {why}"));
    let state = format!("{}{why}", change.state.word());
    let images = or_dash(change.images, |n| n.to_string());
    [change.metric.to_string(), value(change.before), value(change.now), difference, images, state]
}

/// A model's name with the beginning of its hash.
fn described(name: &str, sha256: &str) -> String {
    format!("{name} ({})", sha256.get(..8).unwrap_or(sha256))
}

/// `valid (6 ok, 2 not run)`, and a line for each check that speaks against the attacks, the gravest first.
pub(crate) fn validity(report: &Report) -> String {
    let validity = &report.validity;
    let mut against = String::new();
    for check in validity.against() {
        let text = format!("{}: {}: {}", check.state.word(), check.check, check.found);
        against.extend(["\n", wrapped("  ", 4, &text, WIDTH).trim_end()]);
    }
    format!("{}{} ({}){against}", validity.verdict.word(), accepted(report), check_counts(validity))
}

/// Where a limited report was accepted for the gates, that it was.
pub(crate) fn accepted(report: &Report) -> &'static str {
    let is_accepted = report.plan.accept_limited && report.validity.verdict == ValidityVerdict::Limited;
    if is_accepted { ", accepted with --accept-limited" } else { "" }
}

/// `6 ok, 2 not run`
pub(crate) fn check_counts(validity: &Validity) -> String {
    let states = [ValidityState::Ok, ValidityState::Suspicious, ValidityState::Failed, ValidityState::NotRun];
    let counts = states.map(|state| (validity.count(state), state.word()));
    counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}
