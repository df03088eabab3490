//! From a model file (or the embedded model) to a [`Model`].

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::builder::WeightError;
use super::checkpoint::{Found, network};
use super::format::pt2::ExportedProgram;
use super::format::{
    FormatError, ModelFile, ScriptFile, WeightFile, expect, read_file, read_model, read_weights_from, sha256_of,
};
use super::import::{ImportError, Imported, import, torchscript};
use super::metadata::ModelMetadata;
use super::normalize::Normalization;
use super::program::TapSelection;
use super::script::Script;
use super::weights::FreshWeights;
use super::zoo::{self, Architecture};
use super::{Model, ModelInfo, embedded};
use crate::memory::opening;
use crate::text::names;

/// What the user says about a model file.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    pub architecture: Option<String>,
    pub normalization: Option<Normalization>,
    /// Overrides the image size that the file or architecture tells.
    pub input_size: Option<i64>,
    /// Where curves are measured.
    pub taps: TapSelection,
    /// What the file's sha256 must be: another file is refused before anything of it is read.
    pub sha256: Option<String>,
    /// Seed of fresh weights in place of the file's, which then only tells the architecture (built-in ones).
    pub random_init: Option<u64>,
    /// Whether libtorch may read and run a TorchScript file. It is only ever true because somebody typed it.
    pub trust_torchscript: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("unknown architecture `{name}`; known are {known}")]
    NoSuchArchitecture { name: String, known: String },
    #[error("{path}: cannot be used as {architecture}: {source}")]
    Weights { path: PathBuf, architecture: String, source: WeightError },
    #[error("{path}: {source}")]
    Import { path: PathBuf, source: ImportError },
    #[error("{path}: {message}")]
    Content { path: PathBuf, message: String },
}

/// Loads a model file, or the embedded model for `None`.
pub fn load(path: Option<&Path>, options: &LoadOptions, device: Device) -> Result<Model, ModelError> {
    match path {
        Some(file) => opening(file, || load_any(path, options, device)),
        None => load_any(path, options, device),
    }
}

fn load_any(path: Option<&Path>, options: &LoadOptions, device: Device) -> Result<Model, ModelError> {
    let (file, name) = if let Some(path) = path {
        match read_model(path, options.sha256.as_deref())? {
            ModelFile::Weights(file) => (file, names::of_file(path)),
            ModelFile::Export(export) => return load_export(&export, path, options, device),
            ModelFile::Script(script) => return load_script(&script, path, options, device),
        }
    } else {
        let embedded = Path::new(embedded::NAME);
        expect(embedded::BYTES, embedded, options.sha256.as_deref())?;
        (read_weights_from(embedded::BYTES, embedded)?, embedded::NAME.to_owned())
    };
    let path = path.unwrap_or(Path::new(embedded::NAME));
    let content = |message: String| ModelError::Content { path: path.to_owned(), message };
    let metadata = ModelMetadata::from_header(&file.metadata).map_err(content)?;
    let Found { mut weights, normalization, note } = network(&file).map_err(content)?;
    let architecture = choose_architecture(path, &file, &weights.shapes(), options, metadata.as_ref())?;
    if architecture.classes() < 2 || architecture.channels() < 1 {
        let (classes, channels) = (architecture.classes(), architecture.channels());
        return Err(content(format!(
            "its head has {classes} output(s) and its first layer {channels} channel(s); expected at least 2 classes and 1 channel"
        )));
    }
    if let Some(named) = metadata.as_ref().map(|it| it.classes.len()).filter(|&it| it > 0)
        && named as i64 != architecture.classes()
    {
        let why = format!(
            "its header names {named} classes, its head has {} outputs; was it edited?",
            architecture.classes()
        );
        return Err(content(why));
    }
    let wrong = |source| ModelError::Weights { path: path.to_owned(), architecture: architecture.name(), source };
    let mut program = architecture.build(&mut weights).map_err(wrong)?;
    let unused = weights.unused();
    if let Some(first) = unused.first() {
        return Err(content(format!(
            "{} has no place for {} of its tensors (first {first}): this is another network, and auditing it without them would say nothing",
            architecture.name(),
            unused.len()
        )));
    }
    if let Some(seed) = options.random_init {
        program = architecture.build(&mut FreshWeights::new(seed)).map_err(wrong)?;
        for weight in &mut program.weights {
            weight.tensor = weight.tensor.detach();
        }
    }
    let known_size = metadata.as_ref().map(|it| it.input_size).or(architecture.expected_size().map(|size| [size; 2]));
    let info = ModelInfo {
        name,
        sha256: file.sha256.clone(),
        format: format!("{}{}", file.format, note.map_or(String::new(), |note| format!(", {note}"))),
        architecture: architecture.name(),
        channels: architecture.channels(),
        classes: architecture.classes(),
        class_names: metadata.as_ref().map(|it| it.classes.clone()).unwrap_or_default(),
        input_size: options.input_size.map(|size| [size; 2]).or(known_size),
        normalization: (options.normalization.clone())
            .or(metadata.map(|it| it.normalization))
            .or(normalization)
            .unwrap_or_else(Normalization::none),
    };
    Model::new(info, program, &options.taps, device).map_err(content)
}

