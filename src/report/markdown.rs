//! `report.md`: the result for people.

use std::fmt::Write as _;

use super::verdict::{CHANGE_HEAD, accepted, change_row};
use super::{Evidence, table};
use crate::audit::event::Outcome;
use crate::audit::gate::Severity;
use crate::modularity::TapPoint;
use crate::text::numbers::{count, number, or_dash};
use crate::verdict::Report;
use crate::verdict::facts::AttackStatus;
use crate::verdict::findings::{self, FindingStatus};
use crate::verdict::gates::Verdict;
use crate::verdict::validity::ValidityState;

/// Verdict first, then target, results, curves, limits and how to run it again.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let mut text = String::new();
    write(&mut text, report).expect("writing to memory cannot fail");
    text.into_bytes()
}

fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "# Adversarial audit of {}\n", escape(&report.model.name))?;
    match report.outcome {
        Outcome::Complete => (),
        Outcome::Interrupted => writeln!(out, "**Incomplete: the audit was stopped before its end.**\n")?,
        Outcome::Failed => writeln!(out, "**Incomplete: at least one attack failed.**\n")?,
    }
    write_gates(out, report)?;
    if let Some(accuracy) = report.clean.accuracy {
        writeln!(
            out,
            "The model classifies {} of {} clean images correctly. Attacked are these (by a targeted attack, those that are not of its \
             target class); the success rate is the share of the n attacked that end up misclassified (as the target), judged on the \
             final, clipped pixels.\n",
            accuracy.count, accuracy.of
        )?;
    }
    table(out, &table::HEAD, table::rows(report));
    writeln!(
        out,
        "\nn is the number of attacked images, acc the accuracy under attack on all images. L0 (pixels changed), L2 and L∞ are means over \
         the broken images, pixels in [0, 1]; queries are mean forward passes per attacked image. Success intervals are Wilson's; ± is the \
         half width of a 95 % delete-group jackknife interval.\n"
    )?;
    if table::worst_cases(report).next().is_some() {
        writeln!(
            out,
            "The worst case is an attacker with this budget: an image is broken if any change that lies within it breaks it, whichever \
             attack made the change.\n"
        )?;
    }
    for line in table::distance_lines(report) {
        writeln!(out, "- {}", escape(&line))?;
    }
    if !report.distances.is_empty() {
        writeln!(out)?;
    }
    for attack in report.attacks.iter().filter(|attack| attack.status == AttackStatus::Failed) {
        let error = attack.error.as_deref().unwrap_or_default();
        writeln!(out, "- {} failed: {}", escape(&attack.attack.label), escape(error))?;
    }

    write_sweeps(out, report)?;
    write_costs(out, report)?;
    write_findings(out, report)?;
    write_classes(out, report)?;
    write_curves(out, report)?;
    write_validity(out, report)?;
    write_changes(out, report)?;
    write_warnings(out, report)?;
    write_target(out, report)
}

fn write_gates(out: &mut String, report: &Report) -> std::fmt::Result {
    let verdict = Verdict::of(&report.gates);
    let Some(line) = verdict.line() else { return Ok(()) };
    writeln!(out, "**Result: {line}**\n")?;
    let cells = verdict.gates.iter().map(|gate| {
        let only = if gate.gate.severity == Severity::Warning { " (warning only)" } else { "" };
        let reason = gate.gate.reason.as_ref().map_or(String::new(), |reason| format!(" [{reason}]"));
        [
            gate.gate.id.clone(),
            gate.gate.expr.to_string(),
            gate.measured_text(),
            format!("{}{only}", gate.result.word()),
            format!("{}{reason}", gate.sentence()),
        ]
    });
    table(out, &["gate", "limit", "measured [95 %]", "result", "why"], cells);
    writeln!(
        out,
        "\nA gate passes where the whole 95 % interval meets its limit, fails where the whole interval does not, and is inconclusive \
         otherwise. One that claims robustness passes only where the attacks are valid{}.\n",
        if report.plan.accept_limited { ", or limited (--accept-limited)" } else { "" }
    )
}

fn write_sweeps(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.sweeps.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "## Success against ε\n\nA change inside a small ball lies inside every larger one: where an attack fails on an image that it broke at \
         a smaller ε, that result is carried over, so the curve never falls. n is the number of attacked images.\n"
    )?;
    for sweep in &report.sweeps {
        writeln!(out, "{} ({}, {}):\n", escape(&sweep.attack), sweep.norm.sign(), escape(&sweep.goal.to_string()))?;
        let rows = sweep.points.iter().map(|point| {
            let (eps, value) = (point.eps.to_string(), format!("{:.5}", point.eps_value));
            let (n, carried) = (point.success_rate.of.to_string(), point.carried.to_string());
            [eps, value, point.label.clone(), table::point_success(point), n, carried]
        });
        table(out, &["ε", "as number", "attack", "success % [95 %]", "n", "carried"], rows);
        writeln!(out)?;
    }
    Ok(())
}

