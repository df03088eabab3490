//! The command that looks at a finding again.

use crate::audit::resolved::{ResolvedAttack, quoted, spec};

/// The command of the audit with these attacks alone and without gates, which may ask for others.
pub(super) fn retest(command: &str, attacks: &[ResolvedAttack]) -> String {
    let mut kept = Vec::new();
    let mut words = words(command).into_iter().peekable();
    let mut is_placed = false;
    while let Some(word) = words.next() {
        match word {
            "--attack" => {
                words.next();
                if !is_placed {
                    kept.extend(["--attack".to_owned(), quoted(&spec(attacks))]);
                    is_placed = true;
                }
            }
            "--gate" => drop(words.next()),
            word => kept.push(word.to_owned()),
        }
    }
    kept.join(" ")
}

/// The words of a command as they stand there, quotes included: spaces inside of quotes part nothing.
fn words(command: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let is_end = |letter: char| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match letter {
            '\'' => is_quoted = !is_quoted,
            '\\' => is_escaped = !is_quoted,
            _ => (),
        }
        letter == ' ' && !is_quoted
    };
    command.split(is_end).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::report::journal::replay;

    #[test]
    fn a_command_falls_into_its_words() {
        let command = "advmod --model 'it'\\''s a --gate b' --gate 'asr <= 1 %' --seed 1";
        assert_eq!(words(command).len(), 7);
        assert_eq!(words(command)[2], "'it'\\''s a --gate b'");
        let report = Report::new(&replay(include_str!("../../../fixtures/run.jsonl")).0).unwrap();
        let attacks = [report.attacks[0].attack.clone()];
        let command = "advmod audit --attack a --attack 'b c' --gate 'asr.b <= 1 %' --k 3";
        let fgsm = "advmod audit --attack fgsm:eps=8/255,goal=untargeted,norm=linf --k 3";
        assert_eq!(retest(command, &attacks), fgsm);
    }
}
