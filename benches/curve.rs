//! What a clean curve of 500 images costs beside the bare forward pass.
//!
//! `cargo bench --bench curve` measures the embedded model; with `ADVMOD_BENCH_MODEL`, `ADVMOD_BENCH_DATA` and
//! `ADVMOD_BENCH_NORMALIZE` any other.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::ops::ControlFlow;
use std::path::PathBuf;

use advmod::data::{self, OpenOptions};
use advmod::measure::pixels::{ImagePixels, PixelSource as _};
use advmod::measure::taps::{CurveSettings, curve_with_intervals, measure, tap_neighbors};
use advmod::model::load::{LoadOptions, load};
use advmod::model::normalize::Normalization;
use advmod::modularity::{Similarity, Splits, candidates_for, neighbors};
use criterion::{Criterion, criterion_group, criterion_main};
use tch::{Device, Kind, Tensor};

const N: usize = 500;

fn curve(criterion: &mut Criterion) {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let normalization = std::env::var("ADVMOD_BENCH_NORMALIZE").ok();
    let normalization = normalization.map(|text| Normalization::parse(&text).expect("a normalization"));
    let options = LoadOptions { normalization, ..LoadOptions::default() };
    let model = load(path("ADVMOD_BENCH_MODEL").as_deref(), &options, Device::Cpu).expect("a model");
    let dataset = data::open(path("ADVMOD_BENCH_DATA").as_deref(), &OpenOptions::default()).expect("images");
    let places: Vec<usize> = (0..N).collect();
    let images = dataset.read(&places).expect("500 images");
    let labels: Vec<usize> = images.labels.iter().map(|&label| label as usize).collect();
    let source = ImagePixels { images: &images, places: &places, device: Device::Cpu };
    let settings = CurveSettings { k: 3, similarity: Similarity::COSINE, classes: model.info().classes as usize };
    let find = || tap_neighbors(&model, &source, &settings, &mut |_| ControlFlow::Continue(())).expect("neighbours");
    let pixels = source.pixels(0..N).expect("pixels");
    let found = find();
    let splits = Splits::new(N);
    let taps = model.tap_paths();

    let mut group = criterion.benchmark_group("500 images");
    group.sample_size(10);
    group.bench_function("forward pass", |bench| {
        bench.iter(|| model.trace(&pixels, &mut |_, _| Ok(())).expect("logits"));
    });
    group.bench_function("whole curve", |bench| bench.iter(|| measure(&find(), &settings, &labels)));
    // Rows of eight numbers: the products cost next to nothing, what is left is selection, graph and Q.
    let rows = Tensor::arange(N as i64 * 8, (Kind::Float, Device::Cpu)).sin().view([N as i64, 8]);
    let select =
        || neighbors(&rows, settings.similarity, candidates_for(N, settings.k), &mut |_| ControlFlow::Continue(()));
    group.bench_function("from similarities to Q", |bench| {
        bench.iter(|| measure(&taps.iter().map(|_| select()).collect(), &settings, &labels));
    });
    group.bench_function("intervals", |bench| {
        bench.iter(|| curve_with_intervals(&taps, &found, &settings, &labels, &splits));
    });
    group.finish();
}

criterion_group!(benches, curve);
criterion_main!(benches);
