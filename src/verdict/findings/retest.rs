//! The command that looks at a finding again.

use crate::audit::attack::ResolvedAttack;
use crate::audit::plan::AuditPlan;
use crate::audit::resolved::command;
use crate::verdict::Report;

/// The command of the audit with these attacks alone, and without gates and baseline, which may ask for others; of an audit whose plan has
/// no text, the whole command.
pub(crate) fn retest(report: &Report, attacks: &[ResolvedAttack]) -> String {
    let plan = &report.plan;
    let written = report.plan_file.as_ref().and_then(|text| toml::from_str::<AuditPlan>(text).ok());
    written.map_or_else(
        || plan.command.clone(),
        |written| {
            let alone = AuditPlan { gate: Vec::new(), waiver: Vec::new(), baseline: None, ..written };
            command(&alone, attacks, report.data.indices.len(), plan.seed, plan.k, plan.threads)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::replay;

    #[test]
    fn the_command_has_the_attacks_of_the_finding_and_no_gate() {
        let mut report =
            Report::new(&replay(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/run.jsonl"))).0).unwrap();
        let attacks = [report.attacks[0].attack.clone()];
        let text =
            "[model]\nfile = \"it's a --gate b.pt\"\n[[attack]]\nname = \"cw\"\n[[gate]]\nexpr = \"asr.cw <= 0.1\"\n";
        report.plan_file = Some(text.to_owned());
        assert_eq!(
            retest(&report, &attacks),
            "advmod audit --model 'it'\\''s a --gate b.pt' --samples 40 --attack fgsm:eps=8/255,goal=untargeted,norm=linf --k 3 --seed 0 \
             --threads 1"
        );
        report.plan_file = None;
        assert_eq!(retest(&report, &attacks), report.plan.command);
    }
}
