//! Which images a job is of, before any of them is read.

use crate::audit::job::Job;
use crate::data::{DataError, Dataset, select};

/// The samples of a job, and what they come from.
pub(super) struct Chosen<'a> {
    pub(super) dataset: &'a dyn Dataset,
    /// Place of each sample in the data.
    pub(super) indices: Vec<usize>,
    pub(super) sha256: String,
}

impl<'a> Chosen<'a> {
    pub(super) fn new(job: &Job, dataset: &'a dyn Dataset) -> Result<Self, DataError> {
        let indices = select(&job.selection, dataset.info().n)?;
        let sha256 = dataset.sha256(&indices)?;
        Ok(Self { dataset, indices, sha256 })
    }
}
