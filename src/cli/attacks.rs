//! `advmod attacks`: what each attack is, needs and takes.

use std::fmt::Write as _;

use advmod_attacks::attack::{AttackSpec, EnsembleSpec, Preset};
use advmod_attacks::catalog::{ATTACKS, ENSEMBLES};
use advmod_attacks::config::{SHARED_PARAMS, find};
use advmod_attacks::ensemble::find_ensemble;
use advmod_attacks::threat::Norm;
use advmod_attacks::victim::Access;
use serde_json::{Value, json};

use super::args::{AttacksArgs, OutputFormat};
use super::{CliError, Exit, print};
use crate::text::wrap::wrapped;

pub(super) fn run(args: &AttacksArgs) -> Result<Exit, CliError> {
    if let Some(ensemble) = args.name.as_deref().and_then(find_ensemble) {
        let text = match args.format {
            OutputFormat::Json => super::json(&[ensemble_as_json(ensemble)]),
            OutputFormat::Text => explained_ensemble(ensemble, width()).expect("writing to memory cannot fail"),
        };
        print(&text)?;
        return Ok(Exit::Pass);
    }
    let specs: Vec<&AttackSpec> = match &args.name {
        Some(name) => vec![find(name).map_err(|error| CliError::Usage(error.to_string()))?],
        None => ATTACKS.to_vec(),
    };
    let text = match (args.format, &args.name) {
        (OutputFormat::Json, _) => super::json(&specs.iter().map(|spec| as_json(spec)).collect::<Vec<_>>()),
        (OutputFormat::Text, Some(_)) => explained(specs[0], width()).expect("writing to memory cannot fail"),
        (OutputFormat::Text, None) => {
            let list = listed(&specs, width()).expect("writing to memory cannot fail");
            list + &listed_ensembles(width()).expect("writing to memory cannot fail")
        }
    };
    print(&text)?;
    Ok(Exit::Pass)
}

fn access(spec: &AttackSpec) -> &'static str {
    match spec.access {
        Access::Labels => "labels",
        Access::Logits => "logits",
        Access::Gradients => "gradients",
    }
}

fn norms(norms: &[Norm]) -> String {
    norms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn goals(spec: &AttackSpec) -> String {
    let goals = [("untargeted", spec.untargeted), ("targeted", spec.targeted)];
    goals.iter().filter(|(_, can)| *can).map(|(goal, _)| *goal).collect::<Vec<_>>().join(", ")
}

fn listed(specs: &[&AttackSpec], width: usize) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "{:<13}  {:<12}  {:<9}  goals", "name", "norms", "needs")?;
    for spec in specs {
        let paper = &spec.paper;
        writeln!(out, "{:<13}  {:<12}  {:<9}  {}", spec.id, norms(spec.norms), access(spec), goals(spec))?;
        let what = format!("{} ({}, {} {})", spec.title, paper.authors, paper.venue, paper.year);
        out.push_str(&wrapped("    ", 4, &what, width));
        let defaults: Vec<String> =
            spec.params.iter().map(|param| format!("{}={}", param.name, param.default)).collect();
        if !defaults.is_empty() {
            out.push_str(&wrapped("    ", 4, &defaults.join(", "), width));
        }
    }
    out.push('\n');
    out.push_str(&wrapped(
        "",
        0,
        "Last lines: parameters and their defaults; advmod attacks NAME explains them.",
        width,
    ));
    Ok(out)
}

fn listed_ensembles(width: usize) -> Result<String, std::fmt::Error> {
    let mut out = "\n".to_owned();
    out.push_str(&wrapped("", 0, "Ensembles: each attack on the images that those before it left.", width));
    for spec in ENSEMBLES {
        writeln!(out, "{:<15}  {}", spec.id, norms(spec.norms))?;
        out.push_str(&wrapped("    ", 4, spec.title, width));
    }
    Ok(out)
}

fn explained_ensemble(spec: &EnsembleSpec, width: usize) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let paper = &spec.paper;
    writeln!(out, "{} — {}\n", spec.id, spec.title)?;
    out.push_str(&wrapped("  ", 2, spec.what, width));
    writeln!(out)?;
    let source = format!("{}, \"{}\", {} {}", paper.authors, paper.title, paper.venue, paper.year);
    let norms = format!("{} (default {})", norms(spec.norms), spec.norms[0]);
    for (name, value) in [("norms", norms), ("source", source), ("", paper.url.to_owned())] {
        out.push_str(&wrapped(&format!("  {name:<8}"), 10, &value, width));
    }
    writeln!(out, "\nattacks, in this order")?;
    for member in spec.members {
        out.push_str(&wrapped("  ", 4, &member.replace(',', ", "), width));
    }
    writeln!(out, "\nparameters, as in --attack {}:key=value", spec.id)?;
    out.push_str(&wrapped(
        "  ",
        2,
        "norm and eps, which all of them get; several eps with | between them are an ensemble each",
        width,
    ));
    writeln!(out)?;
    let own = "Other attacks, or these with other parameters, form one with ensemble=NAME: --attack apgd:ensemble=own --attack square:ensemble=own";
    out.push_str(&wrapped("", 0, own, width));
    Ok(out)
}

