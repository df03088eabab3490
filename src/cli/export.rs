//! `advmod export`: the adversarial images of a stored run, for other tools.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use advmod_attacks::config::did_you_mean;

use super::args::{ExportArgs, Manner, TrustArgs};
use super::interrupt::Interrupt;
use super::progress::Progress;
use super::{CliError, Exit, report, say, setup};
use crate::atomic_file::Folder;
use crate::audit::stage::rounded::RoundedJudge;
use crate::confine::Needs;
use crate::report::export::{EXPORTS, Export, ExportError, ExportFormat, Judge};
use crate::verdict::Report;

/// What takes less shows no progress.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn run(args: &ExportArgs, manner: Manner) -> Result<Exit, CliError> {
    let quiet = manner.quiet;
    let format = format(&args.format)?;
    if args.unjudged && !format.rounds {
        return Err(CliError::Usage(format!(
            "--unjudged is for png; {} keeps the pixels that were judged",
            format.name
        )));
    }
    if args.output.extension().is_some_and(|it| EXPORTS.iter().any(|format| it == format.name)) {
        let path = args.output.display();
        return Err(CliError::Usage(format!(
            "--output {path}: give a folder; each attack becomes a file or a folder in it"
        )));
    }
    let (report, folder) = report::read(&args.run)?;
    let attacks = attacks(&report, &args.attack)?;
    let interrupt = Interrupt::listen()?;
    let needs = Needs::default().writing_files([&args.output]);
    let model = if format.rounds && !report.plan.eight_bit && !args.unjudged {
        Some(judge(&report, &folder, args.trust, (needs, manner)).map_err(|problem| {
            let why = "cannot ask the run's model about the rounded pixels";
            CliError::at(&args.run, format!("{why}: {problem}; --unjudged exports without its answers"))
        })?)
    } else {
        manner.confine(&needs.reading([&folder]))?;
        None
    };
    let mut classes = model.as_ref().map(|model| |pixels: &[u8]| model.classes(pixels));
    let judge = classes.as_mut().map(|it| it as Judge<'_>);
    let mut shown = Shown { progress: Progress::new(args.progress, quiet), since: Instant::now(), begun: false };
    let stopped = interrupt.clone();
    let mut progress = |done, total| {
        shown.update(done, total);
        if stopped.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut export = Export::open(&report, &folder, &attacks, judge, &mut progress)
        .map_err(|error| CliError::at(&args.run, error))?;
    interrupt.begin();
    let output = new_folder(&args.output)?;
    let written = (format.write)(&mut export, output.path());
    let (notes, images) = (std::mem::take(&mut export.notes), export.len());
    drop(export);
    shown.progress.finish();
    match written {
        Err(ExportError::Stopped) => {
            say("interrupted: nothing was written");
            return Ok(interrupt.exit());
        }
        Err(error @ ExportError::Write { .. }) => return Err(CliError::at(&args.output, error)),
        Err(error) => return Err(CliError::at(&args.run, error)),
        Ok(()) => output.finish().map_err(|error| CliError::at(&args.output, error))?,
    }
    if !quiet {
        for note in &notes {
            say(note);
        }
        say(&format!("{images} images: {}", args.output.display()));
    }
    Ok(Exit::Pass)
}

fn new_folder(path: &Path) -> Result<Folder, CliError> {
    Folder::create(path).map_err(|error| {
        let problem = format!("cannot export to {}: {error}; give a new folder to --output", path.display());
        match error.kind() {
            ErrorKind::AlreadyExists => CliError::Usage(problem),
            _ => CliError::Runtime(problem),
        }
    })
}

fn format(name: &str) -> Result<&'static ExportFormat, CliError> {
    EXPORTS.iter().find(|format| format.name == name).ok_or_else(|| {
        let known: Vec<&str> = EXPORTS.iter().map(|format| format.name).collect();
        let hint = did_you_mean(name, known.iter().copied());
        CliError::Usage(format!("no export format is called {name:?}{hint}; known: {}", known.join(", ")))
    })
}

/// Places in the plan, in its order.
pub(super) fn attacks(report: &Report, labels: &[String]) -> Result<Vec<usize>, CliError> {
    let known = || report.attacks.iter().map(|attack| attack.attack.label.as_str());
    for label in labels {
        if !known().any(|other| other == label) {
            let hint = did_you_mean(label, known());
            let all = known().collect::<Vec<_>>().join(", ");
            return Err(CliError::Usage(format!("the run has no attack {label:?}{hint}; it has {all}")));
        }
    }
    let meant = |label: &str| labels.is_empty() || labels.iter().any(|other| other == label);
    Ok(known().enumerate().filter(|(_, label)| meant(label)).map(|(at, _)| at).collect())
}

/// The run's model, by the plan in its report.
fn judge(report: &Report, folder: &Path, trust: TrustArgs, how: (Needs, Manner)) -> Result<RoundedJudge, String> {
    RoundedJudge::load(&setup::job_of(report, folder, trust, how)?, report.data.shape)
}

struct Shown {
    progress: Progress,
    since: Instant,
    begun: bool,
}

impl Shown {
    fn update(&mut self, done: u64, total: u64) {
        if !self.begun && self.since.elapsed() >= PATIENCE {
            self.progress.begin("export", total);
            self.begun = true;
        }
        if self.begun {
            self.progress.update(done, None);
        }
    }
}
