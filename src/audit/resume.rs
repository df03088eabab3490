//! Going on with a run that was interrupted: the same plan, checked against what is there now.

use std::path::Path;

use super::event::{AuditStart, DataSummary, ModelSummary};
use super::job::Job;
use super::plan::{AuditPlan, locate};
use super::plan_file::with_attacks;
use super::resolved::ResolvedPlan;
use super::state::AuditState;
use crate::data::ClassList;

/// The job that an earlier run in this folder has begun, or why it cannot go on.
pub(crate) fn job(earlier: &AuditState, folder: &Path) -> Result<Job, String> {
    let start = earlier.start.as_ref().ok_or("the run in it has not begun; run its command again")?;
    let run = Stored {
        plan_file: start.plan_file.as_deref(),
        plan: &start.plan,
        model: &start.model,
        data: &start.data,
        places: [start.base.as_deref().map(Path::new), Some(folder)],
    };
    run.job(|plan| {
        plan.out = Some(folder.to_owned());
        // What was not said was decided by the machine.
        (plan.threads, plan.device) = (Some(start.plan.threads), Some(start.plan.device.to_string()));
    })
}

/// A run as its folder tells of it. Whoever wrote that may be a stranger: the job that it makes opens nothing but what the run was of.
pub(crate) struct Stored<'a> {
    pub plan_file: Option<&'a str>,
    pub plan: &'a ResolvedPlan,
    pub model: &'a ModelSummary,
    pub data: &'a DataSummary,
    /// Folders in which relative paths of the plan may begin.
    pub places: [Option<&'a Path>; 2],
}

impl Stored<'_> {
    /// Its job, with the hashes that model and data must have; `settle` sees the plan before it is resolved.
    pub(crate) fn job(&self, settle: impl FnOnce(&mut AuditPlan)) -> Result<Job, String> {
        let plan_file = self.plan_file.ok_or("a path of its plan is not text; run its command again")?;
        let unreadable = |error: String| format!("its plan cannot be read: {error}");
        let text = with_attacks(plan_file, &self.plan.attacks).map_err(unreadable)?;
        let mut plan: AuditPlan = toml::from_str(&text).map_err(|error| unreadable(error.message().to_owned()))?;
        // Where gates stand in their file is not in the text.
        for (gate, resolved) in plan.gate.iter_mut().zip(&self.plan.gates) {
            gate.place.clone_from(&resolved.place);
        }
        settle(&mut plan);
        let given = plan.data.classes.clone();
        let mut job = plan.resolve().map_err(unreadable)?;
        // On another device, or by another name, it is the same plan.
        let ResolvedPlan { device, ref command, .. } = *self.plan;
        if (ResolvedPlan { device, command: command.clone(), ..job.plan.clone() }) != *self.plan {
            return Err("its plan does not say what its settings say; start a new run".to_owned());
        }
        job.load.sha256 = Some(self.model.sha256.clone());
        job.open.sha256 = Some(self.data.sha256.clone());
        // As the run has them: the file that it read them from may be any file by now.
        job.open.classes = given.map(|given| ClassList::in_order(&given, &self.data.classes));
        for path in [&mut job.model, &mut job.data].into_iter().flatten() {
            *path = locate(self.places.into_iter().flatten(), path);
        }
        Ok(job)
    }
}

