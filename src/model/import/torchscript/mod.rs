//! From the code and objects of a TorchScript archive to a `Program`: a partial evaluation of `forward`.
//!
//! Reading order: `source` (code as a tree, with its classes and functions), `value` (what expressions come to), `evaluator` (statements and
//! expressions) and `calls`, `stored` (attributes and constants), `builtins`, `numbers`, `texts`, `lists` and `devices` (functions over what is
//! known, sizes among them) and `tensors` (operators, through the table). Nothing of the archive is run: a function that is not named here is refused.

mod builtins;
mod calls;
mod devices;
mod evaluator;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod hostile;
mod lists;
mod numbers;
mod source;
mod store;
mod stored;
mod tensors;
#[cfg(test)]
mod tests;
mod texts;
mod value;

use calls::class_name;
use evaluator::Evaluator;
use source::Library;
use store::Store;

use super::graph::Graph;
use super::shape::{self, Shape};
use super::{CHANNELS, CLASSES, ImportError, Imported, check_kind, finished, is_side, logits};
use crate::memory::Allowance;
use crate::model::blocks::Call;
use crate::model::format::{Item, ScriptFile};
use crate::model::program::{Node, Size, ValueId, Weight};
use crate::text::names::clipped;

/// Sides that images usually have, the most telling first.
const USUAL_SIDES: [i64; 15] = [224, 32, 28, 299, 64, 48, 96, 128, 160, 192, 240, 256, 288, 384, 448];
/// Statements and expressions that are followed, in all attempts together.
const MOST_STEPS: usize = 3_000_000;
/// The code is followed by functions that call each other, as it does itself.
const STACK: usize = 128 << 20;

/// Translates a TorchScript module; `side` is the side of the images, where the user says so.
///
/// # Errors
/// See [`ImportError`].
pub(crate) fn import(file: &ScriptFile, side: Option<i64>) -> Result<Imported, ImportError> {
    std::thread::scope(|scope| {
        let allowance = Allowance::current();
        let thread = std::thread::Builder::new().name("torchscript".to_owned()).stack_size(STACK);
        let running = thread.spawn_scoped(scope, || match allowance {
            Some(allowance) => allowance.open(|| translate(file, side)),
            None => translate(file, side),
        });
        let running = running.map_err(|error| ImportError(format!("no thread can be started ({error})")))?;
        // Code that finds a fault of the reader is one more that cannot be translated.
        running.join().unwrap_or_else(|_| Err(ImportError("its code broke the reader; please report this".to_owned())))
    })
}

/// A translation for images of one shape.
struct Translated {
    graph: Graph,
    output: ValueId,
    note: Option<String>,
    calls: Vec<Call>,
    image: Shape,
}

impl Translated {
    /// Whether another translation computes the same by the same operators.
    fn is_same(&self, other: &Self) -> bool {
        let same_nodes = |(a, b): (&Node, &Node)| a.op == b.op && a.inputs == b.inputs;
        let same_weights = |(a, b): (&Weight, &Weight)| {
            a.name == b.name && (a.trainable || a.tensor.size() == b.tensor.size() && a.tensor == b.tensor)
        };
        let (a, b) = (&self.graph, &other.graph);
        self.output == other.output
            && a.nodes.len() == b.nodes.len()
            && a.weights.len() == b.weights.len()
            && a.nodes.iter().zip(&b.nodes).all(same_nodes)
            && a.weights.iter().zip(&b.weights).all(same_weights)
    }
}

struct Attempts<'a> {
    library: &'a Library<'a>,
    file: &'a ScriptFile,
    store: Store,
    steps: usize,
    /// Multiply-adds of constants that all attempts have spent.
    work: f64,
    /// The failure that came furthest, and how far.
    failure: Option<(usize, ImportError)>,
    exhausted: bool,
}

impl Attempts<'_> {
    fn translate(&mut self, image: Shape) -> Option<Translated> {
        if self.exhausted {
            return None;
        }
        let (mut graph, images) = Graph::new(image.clone());
        graph.work = self.work;
        let mut evaluator = Evaluator::new(self.library, self.file, &self.store, graph, self.steps);
        let made = evaluator.forward(images).and_then(|outputs| logits::of_outputs(&mut evaluator.graph, &outputs));
        (self.steps, self.work) = (evaluator.steps, evaluator.graph.work);
        self.exhausted = self.steps == 0 || evaluator.graph.is_exhausted();
        let reached = evaluator.graph.nodes.len();
        let checked = |(output, note)| {
            check_logits(&evaluator.graph, output)?;
            check_kind(&evaluator.graph, output).map(|()| (output, note))
        };
        match made.and_then(checked) {
            Ok((output, note)) => {
                let Evaluator { graph, calls, .. } = evaluator;
                Some(Translated { graph, output, note, calls, image })
            }
            Err(error) => {
                if self.exhausted || self.failure.as_ref().is_none_or(|(furthest, _)| reached > *furthest) {
                    let tried: Vec<String> = image.iter().skip(1).map(|size| size.of(1).to_string()).collect();
                    let reason = format!("{error} (for images of {})", tried.join("×"));
                    self.failure = Some((reached, ImportError(reason)));
                }
                None
            }
        }
    }
}

