//! Which of a network's outputs are its logits, and these in the form `[N, K]`; both doors ask here.

use super::ImportError;
use super::graph::{Graph, Operand, Origin};
use super::shape::shown;
use crate::model::program::{Op, Size, ValueId};

/// The logits among the outputs, and what was done to find them, if anything was; outputs may have names.
pub(super) fn of_outputs(
    graph: &mut Graph,
    outputs: &[(String, Operand)],
) -> Result<(ValueId, Option<String>), ImportError> {
    graph.origin = Origin { target: "its output".into(), place: "the whole model".into() };
    let is_row = |(_, operand): &&(String, Operand)| {
        let shape = graph.shape(operand);
        shape.first() == graph.shapes[0].first() && matches!(shape[..], [_, Size::Fixed(2..)])
    };
    let rows: Vec<&(String, Operand)> = outputs.iter().filter(is_row).collect();
    let named = outputs.iter().find(|(name, _)| name == "logits");
    let (chosen, mut notes) = match (outputs, named, &rows[..]) {
        ([], ..) => return Err(ImportError("it returns no tensor".to_owned())),
        ([only], ..) => (only, Vec::new()),
        (_, Some(named), _) => (named, vec!["its output `logits`".to_owned()]),
        (_, None, [only]) => (*only, vec![format!("the one of its {} outputs that is [N, classes]", outputs.len())]),
        _ => {
            let all: Vec<String> = outputs.iter().take(8).map(|(_, it)| shown(&graph.shape(it))).collect();
            return Err(ImportError(format!(
                "it returns {} tensors ({}), expected the logits alone or one of them that is [N, classes]",
                outputs.len(),
                all.join(", ")
            )));
        }
    };
    let mut logits = chosen.1.clone();
    graph.read(&logits)?;
    let unit = Size::Fixed(1);
    match &graph.shape(&logits)[..] {
        [_, Size::Fixed(_), rest @ ..] if !rest.is_empty() && rest.iter().all(|size| *size == unit) => {
            notes.push(format!("{} taken as [N, classes]", shown(&graph.shape(&logits))));
            logits = graph.emit(Op::FLATTEN, &[logits])?;
        }
        [images] if Some(images) == graph.shapes[0].first() => {
            logits = graph.emit(Op::Unsqueeze { dim: 1 }, &[logits])?;
        }
        _ => (),
    }
    if graph.shape(&logits).get(1..) == Some(&[unit]) {
        notes.push("one logit taken as two classes: 0 and the logit".to_owned());
        logits = graph.emit(Op::Pad { pad: vec![1, 0], value: 0.0 }, &[logits])?;
    }
    let value = logits.value().ok_or_else(|| ImportError("its output does not depend on its input".to_owned()))?;
    Ok((value, (!notes.is_empty()).then(|| notes.join("; "))))
}
