//! What is kept from one translation of a file to the next.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tch::Tensor;

use crate::model::format::{Item, ScriptFile};

/// What several translations of one file share.
#[derive(Default)]
pub(super) struct Store {
    /// Of the data, and of the constants.
    pub(super) tensors: [RefCell<BTreeMap<usize, Tensor>>; 2],
    /// Whether all weights are constants, because the module was frozen.
    pub(super) frozen: bool,
}

impl Store {
    pub(super) fn new(file: &ScriptFile) -> Self {
        let holds = |place: &usize| matches!(file.data.get(*place).1, Item::Tensor { .. } | Item::Object { .. });
        let frozen = match file.data.get(file.data.root).1 {
            Item::Object { fields, .. } => !fields.values().any(holds),
            _ => false,
        };
        Self { frozen, ..Self::default() }
    }
}