/// Whether what is there now is what the earlier run began with, or what has changed.
pub(super) fn check(earlier: &AuditStart, now: &AuditStart) -> Result<(), String> {
    let changed = |what: String| Err(format!("the run cannot go on: {what}; start it anew in another folder"));
    if earlier.tool != now.tool {
        let version = |start: &AuditStart| format!("{} with libtorch {}", start.tool.version, start.tool.libtorch);
        return changed(format!("advmod {} began it, this is {}", version(earlier), version(now)));
    }
    if earlier.model.sha256 != now.model.sha256 {
        let hashes = (&earlier.model.sha256, &now.model.sha256);
        return changed(format!("the model has changed (sha256 was {}, is {})", hashes.0, hashes.1));
    }
    if earlier.data != now.data {
        let hashes = (&earlier.data.sha256, &now.data.sha256);
        return changed(format!("the data have changed (sha256 was {}, is {})", hashes.0, hashes.1));
    }
    if earlier.plan.device != now.plan.device {
        return changed(format!("it ran on {}, this is {}", earlier.plan.device, now.plan.device));
    }
    // How the plan is called does not matter to what it does.
    let plan = ResolvedPlan { command: earlier.plan.command.clone(), ..now.plan.clone() };
    match (earlier.plan == plan, earlier.model == now.model, earlier.taps == now.taps) {
        (true, true, true) => Ok(()),
        (false, ..) => changed("its settings read back differently".to_owned()),
        _ => changed("the model reads differently".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::replay;

    fn earlier() -> AuditState {
        replay(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/run.jsonl"))).0
    }

    #[test]
    fn the_job_is_the_one_that_was_begun() {
        let job = job(&earlier(), Path::new("run")).unwrap();
        let start = earlier().start.unwrap();
        assert_eq!((&job.plan.attacks, &job.plan.gates), (&start.plan.attacks, &start.plan.gates));
        assert_eq!((job.plan.threads, job.plan.batch, job.plan.seed), (1, 16, 0));
    }

    #[test]
    fn a_plan_that_is_not_that_of_its_settings_is_refused() {
        let mut forged = earlier();
        let text = forged.start.as_mut().unwrap().plan_file.as_mut().unwrap();
        *text = text.replace("seed = 0", "seed = 1");
        assert!(job(&forged, Path::new("run")).unwrap_err().contains("does not say what its settings say"));
    }

    #[test]
    fn files_are_those_of_the_run_wherever_it_is_looked_at() {
        let [begun, run] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        std::fs::write(begun.path().join("model.pt"), "").unwrap();
        std::fs::write(run.path().join("images.npz"), "").unwrap();
        let mut state = earlier();
        let start = state.start.as_mut().unwrap();
        start.base = Some(begun.path().to_str().unwrap().to_owned());
        let text = start.plan_file.take().unwrap();
        start.plan_file = Some(format!(
            "{}\n[model]\nfile = \"model.pt\"\n",
            text.replace("[data]", "[data]\npath = \"images.npz\"")
        ));
        let job = job(&state, run.path()).unwrap();
        assert_eq!(job.model, Some(begun.path().join("model.pt")));
        assert_eq!(job.data, Some(run.path().join("images.npz")));
        let start = state.start.unwrap();
        assert_eq!((job.load.sha256, job.open.sha256), (Some(start.model.sha256), Some(start.data.sha256)));
    }

    #[test]
    fn a_run_without_a_plan_cannot_go_on() {
        let folder = Path::new("run");
        assert!(job(&AuditState::default(), folder).unwrap_err().contains("has not begun"));
        let mut nameless = earlier();
        nameless.start.as_mut().unwrap().plan_file = None;
        assert!(job(&nameless, folder).unwrap_err().contains("not text"));
    }

    type Change = fn(&mut AuditStart);

    #[test]
    fn what_has_changed_is_named() {
        let start = earlier().start.unwrap();
        assert_eq!(check(&start, &start), Ok(()));
        let changes: [(&str, Change); 6] = [
            ("this is 9.9", |it| it.tool.version = "9.9".to_owned()),
            ("the model has changed", |it| it.model.sha256.clear()),
            ("the data have changed", |it| it.data.labels[0] += 1),
            ("this is cuda:0", |it| it.plan.device = "cuda:0".parse().unwrap()),
            ("settings", |it| it.plan.k += 1),
            ("reads differently", |it| it.taps.clear()),
        ];
        for (word, change) in changes {
            let mut now = start.clone();
            change(&mut now);
            let error = check(&start, &now).unwrap_err();
            assert!(error.contains(word) && error.lines().count() == 1, "{error}");
        }
    }
}
