//! The terminal interface: the same events and the same fold as the headless audit, shown as they come.
//!
//! [`app`] is what there is to show, [`update`] the only thing that changes it, [`view`] draws it and changes nothing. [`keys`] is the one
//! table behind dispatch, footer and help. [`runtime`] has the loop, [`input`] reads keys, [`terminal`] takes the terminal over and gives it back, [`journal`]
//! reads recorded runs. [`dynamics`] is a screen of its own, on a training.

pub mod app;
pub mod attacks;
pub mod dynamics;
pub mod keys;
pub mod theme;
pub mod update;

pub mod samples;

pub mod view;

pub mod gallery;
pub mod graphics;
pub mod input;
pub mod runtime;
pub mod terminal;

#[cfg(debug_assertions)]
pub mod fault;

#[cfg(test)]
mod tests;
