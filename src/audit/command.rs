//! A plan as the flags of `advmod audit`.

use std::path::PathBuf;

use super::attack::{ResolvedAttack, in_one_sweep, spec};
use super::gate::{GatePlan, Severity};
use super::plan::{AuditPlan, Setting};
use crate::text::shell::quoted;

/// The command line of a plan with these attacks, every parameter of theirs written out. It has the expressions of gates alone, and of a
/// path without text what can be shown of it: a plan file that holds everything is made by `plan_file`.
pub(crate) fn command(plan: &AuditPlan, attacks: &[ResolvedAttack]) -> String {
    let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string().into());
    let mut plan = plan.clone();
    for path in [&mut plan.model.file, &mut plan.data.path, &mut plan.baseline, &mut plan.out] {
        *path = shown(path);
    }
    let settings = toml::Table::try_from(&plan).unwrap_or_default();
    let mut words = vec!["advmod".to_owned(), "audit".to_owned()];
    for Setting { section, key, flag } in AuditPlan::flags() {
        let flag = flag.replace('_', "-");
        let table = section.map_or(Some(&settings), |section| settings.get(section)?.as_table());
        let values: Vec<String> = match key {
            // One flag per sweep, so that the same samples are carried over again.
            "attack" => attacks.chunk_by(in_one_sweep).map(spec).collect(),
            "gate" => plan.gate.iter().map(|gate| gate.expr.get_ref().clone()).collect(),
            // The attacks say the one, and running a command again must not replace what is in the other.
            "stop" | "out" => Vec::new(),
            key => match table.and_then(|table| table.get(key)) {
                Some(toml::Value::Boolean(true)) => {
                    words.push(format!("--{flag}"));
                    continue;
                }
                Some(toml::Value::String(text)) => vec![text.clone()],
                Some(toml::Value::Integer(number)) => vec![number.to_string()],
                _ => Vec::new(),
            },
        };
        words.extend(values.iter().flat_map(|value| [format!("--{flag}"), quoted(value)]));
    }
    words.join(" ")
}

/// Whether the gates of a plan carry nothing but their expressions, which is what flags can say.
pub(crate) fn is_said_by_flags(plan: &AuditPlan) -> bool {
    let bare = |gate: &GatePlan| gate.id.is_none() && gate.reason.is_none() && gate.severity == Severity::default();
    plan.waiver.is_empty() && plan.gate.iter().all(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::plan::AttackPlan;

    #[test]
    fn the_attacks_of_a_command_are_read_back_as_the_same() {
        let text = "[[attack]]\nname = \"pgd\"\nsteps = 3\neps = \"2/255\"\n[[attack]]\nname = \"fgsm\"\neps = \"8/255|2/255\"";
        let plan: AuditPlan = toml::from_str(text).unwrap();
        let attacks = plan.resolve().unwrap().plan.attacks;
        assert_eq!(spec(&attacks[1..]), "fgsm:eps=2/255|8/255,goal=untargeted,norm=linf");
        let attack = attacks.chunk_by(in_one_sweep).map(|sweep| AttackPlan::parse(&spec(sweep)).unwrap()).collect();
        let again = AuditPlan { attack, ..AuditPlan::default() }.resolve().unwrap();
        assert_eq!(again.plan.attacks, attacks);
    }
}
