//! The images of the run: kept as they come, within bounds, or read from the run's folder when they are looked at.

use std::collections::HashMap;
use std::path::PathBuf;

use super::state::samples::Look;
use crate::audit::event::Pictures;
use crate::report::Evidence;
use crate::store::picture::Picture;
use crate::store::pixels::{self, PictureError};
use crate::verdict::Report;

/// Bytes of images that are kept in memory.
const KEPT: usize = 256 << 20;

/// Where images are found.
#[derive(Debug, Default)]
pub struct Gallery {
    /// By attack (none for the clean images) and sample.
    kept: HashMap<(Option<usize>, usize), Picture>,
    bytes: usize,
    /// Whether some were not kept for want of room.
    is_full: bool,
    /// The run's folder, where there is one.
    folder: Option<PathBuf>,
}

impl Gallery {
    /// An empty one that looks into this folder for what it does not have.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, ..Self::default() }
    }

    /// Keeps what has come, as long as there is room.
    pub(crate) fn take(&mut self, pictures: &Pictures) {
        let values: usize = pictures.shape.iter().product();
        for (sample, pixels) in pictures.samples.iter().zip(pictures.pixels.chunks_exact(values.max(1))) {
            self.is_full |= self.bytes + size_of_val(pixels) > KEPT;
            if self.is_full {
                return;
            }
            self.bytes += size_of_val(pixels);
            let picture = Picture { shape: pictures.shape, pixels: pixels.to_vec() };
            self.kept.insert((pictures.attack, *sample), picture);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.folder.take());
    }

    /// The images of a sample, clean and as an attack left it.
    pub fn look(&self, attack: usize, label: &str, sample: usize) -> Look {
        let empty = Look { attack, sample, ..Look::default() };
        let (clean, adversarial) = match (self.find(None, sample), self.find(Some((attack, label)), sample)) {
            (Ok(clean), Ok(adversarial)) => (clean, adversarial),
            (Err(error), _) | (_, Err(error)) => return Look { note: Some(error.to_string()), ..empty },
        };
        let note = match (&clean, &adversarial) {
            (Some(_), Some(_)) => None,
            _ if self.is_full => {
                Some("not kept: the images of this run need more than 256 MiB; run with --out DIR".to_owned())
            }
            (None, None) => {
                Some("the images are not in this recording; audits with --out DIR keep them beside it".to_owned())
            }
            (Some(_), None) => Some("not there yet: adversarial images come with the end of the attack".to_owned()),
            (None, Some(_)) => Some("the clean images are not in this recording".to_owned()),
        };
        Look { clean, adversarial, note, ..empty }
    }

    pub(crate) fn evidence(&self, report: &Report) -> Evidence {
        Evidence::gather(report, &mut |label, sample| {
            let attack = match label {
                None => None,
                Some(label) => Some((report.attacks.iter().position(|it| it.attack.label == label)?, label)),
            };
            self.find(attack, sample).ok().flatten()
        })
    }

    /// A sample as an attack, by its place and label, left it, or clean.
    fn find(&self, attack: Option<(usize, &str)>, sample: usize) -> Result<Option<Picture>, PictureError> {
        match (self.kept.get(&(attack.map(|it| it.0), sample)), &self.folder, attack) {
            (Some(kept), ..) => Ok(Some(kept.clone())),
            (None, Some(folder), None) => pixels::clean(folder, sample),
            (None, Some(folder), Some((_, label))) => pixels::adversarial(folder, label, sample),
            (None, None, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::testing::recorded;

    #[test]
    fn what_came_is_found_and_too_much_is_not_kept() {
        let mut gallery = Gallery::default();
        let pictures = |attack, n: usize, side: usize| Pictures {
            attack,
            samples: (0..n).collect(),
            shape: [1, side, side],
            pixels: vec![0.5; n * side * side],
        };
        gallery.take(&pictures(None, 3, 2));
        let look = gallery.look(0, "pgd", 2);
        assert!(look.clean.is_some() && look.adversarial.is_none() && look.note.is_some());
        gallery.take(&pictures(Some(0), 3, 2));
        let look = gallery.look(0, "pgd", 2);
        assert!(look.adversarial.is_some() && look.note.is_none());
        gallery.take(&pictures(Some(1), 20, 2048));
        assert!(gallery.bytes <= KEPT && gallery.kept.len() < 26);
        assert!(gallery.look(1, "cw", 19).note.unwrap().contains("256 MiB"));
        gallery.clear();
        assert!(gallery.look(0, "pgd", 2).clean.is_none());
    }

    #[test]
    fn a_report_gets_its_images() {
        let report = recorded();
        let [channels, height, width] = report.data.shape;
        let mut gallery = Gallery::default();
        for attack in [None, Some(1)] {
            let pixels = vec![0.5; 40 * channels * height * width];
            gallery.take(&Pictures { attack, samples: (0..40).collect(), shape: report.data.shape, pixels });
        }
        let evidence = gallery.evidence(&report);
        assert!(!evidence.pairs.is_empty() && evidence.pairs.iter().all(|it| it.attack == 1));
    }
}
