//! The command that looks at a finding again.

use crate::audit::attack::ResolvedAttack;
use crate::audit::command::command;
use crate::audit::plan::AuditPlan;
use crate::verdict::facts::Facts;

/// The command of the audit with these attacks alone, and without gates and baseline, which may ask for others; of an audit whose plan has
/// no text, the whole command.
pub(crate) fn retest(facts: &Facts, attacks: &[ResolvedAttack]) -> String {
    let Some(written) = facts.plan_file.and_then(|text| toml::from_str::<AuditPlan>(text).ok()) else {
        return facts.plan.command.clone();
    };
    // Results do not depend on the batch.
    let alone = AuditPlan { gate: Vec::new(), waiver: Vec::new(), baseline: None, batch: None, ..written };
    command(&alone, attacks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::testing::recorded;

    #[test]
    fn the_command_has_the_attacks_of_the_finding_and_no_gate() {
        let mut report = recorded();
        let attacks = [report.attacks[0].attack.clone()];
        let text = "seed = 0\nthreads = 1\nbatch = 9\n[data]\nsamples = 40\n[curve]\nk = 3\n[model]\nfile = \"it's a --gate b.pt\"\n[[attack]]\nname = \"cw\"\n[[gate]]\nexpr = \"asr.cw <= 0.1\"\n";
        report.plan_file = Some(text.to_owned());
        assert_eq!(
            retest(&report.facts(), &attacks),
            "advmod audit --model 'it'\\''s a --gate b.pt' --samples 40 --attack fgsm:eps=8/255,goal=untargeted,norm=linf --k 3 --seed 0 \
             --threads 1"
        );
        report.plan_file = None;
        assert_eq!(retest(&report.facts(), &attacks), report.plan.command);
    }
}