fn write_costs(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "## Distances and queries\n\nDistances of the broken images: mean / median / largest. Queries: means per attacked image; to success: \
         forward passes until the goal was first met, over the m broken images where the attack knows.\n"
    )?;
    let head = ["attack", "L0 (pixels)", "L2", "L∞", "forwards", "backwards", "forwards to success (m)"];
    let rows = report.attacks.iter().map(|attack| {
        [
            attack.attack.label.clone(),
            table::spread(attack.l0.as_ref(), 0, " / "),
            table::spread(attack.l2.as_ref(), 3, " / "),
            table::spread(attack.linf.as_ref(), 4, " / "),
            count(attack.forwards.map(|it| it.mean)),
            count(attack.backwards.map(|it| it.mean)),
            table::to_success(attack),
        ]
    });
    table(out, &head, rows);
    writeln!(out)
}

fn write_curves(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(out, "## Modularity curves\n")?;
    writeln!(
        out,
        "Modularity Q of the graph that joins each sample to its {} nearest ({} similarity), under the true labels; N is the number of \
         samples. Clean and adversarial curves of an attack are over the same samples.\n",
        report.plan.k, report.plan.similarity
    )?;
    let mut head = vec!["tap".to_owned(), format!("clean, N = {}", report.data.indices.len())];
    let mut columns: Vec<Vec<String>> = Vec::new();
    if let Some(curves) = &report.clean.curves {
        columns.push(curves.true_labels.taps.iter().map(with_interval).collect());
    }
    for attack in &report.attacks {
        let Some(curves) = &attack.curves else { continue };
        let label = escape(&attack.attack.label);
        head.extend([
            format!("{label}: clean, N = {}", curves.clean.n),
            format!("{label}: adversarial"),
            format!("{label}: adversarial, predicted labels"),
        ]);
        columns.push(curves.clean.taps.iter().map(plain).collect());
        columns.push(curves.adversarial.taps.iter().map(with_interval).collect());
        columns.push(curves.adversarial_predicted.taps.iter().map(plain).collect());
    }
    if columns.is_empty() {
        writeln!(out, "None was measured.\n")?;
    } else {
        let rows = report.taps.iter().enumerate().map(|(index, tap)| {
            let cells = columns.iter().map(|column| column.get(index).cloned().unwrap_or_default());
            std::iter::once(escape(tap)).chain(cells).collect::<Vec<_>>()
        });
        table(out, &head, rows);
        writeln!(out)?;
    }
    Ok(())
}

fn write_findings(out: &mut String, report: &Report) -> std::fmt::Result {
    let findings = &report.findings;
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "## Findings\n\n{}\n", findings::RULE)?;
    let rows = findings.iter().map(|it| {
        let status = if it.status == FindingStatus::Waived { "waived" } else { "open" };
        let (severity, evidence) = (it.severity.word().to_owned(), it.evidence.join(" "));
        [it.id.clone(), severity, status.to_owned(), it.title.clone(), evidence]
    });
    table(out, &["id", "severity", "status", "finding", "evidence"], rows);
    writeln!(
        out,
        "\nWhat each maps to (MITRE ATLAS, NIST AI 100-2, OWASP, CWE), and how to test it again, is in report.html.\n"
    )
}

/// Classes that a table lists; the rest is in report.json.
const CLASSES: usize = 100;

fn write_classes(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.classes.is_empty() || report.attacks.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "## Class by class\n\nClean accuracy, and success of each attack on the attacked images of the class, in % [95 %].\n"
    )?;
    let labels = report.attacks.iter().map(|attack| attack.attack.label.clone());
    let head: Vec<String> = ["class".to_owned(), "clean acc".to_owned()].into_iter().chain(labels).collect();
    let rows = report.classes.iter().take(CLASSES).map(|class| {
        let name = class.name.as_ref().map_or(String::new(), |name| format!(" {name}"));
        let rates = std::iter::once(class.clean).chain(class.success.iter().copied().map(Some));
        let cells = rates.map(|rate| or_dash(rate.as_ref(), table::rate));
        std::iter::once(format!("{}{name}", class.class)).chain(cells).collect::<Vec<_>>()
    });
    table(out, &head, rows);
    if report.classes.len() > CLASSES {
        writeln!(out, "\n{} more classes are in report.json.", report.classes.len() - CLASSES)?;
    }
    writeln!(out)
}

fn write_changes(out: &mut String, report: &Report) -> std::fmt::Result {
    let Some(changes) = &report.changes else { return Ok(()) };
    writeln!(
        out,
        "## Since the baseline\n\nCompared with {} of {}, model {} (sha256 {}), on {} samples. A model is worse or better where the whole 95 % \
         interval of the difference says so; shares of the same images are compared image by image (Newcombe), others and modularities as \
         of separate samples.\n",
        escape(&changes.file),
        escape(&changes.started),
        escape(&changes.model),
        escape(&changes.model_sha256),
        if changes.same_samples { "the same" } else { "other" }
    )?;
    table(out, &CHANGE_HEAD, changes.changes.iter().map(change_row));
    writeln!(out)
}

