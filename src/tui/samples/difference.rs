//! The change of an image as an image.

use super::super::state::samples::Gain;
use crate::store::picture::Picture;

/// The change from one image to another, and what its colours mean. Both must have the same shape.
pub(crate) fn difference(clean: &Picture, adversarial: &Picture, gain: Gain) -> Option<(Picture, String)> {
    if clean.shape != adversarial.shape || clean.pixels.len() != adversarial.pixels.len() {
        return None;
    }
    let change: Vec<f32> = adversarial.pixels.iter().zip(&clean.pixels).map(|(after, before)| after - before).collect();
    let [channels, height, width] = clean.shape;
    let area = height * width;
    let of_pixel = |pixel: usize| (0..channels).map(move |channel| channel * area + pixel);
    let largest = change.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let in_color = |color: &dyn Fn(usize) -> [f32; 3]| {
        let mut pixels = vec![0.0; 3 * area];
        for pixel in 0..area {
            for (channel, value) in color(pixel).into_iter().enumerate() {
                pixels[channel * area + pixel] = value;
            }
        }
        Picture { shape: [3, height, width], pixels }
    };
    Some(match (gain, gain.factor()) {
        (_, Some(factor)) => {
            let pixels = change.iter().map(|value| (0.5 + factor * value).clamp(0.0, 1.0)).collect();
            (Picture { shape: clean.shape, pixels }, format!("change ×{factor}"))
        }
        (Gain::Sign, None) => {
            let color = |pixel: usize| {
                let sum: f32 = of_pixel(pixel).map(|place| change[place]).sum();
                match sum.partial_cmp(&0.0) {
                    Some(std::cmp::Ordering::Greater) => [0.9, 0.2, 0.2],
                    Some(std::cmp::Ordering::Less) => [0.25, 0.4, 0.95],
                    _ => [0.5; 3],
                }
            };
            (in_color(&color), "red up, blue down".to_owned())
        }
        (_, None) => {
            let color = |pixel: usize| {
                let size = of_pixel(pixel).fold(0.0_f32, |largest, place| largest.max(change[place].abs()));
                let heat = if largest > 0.0 { 3.0 * size / largest } else { 0.0 };
                [heat.min(1.0), (heat - 1.0).clamp(0.0, 1.0), (heat - 2.0).clamp(0.0, 1.0)]
            };
            (in_color(&color), format!("size, white {largest:.3}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pixels: &[f32]) -> Picture {
        Picture { shape: [1, 1, pixels.len()], pixels: pixels.to_vec() }
    }

    #[test]
    fn changes_are_amplified_on_grey_and_their_signs_have_colours() {
        let (clean, adversarial) = (picture(&[0.5, 0.5, 0.5]), picture(&[0.5, 0.51, 0.4]));
        let at = |gain| difference(&clean, &adversarial, gain).unwrap().0;
        let amplified = at(Gain::Sixteen);
        assert_eq!((amplified.pixels[0], amplified.pixels[2]), (0.5, 0.0));
        assert!((amplified.pixels[1] - 0.66).abs() < 1e-3);
        let sign = at(Gain::Sign);
        assert_eq!((sign.rgb(0, 0), sign.rgb(1, 0)[0], sign.rgb(2, 0)[2]), ([0.5; 3], 0.9, 0.95));
        let heat = at(Gain::Heat);
        assert_eq!((heat.rgb(0, 0), heat.rgb(2, 0)), ([0.0; 3], [1.0; 3]));
        assert_eq!(difference(&clean, &picture(&[0.5]), Gain::One), None);
    }
}
