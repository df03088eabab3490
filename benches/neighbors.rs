//! What the neighbours of 10,000 samples cost beside the bare matrix product of their representations.
//!
//! `cargo bench --bench neighbors` measures representations of several widths; `ADVMOD_BENCH_THREADS` sets the threads (1).

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::ops::ControlFlow;

use advmod::memory;
use advmod::modularity::{Similarity, neighbors};
use criterion::{BenchmarkId, Criterion, SamplingMode, criterion_group, criterion_main};
use tch::{Device, Kind, Tensor};

const N: i64 = 10_000;

/// A narrow one, and those of the last and the first stage of a ResNet-20 on 28×28 pixels.
const WIDTHS: [i64; 3] = [64, 3136, 12544];

fn large(criterion: &mut Criterion) {
    let threads = std::env::var("ADVMOD_BENCH_THREADS").map_or(1, |text| text.parse().expect("a number of threads"));
    tch::set_num_threads(threads);
    // As the commands do.
    memory::keep_freed_memory();
    let mut group = criterion.benchmark_group("10,000 samples");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for width in WIDTHS {
        // Rectified noise: positive similarities, as those of most taps.
        let rows = || Tensor::randn([N, width], (Kind::Float, Device::Cpu)).relu();
        group.bench_function(BenchmarkId::new("bare product", width), |bench| {
            let rows = rows();
            bench.iter(|| rows.matmul(&rows.transpose(0, 1)));
        });
        group.bench_function(BenchmarkId::new("neighbours", width), |bench| {
            let rows = rows();
            bench.iter(|| {
                neighbors(&rows, Similarity::COSINE, 3, &mut |_| ControlFlow::Continue(())).expect("neighbours")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, large);
criterion_main!(benches);
