//! What audit and studies measure alike: images on their way to the model, its taps' neighbours, its answers, and the normalization that it needs.
//! Tensors live here and below.

use std::ops::ControlFlow;

pub mod clean;
pub mod doubt;
pub mod fit;
pub mod normalization;
pub mod pixels;
pub mod taps;

/// Is told how many steps are done; `Break` stops the work.
pub type Progress<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Is told how many steps are done, of how many; `Break` stops the work.
pub type ProgressOf<'a> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'a;
