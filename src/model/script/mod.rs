//! TorchScript: libtorch runs the module, a C++ shim (`shim`) shows the outputs of the modules inside it.
//!
//! The shim copies the graph of `forward`, puts a mark behind every call of a module and unfolds all calls. A run hands the marked tensors
//! out as they are made, so that a curve needs the memory of one representation.

mod shim;

use std::collections::BTreeMap;

use tch::{Device, Kind, TchError, Tensor};

use super::blocks::{Call, block_outputs, blocks_of, names_of};
use super::program::TapSelection;
use super::{ModelInfo, VisitTap, upload};
use shim::Handle;

/// A loaded module and what a trial found out about it.
#[derive(Debug)]
pub(crate) struct Script {
    handle: Handle,
    calls: Vec<Call>,
    /// Class of the module, without its Python modules.
    pub class: String,
    /// Channels of the images.
    pub channels: i64,
    pub classes: i64,
    /// The only height and width among the usual ones that it takes, if there is just one.
    pub input_size: Option<[i64; 2]>,
}

/// Sides that images usually have, the most telling first.
const USUAL_SIZES: [i64; 15] = [224, 32, 28, 299, 64, 48, 96, 128, 160, 192, 240, 256, 288, 384, 448];

impl Script {
    /// Loads an archive (`torch.jit.save`) and tries which images it takes; `size` is the side that the user names.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn load(bytes: &[u8], size: Option<i64>, device: Device) -> Result<Self, String> {
        let handle = Handle::load(bytes, device).map_err(|message| format!("libtorch cannot load it: {message}"))?;
        let mut failure = String::new();
        let mut attempt = |channels: i64, size: i64| -> Option<i64> {
            trial(&handle, channels, size, device).map_err(|message| failure = message).ok()
        };
        let sizes = size.map_or(USUAL_SIZES.to_vec(), |size| vec![size]);
        let found = (sizes.iter()).find_map(|&size| {
            [3, 1, 4, 2].into_iter().find_map(|channels| Some((channels, size, attempt(channels, size)?)))
        });
        let Some((channels, first, classes)) = found else {
            return Err(format!(
                "takes no batch of images [N, C, H, W] of {} (the last try: {failure}); give --input-size",
                size.map_or("any usual size".to_owned(), |size| format!("{size}×{size}"))
            ));
        };
        // Whether another size does as well.
        let other = if first == 224 { 32 } else { 224 };
        let any_size = size.is_some() || trial(&handle, channels, other, device).is_ok();
        let (calls, class) = (handle.calls(), class_name(&handle.class()));
        let class = class.rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Self { handle, calls, class, channels, classes, input_size: (!any_size).then_some([first; 2]) })
    }
}

/// Number of logits for two images of this many channels and this side.
fn trial(handle: &Handle, channels: i64, size: i64, device: Device) -> Result<i64, String> {
    let _guard = tch::no_grad_guard();
    let images = Tensor::zeros([2, channels, size, size], (Kind::Float, device));
    let logits = handle.run(&images, None).map_err(|error| advmod_attacks::victim::first_line(&error))?;
    match *logits.size() {
        [2, classes] if classes >= 2 => Ok(classes),
        ref shape => Err(format!("it returns shape {shape:?} for 2 images, expected [2, classes]")),
    }
}

/// A [`Script`] with chosen taps.
#[derive(Debug)]
pub(super) struct ScriptModel {
    handle: Handle,
    /// Path and mark, in forward order.
    taps: Vec<(String, usize)>,
    /// Mean and standard deviation `[1, C, 1, 1]`, where there are any.
    normalization: Option<(Tensor, Tensor)>,
}

impl ScriptModel {
    pub(super) fn new(script: Script, info: &ModelInfo, taps: &TapSelection, device: Device) -> Result<Self, String> {
        let (mean, std) = info.normalization.for_channels(info.channels)?;
        let constant = |values: &[f64]| {
            let tensor = Tensor::from_slice(values).to_kind(Kind::Float).view([1, -1, 1, 1]);
            upload::to_device(&tensor, device).map_err(|error| advmod_attacks::victim::first_line(&error))
        };
        let normalization = match info.normalization.is_none() {
            true => None,
            false => Some((constant(&mean)?, constant(&std)?)),
        };
        Ok(Self { taps: chosen_taps(script.calls, taps)?, handle: script.handle, normalization })
    }

