//! What is checked before a training begins.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

use super::{Interrupted, TrainError, TrainPlan, fresh};
use crate::data::Dataset;
use crate::model::interpreter::{Interpreter, Mode};
use crate::model::zoo::Architecture;
use advmod_attacks::victim::first_line;

/// Checks that architecture, images, plan and the state of an interrupted training fit each other.
///
/// # Errors
/// One line, with what does not.
pub fn ready(
    architecture: &dyn Architecture,
    (train, test): (&dyn Dataset, &dyn Dataset),
    plan: &TrainPlan,
    interrupted: Option<&Interrupted>,
) -> Result<(), TrainError> {
    for data in [train, test] {
        fits(architecture, data).map_err(TrainError::Unsuitable)?;
    }
    labelled(architecture, train).map_err(TrainError::Unsuitable)?;
    let (name, info) = (architecture.name(), train.info());
    let smallest = info.height.min(info.width);
    if plan.crop_padding >= smallest {
        let message = format!("--crop-padding {}: must be below the size of the images, {smallest}", plan.crop_padding);
        return Err(TrainError::Unsuitable(message));
    }
    let shape = [1, architecture.channels(), info.height as i64, info.width as i64];
    let network = Interpreter::new(fresh(architecture, plan.seed)?);
    let pixels = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
    if let Err(error) = tch::no_grad(|| network.run(&pixels, Mode::Evaluate)) {
        return Err(TrainError::Unsuitable(format!(
            "{name} cannot take images of {}×{} ({}); give larger ones, or an architecture that halves them less often, such as \
             'vgg[1,1,2,4]-bn'",
            info.height,
            info.width,
            first_line(&error)
        )));
    }
    let hashes = [train, test].map(|data| data.info().sha256.as_str());
    if interrupted.is_some_and(|it| it.standing.images != hashes) {
        return Err(TrainError::Unsuitable(format!(
            "{}: not the images that the training began with; give --data",
            info.name
        )));
    }
    Ok(())
}

fn fits(architecture: &dyn Architecture, data: &dyn Dataset) -> Result<(), String> {
    let (name, info) = (architecture.name(), data.info());
    if info.channels as i64 != architecture.channels() {
        return Err(format!(
            "{}: images have {} channel(s), {name} was asked for {}",
            info.name,
            info.channels,
            architecture.channels()
        ));
    }
    match data.labels().iter().position(|&label| i64::from(label) >= architecture.classes()) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{}: label {} of image {at} is out of range for {} classes",
            info.name,
            data.labels()[at],
            architecture.classes()
        )),
    }
}

/// One wrong label makes classes that no image has, unless the data names its classes.
fn labelled(architecture: &dyn Architecture, train: &dyn Dataset) -> Result<(), String> {
    let found: BTreeSet<u32> = train.labels().iter().copied().collect();
    let classes = architecture.classes() as usize;
    if 2 * found.len() > classes || classes <= train.info().classes.len() {
        return Ok(());
    }
    let largest = found.last().copied().unwrap_or(0);
    let at = train.labels().iter().position(|&label| label == largest).unwrap_or(0);
    Err(format!(
        "{}: only {} of {classes} classes have a training image; label {largest} (image {at}) is the largest: check the labels",
        train.info().name,
        found.len()
    ))
}
