//! `report.md`: the result for people, as `markdown.jinja` lays it out.

use minijinja::{AutoEscape, Environment, Value, context};

use super::verdict::{CHANGE_HEAD, accepted, change_row, headline};
use super::{Evidence, table, template};
use crate::audit::event::Outcome;
use crate::audit::gate::Severity;
use crate::modularity::{AnchoredTap, ClassShare, Interval, TapPoint};
use crate::text::names::{harmless, is_obeyed};
use crate::text::numbers::{count, number, or_dash, percent};
use crate::verdict::Report;
use crate::verdict::across::Sweep;
use crate::verdict::change::Changes;
use crate::verdict::classes::ClassResult;
use crate::verdict::facts::{AttackResult, AttackStatus};
use crate::verdict::findings::{self, Finding, FindingStatus};
use crate::verdict::gates::{GateResult, Verdict};
use crate::verdict::report::Timing;
use crate::verdict::validity::ValidityState;

/// Classes that a table lists; the rest is in report.json.
const CLASSES: usize = 100;

/// Verdict first, then target, results, curves, limits and how to run it again.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Custom("markdown".into()));
    environment.set_formatter(|out, _, value| match value.as_str() {
        Some(text) if !value.is_safe() => Ok(out.write_str(&escape(text))?),
        _ => Ok(write!(out, "{value}")?),
    });
    template::fill(environment, &[("report.md", include_str!("markdown.jinja"))], "report.md", content(report))
}

fn content(report: &Report) -> Value {
    let verdict = Verdict::of(&report.gates);
    let attacks = &report.attacks;
    let labels = attacks.iter().map(|it| &it.attack.label);
    let failed = attacks.iter().filter(|it| it.status == AttackStatus::Failed);
    let failed =
        failed.map(|it| context! { label => &it.attack.label, error => it.error.as_deref().unwrap_or_default() });
    let classes = if attacks.is_empty() { &[] } else { &report.classes[..] };
    let check = |name: &str, state: ValidityState, found: &str| [name, state.word(), found].map(str::to_owned);
    let (checks, alone) = (report.validity.checks.iter(), report.validity.attacks.iter());
    context! {
        model => &report.model.name,
        incomplete => match report.outcome {
            Outcome::Complete => None,
            Outcome::Interrupted => Some("the audit was stopped before its end"),
            Outcome::Failed => Some("at least one attack failed"),
        },
        verdict => verdict.line(),
        gates => verdict.gates.iter().map(gate).collect::<Value>(),
        accepts_limited => report.plan.accept_limited,
        accuracy => report.clean.accuracy.map(|it| context! { count => it.count, of => it.of }),
        results_head => table::HEAD,
        results => table::rows(report),
        has_worst_cases => table::worst_cases(report).next().is_some(),
        distances => table::ensemble_lines(report).into_iter().chain(table::distance_lines(report)).collect::<Vec<_>>(),
        failed => failed.collect::<Value>(),
        sweeps => report.sweeps.iter().map(sweep).collect::<Value>(),
        costs => attacks.iter().map(costs).collect::<Value>(),
        severity_rule => findings::RULE,
        findings => report.findings.iter().map(finding).collect::<Value>(),
        labels => labels.collect::<Value>(),
        classes => classes.iter().take(CLASSES).map(class).collect::<Value>(),
        further_classes => classes.len().saturating_sub(CLASSES),
        k => report.plan.k,
        similarity => report.plan.similarity.to_string(),
        curves => curves(report),
        anchored => anchored(report),
        validity => report.validity.line(),
        accepted => accepted(report),
        checks => checks.map(|it| check(&it.check, it.state, &it.found)).collect::<Value>(),
        attacks_alone => alone.map(|it| check(&it.attack, it.state, &it.found)).collect::<Value>(),
        changes => report.changes.as_ref().map(changes),
        warnings => &report.warnings,
        target => target(report),
        allowed => report.allowed.line(),
        command => code_block(&report.plan.command),
        by_plan => report.plan.command_reads_plan(),
        plan_file => report.plan_file.as_deref().map(code_block),
    }
}

fn gate(it: &GateResult) -> [String; 5] {
    let only = if it.gate.severity == Severity::Warning { " (warning only)" } else { "" };
    let reason = it.gate.reason.as_ref().map_or(String::new(), |reason| format!(" [{reason}]"));
    let (result, why) = (format!("{}{only}", it.result.word()), format!("{}{reason}", it.sentence()));
    [it.gate.id.clone(), it.gate.expr.to_string(), it.measured_text(), result, why]
}