    pub(super) fn share(&self) -> Self {
        let normalization = self.normalization.as_ref().map(|(mean, std)| (mean.shallow_clone(), std.shallow_clone()));
        Self { handle: self.handle.clone(), taps: self.taps.clone(), normalization }
    }

    pub(super) fn tap_paths(&self) -> Vec<String> {
        self.taps.iter().map(|(path, _)| path.clone()).collect()
    }

    pub(super) fn parameters(&self) -> u64 {
        self.handle.parameters()
    }

    pub(super) fn run(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        self.handle.run(&self.normalized(pixels)?, None)
    }

    pub(super) fn run_with_taps(&self, pixels: &Tensor, visit: &mut VisitTap<'_>) -> Result<Tensor, TchError> {
        let wanted: BTreeMap<usize, usize> =
            self.taps.iter().enumerate().map(|(idx, (_, mark))| (*mark, idx)).collect();
        self.handle.run(
            &self.normalized(pixels)?,
            Some(&mut |mark, output| wanted.get(&mark).map_or(Ok(()), |&idx| visit(idx, output))),
        )
    }

    fn normalized(&self, pixels: &Tensor) -> Result<Tensor, TchError> {
        match &self.normalization {
            None => Ok(pixels.shallow_clone()),
            Some((mean, std)) => pixels.f_sub(mean)?.f_div(std),
        }
    }
}

fn chosen_taps(mut calls: Vec<Call>, selection: &TapSelection) -> Result<Vec<(String, usize)>, String> {
    // What is inside a call is inside all calls around it. A call comes after its parent.
    for idx in (0..calls.len()).rev() {
        if let (true, Some(parent)) = (calls[idx].weighted, calls[idx].parent) {
            calls[parent].weighted = true;
        }
    }
    let blocks = blocks_of(&calls);
    let last = calls.iter().filter_map(|call| call.output).max().unwrap_or(0);
    let names = names_of(last, &calls, &blocks);
    let paths: Vec<&str> = names.values().map(String::as_str).collect();
    selection.check(&paths)?;
    let marks: Vec<usize> = match selection {
        TapSelection::All | TapSelection::Globs(_) => {
            names.iter().filter(|(_, name)| selection.matches(name)).map(|(mark, _)| *mark).collect()
        }
        TapSelection::Default | TapSelection::Relu => match block_outputs(&calls, &blocks) {
            Some(outputs) => outputs.into_iter().collect(),
            None => layers(&calls, last),
        },
    };
    Ok(marks.into_iter().filter_map(|mark| Some((names.get(&mark)?.clone(), mark))).collect())
}

/// Outputs of the convolutions, or of the linear layers where there is no more than one convolution; never the logits.
fn layers(calls: &[Call], last: usize) -> Vec<usize> {
    let outputs = |kind: &str| -> Vec<usize> {
        let layers = calls.iter().filter(|call| call.weighted && call.works && call.class.ends_with(kind));
        let mut outputs: Vec<usize> = layers.filter_map(|call| call.output.filter(|&mark| mark != last)).collect();
        outputs.sort_unstable();
        outputs
    };
    let convolutions = outputs("Conv2d");
    match convolutions.len() {
        0 | 1 => outputs(""),
        _ => convolutions,
    }
}

/// `__torch__.a.___torch_mangle_3.Net` is the class `a.Net`, which was there several times.
fn class_name(mangled: &str) -> String {
    let parts = mangled.split('.').filter(|part| *part != "__torch__" && !part.starts_with("___torch_mangle_"));
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_lose_their_mangling() {
        assert_eq!(class_name("__torch__.torch.nn.___torch_mangle_12.Conv2d"), "torch.nn.Conv2d");
    }
}
