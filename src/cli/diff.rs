//! `advmod diff`: two stored runs, metric by metric.

use serde_json::json;

use super::args::{DiffArgs, Manner, OutputFormat};
use super::{CliError, Exit, print, report};
use crate::audit::gate::GatePlan;
use crate::audit::gate::check::resolve;
use crate::report::verdict as lines;
use crate::verdict::change::{baseline, changes};
use crate::verdict::gates::{GateState, Verdict, evaluate};

pub(super) fn run(args: &DiffArgs, manner: Manner) -> Result<Exit, CliError> {
    manner.confine(&report::reading([&args.before, &args.now]))?;
    let (before, _) = report::read(&args.before)?;
    let (now, _) = report::read(&args.now)?;
    let baseline = baseline(&before.facts(), &args.before.display().to_string());
    let changes = changes(&now.facts(), &baseline);
    let gates: Vec<GatePlan> = args.gate.iter().map(|expr| GatePlan::named(expr)).collect();
    let gates = resolve(&gates, &[], &now.plan.attacks).map_err(CliError::Usage)?;
    let gates = evaluate(&now.facts(), &gates, Some(&baseline), &now.validity, false);
    let verdict = Verdict::of(&gates);
    let text = match args.format {
        OutputFormat::Text => lines::changes(&changes, &now.model, false) + &lines::gates(&gates),
        OutputFormat::Json => super::json(&json!({ "changes": changes, "gates": gates })),
    };
    print(&text)?;
    Ok(match verdict.result {
        Some(GateState::Fail) => Exit::GateFailed,
        Some(GateState::Inconclusive | GateState::Pending) => Exit::Inconclusive,
        Some(GateState::Pass | GateState::Waived) | None => Exit::Pass,
    })
}
