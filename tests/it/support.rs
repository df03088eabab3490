//! Helpers for the tests: paths, the executable, traced curves.

use std::ops::ControlFlow;
use std::path::Path;

use advmod::data::{Dataset, Images, OpenOptions};
use advmod::measure::pixels::{ImagePixels, KeptPixels, PixelSource};
use advmod::measure::taps::{CurveSettings, measure, tap_neighbors};
use advmod::model::Model;
use advmod::model::load::{LoadOptions, load};
use advmod::modularity::Similarity;
use advmod_attacks::attack::Preset;
use advmod_attacks::config::{AttackConfig, parse_spec_string};
use advmod_attacks::execute::{Options, Samples, execute};
use advmod_attacks::outcome::Outcome;
use advmod_attacks::victim::Victim as _;
use tch::{Device, Tensor};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The embedded images as a data set with a training and a test part, in a new folder.
pub fn make_data_set(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for part in ["train", "t10k"] {
        for (name, fixture) in [("images-idx3", "images.idx3"), ("labels-idx1", "labels.idx1")] {
            let from = root().join(format!("fixtures/fashion-mnist-1000-{fixture}.gz"));
            std::fs::copy(from, folder.join(format!("{part}-{name}-ubyte.gz"))).unwrap();
        }
    }
}

/// Grey images of 28×28 with their labels as a data set, in an existing folder.
pub fn write_idx(folder: &Path, pixels: &[u8], labels: &[u32]) {
    let header = |kind: &[u8], sizes: &[u32]| -> Vec<u8> {
        kind.iter().copied().chain(sizes.iter().flat_map(|size| size.to_be_bytes())).collect()
    };
    let n = labels.len() as u32;
    let labels = labels.iter().map(|&label| label as u8).collect();
    let write = |name: &str, parts: [Vec<u8>; 2]| std::fs::write(folder.join(name), parts.concat()).unwrap();
    write("t10k-images-idx3-ubyte", [header(&[0, 0, 8, 3], &[n, 28, 28]), pixels.to_vec()]);
    write("t10k-labels-idx1-ubyte", [header(&[0, 0, 8, 1], &[n]), labels]);
}

/// The built program.
pub fn advmod(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_advmod"));
    // Tests run side by side: threads that wait for each other by spinning would slow all of them down.
    command.args(arguments).env_remove("LD_LIBRARY_PATH").env("OMP_WAIT_POLICY", "passive");
    command
}

/// What it prints when all is well.
pub fn stdout(arguments: &[&str]) -> String {
    String::from_utf8(advmod(arguments).assert().success().get_output().stdout.clone()).unwrap()
}

/// Loads a model for the processor.
pub fn model(path: Option<&Path>, options: &LoadOptions) -> Model {
    load(path, options, Device::Cpu).unwrap()
}

/// The first images of a data set.
pub fn first(path: Option<&Path>, n: usize) -> Images {
    let data: Box<dyn Dataset> = advmod::data::open(path, &OpenOptions::default()).unwrap();
    data.read(&(0..n).collect::<Vec<_>>()).unwrap()
}

/// Q per tap of clean images.
pub fn clean_curve(model: &Model, images: &Images, places: &[usize], k: usize, similarity: Similarity) -> Vec<f64> {
    let labels: Vec<usize> = places.iter().map(|&place| images.labels[place] as usize).collect();
    curve(model, &ImagePixels { images, places, device: Device::Cpu }, &labels, k, similarity)
}

/// Q per tap of any pixels.
pub fn pixel_curve(model: &Model, pixels: &Tensor, labels: &[usize], k: usize) -> Vec<f64> {
    curve(model, &KeptPixels { pixels, device: Device::Cpu }, labels, k, Similarity::COSINE)
}

fn curve(model: &Model, source: &dyn PixelSource, labels: &[usize], k: usize, similarity: Similarity) -> Vec<f64> {
    let settings = CurveSettings { k, similarity, classes: model.info().classes as usize };
    let found = tap_neighbors(model, source, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
    measure(&found, &settings, labels).into_iter().map(|tap| tap.unwrap().modularity.q).collect()
}

/// Runs an attack as `NAME:key=value,…` on images.
pub fn attack(model: &Model, spec: &str, images: &Images, places: &[usize]) -> Outcome {
    let (name, params) = parse_spec_string(spec).unwrap();
    let config = AttackConfig::new(&name, Preset::Standard, &params).unwrap();
    let source = ImagePixels { images, places, device: model.device() };
    let (pixels, labels) = source.batch(0..places.len()).unwrap();
    let ids: Vec<u32> = places.iter().map(|&place| place as u32).collect();
    let samples = Samples { pixels: &pixels, labels: &labels, ids: &ids };
    execute(model, &config, &samples, Options { seed: 0, eight_bit: false }, &mut |_| ControlFlow::Continue(()))
        .unwrap()
}

/// Largest difference of two lists of the same length.
pub fn largest_difference(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}
