//! Plans as text: the one that makes a report again, and a user's with other attacks in it.

use advmod_attacks::config::typed;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

use super::attack::{ResolvedAttack, in_one_sweep};
use super::plan::AuditPlan;

/// Said at the top of a new file.
const HEAD: &str = "# A plan: advmod audit --plan FILE runs it.\n";

/// The text of a plan file with all that is written in a plan and these attacks, every parameter written out.
///
/// # Errors
/// What cannot be written as TOML, such as a path that is not text.
pub(crate) fn new(written: &AuditPlan, attacks: &[ResolvedAttack]) -> Result<String, String> {
    Ok(replaced(new_document(written)?, attacks))
}

/// The text of a plan file with its attacks replaced by these, and all else kept, comments too. Whether it can run is not looked at.
pub(crate) fn with_attacks(before: &str, attacks: &[ResolvedAttack]) -> Result<String, String> {
    let read = toml::from_str::<AuditPlan>(before);
    read.map_err(|error| format!("it is no plan of advmod: {}", error.message().lines().next().unwrap_or_default()))?;
    let document = before.parse::<DocumentMut>().map_err(|error| error.to_string())?;
    Ok(replaced(document, attacks))
}

fn replaced(mut document: DocumentMut, attacks: &[ResolvedAttack]) -> String {
    let tables: ArrayOfTables = attacks.chunk_by(in_one_sweep).map(table).collect();
    document.insert("attack", Item::ArrayOfTables(tables));
    document.to_string()
}

/// A plan's settings, without its attacks, and without its folder: running it again must not replace the results of this run.
fn new_document(written: &AuditPlan) -> Result<DocumentMut, String> {
    let plan = AuditPlan { attack: Vec::new(), out: None, ..written.clone() };
    let mut values = toml::Table::try_from(&plan).map_err(|error| error.to_string())?;
    let is_empty = |value: &toml::Value| {
        value.as_table().is_some_and(toml::Table::is_empty) || value.as_array().is_some_and(Vec::is_empty)
    };
    values.retain(|_, value| !is_empty(value));
    // Through a table of values a date would become the table that it is inside of this crate.
    if let Some(toml::Value::Array(waivers)) = values.get_mut("waiver") {
        for (waiver, written) in waivers.iter_mut().zip(&plan.waiver) {
            waiver.as_table_mut().map(|waiver| waiver.insert("expires".to_owned(), written.expires.clone()));
        }
    }
    let text = toml::to_string(&values).map_err(|error| error.to_string())?;
    format!("{HEAD}{text}").parse().map_err(|error: toml_edit::TomlError| error.to_string())
}

/// One `[[attack]]`: an attack or all attacks of a sweep.
fn table(sweep: &[ResolvedAttack]) -> Table {
    let mut table = Table::new();
    table.insert("name", Item::Value(Value::from(sweep[0].name.as_str())));
    for (key, value) in sweep[0].params() {
        let value = if key == "eps" && sweep.len() > 1 {
            let sizes = sweep.iter().filter_map(|attack| attack.epsilon);
            sizes.map(|size| scalar(&size.to_string())).collect()
        } else {
            scalar(&value)
        };
        table.insert(&key, Item::Value(value));
    }
    table
}

fn scalar(text: &str) -> Value {
    match typed(text) {
        toml::Value::Integer(value) => Value::from(value),
        toml::Value::Float(value) => Value::from(value),
        toml::Value::Boolean(value) => Value::from(value),
        _ => Value::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::job::running;

    fn plan(text: &str) -> AuditPlan {
        toml::from_str(text).unwrap()
    }

    const PLAN: &str = "seed = 3\n[data]\nfirst = 60\n[[attack]]\nname = \"pgd\"\neps = [\"2/255\", 0.5]\nsteps = 7\n[[attack]]\nname = \"cw\"\ntarget = 3\n";

    #[test]
    fn a_new_file_is_the_whole_plan() {
        let plan = AuditPlan { out: Some("runs/1".into()), ..plan(PLAN) };
        let attacks = plan.clone().resolve().unwrap().plan.attacks;
        let text = new(&plan, &attacks).unwrap();
        let read: AuditPlan = toml::from_str(&text).unwrap();
        assert_eq!(read.out, None);
        assert_eq!((read.seed, read.data.first, read.attack.len()), (Some(3), Some(60), 2));
        assert_eq!(read.resolve().unwrap().plan.attacks, attacks);
        assert!(!text.contains("gate") && !text.contains("waiver"), "{text}");
    }

    #[test]
    fn a_new_file_keeps_the_gates_and_their_waivers() {
        let gates = "[[gate]]\nid = \"a\"\nexpr = \"asr.pgd <= 0.5\"\n[[waiver]]\ngate = \"a\"\nreason = \"r\"\nexpires = 2030-01-31\n";
        let plan = plan(&format!("{PLAN}{gates}"));
        let resolved = plan.clone().resolve().unwrap().plan;
        let text = new(&plan, &resolved.attacks).unwrap();
        let read: AuditPlan = toml::from_str(&text).unwrap();
        assert_eq!(read.resolve().unwrap().plan.gates, resolved.gates, "{text}");
        assert!(text.contains("expires = 2030-01-31"), "{text}");
    }

    #[test]
    fn another_plan_keeps_all_but_its_attacks() {
        let written = plan(PLAN);
        let attacks = written.clone().resolve().unwrap().plan.attacks;
        let before = "# mine\nseed = 9 # why\n\n[data]\nfirst = 10 # few\n\n[[attack]]\nname = \"fgsm\"\n\n# curves\n[curve]\nk = 4\n";
        let text = with_attacks(before, &attacks).unwrap();
        for kept in ["# mine\n", "seed = 9 # why\n", "first = 10 # few\n", "# curves\n[curve]\nk = 4\n"] {
            assert!(text.contains(kept), "{kept}\n{text}");
        }
        assert!(!text.contains("fgsm"), "{text}");
        // Once more changes nothing.
        assert_eq!(with_attacks(&text, &attacks).unwrap(), text);
    }

    #[test]
    fn what_is_no_plan_or_does_not_fit_is_refused() {
        let written = plan("[[attack]]\nname = \"pgd\"\nstop = \"first\"\n");
        let attacks = written.clone().resolve().unwrap().plan.attacks;
        for (before, reason) in [
            ("[package]\nname = \"x\"\n", "it is no plan"),
            ("not toml", "it is no plan"),
            ("eight_bit = true\n", "do not go with these attacks"),
        ] {
            let error = with_attacks(before, &attacks).and_then(|text| running(text, &attacks)).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
