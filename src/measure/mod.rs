//! What audit and studies measure alike: images on their way to the model, its taps' neighbours, its answers, and the normalization that it needs.
//! Tensors live here and below.

use std::ops::ControlFlow;

pub(crate) mod answers;
pub(crate) mod classes;
pub(crate) mod clean;
pub(crate) mod company;
pub(crate) mod doubt;
pub(crate) mod fit;
pub(crate) mod normalization;
pub mod pixels;
pub mod taps;

/// Is told how many steps are done; `Break` stops the work.
pub(crate) type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Is told how many steps are done, of how many; `Break` stops the work.
pub(crate) type ProgressOf<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;
