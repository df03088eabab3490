//! `advmod tui`: the terminal interface on a run of this process, a recorded one, or another process's.

use std::io::IsTerminal as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use signal_hook::consts::SIGINT;

use super::args::{Manner, TuiArgs};
use super::audit::{Prepared, needs, prepare};
use super::interrupt::{end_by, exit_of, wait_for};
use super::recorder::Recorder;
use super::{CliError, Exit, print, say, setup};
use crate::audit::control::Control;
use crate::audit::engine::{self, EngineError, Run};
use crate::audit::event::AuditEvent;
use crate::audit::follow::{self, Feed};
use crate::audit::state::AuditState;
use crate::report::table;
use crate::study::results::dynamics::DynamicsResult;
use crate::study::results::{StudyResult as _, read};
use crate::tui::runtime::{self, Ended, Opening};
use crate::tui::state::Source;
use crate::tui::theme::Theme;
use crate::verdict::Report;

struct Work {
    recorder: Recorder,
    state: AuditState,
    finished: Result<(), EngineError>,
}

pub(super) fn run(args: &TuiArgs, manner: Manner) -> Result<Exit, CliError> {
    let Manner { quiet, .. } = manner;
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() || is_dumb {
        let instead = match args.dynamics {
            Some(_) => "advmod dynamics prints the same without one",
            None => "advmod audit does the same without one",
        };
        return Err(CliError::Usage(format!("tui needs a terminal for input and output; {instead}")));
    }
    let theme = theme(args);
    if let Some(folder) = &args.dynamics {
        return watch_training(folder, theme);
    }
    let opening = |source| Opening { source, plan: None, folder: None, theme, graphics: args.graphics };
    let (sender, feed) = unbounded();
    let control = Control::open();
    if let Some(file) = &args.replay {
        let feeds = follow::read(file).map_err(CliError::Runtime)?;
        let speed = args.speed;
        std::thread::spawn(move || follow::replay(feeds, speed, &sender));
        let folder = file.parent().map(Path::to_owned);
        let ended = show(Opening { folder, ..opening(Source::Replay) }, &feed, &control)?;
        return conclude_reading(&ended, args, quiet);
    }
    if let Some(folder) = &args.attach {
        follow(folder, sender)?;
        let ended = show(Opening { folder: Some(folder.clone()), ..opening(Source::Attached) }, &feed, &control)?;
        return conclude_reading(&ended, args, quiet);
    }
    let mut prepared = prepare(&args.audit)?;
    // What a user saves from the screen goes to the current folder, or to the run's.
    manner.confine(&needs(&prepared.run, &args.audit).writing([Path::new(".")]))?;
    prepared.run.pictures = true;
    let plan = prepared.run.job.written().clone().anchored();
    let opening = Opening { folder: prepared.recorder.path(), plan: Some(plan), ..opening(Source::Live) };
    live(prepared, opening, sender, &feed, args, quiet)
}

fn theme(args: &TuiArgs) -> Theme {
    let truecolor = std::env::var("COLORTERM").is_ok_and(|it| it == "truecolor" || it == "24bit");
    let color = super::has_colours();
    Theme { color, ascii: args.ascii, truecolor, graphics: false, palette: args.theme, marker: args.marker }
}

/// Shows a run of this process, whose results outlive what happens to the interface.
fn live(
    Prepared { run, recorder }: Prepared,
    opening: Opening,
    sender: Sender<Feed>,
    feed: &Receiver<Feed>,
    args: &TuiArgs,
    quiet: bool,
) -> Result<Exit, CliError> {
    setup::set_threads(Some(run.job.plan.threads))?;
    // The end of the plan is not the end of the run: more attacks may be added.
    let control = Arc::new(Control::open());
    let worker = start(run, recorder, sender, control.clone())?;
    let shown = show(opening, feed, &control);
    if let Err(error) = &shown {
        say(&format!("error: {}; stopping the audit", error.message(false)));
        control.stop();
    }
    control.close();
    if let Ok(Ended { killed: true, signal, .. }) = &shown {
        // The worker is in the middle of something and is not waited for.
        end_by(signal.unwrap_or(SIGINT));
    }
    if let Ok(Ended { signal: Some(signal), audit, .. }) = &shown {
        if audit.start.is_none() {
            // There is nothing yet to wait for.
            end_by(*signal);
        }
        wait_for(&worker, *signal);
    }
    let Work { recorder, state, finished } =
        worker.join().map_err(|_| CliError::Runtime("the audit broke off; please report this".to_owned()))?;
    let signal = shown.as_ref().ok().and_then(|ended| ended.signal);
    let stopped = signal.map_or(Exit::Interrupted, exit_of);
    let exit = recorder.conclude(&state, finished, args.audit.ending(quiet, stopped));
    shown.and(exit)
}

