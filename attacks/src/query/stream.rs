//! Random numbers per (seed, purpose, sample, restart), independent of batches and devices.

use std::collections::HashMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The stream of one sample. Each quadruple is a key of its own, so streams never overlap.
pub(crate) fn stream(seed: u64, purpose: &str, sample: u32, restart: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&fnv1a(purpose).to_le_bytes());
    key[16..24].copy_from_slice(&u64::from(sample).to_le_bytes());
    key[24..].copy_from_slice(&restart.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// The streams of a run's samples, made when first asked for.
pub(super) struct Streams {
    seed: u64,
    purpose: String,
    restart: u64,
    by_sample: HashMap<u32, ChaCha8Rng>,
}

impl Streams {
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        Self { seed, purpose: purpose.to_owned(), restart: 0, by_sample: HashMap::new() }
    }

    pub(super) fn of(&mut self, sample: u32) -> &mut ChaCha8Rng {
        let Self { seed, purpose, restart, by_sample } = self;
        by_sample.entry(sample).or_insert_with(|| stream(*seed, purpose, sample, *restart))
    }

    pub(super) fn begin_restart(&mut self, restart: u64) {
        self.restart = restart;
        self.by_sample.clear();
    }
}

/// FNV-1a, 64 bits: a stable number for a short name.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_part_of_the_key_changes_the_stream() {
        let first = |seed, purpose, sample, restart| stream(seed, purpose, sample, restart).next_u64();
        let base = first(1, "pgd", 2, 3);
        assert_eq!(base, first(1, "pgd", 2, 3));
        assert!(
            [first(0, "pgd", 2, 3), first(1, "cw", 2, 3), first(1, "pgd", 1, 3), first(1, "pgd", 2, 0)]
                .iter()
                .all(|&other| other != base)
        );
    }
}
