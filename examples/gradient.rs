//! Logits and input gradients of a model, for comparison with other implementations:
//! `cargo run --example gradient -- MODEL PIXELS.npy OUT.npz [REPEATS]`.
//!
//! PIXELS.npy holds f32 `[N, C, H, W]` in `[0, 1]`. OUT.npz gets `logits` `[N, K]` and `gradient` `[N, C, H, W]`, that of
//! Σ (k + 1) · logit_k over classes k = 0, 1, … and all images. Prints the median time of so many repeats. `scripts/check_exports.py` runs this.

use std::path::Path;
use std::time::Instant;

use advmod::model::load::{LoadOptions, load};
use advmod_attacks::victim::Victim as _;
use anyhow::{Context as _, bail};
use tch::{Device, Kind, Tensor};

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (files, repeats) = arguments.split_at(arguments.len().min(3));
    let [model, pixels, out] = files else { bail!("expected MODEL PIXELS.npy OUT.npz [REPEATS]") };
    let repeats = repeats.first().map_or(Ok(1), |count| count.parse::<usize>())?;
    let pixels = Tensor::read_npy(pixels).with_context(|| format!("cannot read {pixels}"))?;
    // TorchScript does not say what it was made for.
    let input_size = match pixels.size()[..] {
        [_, _, height, width] if height == width => Some(height),
        _ => None,
    };
    let options = LoadOptions { input_size, ..LoadOptions::default() };
    let model = load(Some(Path::new(model)), &options, Device::Cpu)?;
    let weights = Tensor::arange_start(1, model.n_classes() + 1, (Kind::Float, Device::Cpu));
    let run = || -> anyhow::Result<(Tensor, Tensor)> {
        let pixels = pixels.detach().copy().set_requires_grad(true);
        let logits = model.logits(&pixels)?;
        (&logits * &weights).sum(Kind::Float).f_backward()?;
        Ok((logits.detach(), pixels.grad()))
    };
    // The first run starts libtorch's threads and chooses its kernels.
    let (logits, gradient) = run()?;
    let time = || -> anyhow::Result<f64> {
        let started = Instant::now();
        drop(run()?);
        Ok(started.elapsed().as_secs_f64() * 1e3)
    };
    let mut times = (0..repeats.max(1)).map(|_| time()).collect::<anyhow::Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    println!("{:.1} ms", times[times.len() / 2]);
    Tensor::write_npz(&[("logits", &logits), ("gradient", &gradient.contiguous())], out)?;
    Ok(())
}
