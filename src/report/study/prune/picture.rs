//! What pruning finds out, as charts.

use crate::report::svg::{Colour, Line, LineChart, charts};
use crate::stats::finite_range;
use crate::stats::rates::{Measured, Rate};
use crate::study::results::prune::{Judged, PruneResult, RuleResult, Survey};

/// Q and its increments by unit, the accuracies by rule, and what removal costs.
pub(super) fn picture(it: &PruneResult) -> String {
    let mut drawn = vec![curve(&it.survey), increments(&it.survey, it.threshold)];
    drawn.extend(accuracies(it));
    drawn.extend(lost(&it.rules));
    charts(&drawn, "Modularity and its increments by unit, and test accuracy by pruning rule")
}

fn curve(survey: &Survey) -> LineChart {
    let q = || survey.units.iter().map(|unit| unit.q);
    LineChart {
        title: format!("Q by unit, N = {}, k = {}", survey.n, survey.k),
        places: units(survey),
        range: around(q(), 0.1),
        lines: vec![Line::new("Q", q().map(Some), Colour::Own(0))],
        is_joined: true,
    }
}

fn increments(survey: &Survey, threshold: f64) -> LineChart {
    let deltas = || survey.units.iter().map(|unit| unit.delta);
    LineChart {
        title: "ΔQ by unit, with 95 % intervals".to_owned(),
        places: units(survey),
        range: around(deltas().flatten().flat_map(|it| [it.low, it.high]).chain([0.0, threshold]), 0.02),
        lines: vec![
            measured("ΔQ", deltas(), 1),
            Line::new(&format!("threshold {threshold}"), survey.units.iter().map(|_| Some(threshold)), Colour::Own(2)),
        ],
        is_joined: true,
    }
}

fn units(survey: &Survey) -> Vec<String> {
    survey.units.iter().map(|unit| unit.unit.clone()).collect()
}

/// Test accuracy by rule, where any was trained.
fn accuracies(it: &PruneResult) -> Option<LineChart> {
    let of = |value: fn(&Judged) -> Option<Rate>| -> Vec<Option<Measured>> {
        it.rules.iter().map(|row| value(row.judged.as_ref()?).map(Measured::from)).collect()
    };
    let whole: Vec<_> = it.rules.iter().map(|_| it.accuracy.map(Measured::from)).collect();
    let (tuned, scratch) = (of(|judged| Some(judged.tuned)), of(|judged| judged.scratch));
    let all = whole.iter().chain(&tuned).chain(&scratch).flatten().flat_map(|it| [it.low, it.high]);
    let range = around(all, 0.02);
    let has_scratch = scratch.iter().any(Option::is_some);
    let mut lines = vec![measured("whole, before", whole, 0), measured("fine-tuned", tuned, 1)];
    lines.extend(has_scratch.then(|| measured("from scratch", scratch, 3)));
    it.rules.iter().any(|row| row.judged.is_some()).then(|| LineChart {
        title: "test accuracy by rule, with 95 % intervals".to_owned(),
        places: it.rules.iter().map(|row| row.rule.clone()).collect(),
        range,
        lines,
        is_joined: false,
    })
}

/// What was removed by its ΔQ, the smallest first, beside the accuracy that it cost: more than fine-tuning alone where that is known.
fn lost(rules: &[RuleResult]) -> Option<LineChart> {
    let known = |of: fn(&Judged) -> Option<Measured>| -> Vec<(&str, f64, Measured)> {
        rules.iter().filter_map(|row| Some((row.rule.as_str(), row.delta_q?, of(row.judged.as_ref()?)?))).collect()
    };
    let (mut rows, mut title) = (known(|judged| judged.cost), "ΔQ removed, and test accuracy below none");
    if rows.is_empty() {
        (rows, title) = (known(|judged| judged.drop), "ΔQ removed, and test accuracy lost");
    }
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    // With a single rule there is nothing to compare.
    (rows.len() > 1).then(|| LineChart {
        title: title.to_owned(),
        places: rows.iter().map(|row| row.0.to_owned()).collect(),
        range: around(rows.iter().flat_map(|(_, delta, lost)| [*delta, lost.low, lost.high, 0.0]), 0.02),
        lines: vec![
            Line::new("sum of ΔQ", rows.iter().map(|row| Some(row.1)), Colour::Own(0)),
            measured("accuracy lost, 95 %", rows.iter().map(|row| Some(row.2)), 1),
        ],
        is_joined: false,
    })
}

/// A range that holds all of these, from one multiple of `step` to another.
fn around(values: impl Iterator<Item = f64>, step: f64) -> (f64, f64) {
    let outwards = |(low, high): (f64, f64)| ((low / step).floor() * step, ((high / step).floor() + 1.0) * step);
    finite_range(values).map_or((0.0, 1.0), outwards)
}

/// With intervals as its band.
fn measured(name: &str, values: impl IntoIterator<Item = Option<Measured>>, colour: usize) -> Line {
    let values: Vec<Option<Measured>> = values.into_iter().collect();
    let band = values.iter().map(|it| it.map(|it| (it.low, it.high))).collect();
    Line { band, ..Line::new(name, values.iter().map(|it| it.map(|it| it.value)), Colour::Own(colour)) }
}
