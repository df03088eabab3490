//! `.safetensors`: a file per attack with the same arrays as `.npz`.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::arrays::{COLUMNS, SUCCESS, X, X_CLEAN, shape};
use super::{Export, ExportError};

pub(super) fn write(export: &mut Export<'_>, folder: &Path) -> Result<(), ExportError> {
    for at in 0..export.attacks.len() {
        let name = format!("{}.safetensors", export.attacks[at].attack.attack.label);
        let fail = |source| ExportError::Write { file: name.clone(), source };
        let mut file = BufWriter::new(File::create_new(folder.join(&name)).map_err(fail)?);
        file.write_all(&header(shape(&export.attacks[at]))).map_err(fail)?;
        for (_, value) in COLUMNS {
            for row in &export.attacks[at].rows {
                file.write_all(&value(row).to_le_bytes()).map_err(fail)?;
            }
        }
        for row in 0..export.attacks[at].rows.len() {
            for value in export.attacks[at].pixels.picture(row)?.pixels {
                file.write_all(&value.to_le_bytes()).map_err(fail)?;
            }
            export.step()?;
        }
        for row in &export.attacks[at].rows {
            file.write_all(&export.clean.picture(row.clean)?.eight_bit()).map_err(fail)?;
        }
        let success: Vec<u8> = export.attacks[at].rows.iter().map(|row| u8::from(row.result.success)).collect();
        file.write_all(&success).map_err(fail)?;
        file.into_inner().map_err(|error| fail(error.into_error()))?.sync_all().map_err(fail)?;
    }
    Ok(())
}

/// Length and text of the header, in the order in which the tensors follow: the widest numbers first, so that all are aligned.
fn header(shape: [usize; 4]) -> Vec<u8> {
    let (n, values) = (shape[0], shape.iter().product::<usize>());
    let columns = COLUMNS.iter().map(|(name, _)| (*name, "I64", 8 * n, json!([n])));
    let rest =
        [(X, "F32", 4 * values, json!(shape)), (X_CLEAN, "U8", values, json!(shape)), (SUCCESS, "BOOL", n, json!([n]))];
    let (mut tensors, mut end) = (Map::new(), 0);
    for (name, dtype, length, shape) in columns.chain(rest) {
        let tensor = json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + length] });
        tensors.insert(name.to_owned(), tensor);
        end += length;
    }
    let mut text = Value::Object(tensors).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}
