//! `advmod attacks`: what each attack is, needs and takes.

use std::fmt::Write as _;

use advmod_attacks::attack::{Access, AttackSpec, Preset};
use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::{SHARED_PARAMS, find};
use serde_json::{Value, json};

use super::args::{AttacksArgs, OutputFormat};
use super::{CliError, Exit, print};

pub(super) fn run(args: &AttacksArgs) -> Result<Exit, CliError> {
    let specs: Vec<&AttackSpec> = match &args.name {
        Some(name) => vec![find(name).map_err(|error| CliError::Usage(error.to_string()))?],
        None => ATTACKS.to_vec(),
    };
    let text = match (args.format, &args.name) {
        (OutputFormat::Json, _) => {
            let all: Vec<Value> = specs.iter().map(|spec| as_json(spec)).collect();
            serde_json::to_string_pretty(&all).expect("plain data always has a JSON form") + "\n"
        }
        (OutputFormat::Text, Some(_)) => explained(specs[0]).expect("writing to memory cannot fail"),
        (OutputFormat::Text, None) => listed(&specs).expect("writing to memory cannot fail"),
    };
    print(&text)?;
    Ok(Exit::Pass)
}

fn access(spec: &AttackSpec) -> &'static str {
    match spec.access {
        Access::Logits => "logits",
        Access::Gradients => "gradients",
    }
}

fn norms(spec: &AttackSpec) -> String {
    spec.norms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn listed(specs: &[&AttackSpec]) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    writeln!(out, "{:<12} {:<10} {:<10} what", "name", "norms", "needs")?;
    for spec in specs {
        let paper = &spec.paper;
        let what = format!("{} ({}, {} {})", spec.title, paper.authors, paper.venue, paper.year);
        writeln!(out, "{:<12} {:<10} {:<10} {what}", spec.id, norms(spec), access(spec))?;
    }
    writeln!(out, "\nadvmod attacks NAME explains one and lists its parameters.")?;
    Ok(out)
}

fn explained(spec: &AttackSpec) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let paper = &spec.paper;
    writeln!(out, "{} — {}", spec.id, spec.title)?;
    writeln!(out, "  {}, \"{}\", {} {}, {}", paper.authors, paper.title, paper.venue, paper.year, paper.url)?;
    writeln!(out, "  needs {}; norms {} (default {})", access(spec), norms(spec), spec.norms[0])?;
    let goals = [("untargeted", spec.untargeted), ("targeted", spec.targeted)];
    let goals: Vec<&str> = goals.iter().filter(|(_, can)| *can).map(|(goal, _)| *goal).collect();
    writeln!(out, "  goals {}", goals.join(", "))?;
    writeln!(out, "\nparameters, as in --attack {}:key=value,…", spec.id)?;
    for param in SHARED_PARAMS.iter().chain(spec.params) {
        writeln!(out, "  {:<13} {} [{}; default {}]", param.name, param.help, param.range, param.default)?;
    }
    writeln!(out, "\npresets (--preset)")?;
    for values in spec.presets {
        writeln!(
            out,
            "  {:<9} {:<5} {}   ({})",
            values.preset.to_string(),
            values.norm.to_string(),
            values.values,
            values.source
        )?;
    }
    Ok(out)
}

fn as_json(spec: &AttackSpec) -> Value {
    let paper = &spec.paper;
    let params = SHARED_PARAMS.iter().chain(spec.params);
    let presets =
        Preset::ALL.iter().flat_map(|preset| spec.presets.iter().filter(move |values| values.preset == *preset));
    json!({
        "name": spec.id,
        "title": spec.title,
        "access": access(spec),
        "norms": spec.norms.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "untargeted": spec.untargeted,
        "targeted": spec.targeted,
        "paper": {"authors": paper.authors, "title": paper.title, "venue": paper.venue, "year": paper.year, "url": paper.url},
        "parameters": params.map(|it| json!({"name": it.name, "default": it.default, "range": it.range, "help": it.help})).collect::<Vec<_>>(),
        "presets": presets.map(|it| json!({"preset": it.preset.to_string(), "norm": it.norm.to_string(), "values": it.values, "source": it.source})).collect::<Vec<_>>(),
    })
}
