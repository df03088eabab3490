//! What is checked before a training begins.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use advmod_attacks::victim::first_line;
use tch::{Device, Kind, Tensor};

use super::{Interrupted, Parts, TrainError, TrainPlan, fresh};
use crate::data::Dataset;
use crate::model::interpreter::Interpreter;
use crate::model::op::Mode;
use crate::model::zoo::Architecture;

/// Checks that architecture, images, plan and the state of an interrupted training fit each other.
pub(crate) fn ready(
    architecture: &dyn Architecture,
    parts: Parts<'_>,
    plan: &TrainPlan,
    interrupted: Option<&Interrupted>,
) -> Result<(), TrainError> {
    let Parts { train, test } = parts;
    for data in [train, test] {
        fits(architecture, data).map_err(TrainError::Unsuitable)?;
    }
    labelled(architecture, parts).map_err(TrainError::Unsuitable)?;
    let names = [train, test].map(|data| &data.info().classes);
    // Images alone have no names, or guessed ones.
    if names[0] != names[1] && names.iter().all(|it| !it.is_empty()) {
        let message = format!(
            "{}: the training images are of the classes {}, the test images of {}; give both the same",
            train.info().name,
            names[0].join(", "),
            names[1].join(", ")
        );
        return Err(TrainError::Unsuitable(message));
    }
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
    if let Some(interrupted) = interrupted
        && interrupted.standing.images != parts.hashes()?
    {
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
fn labelled(architecture: &dyn Architecture, parts: Parts<'_>) -> Result<(), String> {
    let Parts { train, test } = parts;
    let found: BTreeSet<u32> = train.labels().iter().copied().collect();
    let classes = architecture.classes() as usize;
    if 2 * found.len() > classes || classes <= train.info().classes.len() {
        return Ok(());
    }
    let largest =
        |data: &dyn Dataset| data.labels().iter().copied().enumerate().max_by_key(|&(at, label)| (label, Reverse(at)));
    let (part, (at, label)) = match (largest(train), largest(test)) {
        (Some(train), Some(test)) if test.1 > train.1 => ("test", test),
        (Some(train), _) => ("training", train),
        (None, _) => return Ok(()),
    };
    Err(format!(
        "{}: only {} of {classes} classes have a training image; the largest label is {label} ({part} image {at}): check the labels, or \
         number them from 0 on",
        train.info().name,
        found.len()
    ))
}
