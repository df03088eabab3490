//! Workflow commands of GitHub Actions: one annotation per gate that did not pass.

use super::Evidence;
use crate::audit::gate::Severity;
use crate::verdict::Report;
use crate::verdict::gates::{GateState, Verdict};

/// Errors, warnings and notices, at the gate's line where it stands in a file.
pub(super) fn render(report: &Report, _: &Evidence) -> Vec<u8> {
    let verdict = Verdict::of(&report.gates);
    let mut text = String::new();
    for gate in verdict.gates.iter().filter(|gate| gate.result != GateState::Pass) {
        let command = match (gate.result, gate.gate.severity) {
            (GateState::Fail, Severity::Error) => "error",
            (GateState::Waived, _) => "notice",
            _ => "warning",
        };
        let place = gate.gate.place.as_ref();
        let place = place.map_or(String::new(), |it| format!("file={},line={},", property(&it.file), it.line));
        let title = property(&format!("gate {}: {}", gate.gate.id, gate.result.word()));
        text.extend(["::", command, " ", &place, "title=", &title, "::", &data(&gate.sentence()), "\n"]);
    }
    let line = verdict.line().unwrap_or_else(|| "no gates".to_owned());
    text.extend(["::notice title=advmod::", &data(&line), "\n"]);
    text.into_bytes()
}

/// A message: a line break in it would end the command, and could begin another one.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property, which ends at a comma or a colon besides.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_begins_a_command_of_its_own() {
        assert_eq!(data("a\n::stop-commands::x\r50%"), "a%0A::stop-commands::x%0D50%25");
        assert_eq!(property("a:b,c\n"), "a%3Ab%2Cc%0A");
    }
}
