//! The terminal interface: the same events and the same fold as the headless audit, shown as they come.
//!
//! [`app`] is what there is to show, with [`state`] for where the user is; [`update`] is the only thing that changes it, by a [`message`]; [`view`] draws it and
//! changes nothing. State and update know no view: what is under the mouse is looked up by the loop. [`keys`] is the one table behind dispatch, footer and
//! help. [`runtime`] has the loop, [`input`] reads keys, [`terminal`] takes the terminal over and gives it back. [`dynamics`] is a screen of its own, on a
//! training.

pub mod app;
pub(crate) mod attacks;
pub(crate) mod dynamics;
pub mod gallery;
pub(crate) mod graphics;
pub(crate) mod input;
pub(crate) mod keys;
pub mod message;
pub(crate) mod runtime;
pub(crate) mod samples;
pub mod state;
pub(crate) mod terminal;
pub mod theme;
pub mod update;
pub mod view;

mod steps;

#[cfg(debug_assertions)]
pub(crate) mod fault;

#[cfg(test)]
mod tests;
