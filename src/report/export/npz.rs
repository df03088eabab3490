//! `.npz`: a file per attack for `numpy.load`.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use npyz::WriterBuilder as _;
use npyz::npz::NpzWriter;
use npyz::zip::write::FileOptions;
use npyz::zip::{CompressionMethod, DateTime};

use super::arrays::{COLUMNS, SUCCESS, X, X_CLEAN, shape};
use super::{Export, ExportError};

pub(super) fn write(export: &mut Export<'_>, folder: &Path) -> Result<(), ExportError> {
    for at in 0..export.attacks.len() {
        let name = format!("{}.npz", export.attacks[at].attack.attack.label);
        let file = File::create_new(folder.join(&name));
        let fail = |source| ExportError::Write { file: name.clone(), source };
        let mut writer = NpzWriter::new(BufWriter::new(file.map_err(fail)?));
        let written = attack(export, at, &mut writer).map_err(|problem| problem.named(&name));
        let file = written.and_then(|()| writer.zip_writer().finish().map_err(|error| fail(error.into())));
        if file.is_err() {
            // Dropped, it would try again to end the archive and tell stderr that it could not.
            std::mem::forget(writer);
        }
        let file = file?;
        file.into_inner().map_err(|error| fail(error.into_error()))?.sync_all().map_err(fail)?;
    }
    Ok(())
}

/// A failure to write, or anything else.
enum Problem {
    Io(io::Error),
    Other(ExportError),
}

impl Problem {
    fn named(self, file: &str) -> ExportError {
        match self {
            Self::Io(source) => ExportError::Write { file: file.to_owned(), source },
            Self::Other(error) => error,
        }
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E: Into<ExportError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn attack<W: Write + Seek>(export: &mut Export<'_>, at: usize, writer: &mut NpzWriter<W>) -> Result<(), Problem> {
    // Stored: numpy maps such arrays, and noise hardly shrinks. No time of day: equal runs give equal files.
    let options = FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(true);
    let shape = shape(&export.attacks[at]).map(|size| size as u64);
    let mut x = writer.array(X, options)?.default_dtype().shape(&shape).begin_nd()?;
    for row in 0..export.attacks[at].rows.len() {
        x.extend(export.attacks[at].pixels.picture(row)?.pixels)?;
        export.step()?;
    }
    x.finish()?;
    let mut x_clean = writer.array(X_CLEAN, options)?.default_dtype().shape(&shape).begin_nd()?;
    for row in &export.attacks[at].rows {
        x_clean.extend(export.clean.picture(row.clean)?.eight_bit())?;
    }
    x_clean.finish()?;
    let rows = &export.attacks[at].rows;
    for (name, value) in COLUMNS {
        let mut column = writer.array(name, options)?.default_dtype().shape(&shape[..1]).begin_nd()?;
        column.extend(rows.iter().map(value))?;
        column.finish()?;
    }
    let mut success = writer.array(SUCCESS, options)?.default_dtype().shape(&shape[..1]).begin_nd()?;
    success.extend(rows.iter().map(|row| row.result.success))?;
    success.finish()?;
    Ok(())
}
