//! The plan file in the working directory.

use std::io;
use std::path::Path;

use super::super::app::App;
use super::super::state::attacks::{PLAN_FILE, PlanDraft};
use crate::atomic_file::write_file;
use crate::audit::job::running;
use crate::audit::plan_file;
use crate::input;

/// What the plan file would be with the run's attacks, or why there cannot be one.
pub(crate) fn draft(app: &App) -> Result<PlanDraft, String> {
    let cannot = |why: String| format!("cannot save to {PLAN_FILE}: {why}");
    let before = present(PLAN_FILE).map_err(cannot)?;
    let start = app.audit.start.as_ref().ok_or_else(|| cannot("the run has not begun".to_owned()))?;
    let attacks = &start.plan.attacks;
    let text = match &before {
        Some(text) => plan_file::with_attacks(text, attacks),
        None => plan_file::new(&app.basis(), attacks),
    };
    let text = text.and_then(|text| running(text, attacks)).map_err(cannot)?;
    Ok(PlanDraft { before, text })
}

/// A file's text, if it is there.
fn present(name: &str) -> Result<Option<String>, String> {
    match std::fs::metadata(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
        Ok(found) if !found.is_file() || found.len() > 1 << 20 => {
            Err("there is something there that is no plan; move it away".to_owned())
        }
        Ok(_) => input::read_to_string(Path::new(name)).map(Some).map_err(|error| error.to_string()),
    }
}

/// Writes the plan file, if it still is as it was when the user saw what it would be.
pub(crate) fn save(draft: &PlanDraft) -> Result<(), String> {
    if present(PLAN_FILE)? != draft.before {
        return Err(format!("{PLAN_FILE} has changed in the meantime; press W again"));
    }
    write_file(Path::new(PLAN_FILE), draft.text.as_bytes()).map_err(|error| error.to_string())
}
