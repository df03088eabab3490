//! Adversarial attacks on image classifiers.
//!
//! Five nouns carry the crate. A [`Victim`](victim::Victim) turns pixels into logits. A threat ([`Norm`](threat::Norm),
//! [`Ball`](threat::Ball), [`Goal`](threat::Goal)) says what the attacker may do. An [`Attack`](attack::Attack) changes
//! pixels and reaches the victim only through a [`Query`](query::Query), which meters, seeds, cancels and reports.
//! [`execute`](execute::execute) is the only judge: it picks the samples, runs the attack, keeps the result inside the
//! threat and measures it again.
//!
//! What holds for every attack:
//! - pixels are f32 `[N, C, H, W]` in `[0, 1]`; normalization belongs to the victim;
//! - a sample's result does not depend on the other samples of its batch, nor on the batch size;
//! - the same seed gives the same bits;
//! - nothing here chooses a device, reads a file or prints.
//!
//! To add an attack, write one file in `catalog/` (copy `fgsm.rs`) and add its two lines to `catalog/mod.rs`.

mod adam;
mod ascent;
pub mod attack;
pub mod ball;
mod best;
mod boundary;
mod candidates;
pub mod catalog;
pub mod config;
pub mod controls;
pub mod ensemble;
pub mod error;
pub mod execute;
pub mod loss;
mod minimal;
pub mod outcome;
mod pairs;
pub mod query;
mod rows;
pub mod threat;
pub mod victim;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
