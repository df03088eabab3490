//! Keeps, per sample, the best pixels that an attack has seen, and which samples it still works on.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::attack::{Batch, ParamDoc};
use crate::error::AttackError;
use crate::loss::margin;
use crate::query::Query;
use crate::rows;
use crate::threat::Goal;
use crate::victim::VictimError;

/// When an attack lets go of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stop {
    Never,
    /// At its first success.
    First,
}

/// The parameter of this name, for attacks that have it.
pub(crate) const STOP: ParamDoc = ParamDoc {
    name: "stop",
    default: "never",
    range: "never, first",
    help: "Whether a sample is done at its first success or uses all steps; other samples are not affected",
};

/// The samples of a batch that an attack still works on.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) ids: Vec<u32>,
    /// Their original pixels, `[n, C, H, W]`.
    pub(crate) original: Tensor,
    /// Their classes to leave or to reach, `[n]`.
    pub(crate) classes: Tensor,
    /// Their rows in the batch, `[n]`; none while all are open.
    rows: Option<Tensor>,
}

impl Open {
    /// All samples of a batch.
    pub(crate) fn all(batch: &Batch<'_>) -> Self {
        Self {
            ids: batch.ids.to_vec(),
            original: batch.pixels.shallow_clone(),
            classes: batch.classes.shallow_clone(),
            rows: None,
        }
    }

    /// Their rows in the batch, i64 `[n]`.
    pub(crate) fn row_numbers(&self) -> Tensor {
        let all = || Tensor::arange(self.ids.len() as i64, (Kind::Int64, self.original.device()));
        self.rows.as_ref().map_or_else(all, Tensor::shallow_clone)
    }

    /// Lets go of all others; returns which of the open rows stay.
    pub(crate) fn keep(&mut self, is_kept: &[bool]) -> Tensor {
        let kept: Vec<usize> = (0..is_kept.len()).filter(|&i| is_kept[i]).collect();
        self.ids = kept.iter().map(|&i| self.ids[i]).collect();
        let kept: Vec<i64> = kept.into_iter().map(|i| i as i64).collect();
        let kept = rows::upload(&kept, self.original.device());
        self.original = self.original.index_select(0, &kept);
        self.classes = self.classes.index_select(0, &kept);
        self.rows = Some(match &self.rows {
            Some(rows) => rows.index_select(0, &kept),
            None => kept.shallow_clone(),
        });
        kept
    }
}

/// Per sample of a batch, the pixels with the highest score so far, and when the goal was first met.
#[derive(Debug)]
pub(crate) struct Best {
    goal: Goal,
    pixels: Tensor,
    score: Tensor,
    forwards_to_success: Tensor,
}

/// What an attack says of pixels: per open sample, all `[n]`.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    /// `[n, C, H, W]`.
    pub(crate) pixels: &'a Tensor,
    /// f32; larger is better, −∞ is never kept.
    pub(crate) score: &'a Tensor,
    /// bool: whether the goal is met.
    pub(crate) is_met: &'a Tensor,
    /// i64: the forwards that the sample has had by now.
    pub(crate) forwards: &'a Tensor,
}

impl Best {
    /// Nothing seen yet: the originals.
    pub(crate) fn new(batch: &Batch<'_>) -> Self {
        let n = batch.ids.len() as i64;
        let device = batch.pixels.device();
        Self {
            goal: batch.goal,
            pixels: batch.pixels.copy(),
            score: Tensor::full([n], f64::NEG_INFINITY, (Kind::Float, device)),
            forwards_to_success: Tensor::full([n], NEVER, (Kind::Int64, device)),
        }
    }

    /// Offers the open samples' pixels, scored by their margin. `forwards` is how many forwards each of them has had by now.
    pub(crate) fn offer(
        &mut self,
        query: &mut Query<'_>,
        open: &Open,
        pixels: &Tensor,
        logits: &Tensor,
        forwards: u64,
    ) -> Result<(), AttackError> {
        let margin = margin(logits, &open.classes, self.goal); // [n]
        let forwards = open.classes.full_like(forwards as i64);
        self.take(query, open, &Offer { pixels, score: &margin, is_met: &margin.gt(0.0), forwards: &forwards })
    }

    /// Keeps what beats what was seen before; of equals the first stays.
    ///
    /// On the CPU also tells how many samples are broken; elsewhere that would wait for the device.
    pub(crate) fn take(&mut self, query: &mut Query<'_>, open: &Open, offer: &Offer<'_>) -> Result<(), AttackError> {
        let known =
            |all: &Tensor| open.rows.as_ref().map_or_else(|| all.shallow_clone(), |rows| all.index_select(0, rows));
        let (known_pixels, known_score) = (known(&self.pixels), known(&self.score));
        let known_forwards = known(&self.forwards_to_success);
        let is_better = offer.score.gt_tensor(&known_score);
        let is_first = offer.is_met.logical_and(&known_forwards.eq(NEVER));
        let pixels = offer.pixels.where_self(&rows::broadcast(&is_better, offer.pixels), &known_pixels);
        let score = offer.score.where_self(&is_better, &known_score);
        let forwards = offer.forwards.where_self(&is_first, &known_forwards);
        match &open.rows {
            None => {
                self.pixels = pixels;
                self.score = score;
                self.forwards_to_success = forwards;
            }
            Some(rows) => {
                let _ = self.pixels.index_copy_(0, rows, &pixels);
                let _ = self.score.index_copy_(0, rows, &score);
                let _ = self.forwards_to_success.index_copy_(0, rows, &forwards);
            }
        }
        if offer.pixels.device() == Device::Cpu {
            let n_broken = i64::try_from(self.is_broken().sum(Kind::Int64)).map_err(VictimError::from)?;
            query.tell_broken(n_broken as usize);
        }
        Ok(())
    }

    /// The best pixels of the open samples so far.
    pub(crate) fn pixels_of(&self, open: &Open) -> Tensor {
        open.rows.as_ref().map_or_else(|| self.pixels.shallow_clone(), |rows| self.pixels.index_select(0, rows))
    }

    fn is_broken(&self) -> Tensor {
        self.forwards_to_success.ne(NEVER)
    }

    /// Closes the open samples that are broken. Returns which of the open rows stay, or none if all do.
    pub(crate) fn close_broken(&self, query: &mut Query<'_>, open: &mut Open) -> Result<Option<Tensor>, AttackError> {
        let is_open = self.is_broken().logical_not();
        let n_open = i64::try_from(is_open.sum(Kind::Int64)).map_err(VictimError::from)? as usize;
        query.tell_broken(self.score.size()[0] as usize - n_open);
        if n_open == open.ids.len() {
            return Ok(None);
        }
        let is_open = match &open.rows {
            Some(rows) => is_open.index_select(0, rows),
            None => is_open,
        };
        let is_open = Vec::<bool>::try_from(is_open).map_err(VictimError::from)?;
        Ok(Some(open.keep(&is_open)))
    }

    /// The best pixels of the whole batch; also tells the query when each sample was first broken.
    pub(crate) fn finish(self, query: &mut Query<'_>, batch: &Batch<'_>) -> Result<Tensor, AttackError> {
        let forwards = Vec::<i64>::try_from(self.forwards_to_success).map_err(VictimError::from)?;
        for (&id, forwards) in batch.ids.iter().zip(forwards).filter(|(_, forwards)| *forwards != NEVER) {
            query.tell_success(id, forwards as u64);
        }
        Ok(self.pixels)
    }
}

const NEVER: i64 = -1;
