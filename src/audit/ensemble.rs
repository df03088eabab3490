//! Ensembles in a plan: attacks of one name that attack what the others left.

use advmod_attacks::ensemble::{self, find_ensemble};

use super::attack::{ENSEMBLE, check_ensemble};
use super::plan::AttackPlan;

/// The attacks that one entry of a plan means: those of the ensemble of this name, or the one itself; each with the ensemble that it is in.
pub(super) fn members(mut attack: AttackPlan, is_rounded: bool) -> Result<Vec<(AttackPlan, Option<String>)>, String> {
    if let Some(spec) = find_ensemble(&attack.name) {
        let members = ensemble::members(spec, &attack.params, is_rounded).map_err(|error| error.to_string())?;
        let of = |(name, params): (&str, _)| (AttackPlan { name: name.to_owned(), params }, Some(spec.id.to_owned()));
        return Ok(members.into_iter().map(of).collect());
    }
    let ensemble = attack.params.remove(ENSEMBLE).map(|value| {
        let given = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        check_ensemble(&given).map_err(|why| format!("{}.{ENSEMBLE} = {given}: {why}", attack.name))?;
        Ok::<_, String>(given)
    });
    let ensemble = ensemble.transpose()?;
    Ok(vec![(attack, ensemble)])
}