fn write_validity(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "## Attack validity\n\n**{}**{}. An attack that is too weak says nothing about the model. After Carlini et al., \
         [arXiv:1902.06705](https://arxiv.org/abs/1902.06705).\n",
        escape(&report.validity.line()),
        accepted(report)
    )?;
    let row = |name: &str, state: ValidityState, found: &str| [name, state.word(), found].map(str::to_owned);
    let validity = &report.validity;
    let checks = validity.checks.iter().map(|it| row(&it.check, it.state, &it.found));
    table(out, &["check", "result", "found"], checks);
    if !validity.attacks.is_empty() {
        writeln!(out)?;
        let alone = validity.attacks.iter().map(|it| row(&it.attack, it.state, &it.found));
        table(out, &["attack alone", "result", "found"], alone);
    }
    writeln!(out)
}

fn write_warnings(out: &mut String, report: &Report) -> std::fmt::Result {
    if !report.warnings.is_empty() {
        writeln!(out, "## Warnings\n")?;
        for warning in &report.warnings {
            writeln!(out, "- {}", escape(warning))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_target(out: &mut String, report: &Report) -> std::fmt::Result {
    let (model, data, plan) = (&report.model, &report.data, &report.plan);
    writeln!(out, "## What was audited\n")?;
    let shape = data.shape.map(|size| size.to_string()).join("×");
    let split = data.split.as_ref().map_or(String::new(), |split| format!(", {split} split"));
    for (name, value) in [
        ("model", format!("{} ({}, {} classes)", model.name, model.architecture, model.classes)),
        ("model sha256", model.sha256.clone()),
        ("parameters", model.parameters.to_string()),
        ("MACs per image", model.macs.map_or("unknown".to_owned(), |macs| macs.to_string())),
        ("normalization", format!("{} (mean {:?}, std {:?})", model.normalization, model.mean, model.std)),
        (
            "data",
            format!(
                "{} ({}{split}), {} of {} images, {shape}",
                data.name,
                data.format,
                data.indices.len(),
                data.available
            ),
        ),
        ("data sha256", data.sha256.clone()),
        ("seed", plan.seed.to_string()),
        ("judged on", if plan.eight_bit { "pixels rounded to 8 bits" } else { "f32 pixels" }.to_owned()),
        ("device", plan.device.clone()),
        ("advmod", format!("{} with libtorch {}", report.tool.version, report.tool.libtorch)),
        ("platform", report.tool.platform.clone()),
        ("started", report.timing.started.clone()),
        ("took", format!("{:.1} s{}", report.timing.seconds, report.timing.interruptions())),
    ] {
        writeln!(out, "- {name}: {}", escape(&value))?;
    }
    for attack in &report.attacks {
        writeln!(out, "- {}: {}", escape(&attack.attack.label), escape(&attack.attack.parameters_text()))?;
    }
    writeln!(
        out,
        "\nThe sample indices, every sample's result and every setting are in report.json. An attack that does not succeed is no proof of \
         robustness.\n\nRun again{}:\n\n{}",
        if plan.command_reads_plan() { ", with the plan below saved under this name" } else { "" },
        code_block(&plan.command)
    )?;
    match &report.plan_file {
        Some(plan) => writeln!(
            out,
            "\nOr, gates and waivers included, from this plan (`advmod audit --plan FILE`):\n\n{}",
            code_block(plan)
        ),
        None => Ok(()),
    }
}

fn table<R: AsRef<[String]>>(out: &mut String, head: &[impl AsRef<str>], rows: impl IntoIterator<Item = R>) {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out.push_str(&line(head.iter().map(|cell| escape(cell.as_ref())).collect()));
    out.push_str(&line(vec!["---".to_owned(); head.len()]));
    for row in rows {
        out.push_str(&line(row.as_ref().iter().map(|cell| escape(cell)).collect()));
    }
}

fn plain(point: &TapPoint) -> String {
    number(point.q, 3)
}

fn with_interval(point: &TapPoint) -> String {
    match point.interval {
        Some(interval) => format!("{} [{:.3}, {:.3}]", plain(point), interval.low, interval.high),
        None => plain(point),
    }
}

/// As code, which needs no escapes; a file name with a line break must not end it.
fn code_block(text: &str) -> String {
    let text = text.replace(|letter: char| letter.is_control() && !"\n\r\t".contains(letter), "\u{fffd}");
    format!("    {}", text.replace('\n', "\n    ").replace('\r', "\r    "))
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
            _ if character.is_control() => escaped.push('\u{fffd}'),
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
        assert_eq!(code_block("advmod --model 'a\n# b|c'"), "    advmod --model 'a\n    # b|c'");
    }
}
