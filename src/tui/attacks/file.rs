//! The plan file in the working directory.

use std::io;
use std::path::Path;

use super::super::app::App;
use super::super::state::attacks::PlanDraft;
use crate::atomic_file::write_file;
use crate::audit::plan_file;

/// The file that the run's attacks are saved to.
const PLAN_FILE: &str = "advmod.toml";

/// What the plan file would be with the run's attacks, or why there cannot be one.
pub(crate) fn draft(app: &App) -> Result<PlanDraft, String> {
    let cannot = |why: String| format!("cannot save to {PLAN_FILE}: {why}");
    let before = present(PLAN_FILE).map_err(cannot)?;
    let start = app.audit.start.as_ref().ok_or_else(|| cannot("the run has not begun".to_owned()))?;
    let text = plan_file::with_attacks(before.as_deref(), &app.basis(), &start.plan.attacks).map_err(cannot)?;
    Ok(PlanDraft { name: PLAN_FILE.to_owned(), before, text })
}

/// A file's text, if it is there.
fn present(name: &str) -> Result<Option<String>, String> {
    match std::fs::metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(found) if !found.is_file() || found.len() > 1 << 20 => {
            Err("there is something there that is no plan; move it away".to_owned())
        }
        Ok(_) => std::fs::read_to_string(name).map(Some).map_err(|error| error.to_string()),
    }
}

/// Writes the plan file, if it still is as it was when the user saw what it would be; says how it is called.
pub(crate) fn save(draft: &PlanDraft) -> Result<String, String> {
    if present(&draft.name)? != draft.before {
        return Err(format!("{} has changed in the meantime; press W again", draft.name));
    }
    write_file(Path::new(&draft.name), draft.text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(draft.name.clone())
}
