//! Studies of several things, each measured for itself: what goes wrong with one is no reason to lose the others.

use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::data::{Dataset, Selection, select};
use crate::measure::doubt::doubt;
use crate::model::Model;
use crate::model::load::ModelError;

/// Who looks on.
pub(crate) trait Watch {
    /// So much of a task is done; `Break` stops it. Another name or total begins another task.
    fn tell(&mut self, name: &str, done: u64, total: u64) -> ControlFlow<()>;

    /// The task is over. `Break` where its user has had enough.
    fn finish(&mut self) -> ControlFlow<()>;
}

/// Why one of the things has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("{}: {reason}", file.display())]
    At { file: PathBuf, reason: String },
    #[error("{0}")]
    Other(String),
}

/// How far a study came.
#[derive(Debug, Default)]
pub(crate) struct Each {
    /// How many of the things have a result.
    pub done: usize,
    pub faults: Vec<Fault>,
    /// Whether its user has stopped it.
    pub is_stopped: bool,
}

impl Each {
    /// What became of one of them: the result to go on with, nothing where there is none, or the end.
    pub(super) fn settle<T>(&mut self, watch: &mut dyn Watch, found: Result<T, Fault>) -> ControlFlow<(), Option<T>> {
        self.is_stopped = watch.finish().is_break();
        if self.is_stopped {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(match found {
            Ok(found) => {
                self.done += 1;
                Some(found)
            }
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        })
    }
}

/// A warning where a file's model seems to need another normalization than the one it has, which was given by hand or not.
pub(crate) fn question_normalization(
    model: &Model,
    data: &dyn Dataset,
    samples: Selection,
    given: bool,
    watch: &mut dyn Watch,
) -> Option<String> {
    // More images than there are is said by whoever measures them.
    let places = select(&samples, data.info().n).ok()?;
    doubt(model, data, &places, given, &mut |done, total| watch.tell("normalization", done, total))
}
