//! From an exported program ([`pt2`](super::format::pt2)) to a [`Program`]: operator by operator, and nothing of it is Python.
//!
//! Reading order: `operators` (the table: one line per operator), `translator` (names, constants, values that are changed in place),
//! `trial` (one forward pass that checks every shape), `taps` (which values are outputs of modules, and which of them matter).

mod call;
#[cfg(test)]
mod hostile;
mod operators;
mod taps;
mod translator;
mod trial;

use super::format::pt2::{Dim, ExportedProgram};
use super::program::Program;
use crate::text::names::clipped;

/// Why an exported program cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ImportError(String);

/// A [`Program`] and what the export says about it.
#[derive(Debug)]
pub(crate) struct Imported {
    pub program: Program,
    /// Class of the model, without its modules.
    pub class: String,
    /// Height and width of the images that it was exported for, where these are fixed.
    pub input_size: Option<[i64; 2]>,
}

/// Translates an exported program.
///
/// # Errors
/// See [`ImportError`].
pub(crate) fn import(export: &ExportedProgram) -> Result<Imported, ImportError> {
    let graph = |message: &str| ImportError(message.to_owned());
    let [pixels] = export.inputs.as_slice() else {
        return Err(ImportError(format!("it takes {} inputs, expected one batch of images", export.inputs.len())));
    };
    let [output] = export.outputs.as_slice() else {
        return Err(ImportError(format!("it returns {} tensors, expected the logits alone", export.outputs.len())));
    };
    let shape_of = |name: &str| export.shapes.get(name).map(Vec::as_slice).unwrap_or_default();
    let [batch, Dim::Fixed(channels), height, width] = shape_of(pixels) else {
        return Err(graph("its input is no batch of images [N, C, H, W] with a fixed number of channels"));
    };
    let [_, Dim::Fixed(classes)] = shape_of(output) else {
        return Err(graph("its output is no batch of logits [N, K]"));
    };
    if !(1..=4096).contains(channels) || !(2..=1_000_000).contains(classes) {
        return Err(ImportError(format!(
            "it takes {channels} channel(s) and returns {classes} number(s) per image; expected at least 1 channel and 2 classes"
        )));
    }
    let (symbol, fixed_batch) = match batch {
        Dim::Symbol { name, times: 1, .. } => (Some(name.as_str()), None),
        Dim::Fixed(size) if (1..=65_536).contains(size) => (None, Some(*size)),
        _ => return Err(graph("its batch size is neither a number nor a symbol")),
    };
    let extent = |dim: &Dim| match dim {
        Dim::Fixed(size) => Some(*size),
        Dim::Symbol { hint, .. } => *hint,
        Dim::Other(_) => None,
    };
    let size = extent(height).zip(extent(width)).filter(|&(h, w)| (1..=8192).contains(&h) && (1..=8192).contains(&w));
    let Some((rows, columns)) = size else {
        return Err(graph("the image size that it was exported for is unknown or absurd"));
    };

    let translated = translator::translate(export, pixels, output, symbol)?;
    let mut program = Program {
        output: translated.output,
        nodes: translated.nodes,
        weights: translated.weights,
        channels: *channels,
        classes: *classes,
        fixed_batch,
        ..Program::default()
    };
    let image = [fixed_batch.unwrap_or(1), *channels, rows, columns];
    trial::run(&program, &translated.origins, export, symbol, image)?;
    taps::assign(&mut program, export, &translated.made, symbol);
    let root = export.nodes.iter().find_map(|node| node.modules.first()).map_or("module", |root| root.class.as_str());
    let class = clipped(root.rsplit('.').next().unwrap_or(root), 60);
    let fixed = matches!((height, width), (Dim::Fixed(_), Dim::Fixed(_)));
    Ok(Imported { program, class, input_size: fixed.then_some([rows, columns]) })
}

/// Letters of a name that messages show.
const SHOWN: usize = 120;

/// A name in the file, for a message.
fn shown(name: &str) -> String {
    clipped(name, SHOWN)
}