/// That a value has a row of numbers for each image.
fn check_logits(graph: &Graph, output: ValueId) -> Result<(), ImportError> {
    let (image, logits) = (&graph.shapes[0], &graph.shapes[output.index()]);
    match logits[..] {
        [images, Size::Fixed(classes)] if images == image[0] && CLASSES.contains(&classes) => Ok(()),
        _ => Err(ImportError(format!(
            "it returns {} for images {}, expected [N, classes]",
            shape::shown(logits),
            shape::shown(image)
        ))),
    }
}

fn translate(file: &ScriptFile, side: Option<i64>) -> Result<Imported, ImportError> {
    let files = source::parse(&file.code)?;
    let library = Library::new(&files)?;
    let mut attempts = Attempts {
        library: &library,
        file,
        store: Store::new(file),
        steps: MOST_STEPS,
        work: 0.0,
        failure: None,
        exhausted: false,
    };
    let traced: Option<[i64; 4]> = file.traced.as_ref().and_then(|shape| {
        let sizes: Vec<i64> = shape.iter().map(|&size| i64::try_from(size).unwrap_or(0)).collect();
        let shape: [i64; 4] = sizes.try_into().ok()?;
        let [images, channels, sides @ ..] = &shape;
        (*images >= 1 && CHANNELS.contains(channels) && sides.iter().copied().all(is_side)).then_some(shape)
    });
    let mut sizes: Vec<[i64; 2]> = match side {
        Some(side) => vec![[side; 2]],
        None => USUAL_SIDES.iter().map(|&side| [side; 2]).collect(),
    };
    let mut channels = vec![3, 1, 4, 2];
    if let Some([_, traced, height, width]) = traced {
        channels = vec![traced];
        if side.is_none() {
            sizes.insert(0, [height, width]);
        }
    }
    let shape = |batch: Size, channels: i64, size: [i64; 2]| -> Shape {
        [batch].into_iter().chain([channels, size[0], size[1]].map(Size::Fixed)).collect()
    };
    let shapes = sizes.iter().flat_map(|&size| channels.iter().map(move |&channels| (channels, size)));
    let any_batch: Vec<Shape> = shapes.map(|(channels, size)| shape(Size::Batch(1), channels, size)).collect();
    // Tracing may have written down how many images there were.
    let fixed =
        traced.filter(|_| side.is_none()).map(|[batch, channels, h, w]| shape(Size::Fixed(batch), channels, [h, w]));
    let found = any_batch.into_iter().find_map(|shape| attempts.translate(shape));
    let found = found.or_else(|| {
        let failure = attempts.failure.take();
        let found = fixed.and_then(|shape| attempts.translate(shape));
        attempts.failure = failure.or(attempts.failure.take());
        found
    });
    let Some(found) = found else {
        let failure = attempts.failure.map(|(_, failure)| failure);
        return Err(failure.unwrap_or_else(|| ImportError("it takes no images".to_owned())));
    };
    let [batch, Size::Fixed(channels), Size::Fixed(height), Size::Fixed(width)] = found.image[..] else {
        unreachable!("all shapes that are tried have these")
    };
    let fixed_batch = match batch {
        Size::Fixed(batch) => Some(batch),
        Size::Batch(_) => None,
    };
    // Whether what was found holds for other sizes, too.
    let others = [32, 224, 512].map(|side| [side; 2]).into_iter().filter(|size| *size != [height, width]);
    let mut others = others.filter_map(|size| attempts.translate(shape(batch, channels, size))).peekable();
    let decided = found.graph.sides_used.get();
    let any_size = side.is_some() || !decided && others.peek().is_some() && others.all(|other| other.is_same(&found));
    let program = finished(found.graph, found.output, &found.calls, fixed_batch, [height, width])?;
    let class = match file.data.get(file.data.root).1 {
        Item::Object { class, .. } => class_name(class),
        _ => String::new(),
    };
    let class = clipped(class.rsplit('.').next().unwrap_or_default(), 60);
    Ok(Imported { program, class, input_size: (!any_size).then_some([height, width]), note: found.note })
}
