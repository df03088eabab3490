//! From flags to loaded things, shared by the commands.

use std::path::Path;

use super::args::{Manner, ReadArgs, SourceArgs, SplitArg, TrustArgs};
use super::{CliError, say};
use crate::audit::job::Job;
use crate::audit::journal::started;
use crate::audit::resume::Stored;
use crate::confine::{Needs, confine, limit_memory};
use crate::data::{ClassList, Dataset, OpenOptions, Split};
use crate::measure::fit::check_threads;
use crate::memory;
use crate::model::load::LoadOptions;
use crate::model::normalize::Normalization;
use crate::model::program::TapSelection;
use crate::verdict::Report;

impl Manner {
    /// Leaves the process nothing but so much memory and these files, unless the user has said otherwise. What the kernel cannot do is said. Call before any thread is
    /// started: before [`set_threads`].
    pub(super) fn confine(self, needs: &Needs) -> Result<(), CliError> {
        limit_memory(self.memory).map_err(CliError::Runtime)?;
        if self.no_sandbox {
            return Ok(());
        }
        let found =
            confine(needs).map_err(|error| CliError::Runtime(format!("cannot confine the process: {error}")))?;
        if let Some(lack) = found.lack().filter(|_| !self.quiet) {
            say(&format!("warning: the process is not confined to its files ({lack}); --no-sandbox silences this"));
        }
        Ok(())
    }
}

/// `--threads` for libtorch and for our own parallel loops, and malloc's settings. Call once, before any work.
pub(super) fn set_threads(threads: Option<usize>) -> Result<(), CliError> {
    check_threads(threads.unwrap_or(1)).map_err(CliError::Usage)?;
    let threads = threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    memory::keep_freed_memory();
    tch::set_num_threads(threads as i32);
    // Fails only when a pool exists already, which then has some size: results do not depend on it.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    Ok(())
}

/// The job that a stored run was, confined to what it needs, with its threads: what its model is asked again depends on nothing else.
pub(super) fn job_of(
    report: &Report,
    folder: &Path,
    trust: TrustArgs,
    (needs, manner): (Needs, Manner),
) -> Result<Job, String> {
    let base = started(folder).and_then(|start| start.base);
    let run = Stored {
        plan_file: report.plan_file.as_deref(),
        plan: &report.plan,
        model: &report.model,
        data: &report.data,
        places: [base.as_deref().map(Path::new), Some(folder)],
    };
    let mut job = run.job(|_| ())?;
    job.load.trust_torchscript = trust.trust_torchscript;
    let needs = needs.reading([&folder.to_owned()]).reading(&job.model);
    manner.confine(&needs).map_err(|error| error.to_string())?;
    set_threads(Some(job.plan.threads)).map_err(|error| error.to_string())?;
    Ok(job)
}

pub(super) fn load_options(args: &ReadArgs, trust: TrustArgs, taps: TapSelection) -> Result<LoadOptions, CliError> {
    let normalization = args.normalize.as_deref().map(Normalization::parse).transpose().map_err(CliError::Usage)?;
    let input_size = args.input_size.map(i64::from);
    let (architecture, trust_torchscript) = (args.arch.clone(), trust.trust_torchscript);
    Ok(LoadOptions { architecture, normalization, input_size, taps, trust_torchscript, ..LoadOptions::default() })
}

pub(super) fn tap_selection(patterns: Option<&str>) -> TapSelection {
    patterns.map(TapSelection::parse).unwrap_or_default()
}

/// The training and the test images of a data set that has both.
pub(super) fn open_parts(data: &Path, what_for: &str) -> Result<[Box<dyn Dataset>; 2], CliError> {
    let open = |split| {
        open_data(&SourceArgs { data: Some(data.to_owned()), split: Some(split), ..SourceArgs::default() }, None)
    };
    let test = open(SplitArg::Test)?;
    if test.info().split.is_some() {
        return Ok([open(SplitArg::Train)?, test]);
    }
    Err(CliError::Runtime(format!(
        "{} has no train and test part; {what_for} trains on one and judges on the other: give a data set with both, or a folder with train/ \
         and test/ in it",
        data.display()
    )))
}

/// Opens the data of the flags, or the embedded images.
pub(super) fn open_data(args: &SourceArgs, classes: Option<ClassList>) -> Result<Box<dyn Dataset>, CliError> {
    let split = match args.split {
        Some(SplitArg::Train) => Split::Train,
        Some(SplitArg::Test) | None => Split::Test,
    };
    let options = OpenOptions { split, resize: args.resize, crop: args.crop, classes, sha256: None };
    Ok(crate::data::open(args.data.as_deref(), &options)?)
}