fn ensemble_as_json(spec: &EnsembleSpec) -> Value {
    let paper = &spec.paper;
    json!({
        "name": spec.id,
        "title": spec.title,
        "what": spec.what,
        "norms": spec.norms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "paper": {"authors": paper.authors, "title": paper.title, "venue": paper.venue, "year": paper.year, "url": paper.url},
        "attacks": spec.members,
    })
}

fn explained(spec: &AttackSpec, width: usize) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let paper = &spec.paper;
    writeln!(out, "{} — {}\n", spec.id, spec.title)?;
    out.push_str(&wrapped("  ", 2, spec.what, width));
    writeln!(out)?;
    let default = spec.norms[0];
    let norms =
        if spec.norms.len() > 1 { format!("{} (default {default})", norms(spec.norms)) } else { norms(spec.norms) };
    for (name, value) in [
        ("needs", access(spec).to_owned()),
        ("norms", norms),
        ("goals", goals(spec)),
        ("source", format!("{}, \"{}\", {} {}", paper.authors, paper.title, paper.venue, paper.year)),
        ("", paper.url.to_owned()),
    ] {
        out.push_str(&wrapped(&format!("  {name:<8}"), 10, &value, width));
    }
    writeln!(out, "\nparameters, as in --attack {}:key=value,…", spec.id)?;
    for param in SHARED_PARAMS.iter().chain(spec.params) {
        // A name that is too long for its column pushes its first line aside only.
        out.push_str(&wrapped(&format!("  {:<14} ", param.name), 17, param.help, width));
        let values = format!("[{}; default {}]", param.range, param.default);
        out.push_str(&wrapped(&" ".repeat(17), 17, &values, width));
    }
    writeln!(out, "\npresets (--preset)")?;
    for values in spec.presets {
        let head = format!("  {:<9} {:<5} ", values.preset.to_string(), values.norm.to_string());
        // A list of parameters has no spaces: it may be broken behind its commas.
        let numbers = values.values.replace(',', ", ");
        let numbers = if numbers.is_empty() { "the defaults".to_owned() } else { numbers };
        out.push_str(&wrapped(&head, 18, &format!("{numbers} ({})", values.source), width));
    }
    Ok(out)
}

/// Columns to write in: those of the terminal, but no wider than help texts are; 80 elsewhere.
fn width() -> usize {
    terminal_size::terminal_size_of(std::io::stdout()).map_or(80, |(width, _)| usize::from(width.0).clamp(40, 110))
}

fn as_json(spec: &AttackSpec) -> Value {
    let paper = &spec.paper;
    let params = SHARED_PARAMS.iter().chain(spec.params);
    let presets =
        Preset::ALL.iter().flat_map(|preset| spec.presets.iter().filter(move |values| values.preset == *preset));
    json!({
        "name": spec.id,
        "title": spec.title,
        "what": spec.what,
        "access": access(spec),
        "norms": spec.norms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "untargeted": spec.untargeted,
        "targeted": spec.targeted,
        "paper": {"authors": paper.authors, "title": paper.title, "venue": paper.venue, "year": paper.year, "url": paper.url},
        "parameters": params.map(|it| json!({"name": it.name, "default": it.default, "range": it.range, "help": it.help})).collect::<Vec<_>>(),
        "presets": presets.map(|it| json!({"preset": it.preset.to_string(), "norm": it.norm.to_string(), "values": it.values, "source": it.source})).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_explanation_fits_into_its_width() {
        for spec in ATTACKS {
            for width in [60, 80, 110] {
                let text = explained(spec, width).unwrap() + &listed(&[spec], width).unwrap();
                let too_long = text.lines().find(|line| line.chars().count() > width && !line.contains("https://"));
                assert_eq!(too_long, None, "{}", spec.id);
                assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
            }
        }
        for spec in ENSEMBLES {
            for width in [60, 80, 110] {
                let text = explained_ensemble(spec, width).unwrap() + &listed_ensembles(width).unwrap();
                let too_long = text.lines().find(|line| line.chars().count() > width && !line.contains("https://"));
                assert_eq!(too_long, None, "{}", spec.id);
            }
        }
    }
}