/// Translates an exported program, which brings its own architecture.
fn load_export(
    export: &ExportedProgram,
    path: &Path,
    options: &LoadOptions,
    device: Device,
) -> Result<Model, ModelError> {
    let content = |message: String| ModelError::Content { path: path.to_owned(), message };
    check_own_architecture("an exported program", options).map_err(content)?;
    let Imported { program, class, input_size, note } =
        import(export).map_err(|source| ModelError::Import { path: path.to_owned(), source })?;
    let version = export.torch_version.as_deref().unwrap_or("unknown version");
    let batch = program.fixed_batch.map_or(String::new(), |batch| format!(", for batches of {batch}"));
    let note = noted(note);
    let info = ModelInfo {
        name: names::of_file(path),
        sha256: export.sha256.clone(),
        format: format!("torch.export archive (PyTorch {version}{batch}{note})"),
        architecture: class,
        channels: program.channels,
        classes: program.classes,
        class_names: Vec::new(),
        input_size: options.input_size.map(|size| [size; 2]).or(input_size),
        normalization: options.normalization.clone().unwrap_or_else(Normalization::none),
    };
    Model::new(info, program, &options.taps, device).map_err(content)
}

/// What was done to make logits of the output, as it follows the format's name.
fn noted(note: Option<String>) -> String {
    note.map_or(String::new(), |note| format!(", logits: {note}"))
}

/// Translates a TorchScript module, or gives it to libtorch where it is trusted.
fn load_script(file: &ScriptFile, path: &Path, options: &LoadOptions, device: Device) -> Result<Model, ModelError> {
    let content = |message: String| ModelError::Content { path: path.to_owned(), message };
    check_own_architecture("TorchScript", options).map_err(content)?;
    let info = |class: &str, input_size: Option<[i64; 2]>| ModelInfo {
        name: names::of_file(path),
        sha256: file.sha256.clone(),
        format: "TorchScript".to_owned(),
        architecture: class.to_owned(),
        channels: 0,
        classes: 0,
        class_names: Vec::new(),
        input_size: options.input_size.map(|size| [size; 2]).or(input_size),
        normalization: options.normalization.clone().unwrap_or_else(Normalization::none),
    };
    if options.trust_torchscript {
        let bytes = read_file(path)?;
        if sha256_of(&bytes) != file.sha256 {
            return Err(content("was changed while it was read".to_owned()));
        }
        let script = Script::load(&bytes, options.input_size, device).map_err(content)?;
        let info = info(&script.class, script.input_size);
        let info = ModelInfo { channels: script.channels, classes: script.classes, ..info };
        return Model::from_script(info, script, &options.taps, device).map_err(content);
    }
    let Imported { program, class, input_size, note } = torchscript::import(file, options.input_size).map_err(|error| {
        content(format!(
            "is TorchScript, which is read as data and never run, and cannot be translated: {error}; either export the model with \
             torch.export (advmod export-help), or let libtorch run the file with --trust-torchscript, which gives it all that you may do"
        ))
    })?;
    let batch = program.fixed_batch.map_or(String::new(), |batch| format!(" (for batches of {batch})"));
    let info = info(&class, input_size);
    let format = format!("TorchScript{batch}{}", noted(note));
    let info = ModelInfo { format, channels: program.channels, classes: program.classes, ..info };
    Model::new(info, program, &options.taps, device).map_err(content)
}