fn sweep(it: &Sweep) -> Value {
    let rows = it.points.iter().map(|point| {
        let (eps, value) = (point.eps.to_string(), format!("{:.5}", point.eps_value));
        let (n, carried) = (point.success_rate.of.to_string(), point.carried.to_string());
        [eps, value, point.label.clone(), table::point_success(point), n, carried]
    });
    context! { attack => &it.attack, norm => it.norm.sign(), goal => it.goal.to_string(), rows => rows.collect::<Value>() }
}

fn costs(it: &AttackResult) -> [String; 7] {
    [
        it.attack.label.clone(),
        table::spread(it.l0.as_ref(), 0, " / "),
        table::spread(it.l2.as_ref(), 3, " / "),
        table::spread(it.linf.as_ref(), 4, " / "),
        count(it.forwards.map(|it| it.mean)),
        count(it.backwards.map(|it| it.mean)),
        table::to_success(it),
    ]
}

fn finding(it: &Finding) -> [String; 5] {
    let status = if it.status == FindingStatus::Waived { "waived" } else { "open" };
    let severity = it.severity.word().to_owned();
    [it.id.clone(), severity, status.to_owned(), it.title.clone(), it.evidence.join(" ")]
}

fn class(it: &ClassResult) -> Vec<String> {
    let name = it.name.as_ref().map_or(String::new(), |name| format!(" {name}"));
    let rates = std::iter::once(it.clean.as_ref()).chain(it.success.iter().map(Some));
    std::iter::once(format!("{}{name}", it.class)).chain(rates.map(|it| or_dash(it, table::rate))).collect()
}

/// A column per curve; nothing where none was measured.
fn curves(report: &Report) -> Option<Value> {
    let mut head = vec!["tap".to_owned(), format!("clean, N = {}", report.data.indices.len())];
    let mut columns: Vec<Vec<String>> = Vec::new();
    if let Some(curves) = &report.clean.curves {
        columns.push(curves.true_labels.taps.iter().map(with_interval).collect());
    }
    for attack in &report.attacks {
        let Some(curves) = &attack.curves else { continue };
        let label = &attack.attack.label;
        head.extend([
            format!("{label}: clean, N = {}", curves.clean.n),
            format!("{label}: adversarial"),
            format!("{label}: adversarial, predicted labels"),
        ]);
        columns.push(curves.clean.taps.iter().map(plain).collect());
        columns.push(curves.adversarial.taps.iter().map(with_interval).collect());
        columns.push(curves.adversarial_predicted.taps.iter().map(plain).collect());
    }
    let row = |(index, tap): (usize, &String)| -> Value {
        let cells = columns.iter().map(|column| column.get(index).cloned().unwrap_or_default());
        std::iter::once(tap.clone()).chain(cells).collect()
    };
    let rows: Value = report.taps.iter().enumerate().map(row).collect();
    (!columns.is_empty()).then(|| context! { head, rows })
}

/// A row per attack, and a column of each of its shares by tap; nothing where none was measured.
fn anchored(report: &Report) -> Option<Value> {
    let mut head = vec!["tap".to_owned()];
    let (mut columns, mut summary): (Vec<Vec<String>>, Vec<[String; 8]>) = (Vec::new(), Vec::new());
    for attack in &report.attacks {
        let Some(curve) = attack.curves.as_ref().and_then(|it| it.anchored.as_ref()) else { continue };
        let label = &attack.attack.label;
        let column = |of: fn(&AnchoredTap) -> String| curve.taps.iter().map(of).collect();
        head.extend(["retained before", "retained", "captured"].map(|what| format!("{label}: {what}")));
        columns.push(column(|it| percent(it.retained.map(|it| it.clean))));
        columns.push(column(|it| or_dash(it.retained, with_bounds)));
        columns.push(column(|it| or_dash(it.captured, with_bounds)));
        let last = curve.taps.last();
        let change = |it: ClassShare| [it.clean, it.adversarial].map(|it| percent(Some(it))).join(" → ");
        let interval = |it: Interval| format!("{:.3} [{:.3}, {:.3}]", it.estimate, it.low, it.high);
        let peaks = attack.clean_peak.as_ref().zip(attack.adversarial_peak.as_ref());
        summary.push([
            label.clone(),
            curve.n.to_string(),
            or_dash(last.and_then(|it| it.retained), change),
            or_dash(last.and_then(|it| it.captured), change),
            [curve.retained_by_chance, curve.captured_by_chance].map(percent).join(", "),
            or_dash(attack.retention_drop, interval),
            table::captured_from(attack),
            or_dash(peaks, |(a, b)| format!("{:.3}, {:.3}, {}", a.q, b.q, or_dash(attack.peak_drop, interval))),
        ]);
    }
    let row = |(index, tap): (usize, &String)| -> Value {
        let cells = columns.iter().map(|column| column.get(index).cloned().unwrap_or_default());
        std::iter::once(tap.clone()).chain(cells).collect()
    };
    let rows: Value = report.taps.iter().enumerate().map(row).collect();
    (!summary.is_empty()).then(|| context! { summary, head, rows })
}

