//! Results for batches of 1, 7 and 256, with as many threads as the machine has. Alone in its binary: the number of
//! threads belongs to the process.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use advmod_attacks::testing::{ConvVictim, images, predictions};

use common::{attack_all, bits, config, options, run};

#[test]
fn batches_of_1_and_7_and_256_give_the_same_bits() {
    let victim = ConvVictim::seeded(1, 3, 10);
    let pixels = images(2, [256, 3, 8, 7]);
    let labels = predictions(&victim, &pixels).unwrap();
    for text in [
        "pgd:steps=2",
        "pgd:norm=l2,steps=2,stop=first",
        "jsma:gamma=0.05",
        "cw:search_steps=2,steps=6",
        "one-pixel:population=6,generations=2",
        "local-search:rounds=2,candidates=8",
        "square:queries=8",
    ] {
        let config = config(text);
        let whole = attack_all(&victim, &config, &pixels, &labels).unwrap();
        for size in [1, 7] {
            for start in (0..256 - size).step_by(101) {
                let (some_pixels, some_labels) = (pixels.narrow(0, start, size), labels.narrow(0, start, size));
                let ids: Vec<u32> = (start..start + size).map(|id| id as u32).collect();
                let part = run(&victim, &config, &some_pixels, &some_labels, &ids, options()).unwrap();
                let expected = bits(&whole.adversarial.narrow(0, start, size));
                assert_eq!(bits(&part.adversarial), expected, "{text}: {size} samples from {start}");
                assert_eq!(part.samples, whole.samples[start as usize..(start + size) as usize]);
            }
        }
    }
}