fn show(opening: Opening, feed: &Receiver<Feed>, control: &Control) -> Result<Ended, CliError> {
    guarded(|| runtime::run(opening, feed, control))
}

/// A panic of the interface must not take the audit's results with it.
fn guarded<T>(interface: impl FnOnce() -> std::io::Result<T>) -> Result<T, CliError> {
    let shown = catch_unwind(AssertUnwindSafe(interface));
    let shown = shown.map_err(|_| CliError::Runtime("the interface broke off; please report this".to_owned()))?;
    shown.map_err(|error| CliError::Runtime(format!("the terminal: {error}")))
}

/// Runs the job on a thread that also journals; the interface never waits for it.
fn start(
    run: Run,
    mut recorder: Recorder,
    sender: Sender<Feed>,
    control: Arc<Control>,
) -> Result<JoinHandle<Work>, CliError> {
    let work = move || {
        let mut state = AuditState::default();
        let finished = engine::run_on_worker(run, &control, &mut |event| {
            for earlier in recorder.before(&event) {
                state.apply(&earlier);
                // Its end is not the end any more.
                if !matches!(earlier, AuditEvent::Finished { .. }) {
                    let _ = sender.send(Feed::Event(Box::new(earlier)));
                }
            }
            state.apply(&event);
            #[cfg(debug_assertions)]
            if state.predictions.is_some() {
                crate::tui::fault::strike("worker");
            }
            let mut flow = recorder.take(&event);
            if matches!(event, AuditEvent::Finished { .. }) && flow.is_continue() {
                flow = recorder.write_reports(&state);
                if flow.is_break() {
                    // Nothing is at work that could notice: end the wait for more attacks, so that the disk's error is shown now.
                    control.stop();
                }
            }
            let _ = sender.send(Feed::Event(Box::new(event)));
            flow
        });
        let error = finished.as_ref().err().map(ToString::to_string).or_else(|| recorder.error());
        let _ = sender.send(Feed::Closed(error));
        Work { recorder, state, finished }
    };
    let spawned = std::thread::Builder::new().name("audit".to_owned()).spawn(work);
    spawned.map_err(|error| CliError::Runtime(format!("cannot start a thread: {error}")))
}

/// Shows a training until the user leaves. The file may appear later, the folder may not.
fn watch_training(folder: &Path, theme: Theme) -> Result<Exit, CliError> {
    if !folder.is_dir() {
        let expected = "give the --checkpoints of advmod train --measure, or the --out of advmod dynamics";
        return Err(CliError::at(folder, format!("not a folder; {expected}")));
    }
    let file = folder.join(DynamicsResult::FILE);
    if file.exists() {
        read::<DynamicsResult>(&file).map_err(CliError::Runtime)?;
    }
    let signal = guarded(|| runtime::dynamics::run(folder, theme))?;
    Ok(signal.map_or(Exit::Pass, exit_of))
}

/// Follows the journal in a folder. It may appear later, the folder may not.
fn follow(folder: &Path, sender: Sender<Feed>) -> Result<(), CliError> {
    if !folder.is_dir() {
        return Err(CliError::at(folder, "not a folder; give one that a run writes with --out"));
    }
    let folder = folder.to_owned();
    std::thread::spawn(move || follow::follow(&folder, &sender));
    Ok(())
}

/// The table and the exit code of a run that was only looked at.
fn conclude_reading(ended: &Ended, args: &TuiArgs, quiet: bool) -> Result<Exit, CliError> {
    if ended.audit.finished.is_some() {
        return Recorder::default().conclude(&ended.audit, Ok(()), args.audit.ending(quiet, Exit::Interrupted));
    }
    if let Some(report) = Report::new(&ended.audit) {
        print(&table::text(&report))?;
    }
    say("inconclusive: the end of the run was not seen");
    Ok(Exit::Inconclusive)
}
