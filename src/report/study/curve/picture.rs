//! Curves as an SVG picture.

use crate::modularity::{Curve, TapPoint};
use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::stats::finite_range;
use crate::study::results::curve::{CurveResult, ModelCurve};
use crate::text::names::tail;

/// What lines of weights that are not random are called.
const LOADED: &str = "as loaded";

/// Most lines of a chart before it is split by samples and similarity.
const LINES: usize = 6;

/// Longest title of a chart, and longest name of a line.
const TITLE: usize = 52;
const NAME: usize = 56;

/// A chart with standard deviations as bands for each list of taps, or for each of its N and similarities; lines are named by what they differ in.
pub(super) fn picture(CurveResult { curves, .. }: &CurveResult) -> Vec<u8> {
    let range = q_range(curves.iter().map(|it| &it.curve), &[]);
    let drawn: Vec<LineChart> = groups(curves).iter().map(|group| chart(group, range)).collect();
    charts(&drawn, "Modularity by tap, a line for each model and setting").into_bytes()
}

/// From the tenth below what is lowest to the tenth above what is highest: Q with its deviation, and these values.
pub(crate) fn q_range<'a>(curves: impl Iterator<Item = &'a Curve>, others: &[f64]) -> (f64, f64) {
    let ends = |point: &TapPoint| -> Option<[f64; 2]> {
        let (q, deviation) = (point.q?, point.std_dev.unwrap_or(0.0));
        Some([q - deviation, q + deviation])
    };
    let all = curves.flat_map(|it| &it.taps).filter_map(ends).flatten().chain(others.iter().copied());
    // A step more where both are the same.
    let outwards = |(low, high): (f64, f64)| ((10.0 * low).floor() / 10.0, (10.0 * high + 1e-9).floor() / 10.0 + 0.1);
    finite_range(all).map_or((0.0, 1.0), outwards)
}

/// Curves over the same taps that stand in one chart.
pub(super) struct Group<'a> {
    /// What all of them share.
    pub(super) title: String,
    /// Each with what it differs in.
    pub(super) lines: Vec<(String, &'a ModelCurve)>,
}

/// The curves by their taps; many of them also by N and similarity.
pub(super) fn groups(curves: &[ModelCurve]) -> Vec<Group<'_>> {
    let taps = |it: &ModelCurve| it.curve.taps.iter().map(|tap| tap.tap.clone()).collect::<Vec<_>>();
    let all: Vec<&ModelCurve> = curves.iter().collect();
    (grouped(&all, &taps).into_iter())
        .flat_map(|group| match group.len() {
            0..=LINES => vec![group],
            _ => grouped(&group, &|it| (it.curve.n, it.curve.similarity)),
        })
        .map(|group| named(&group))
        .collect()
}

/// Those of equal keys together, in the order of their first ones.
fn grouped<'a, K: PartialEq>(curves: &[&'a ModelCurve], key: &dyn Fn(&ModelCurve) -> K) -> Vec<Vec<&'a ModelCurve>> {
    let mut groups: Vec<Vec<&ModelCurve>> = Vec::new();
    for &it in curves {
        match groups.iter_mut().find(|group| key(group[0]) == key(it)) {
            Some(group) => group.push(it),
            None => groups.push(vec![it]),
        }
    }
    groups
}

fn named<'a>(group: &[&'a ModelCurve]) -> Group<'a> {
    let what: [fn(&ModelCurve) -> String; 4] = [
        |it| it.random_init.map_or(LOADED.to_owned(), |seed| format!("random weights {seed}")),
        |it| format!("N = {}", it.curve.n),
        |it| format!("k = {}", it.curve.k),
        |it| it.curve.similarity.to_string(),
    ];
    let is_one_model = group.iter().all(|it| it.model == group[0].model);
    let (mut same, differing): (Vec<_>, Vec<_>) =
        what.into_iter().partition(|of| group.iter().all(|it| of(it) == of(group[0])));
    same.retain(|of| of(group[0]) != LOADED);
    let name = |parts: &[fn(&ModelCurve) -> String], it: &ModelCurve, has_model: bool, most: usize| {
        let mut words: Vec<String> = parts.iter().map(|of| of(it)).collect();
        let taken: usize = words.iter().map(|word| word.chars().count() + 2).sum();
        words.extend(has_model.then(|| tail(&it.model, most.saturating_sub(taken).max(8))));
        words.join(", ")
    };
    Group {
        title: name(&same, group[0], is_one_model, TITLE),
        lines: group.iter().map(|it| (name(&differing, it, !is_one_model, NAME), *it)).collect(),
    }
}

/// One standard deviation to both sides.
fn spread(point: &TapPoint) -> Option<(f64, f64)> {
    let (q, deviation) = (point.q?, point.std_dev?);
    Some((q - deviation, q + deviation))
}

fn chart(group: &Group<'_>, range: (f64, f64)) -> LineChart {
    let n = group.lines.len();
    let is_few = n <= LINES;
    let steps = (n.max(2) - 1) as f64;
    let line = |(place, (name, it)): (usize, &(String, &ModelCurve))| Line {
        name: name.clone(),
        values: it.curve.taps.iter().map(|point| point.q).collect(),
        // Many bands over each other tell nothing.
        band: if is_few { it.curve.taps.iter().map(spread).collect() } else { Vec::new() },
        colour: if is_few { Colour::Own(place) } else { Colour::Step(place as f64 / steps) },
    };
    LineChart {
        title: format!("Q: {}", group.title),
        places: group.lines[0].1.curve.taps.iter().map(|tap| tap.tap.clone()).collect(),
        range,
        lines: group.lines.iter().enumerate().map(line).collect(),
        is_joined: true,
    }
}
