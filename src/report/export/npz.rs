//! `.npz`: a file per attack for `numpy.load`.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use npyz::npz::NpzWriter;
use npyz::zip::write::FileOptions;
use npyz::zip::{CompressionMethod, DateTime};
use npyz::{AutoSerialize, WriterBuilder as _};

use super::arrays::{COLUMNS, SUCCESS, X, X_CLEAN, shape};
use super::{Export, ExportError};

pub(super) fn write(export: &mut Export<'_>, folder: &Path) -> Result<(), ExportError> {
    for at in 0..export.attacks.len() {
        let name = format!("{}.npz", export.attacks[at].attack.attack.label);
        let file = File::create_new(folder.join(&name));
        let fail = |source| ExportError::Write { file: name.clone(), source };
        let mut writer = NpzWriter::new(BufWriter::new(file.map_err(fail)?));
        let written = attack(export, at, &mut writer, &fail);
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

fn attack<W: Write + Seek>(
    export: &mut Export<'_>,
    at: usize,
    writer: &mut NpzWriter<W>,
    fail: &dyn Fn(io::Error) -> ExportError,
) -> Result<(), ExportError> {
    let shape = shape(&export.attacks[at]).map(|size| size as u64);
    let mut x = writer.array(X, options()).and_then(|it| it.default_dtype().shape(&shape).begin_nd()).map_err(fail)?;
    for row in 0..export.attacks[at].rows.len() {
        x.extend(export.attacks[at].pixels.picture(row)?.pixels).map_err(fail)?;
        export.step()?;
    }
    x.finish().map_err(fail)?;
    let x_clean = writer.array(X_CLEAN, options()).and_then(|it| it.default_dtype().shape(&shape).begin_nd());
    let mut x_clean = x_clean.map_err(fail)?;
    for row in &export.attacks[at].rows {
        x_clean.extend(export.clean.picture(row.clean)?.eight_bit()).map_err(fail)?;
    }
    x_clean.finish().map_err(fail)?;
    let rows = &export.attacks[at].rows;
    for (name, value) in COLUMNS {
        column(writer, name, rows.iter().map(value)).map_err(fail)?;
    }
    column(writer, SUCCESS, rows.iter().map(|row| row.result.success)).map_err(fail)
}

/// A value per image.
fn column<W: Write + Seek, T: AutoSerialize>(
    writer: &mut NpzWriter<W>,
    name: &str,
    values: impl ExactSizeIterator<Item = T>,
) -> io::Result<()> {
    let shape = [values.len() as u64];
    let mut column = writer.array(name, options())?.default_dtype().shape(&shape).begin_nd()?;
    column.extend(values)?;
    column.finish()
}

/// Stored: numpy maps such arrays, and noise hardly shrinks. No time of day: equal runs give equal files.
fn options() -> FileOptions {
    FileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(true)
}
