//! What an audit comes to: its report, and every judgement in it. Reads what was measured, writes nothing.

pub mod across;
pub mod change;
pub mod classes;
pub mod conclusion;
pub mod findings;
pub mod gates;
pub mod metric;
pub mod report;
pub mod schema;
pub mod validity;

pub use report::Report;

use crate::audit::attack::ResolvedAttack;

/// An attack's label, with its norm and size where the audit runs others of its name.
pub fn shown_label(report: &Report, attack: &ResolvedAttack) -> String {
    match report.attacks.iter().filter(|it| it.attack.name == attack.name).count() {
        0 | 1 => attack.label.clone(),
        _ => format!("{} ({})", attack.label, attack.summary()),
    }
}
