//! Images before and after, and what changed.

use minijinja::{Value, context};

use super::super::evidence::{Chosen, EACH, Evidence, Pair};
use super::data_uri;
use super::text::{clip, name};
use crate::measure::clean::ClassProbability;
use crate::store::picture::Picture;
use crate::verdict::Report;
use crate::verdict::facts::{AttackResult, shown_label};

pub(super) fn samples(report: &Report, evidence: &Evidence) -> Value {
    let mut groups = Vec::new();
    for (place, attack) in report.attacks.iter().enumerate() {
        let kinds = [
            ("Smallest change", Chosen::SmallestChange),
            ("Drawn from the broken", Chosen::Broken),
            ("Drawn from those that held", Chosen::Held),
            ("Drawn from all attacked", Chosen::Drawn),
        ];
        let kind = |(title, chosen): (&str, Chosen)| {
            let pairs = evidence.pairs.iter().filter(|it| it.attack == place && it.chosen == chosen);
            let triplets: Vec<Value> = pairs.filter_map(|pair| triplet(report, attack, pair)).collect();
            (!triplets.is_empty()).then(|| context! { title, triplets })
        };
        let kinds: Vec<Value> = kinds.into_iter().filter_map(kind).collect();
        if !kinds.is_empty() {
            groups.push(context! { label => name(&shown_label(&report.attacks, &attack.attack)), kinds });
        }
    }
    let mut notes = Vec::new();
    if evidence.shrunk > 1 {
        let k = evidence.shrunk;
        notes.push(format!(
            "Images are shown smaller than they are: of every block of {k} × {k} pixels the one that changes most, before and after."
        ));
    }
    if evidence.is_cut {
        notes.push(format!(
            "To keep this file small, fewer than {EACH} of a kind are shown, or not all attacks have images."
        ));
    }
    context! { attacks => groups, note => notes.join(" ") }
}

fn triplet(report: &Report, attack: &AttackResult, pair: &Pair) -> Option<Value> {
    let result = attack.samples.iter().find(|it| it.sample == pair.sample)?;
    let class = |class: u32| match report.data.classes.get(class as usize) {
        Some(class_name) => clip(class_name, 40),
        None => format!("class {class}"),
    };
    let with = |it: Option<u32>, likeliest: Option<&Vec<ClassProbability>>, is_nonfinite: bool| {
        let Some(it) = it.filter(|_| !is_nonfinite) else { return "–".to_owned() };
        let p = likeliest.and_then(|all| all.iter().find(|likely| likely.class == it)).map(|likely| likely.p);
        p.map_or_else(|| class(it), |p| format!("{} {:.1}\u{a0}%", class(it), 100.0 * p))
    };
    let (difference, amplified) = difference(&pair.clean, &pair.adversarial);
    let pictures = [&pair.clean, &pair.adversarial, &difference].into_iter();
    let images: Vec<Value> = pictures.map(|picture| Some(data_uri(&picture.png().ok()?))).collect::<Option<_>>()?;
    let truth = report.data.labels.get(pair.sample).copied();
    Some(context! {
        images,
        amplified,
        sample => pair.sample,
        index => report.data.indices.get(pair.sample).copied(),
        is_broken => result.success,
        truth => truth.map_or_else(|| "–".to_owned(), class),
        clean => with(report.clean.prediction(pair.sample), report.clean.likeliest.get(pair.sample), false),
        adversarial => with(Some(result.prediction), Some(&result.likeliest), result.nonfinite_logits),
        target => result.target.map(class),
        distances => format!("L0 {} · L2 {:.3} · L∞ {:.4}", result.l0, result.l2, result.linf),
        width => pair.clean.shape[2],
        height => pair.clean.shape[1],
    })
}

const AMPLIFIED: f32 = 64.0;

/// After − before on grey, and how it was amplified: by the largest power of two that cuts nothing off.
fn difference(clean: &Picture, adversarial: &Picture) -> (Picture, String) {
    let pairs = || clean.pixels.iter().zip(&adversarial.pixels);
    let most = pairs().map(|(before, after)| (after - before).abs()).filter(|it| it.is_finite()).fold(0.0, f32::max);
    // Half of the scale lies on each side of grey; a change over more than that is halved.
    let mut factor = 0.5;
    while factor < AMPLIFIED && 2.0 * factor * most <= 0.5 {
        factor *= 2.0;
    }
    let pixels = pairs().map(|(before, after)| (0.5 + (after - before) * factor).clamp(0.0, 1.0)).collect();
    let amplified = match factor {
        _ if most == 0.0 => "no change".to_owned(),
        factor if factor < 1.0 => "change ÷ 2".to_owned(),
        factor => format!("change × {factor}"),
    };
    (Picture { shape: clean.shape, pixels }, amplified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_amplified_as_far_as_they_fit() {
        let of = |before: &[f32], after: &[f32]| {
            let picture = |pixels: &[f32]| Picture { shape: [1, 1, pixels.len()], pixels: pixels.to_vec() };
            let (shown, amplified) = difference(&picture(before), &picture(after));
            (shown.pixels, amplified)
        };
        assert_eq!(of(&[0.5; 3], &[0.5, 0.5625, 0.4375]), (vec![0.5, 1.0, 0.0], "change × 8".to_owned()));
        assert_eq!(of(&[0.5, 0.0], &[0.5, 0.001]).1, "change × 64");
        assert_eq!(of(&[0.0, 1.0], &[1.0, 1.0]), (vec![1.0, 0.5], "change ÷ 2".to_owned()));
        assert_eq!(of(&[0.25], &[0.25]), (vec![0.5], "no change".to_owned()));
    }
}