fn with_bounds(share: ClassShare) -> String {
    let interval = share.interval.map(|it| format!(" [{}]", [it.low, it.high].map(|it| percent(Some(it))).join(", ")));
    percent(Some(share.adversarial)) + &interval.unwrap_or_default()
}

fn plain(point: &TapPoint) -> String {
    number(point.q, 3)
}

fn with_interval(point: &TapPoint) -> String {
    let interval = point.interval.map_or(String::new(), |it| format!(" [{:.3}, {:.3}]", it.low, it.high));
    plain(point) + &interval
}

fn changes(it: &Changes) -> Value {
    context! {
        file => &it.file,
        started => &it.started,
        model => &it.model,
        model_sha256 => &it.model_sha256,
        samples => if it.same_samples { "the same" } else { "other" },
        headline => headline(it),
        head => CHANGE_HEAD,
        rows => it.changes.iter().map(change_row).collect::<Value>(),
    }
}

fn target(report: &Report) -> Value {
    let (model, data, plan) = (&report.model, &report.data, &report.plan);
    let shape = data.shape.map(|size| size.to_string()).join("×");
    let split = data.split.as_ref().map_or(String::new(), |split| format!(", {split} split"));
    let (n, available) = (data.indices.len(), data.available);
    let facts = [
        ("model", format!("{} ({}, {} classes)", model.name, model.architecture, model.classes)),
        ("model sha256", model.sha256.clone()),
        ("parameters", model.parameters.to_string()),
        ("MACs per image", model.macs.map_or("unknown".to_owned(), |macs| macs.to_string())),
        ("normalization", format!("{} (mean {:?}, std {:?})", model.normalization, model.mean, model.std)),
        ("data", format!("{} ({}{split}), {n} of {available} images, {shape}", data.name, data.format)),
        ("data sha256", data.sha256.clone()),
        ("seed", plan.seed.to_string()),
        ("judged on", if plan.eight_bit { "pixels rounded to 8 bits" } else { "f32 pixels" }.to_owned()),
        ("device", plan.device.to_string()),
        ("advmod", format!("{} with libtorch {}", report.tool.version, report.tool.libtorch)),
        ("platform", report.tool.platform.clone()),
        ("started", report.timing.started.clone()),
        ("took", took(&report.timing)),
    ];
    let attacks = report.attacks.iter().map(|it| [it.attack.label.clone(), it.attack.parameters_text()]);
    facts.map(|(name, value)| [name.to_owned(), value]).into_iter().chain(attacks).collect()
}

fn took(timing: &Timing) -> String {
    timing.seconds.map_or("unknown".to_owned(), |seconds| format!("{seconds:.1} s")) + &timing.interruptions()
}

/// As code, which needs no escapes; a file name with a line break must not end it.
fn code_block(text: &str) -> Value {
    Value::from_safe_string(format!("    {}", harmless(text).replace('\n', "\n    ")))
}

/// Names from files cannot break out of a table cell, a line or into HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '|' => escaped.push_str("\\|"),
            '<' => escaped.push_str("&lt;"),
            '\n' | '\r' => escaped.push(' '),
            '`' => escaped.push_str("\\`"),
            // A terminal that shows the file would obey them.
            _ if is_obeyed(character) => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_breaks_out_of_its_cell_or_block() {
        assert_eq!(escape("a|b`c\n<d\u{1b}"), "a\\|b\\`c &lt;d\u{fffd}");
        assert_eq!(code_block("advmod --model 'a\n# b|c'").as_str(), Some("    advmod --model 'a\n    # b|c'"));
    }
}
