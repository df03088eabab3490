//! Gates and waivers, checked against the attacks and classes that they name.

use advmod_attacks::catalog::ATTACKS;
use advmod_attacks::config::did_you_mean;

use super::expr::{GateExpr, Quantity, Subject};
use super::{Day, Gate, GatePlan, Waiver, WaiverPlan};
use crate::audit::attack::ResolvedAttack;

fn check(gate: &GatePlan, attacks: &[ResolvedAttack]) -> Result<GateExpr, String> {
    let text = gate.expr.get_ref();
    let expr = GateExpr::parse(text)?;
    check_attacks(&expr, attacks).map_err(|problem| format!("gate {text:?}: {problem}"))?;
    Ok(expr)
}

/// An attack that does not run would make a gate that nobody ever sees fail.
fn check_attacks(expr: &GateExpr, attacks: &[ResolvedAttack]) -> Result<(), String> {
    let metric = &expr.metric;
    let meant: Vec<&ResolvedAttack> = match &metric.subject {
        Subject::Clean => return Ok(()),
        Subject::Worst => {
            let has_budget = |it: &ResolvedAttack| !it.is_targeted() && it.epsilon.is_some();
            return match attacks.iter().any(has_budget) {
                true => Ok(()),
                false => {
                    Err("worst is the worst case within each budget, and no untargeted attack of this audit has an ε"
                        .to_owned())
                }
            };
        }
        Subject::Within(budget) => {
            if !attacks.iter().any(|attack| attack.measures(budget)) {
                let mut tried: Vec<String> = attacks.iter().filter_map(|it| Some(it.budget()?.to_string())).collect();
                tried.dedup();
                let tried = if tried.is_empty() { "no ε".to_owned() } else { tried.join(", ") };
                return Err(format!("no untargeted attack of this audit tries {budget}; they try {tried}"));
            }
            return Ok(());
        }
        Subject::Attacks(pattern) => {
            let is_meant = |it: &ResolvedAttack| it.ensemble.as_deref().is_some_and(|it| metric.subject.fits(it));
            if metric.quantity.is_rate() && attacks.iter().any(is_meant) {
                return Ok(());
            }
            let meant: Vec<_> = attacks.iter().filter(|attack| metric.subject.fits(&attack.label)).collect();
            if meant.is_empty() {
                let labels = || attacks.iter().map(|attack| attack.label.as_str());
                let runs = labels().collect::<Vec<_>>().join(", ");
                return Err(match ATTACKS.iter().any(|spec| spec.id == pattern) {
                    true => format!("this audit does not run {pattern}; it runs {runs}"),
                    false => {
                        format!("no attack is called {pattern:?}{}; it runs {runs}", did_you_mean(pattern, labels()))
                    }
                });
            }
            meant
        }
    };
    if metric.quantity == Quantity::Accuracy && meant.iter().all(|attack| attack.is_targeted()) {
        return Err("a targeted attack has no accuracy; use its asr".to_owned());
    }
    let sees_all = |attack: &&ResolvedAttack| !attack.is_targeted() && attack.ensemble.is_none();
    if let Some(ensemble) = meant[0].ensemble.as_ref().filter(|_| !meant.iter().any(sees_all))
        && metric.quantity == Quantity::Accuracy
    {
        return Err(format!(
            "an attack of an ensemble sees only what others left and has no accuracy; use accuracy.{ensemble}"
        ));
    }
    Ok(())
}

/// Checks every gate and waiver.
pub(crate) fn resolve(
    gates: &[GatePlan],
    waivers: &[WaiverPlan],
    attacks: &[ResolvedAttack],
) -> Result<Vec<Gate>, String> {
    let mut resolved: Vec<Gate> = Vec::with_capacity(gates.len());
    for gate in gates {
        let at = gate.place.as_ref().map_or(String::new(), |place| format!("{}:{}: ", place.file, place.line));
        let expr = check(gate, attacks).map_err(|problem| format!("{at}{problem}"))?;
        let is_taken = |id: &str| resolved.iter().any(|other| other.id == id);
        let id = match &gate.id {
            Some(id) if id.trim().is_empty() => return Err(format!("{at}gate {:?}: empty id", gate.expr.get_ref())),
            Some(id) if is_taken(id) => return Err(format!("{at}gate id {id:?} is given twice")),
            Some(id) => id.clone(),
            None => {
                let base = expr.metric.to_string();
                let numbered = (2..).map(|n| format!("{base}-{n}"));
                let mut names = std::iter::once(base.clone()).chain(numbered);
                names.find(|id| !is_taken(id)).unwrap_or(base)
            }
        };
        resolved.push(Gate {
            id,
            expr,
            severity: gate.severity,
            reason: gate.reason.clone(),
            place: gate.place.clone(),
            waiver: None,
        });
    }
    waivers.iter().try_for_each(|waiver| waive(waiver, &mut resolved))?;
    Ok(resolved)
}

fn waive(plan: &WaiverPlan, gates: &mut [Gate]) -> Result<(), String> {
    let day = match &plan.expires {
        toml::Value::String(text) => Day::parse(text),
        toml::Value::Datetime(date) => Day::parse(&date.to_string()),
        other => Err(format!("{other} is no day; expected YYYY-MM-DD")),
    };
    let expires = day.map_err(|problem| format!("waiver of {:?}: expires = {problem}", plan.gate))?;
    if plan.reason.trim().is_empty() {
        return Err(format!("waiver of {:?}: empty reason", plan.gate));
    }
    let Some(at) = gates.iter().position(|gate| gate.id == plan.gate) else {
        let hint = did_you_mean(&plan.gate, gates.iter().map(|gate| gate.id.as_str()));
        return Err(format!("waiver of {:?}: no gate has this id{hint}", plan.gate));
    };
    if gates[at].waiver.is_some() {
        return Err(format!("waiver of {:?}: it has one already", plan.gate));
    }
    let (reason, owner) = (plan.reason.clone(), plan.owner.clone());
    gates[at].waiver = Some(Waiver { reason, expires, owner });
    Ok(())
}

/// Checks the classes that gates name, once the data are there.
pub(crate) fn check_classes(gates: &[Gate], names: &[String], classes: usize) -> Result<(), String> {
    gates.iter().try_for_each(|gate| {
        let found = gate.expr.metric.classes(names, classes);
        found.map(drop).map_err(|problem| format!("gate {:?}: {problem}", gate.expr.to_string()))
    })
}
