//! Keeps, per sample, the most adversarial pixels that an attack has seen, and which samples it still works on.

use crate::attack::{AttackError, Batch};
use crate::loss::margin;
use crate::query::Query;
use crate::rows;
use crate::threat::Goal;
use crate::victim::VictimError;
use tch::{Device, Kind, Tensor};

/// The samples of a batch that an attack still works on.
#[derive(Debug)]
pub(crate) struct Open {
    /// Their ids.
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
    pub(crate) fn all(batch: &Batch<'_>) -> Open {
        Open {
            ids: batch.ids.to_vec(),
            original: batch.pixels.shallow_clone(),
            classes: batch.classes.shallow_clone(),
            rows: None,
        }
    }

    fn keep(&mut self, is_kept: &[bool]) -> Tensor {
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

/// Per sample of a batch, the pixels with the largest margin so far; a positive margin meets the goal.
#[derive(Debug)]
pub(crate) struct Best {
    goal: Goal,
    pixels: Tensor,
    margin: Tensor,
    forwards_to_success: Tensor,
}

impl Best {
    /// Nothing seen yet: the originals.
    pub(crate) fn new(batch: &Batch<'_>) -> Best {
        let n = batch.ids.len() as i64;
        let device = batch.pixels.device();
        Best {
            goal: batch.goal,
            pixels: batch.pixels.copy(),
            margin: Tensor::full([n], f64::NEG_INFINITY, (Kind::Float, device)),
            forwards_to_success: Tensor::full([n], NEVER, (Kind::Int64, device)),
        }
    }

    /// Keeps the open samples' pixels where they beat what was seen before; of equals the first stays.
    ///
    /// `forwards` is how many forwards each of them has had by now. On the CPU also tells how many samples are broken;
    /// elsewhere that would wait for the device.
    pub(crate) fn offer(
        &mut self,
        query: &mut Query<'_>,
        open: &Open,
        pixels: &Tensor,
        logits: &Tensor,
        forwards: u64,
    ) -> Result<(), AttackError> {
        let margin = margin(logits, &open.classes, self.goal); // [n]
        let (known_pixels, known_margin, known_forwards) = match &open.rows {
            None => {
                (self.pixels.shallow_clone(), self.margin.shallow_clone(), self.forwards_to_success.shallow_clone())
            }
            Some(rows) => (
                self.pixels.index_select(0, rows),
                self.margin.index_select(0, rows),
                self.forwards_to_success.index_select(0, rows),
            ),
        };
        let is_better = margin.gt_tensor(&known_margin);
        let is_first = margin.gt(0.0).logical_and(&known_forwards.eq(NEVER));
        let new_pixels = pixels.where_self(&rows::broadcast(&is_better, pixels), &known_pixels);
        let new_margin = margin.where_self(&is_better, &known_margin);
        let new_forwards = known_forwards.masked_fill(&is_first, forwards as i64);
        match &open.rows {
            None => {
                self.pixels = new_pixels;
                self.margin = new_margin;
                self.forwards_to_success = new_forwards;
            }
            Some(rows) => {
                let _ = self.pixels.index_copy_(0, rows, &new_pixels);
                let _ = self.margin.index_copy_(0, rows, &new_margin);
                let _ = self.forwards_to_success.index_copy_(0, rows, &new_forwards);
            }
        }
        if pixels.device() == Device::Cpu {
            let n_broken = i64::try_from(self.margin.gt(0.0).sum(Kind::Int64)).map_err(VictimError::from)?;
            query.tell_broken(n_broken as usize);
        }
        Ok(())
    }

    /// Closes the open samples that are broken. Returns which of the open rows stay, or none if all do.
    pub(crate) fn close_broken(&self, query: &mut Query<'_>, open: &mut Open) -> Result<Option<Tensor>, AttackError> {
        let is_open = self.margin.gt(0.0).logical_not();
        let n_open = i64::try_from(is_open.sum(Kind::Int64)).map_err(VictimError::from)? as usize;
        query.tell_broken(self.margin.size()[0] as usize - n_open);
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

/// No success yet.
const NEVER: i64 = -1;