/// What a file that brings its own architecture cannot be given: another one, and new weights, for how its layers were initialized is not in it.
fn check_own_architecture(kind: &str, options: &LoadOptions) -> Result<(), String> {
    if options.architecture.is_some() {
        return Err(format!("is {kind} and brings its own architecture; leave out --arch"));
    }
    if options.random_init.is_some() {
        let titles: Vec<_> = zoo::FAMILIES.iter().map(|family| family.title).collect();
        return Err(format!(
            "does not tell how it was initialized; leave out --random-init, or give weights of a built-in architecture ({})",
            titles.join(", ")
        ));
    }
    Ok(())
}

fn choose_architecture(
    path: &Path,
    file: &WeightFile,
    shapes: &zoo::Shapes,
    options: &LoadOptions,
    metadata: Option<&ModelMetadata>,
) -> Result<Box<dyn Architecture>, ModelError> {
    let content = |message: String| ModelError::Content { path: path.to_owned(), message };
    let inferred = zoo::infer(shapes);
    let Some(name) = options.architecture.as_ref().or(metadata.map(|it| &it.architecture)) else {
        let first = file.tensors.first().map_or(String::new(), |(name, tensor)| format!("{name} {:?}", tensor.shape));
        return inferred.ok_or_else(|| {
            content(format!(
                "these weights fit no built-in architecture ({} tensors, first {first}); name it with --arch ({}), or export the \
                 model with its architecture (advmod export-help)",
                file.tensors.len(),
                zoo::known()
            ))
        });
    };
    let nothing = || match (options.architecture.is_some(), zoo::known()) {
        (true, known) => ModelError::NoSuchArchitecture { name: name.clone(), known },
        (false, known) => {
            content(format!("says that it is a `{name}`, which is no known architecture; give --arch ({known})"))
        }
    };
    match inferred {
        // What the shapes say includes the head's layout, which a name does not.
        Some(inferred) if inferred.name() == *name => Ok(inferred),
        inferred => {
            let (channels, classes) = inferred.map_or((3, 10), |it| (it.channels(), it.classes()));
            zoo::named(name, channels, classes).ok_or_else(nothing)
        }
    }
}

/// What a trial run says about a model that has just been loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Two forward passes of the same images differ: something random or stateful is in the network.
    pub not_deterministic: bool,
}

impl Model {
    /// Checks that images of this shape go through, and looks at the output.
    ///
    /// # Errors
    /// A sentence that says which shape is expected.
    pub(crate) fn check(&self, channels: usize, height: usize, width: usize) -> Result<Findings, String> {
        let info = self.info();
        if channels as i64 != info.channels {
            return Err(format!(
                "the images have {channels} channel(s), the model ({}) takes {}; give data that it was trained for",
                info.architecture, info.channels
            ));
        }
        let given = [height as i64, width as i64];
        if let Some([h, w]) = info.input_size.filter(|size| *size != given) {
            return Err(format!(
                "the images are {height}×{width}, the model ({}) is for {h}×{w}; give images of that size (an image folder: \
                 --resize {h} --crop {h}), or --input-size {height} if it was trained at this size",
                info.architecture
            ));
        }
        let shape = [8, info.channels, given[0], given[1]];
        let ramp = Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, self.device));
        let pixels = (ramp * 0.618_033_988_75).frac().view(shape);
        let too_small = |error: advmod_attacks::victim::VictimError| {
            format!(
                "images of {height}×{width} do not fit the model ({}): {error}; give larger ones with --resize",
                info.architecture
            )
        };
        let run = || tch::no_grad(|| advmod_attacks::victim::Victim::logits(self, &pixels)).map_err(too_small);
        let (first, second) = (run()?, run()?);
        // Some images may be beyond what the network can take; all are not.
        let is_row_finite = first.isfinite().all_dim(1, false);
        if !bool::try_from(is_row_finite.any()).unwrap_or(false) {
            return Err("the model's output is not finite; its weights are damaged or its training diverged".to_owned());
        }
        let is_alike = first.nan_to_num(0.0, 0.0, 0.0) == second.nan_to_num(0.0, 0.0, 0.0);
        Ok(Findings { not_deterministic: !is_alike })
    }
}
