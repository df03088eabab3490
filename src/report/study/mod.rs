//! The studies' results as bytes: one file per study, each with the table of the files that it is written to.

pub mod curve;
pub(crate) mod dynamics;
pub mod prune;

mod flow;
mod labels;
mod similarity;

use serde_json::Value;

use crate::study::results::curve::CurveResult;
use crate::study::results::dynamics::DynamicsResult;
use crate::study::results::flow::FlowResult;
use crate::study::results::labels::LabelsResult;
use crate::study::results::prune::PruneResult;
use crate::study::results::similarity::SimilarityResult;
use crate::study::results::{StudyResult, parse, schema, to_json};
use crate::text::heatmap::Look;

/// A file that a result is written to.
pub(crate) struct StudyFile<R> {
    /// Its name in the folder of `--out`.
    pub name: &'static str,
    /// As `--format` of `advmod report` takes it.
    pub format: &'static str,
    pub render: fn(&R) -> Vec<u8>,
    /// Why there is no such file of a result, in one line.
    pub missing: fn(&R) -> Option<String>,
}

impl<R: StudyResult> StudyFile<R> {
    pub(crate) const fn new(name: &'static str, format: &'static str, render: fn(&R) -> Vec<u8>) -> Self {
        Self { name, format, render, missing: |_| None }
    }

    pub(crate) const fn json() -> Self {
        Self::new(R::FILE, "json", to_json::<R>)
    }

    /// The same, for some results only.
    #[must_use]
    pub(crate) const fn unless(self, missing: fn(&R) -> Option<String>) -> Self {
        Self { missing, ..self }
    }
}

/// Rows of a ranking unless a flag says otherwise.
pub(crate) const TOP: usize = 20;

/// What a text for people depends on beside its result.
#[derive(Clone, Copy, Debug)]
pub struct TextOptions {
    /// How matrices are shown.
    pub look: Look,
    /// Whether tables of details follow.
    pub details: bool,
    /// Most rows of a ranking.
    pub top: usize,
}

impl TextOptions {
    /// What the commands show unless a flag says otherwise.
    pub fn new(look: Look) -> Self {
        Self { look, details: false, top: TOP }
    }
}

/// A result that can be shown.
pub(crate) trait StudyReport: StudyResult + 'static {
    /// What it is written to.
    const FILES: &'static [StudyFile<Self>];

    /// The flags that its text takes, of those in [`TextOptions`].
    const FLAGS: &'static [&'static str] = &[];

    /// For people. Holds colours as `options` ask for them, and nothing else that a terminal obeys.
    fn text(&self, options: &TextOptions) -> String;
}

/// The files of a result: names and contents.
pub(crate) fn files<R: StudyReport>(result: &R) -> impl Iterator<Item = (&'static str, Vec<u8>)> + '_ {
    R::FILES.iter().filter(|file| (file.missing)(result).is_none()).map(move |file| (file.name, (file.render)(result)))
}

/// A study whose results can be read back and shown again.
pub struct Study {
    pub name: &'static str,
    /// Name of the JSON file.
    pub file: &'static str,
    /// The formats, and how the names of their files end; the text for people is the first.
    pub formats: fn() -> Vec<[&'static str; 2]>,
    /// The JSON Schema of the file.
    pub schema: fn() -> Value,
    pub render: Render,
    /// The flags that its text takes.
    pub flags: &'static [&'static str],
}

/// Makes a format out of the JSON file's content.
pub(crate) type Render = fn(json: &[u8], format: &str, options: &TextOptions) -> Result<Vec<u8>, String>;

/// The format for people, which has no file in a study's folder.
pub(crate) const TEXT: &str = "text";

/// Every study. A new one is a result in `study/results/`, a file here and a line.
pub static STUDIES: &[Study] = &[
    Study::of::<CurveResult>(),
    Study::of::<SimilarityResult>(),
    Study::of::<LabelsResult>(),
    Study::of::<FlowResult>(),
    Study::of::<DynamicsResult>(),
    Study::of::<PruneResult>(),
];

impl Study {
    const fn of<R: StudyReport>() -> Self {
        Self {
            name: R::STUDY,
            file: R::FILE,
            formats: || {
                let files = R::FILES.iter().map(|file| [file.format, file.name]);
                std::iter::once([TEXT, ".txt"]).chain(files).collect()
            },
            schema: schema::<R>,
            flags: R::FLAGS,
            render: |json, format, options| {
                let result: R = parse(json)?;
                match R::FILES.iter().find(|file| file.format == format) {
                    None => Ok(result.text(options).into_bytes()),
                    Some(file) => (file.missing)(&result).map_or_else(|| Ok((file.render)(&result)), Err),
                }
            },
        }
    }
}
