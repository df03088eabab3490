//! The adversarial images of a stored run, for other tools: one file per format. No image but the one in work is in memory.

mod arrays;
mod npz;
mod png;
mod safetensors;

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::audit::event::SampleResult;
use crate::measure::ProgressOf;
use crate::store::pixels::{PictureError, PixelFile};
use crate::store::{CLEAN_FILE, adversarial_file};
use crate::verdict::Report;
use crate::verdict::facts::AttackResult;

pub struct ExportFormat {
    /// As `--format` takes it.
    pub name: &'static str,
    /// Whether it holds 8 bits per value, so that the run's verdicts may not hold for it.
    pub rounds: bool,
    /// Writes its files into an empty folder.
    pub write: fn(&mut Export<'_>, &Path) -> Result<(), ExportError>,
}

/// Every format. A new one is a file and a line here.
pub static EXPORTS: &[ExportFormat] = &[
    ExportFormat { name: "npz", rounds: false, write: npz::write },
    ExportFormat { name: "safetensors", rounds: false, write: safetensors::write },
    ExportFormat { name: "png", rounds: true, write: png::write },
];

/// Why images cannot be exported. One line each.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Read(#[from] PictureError),
    /// They do not go together.
    #[error("{0}")]
    Unfit(String),
    #[error("cannot write {file}: {source}")]
    Write { file: String, source: io::Error },
    /// The model cannot be asked.
    #[error("{0}")]
    Judge(String),
    #[error("stopped")]
    Stopped,
}

/// Gives the classes of images with 8 bits per value, `[N, C, H, W]`, at most [`JUDGED_AT_ONCE`].
pub(crate) type Judge<'a> = &'a mut dyn FnMut(&[u8]) -> Result<Vec<u32>, String>;

/// Most images that a judge gets at once.
pub(crate) const JUDGED_AT_ONCE: usize = 128;

pub struct Export<'a> {
    report: &'a Report,
    attacks: Vec<AttackImages<'a>>,
    clean: PixelFile,
    judge: Option<Judge<'a>>,
    progress: &'a mut ProgressOf<'a>,
    done: u64,
    /// What the user should know of what was written; a line each.
    pub notes: Vec<String>,
}

/// The kept images of one attack.
struct AttackImages<'a> {
    attack: &'a AttackResult,
    pixels: PixelFile,
    rows: Vec<Row<'a>>,
}

/// What is known of one image.
struct Row<'a> {
    result: &'a SampleResult,
    /// Place in the data set.
    index: usize,
    label: u32,
    /// Row of its original among the clean images.
    clean: usize,
}

impl<'a> Export<'a> {
    /// Opens the images of these attacks (places in the plan) in the run's folder and checks that they are the report's. An attack whose
    /// pixels were not kept is left out with a note.
    ///
    /// # Errors
    /// No pixels at all; files that are damaged or of another run.
    pub fn open(
        report: &'a Report,
        folder: &Path,
        attacks: &[usize],
        judge: Option<Judge<'a>>,
        progress: &'a mut ProgressOf<'a>,
    ) -> Result<Self, ExportError> {
        let clean = PixelFile::clean(folder)?;
        let clean = clean
            .ok_or_else(|| ExportError::Unfit(format!("the run kept no pixels (no {CLEAN_FILE} beside its report)")))?;
        if clean.shape() != report.data.shape {
            return Err(ExportError::Unfit(format!("{CLEAN_FILE} is of another run: its images have another size")));
        }
        let mut export = Self { report, attacks: Vec::new(), clean, judge, progress, done: 0, notes: Vec::new() };
        for attack in attacks.iter().filter_map(|&at| report.attacks.get(at)) {
            let label = &attack.attack.label;
            match PixelFile::adversarial(folder, label)? {
                Some(pixels) => {
                    let rows = export.rows(attack, &pixels).map_err(|what| {
                        ExportError::Unfit(format!("{} is of another run: {what}", adversarial_file(label)))
                    })?;
                    export.attacks.push(AttackImages { attack, pixels, rows });
                }
                None => export.notes.push(format!("{label}: left out, the run kept none of its pixels")),
            }
        }
        if export.attacks.is_empty() {
            return Err(ExportError::Unfit("the run kept no pixels of these attacks".to_owned()));
        }
        Ok(export)
    }

    /// How many images there are.
    pub fn len(&self) -> u64 {
        self.attacks.iter().map(|attack| attack.rows.len() as u64).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self, attack: &'a AttackResult, pixels: &PixelFile) -> Result<Vec<Row<'a>>, String> {
        let (data, clean) = (&self.report.data, self.clean.samples());
        if pixels.shape() != data.shape {
            return Err("its images have another size".to_owned());
        }
        // Both are in sample order.
        let row = |&place: &i64| -> Option<Row<'a>> {
            let sample = usize::try_from(place).ok()?;
            let result = &attack.samples[attack.samples.binary_search_by_key(&sample, |it| it.sample).ok()?];
            let clean = clean.binary_search(&place).ok()?;
            Some(Row { result, index: *data.indices.get(sample)?, label: *data.labels.get(sample)?, clean })
        };
        let rows =
            pixels.samples().iter().map(|place| row(place).ok_or_else(|| format!("the report has no sample {place}")));
        rows.collect()
    }

    fn step(&mut self) -> Result<(), ExportError> {
        self.done += 1;
        let total = self.len();
        match (self.progress)(self.done, total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Stopped),
        }
    }
}
