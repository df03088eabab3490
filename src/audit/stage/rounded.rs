//! What the model of a run says about its adversarial pixels once they are rounded to 8 bits, as image files hold them.

use std::ops::ControlFlow;

use advmod_attacks::victim::{Victim as _, first_line};
use tch::Tensor;

use crate::audit::job::Job;
use crate::measure::clean::predict;
use crate::measure::pixels::KeptPixels;
use crate::model::Model;
use crate::model::load::load;

pub(crate) struct RoundedJudge {
    model: Model,
    shape: [usize; 3],
    batch: usize,
}

impl RoundedJudge {
    /// For images of `[channels, height, width]`.
    pub(crate) fn load(job: &Job, shape: [usize; 3]) -> Result<Self, String> {
        let device = job.plan.device.resolve()?;
        let model = load(job.model.as_deref(), &job.load, device).map_err(|error| error.to_string())?;
        Ok(Self { model, shape, batch: job.plan.batch })
    }

    /// Classes of images `[N, C, H, W]` of 8 bits per value.
    pub(crate) fn classes(&self, pixels: &[u8]) -> Result<Vec<u32>, String> {
        let pixels: Vec<f32> = pixels.iter().map(|&value| f32::from(value) / 255.0).collect();
        let [channels, height, width] = self.shape.map(|size| size as i64);
        let pixels = Tensor::f_from_slice(&pixels).and_then(|it| it.f_view([-1, channels, height, width]));
        let pixels = pixels.map_err(|error| first_line(&error))?;
        let source = KeptPixels { pixels: &pixels, device: self.model.device() };
        let found = predict(&self.model, &source, None, self.batch, &mut |_| ControlFlow::Continue(()));
        found.map(|found| found.classes).map_err(|error| error.to_string())
    }
}
