//! From files that bring their own architecture to a [`Program`]: operator by operator, and nothing of it is run. There are two doors,
//! exported programs ([`pt2`](super::format::pt2)) and TorchScript, to one table of operators.
//!
//! Reading order: `operators` (the table: one line per operator), `translations`, `decomposed` and `constants` (what they become), `graph` (the program as
//! it grows: constants, values that are changed in place), `stored` (tensors of the file), `shape`, `kind` and `typed` (data types) and
//! `sides` (what depends on the images' height and width), `fallback` (operators that libtorch alone knows), the doors `translator` (exported programs) and `torchscript`, `trial` (one
//! forward pass that checks every shape), `logits` and `unused` (which output counts), `taps` (which values are outputs of modules, and which of them matter).

#[cfg(test)]
mod boxed;
mod call;
mod constants;
mod decomposed;
mod fallback;
mod graph;
#[cfg(test)]
mod hostile;
mod kind;
mod logits;
mod operators;
mod shape;
mod sides;
mod stored;
mod taps;
pub(crate) mod torchscript;
mod translations;
mod translator;
mod trial;
mod typed;
mod unused;

use std::ops::RangeInclusive;

use advmod_attacks::victim::first_line;
use graph::Graph;
use tch::Kind;

use super::blocks::Call;
use super::format::pt2::{Dim, ExportedProgram};
use super::program::{Program, Size, ValueId};
use crate::data::LONGEST_SIDE;
use crate::text::names::{self, clipped};

/// What a network may take and return per image.
const CHANNELS: RangeInclusive<i64> = 1..=4096;
const CLASSES: RangeInclusive<i64> = 2..=1_000_000;

/// Whether images can be so high or wide.
fn is_side(size: i64) -> bool {
    (1..=i64::from(LONGEST_SIDE)).contains(&size)
}

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
    /// What was done to make logits of its output, if anything was.
    pub note: Option<String>,
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
    if translator::kind_of(export.kinds.get(pixels).copied().unwrap_or_default()) != Some(Kind::Float) {
        return Err(ImportError(
            "it takes images in another type than float32; export the model in float32 (model.float())".to_owned(),
        ));
    }
    let shape_of = |name: &str| export.shapes.get(name).map(Vec::as_slice).unwrap_or_default();
    let [batch, Dim::Fixed(channels), height, width] = shape_of(pixels) else {
        return Err(graph("its input is no batch of images [N, C, H, W] with a fixed number of channels"));
    };
    if !CHANNELS.contains(channels) {
        return Err(ImportError(format!("it takes {channels} channel(s), expected at least 1")));
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
    let size = extent(height).zip(extent(width)).filter(|&(h, w)| is_side(h) && is_side(w));
    let Some((rows, columns)) = size else {
        return Err(graph("the image size that it was exported for is unknown or absurd"));
    };

    let first = fixed_batch.map_or(Size::Batch(1), Size::Fixed);
    let image = vec![first, Size::Fixed(*channels), Size::Fixed(rows), Size::Fixed(columns)];
    let translator::Translated { mut graph, outputs, calls } = translator::translate(export, pixels, symbol, image)?;
    let (output, note) = logits::of_outputs(&mut graph, &outputs)?;
    check_kind(&graph, output)?;
    let program = finished(graph, output, &calls, fixed_batch, [rows, columns])?;
    let root = export.nodes.iter().find_map(|node| node.modules.first()).map_or("module", |root| root.class.as_str());
    let class = clipped(root.rsplit('.').next().unwrap_or(root), 60);
    let fixed = matches!((height, width), (Dim::Fixed(_), Dim::Fixed(_)));
    Ok(Imported { program, class, input_size: fixed.then_some([rows, columns]), note })
}

/// The program of a graph that is complete, after a trial of it.
fn finished(
    mut graph: Graph,
    output: ValueId,
    calls: &[Call],
    fixed_batch: Option<i64>,
    [rows, columns]: [i64; 2],
) -> Result<Program, ImportError> {
    let (image, logits) = (&graph.shapes[0], &graph.shapes[output.index()]);
    let ([first, Size::Fixed(channels), ..], [images, Size::Fixed(classes)]) = (&image[..], &logits[..]) else {
        return Err(ImportError(format!("its output is {}, expected logits [N, K]", shape::shown(logits))));
    };
    let (channels, classes) = (*channels, *classes);
    if images != first || !CHANNELS.contains(&channels) || !CLASSES.contains(&classes) {
        return Err(ImportError(format!(
            "it takes {channels} channel(s) and returns {} for the images {}; expected at least 1 channel and 2 classes",
            shape::shown(logits),
            shape::shown(image)
        )));
    }
    let (output, calls) = unused::remove_unused(&mut graph, output, calls);
    let (nodes, weights) = (std::mem::take(&mut graph.nodes), std::mem::take(&mut graph.weights));
    let mut program = Program { nodes, output, weights, channels, classes, fixed_batch, ..Program::default() };
    trial::run(&program, &graph, [fixed_batch.unwrap_or(2), channels, rows, columns])?;
    taps::assign(&mut program, &calls);
    Ok(program)
}

/// That a network's output is in the type that attacks work in.
fn check_kind(graph: &Graph, output: ValueId) -> Result<(), ImportError> {
    match graph.kinds[output.index()] {
        Kind::Float => Ok(()),
        kind => {
            Err(ImportError(format!("it returns logits in {}, expected float32 (model.float())", kind::shown(kind))))
        }
    }
}

/// Whether a value has one row of numbers, or several, for each image.
fn holds_images(graph: &Graph, value: ValueId) -> bool {
    graph.kinds[value.index()] == Kind::Float
        && match (graph.shapes[0].first(), graph.shapes[value.index()].first()) {
            (Some(Size::Fixed(batch)), Some(Size::Fixed(rows))) => *batch > 0 && rows % batch == 0,
            (_, rows) => matches!(rows, Some(Size::Batch(_))),
        }
}

/// Letters of a name that messages show.
const SHOWN: usize = 120;

/// A name in the file, for a message.
fn shown(name: &str) -> String {
    clipped(&names::shown(name), SHOWN)
}
