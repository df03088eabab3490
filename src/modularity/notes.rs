//! What a reader of a curve must know: properties of samples and representations that bend Q without making it wrong.

use super::{Curve, TapPoint};

/// Fewest samples of which one is called a hub.
const FEWEST: usize = 20;

/// One sentence for each thing that is noteworthy in a curve; none for most curves.
pub(crate) fn curve_notes(curve: &Curve) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |count: fn(&super::TapPoint) -> usize, text: &dyn Fn(usize, usize, &str) -> String| {
        let affected: Vec<_> = curve.taps.iter().filter(|tap| count(tap) > 0).collect();
        if let Some(worst) = affected.iter().max_by_key(|tap| count(tap)) {
            notes.push(text(affected.len(), count(worst), &worst.tap));
        }
    };
    note(|tap| tap.zero_rows, &|taps, worst, tap| {
        format!(
            "{taps} tap(s) have all-zero representations, most {tap} with {worst} sample(s); these join the graph without weight"
        )
    });
    note(|tap| tap.negative_edges, &|taps, worst, tap| {
        format!(
            "{taps} tap(s) have edges of negative weight, most {tap} with {worst}; the bounds of Q do not hold there, lower --k"
        )
    });
    let n = curve.n;
    // Of all its repeats.
    let share = |tap: &TapPoint| tap.duplicates as f64 / (n * tap.repeats.len().max(1)).max(1) as f64;
    let flat: Vec<_> = curve.taps.iter().skip(1).filter(|tap| share(tap) > 0.5).collect();
    if let Some(worst) = flat.iter().max_by(|a, b| share(a).total_cmp(&share(b))) {
        notes.push(format!(
            "at {} tap(s) most samples repeat another's representation, at {} {:.0} % of them: its output hardly depends on the image, and Q says \
             little there",
            flat.len(),
            worst.tap,
            100.0 * share(worst)
        ));
    }
    // Each is chosen k times on average.
    let hub = |tap: &TapPoint| tap.hubness.as_ref().map_or(0, |it| it.largest_in_degree);
    let hubs: Vec<_> = curve.taps.iter().filter(|tap| n >= FEWEST && hub(tap) > n / 2).collect();
    if let Some(worst) = hubs.iter().max_by_key(|tap| hub(tap)) {
        notes.push(format!(
            "at {} tap(s) one sample is a neighbour of more than half of all, most at {} ({} of {n}): the representations hardly differ there, and Q \
             says little; compare --similarity sample-centred",
            hubs.len(),
            worst.tap,
            hub(worst)
        ));
    }
    // Deep taps may map different images to one point; at the first tap only equal images do.
    if let Some(first) = curve.taps.first().filter(|tap| tap.duplicates > 0) {
        notes.push(format!(
            "{} sample(s) repeat another's representation at {}: repeated images raise Q if their labels agree",
            first.duplicates, first.tap
        ));
    }
    notes
}

/// A sentence about classes with at most k samples, which cannot fill their neighbourhoods, or about a single class; none if there are no
/// such classes.
pub(crate) fn class_note(labels: &[usize], n_classes: usize, k: usize) -> Option<String> {
    let mut counts = vec![0_usize; n_classes];
    for &label in labels {
        counts[label] += 1;
    }
    if labels.first().is_some_and(|first| counts[*first] == labels.len()) {
        return Some(format!(
            "all samples are of class {}: Q is 0 whatever the representations; take samples of several classes",
            labels[0]
        ));
    }
    let small: Vec<String> =
        (0..n_classes).filter(|&class| (1..=k).contains(&counts[class])).map(|class| class.to_string()).collect();
    let shown = small[..small.len().min(8)].join(", ");
    let more = if small.len() > 8 { ", …" } else { "" };
    (!small.is_empty()).then(|| {
        let n = small.len();
        format!("{n} class(es) have at most k = {k} samples ({shown}{more}): their Q is bounded by their count; take more samples or lower --k")
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Hubness, Modularity, ModularityError, Similarity, TapModularity};
    use super::*;

    fn curve(zero_rows: usize, negative_edges: usize, duplicates: usize) -> Curve {
        let modularity = Modularity {
            q: 0.5,
            null: 0.0,
            null_std_dev: 0.0,
            per_class: vec![0.5],
            class_weights: vec![1.0],
            total_weight: 1.0,
            label_overlap: 0.5,
            negative_edges,
        };
        let hubness = Hubness { largest_in_degree: 1, skewness: 0.0 };
        let measured =
            TapModularity { modularity, hubness, never_chosen: 0.0, knn_accuracy: 1.0, zero_rows, duplicates };
        let point = TapPoint::from_repeats("conv1", &[Ok::<_, ModularityError>(measured)]);
        Curve { n: 10, k: 3, similarity: Similarity::COSINE, taps: vec![point] }
    }

    #[test]
    fn a_plain_curve_has_no_notes_and_each_trouble_has_one() {
        assert!(curve_notes(&curve(0, 0, 0)).is_empty());
        for (curve, word) in [(curve(2, 0, 0), "all-zero"), (curve(0, 2, 0), "negative"), (curve(0, 0, 2), "repeat")] {
            let notes = curve_notes(&curve);
            assert!(notes.len() == 1 && notes[0].contains(word) && notes[0].contains("conv1"), "{notes:?}");
        }
    }

    #[test]
    fn flat_taps_and_hubs_are_said_wherever_they_are() {
        let mut deep = curve(0, 0, 0);
        let mut flat = deep.taps[0].clone();
        (flat.tap, flat.duplicates) = ("layer3".to_owned(), 9);
        deep.taps.push(flat);
        let notes = curve_notes(&deep);
        assert!(notes.len() == 1 && notes[0].contains("layer3 90 %"), "{notes:?}");
        // Of ten samples one may be the neighbour of six by chance.
        let hub = |n: usize| {
            let mut curve = curve(0, 0, 0);
            curve.n = n;
            curve.taps[0].hubness = Some(Hubness { largest_in_degree: n / 2 + 1, skewness: 9.0 });
            curve_notes(&curve)
        };
        assert!(hub(10).is_empty());
        assert!(hub(200)[0].contains("101 of 200"), "{:?}", hub(200));
    }

    #[test]
    fn small_classes_are_named_and_absent_ones_are_not() {
        assert_eq!(class_note(&[0, 0, 1, 1], 3, 1), None);
        let note = class_note(&[0, 0, 0, 1], 3, 2).unwrap();
        assert!(note.contains("1 class(es)") && note.contains("(1)"), "{note}");
    }
}
