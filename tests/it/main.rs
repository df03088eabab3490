//! One binary for everything that is tested from outside.
//!
//! - `golden`: numbers, against PyTorch, networkx and torchattacks.
//! - `exports`: models in the formats that bring their own architecture.
//! - `audit`, `commands`, `errors`: the real executable; `terminal`: on a terminal.
//! - `formats`: reports against the schemas of their formats.
//! - `studies`: their results against their schemas, and rendered again.
//! - `export`: images of a stored run.
//! - `classes`: folders of images, matched with a model's classes.
//! - `folders`: what a run leaves in its folder, and not outside.
//! - `signals`: special files, and who is asked to end.
//! - `names`: files and folders whose names are no UTF-8.
//! - `hostile_text`: texts inside of files that a terminal would obey.
//! - `sweep`, `similarity`, `dynamics`, `train`, `prune`: the paper's experiments; `labels`, `flow`: beyond them.
//! - `ensembles`: attacks that attack what others left.
//! - `masked`, `unusual`: networks whose gradients are masked, and whose outputs are no logits, random or not finite.
//! - `docs`: the commands, plans and links of README and docs.
//! - `tidy`, `arrows`: what ARCHITECTURE.md promises.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod arrows;
mod resume;
mod similarity;
mod support;
mod sweep;

mod exports;
mod golden;
mod labels;
mod live;

mod again;
mod agreement;
mod audit;
mod baseline;
mod classes;
mod commands;
mod docs;
mod dynamics;
mod ensembles;
mod errors;
mod export;
mod flow;
mod folders;
mod formats;
mod gates;
mod hostile_text;
mod masked;
mod names;
mod prune;
mod signals;
mod studies;
mod terminal;

mod tidy;
mod torchscript;
mod train;
mod unusual;
