//! Charts as numbers: what a template draws as SVG. Nothing here is text of a user but tick names, which the template escapes.

use minijinja::{Value, context};

use super::text::clip;
use crate::report::svg::path;
use crate::stats::{finite_range, round_step};
use crate::text::names::tail;

/// A value with its interval, where it has one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Point {
    pub(in crate::report) value: f64,
    pub(in crate::report) interval: Option<(f64, f64)>,
}

/// A line of a panel.
#[derive(Debug)]
pub(in crate::report) struct Series {
    /// Its look: `clean`, `adv`, `null`, `success`.
    pub(in crate::report) class: &'static str,
    /// By x; gaps stay gaps.
    pub(in crate::report) points: Vec<Option<Point>>,
    pub(in crate::report) peak: Option<usize>,
}

#[derive(Debug)]
pub(in crate::report) enum Content {
    Lines(Vec<Series>),
    Bars(Vec<Option<Point>>),
}

/// A panel before it is laid out.
#[derive(Debug)]
pub(in crate::report) struct Plot {
    pub(in crate::report) title: &'static str,
    pub(in crate::report) height: f64,
    pub(in crate::report) range: (f64, f64),
    /// Whether levels are shares, named in percent.
    pub(in crate::report) is_share: bool,
    pub(in crate::report) content: Content,
}

const WIDTH: f64 = 400.0;
const LEFT: f64 = 40.0;
const RIGHT: f64 = 12.0;

/// From how many x on points are no longer marked one by one.
const CROWDED: usize = 40;

/// Where on the x axis things stand.
pub(in crate::report) enum Axis<'a> {
    Names(&'a [String]),
    /// By a number, with the text that it is named by.
    Numbers(&'a [(f64, String)]),
}

impl Axis<'_> {
    /// Places, left to right.
    fn places(&self) -> Vec<f64> {
        let inner = (LEFT + 10.0, WIDTH - RIGHT - 10.0);
        let across = |share: f64| inner.0 + share * (inner.1 - inner.0);
        match self {
            Self::Names([_]) | Self::Numbers([_]) => vec![across(0.5)],
            Self::Names(names) => (0..names.len()).map(|at| across(at as f64 / (names.len() - 1) as f64)).collect(),
            Self::Numbers(numbers) => {
                let (least, most) = bounds(numbers.iter().map(|it| it.0));
                // Sizes are spread by their ratio where that is large, as sweeps usually are.
                let is_log = least > 0.0 && most >= 8.0 * least;
                let scaled = |value: f64| if is_log { value.ln() } else { value };
                let width = (scaled(most) - scaled(least)).max(f64::MIN_POSITIVE);
                numbers.iter().map(|it| across((scaled(it.0) - scaled(least)) / width)).collect()
            }
        }
    }

    fn text(&self, at: usize) -> String {
        match self {
            Self::Names(names) => tail(&names[at], 14),
            Self::Numbers(numbers) => clip(&numbers[at].1, 10),
        }
    }
}

/// Least and largest finite value; (0, 1) of none.
pub(in crate::report) fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    finite_range(values).unwrap_or((0.0, 1.0))
}

/// Rounds outwards to a tenth that a reader likes.
fn ruler((low, high): (f64, f64)) -> (f64, f64, f64) {
    // A flat line needs a scale too.
    let high = if high - low < 1e-6 { low + 1.0 } else { high };
    let step = round_step((high - low) / 5.0);
    ((low / step).floor() * step, (high / step).ceil() * step, step)
}

/// Panels below each other over the same x axis; `label` says what they show, for those who do not see it.
pub(in crate::report) fn chart(label: String, axis: &Axis<'_>, plots: &[Plot]) -> Value {
    let places = axis.places();
    let mut top = 18.0;
    let mut panels = Vec::with_capacity(plots.len());
    for plot in plots {
        panels.push(panel(plot, top, &places));
        top += plot.height + 26.0;
    }
    // Where the names of the ticks stand; those of taps are turned.
    let base = top - 26.0;
    let is_turned = matches!(axis, Axis::Names(_));
    let room = if is_turned { 66.0 } else { 22.0 };
    let apart = match (is_turned, places.len() > CROWDED) {
        (true, false) => 17.0,
        (true, true) => 30.0,
        (false, _) => 40.0,
    };
    let ticks = ticks(axis, &places, apart);
    context! { width => WIDTH, height => base + room, label, panels, ticks, base, is_turned }
}

/// Names with enough room between them; the last one always.
fn ticks(axis: &Axis<'_>, places: &[f64], room: f64) -> Value {
    let mut chosen: Vec<usize> = Vec::new();
    for (at, x) in places.iter().enumerate() {
        if chosen.last().is_none_or(|last| x - places[*last] >= room) {
            chosen.push(at);
        }
    }
    if let (Some(&last), Some(end)) = (chosen.last(), places.len().checked_sub(1))
        && last != end
    {
        if chosen.len() > 1 {
            chosen.pop();
        }
        chosen.push(end);
    }
    chosen.into_iter().map(|at| context! { at => round(places[at]), text => axis.text(at) }).collect()
}

/// One frame with its own y axis.
fn panel(plot: &Plot, top: f64, places: &[f64]) -> Value {
    let bottom = top + plot.height;
    let (low, high, step) = ruler(plot.range);
    let y = |value: f64| round(bottom - (value.clamp(low, high) - low) / (high - low) * plot.height);
    let count = ((high - low) / step).round() as usize;
    let digits = if step >= 0.995 { 0 } else { (-step.log10()).ceil() as usize };
    let level = |at: usize| {
        let value = low + at as f64 * step;
        let text = if plot.is_share {
            format!("{:.0} %", 100.0 * value)
        } else {
            // No minus before a zero that rounding left.
            format!("{:.digits$}", if value.abs() < step / 2.0 { 0.0 } else { value }).replace('-', "−")
        };
        context! { at => y(value), text }
    };
    let (mut lines, mut bars) = (Vec::new(), Vec::new());
    match &plot.content {
        Content::Lines(series) => lines.extend(series.iter().map(|line| draw(line, places, &y))),
        Content::Bars(points) => {
            let width = (0.62 * (WIDTH - LEFT - RIGHT - 20.0) / places.len().max(1) as f64).clamp(1.0, 18.0);
            let bar = |(x, point): (&f64, &Option<Point>)| {
                let Point { value, interval } = (*point)?;
                let (from, to) = (y(0.0), y(value));
                let (low, high) = interval.unwrap_or((value, value));
                let (top, height) = (from.min(to), round((from - to).abs()));
                Some(context! { x => round(*x), width => round(width), top, height, low => y(low), high => y(high) })
            };
            bars.extend(places.iter().zip(points).filter_map(bar));
        }
    }
    context! {
        title => plot.title,
        left => LEFT,
        right => WIDTH - RIGHT,
        top,
        bottom,
        levels => (0..=count).map(level).collect::<Value>(),
        zero => (low < 0.0 && 0.0 < high).then(|| y(0.0)),
        lines,
        bars,
    }
}

/// A line with its band and marks.
fn draw(line: &Series, places: &[f64], y: &dyn Fn(f64) -> f64) -> Value {
    let points = || places.iter().zip(&line.points).map(|(x, point)| point.map(|it| (round(*x), it)));
    let values: Vec<_> = points().map(|it| it.map(|(x, point)| (x, y(point.value)))).collect();
    let within = |(x, point): (f64, Point)| point.interval.map(|(low, high)| (x, [y(high), y(low)]));
    let ends: Vec<_> = points().map(|it| it.and_then(within)).collect();
    let show = |number: f64| number.to_string();
    let is_crowded = line.points.len() > CROWDED || line.class == "null";
    let mark = |(at, point): (usize, &Option<(f64, f64)>)| {
        let ((x, y), is_peak) = ((*point)?, line.peak == Some(at));
        (!is_crowded || is_peak).then(|| context! { x, y, is_peak })
    };
    context! {
        class => line.class,
        path => path::line(&values, show),
        band => path::band(&ends, show),
        marks => values.iter().enumerate().filter_map(mark).collect::<Value>(),
    }
}

/// A tenth of a unit is finer than any screen.
fn round(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands there, by keys and places in lists.
    fn at_path(value: &Value, path: &[&str]) -> Value {
        path.iter().fold(value.clone(), |value, key| match key.parse::<usize>() {
            Ok(at) => value.get_item(&Value::from(at)).unwrap(),
            Err(_) => value.get_attr(key).unwrap(),
        })
    }

    fn plot(points: &[Option<Point>], range: (f64, f64)) -> Plot {
        let series = Series { class: "clean", points: points.to_vec(), peak: Some(0) };
        Plot { title: "Q", height: 100.0, range, is_share: false, content: Content::Lines(vec![series]) }
    }

    #[test]
    fn gaps_part_lines_and_bands() {
        let at = |value| Some(Point { value, interval: Some((value - 0.1, value + 0.1)) });
        let points = [at(0.1), at(0.2), None, at(0.3), at(0.4)];
        let names: Vec<String> = (0..5).map(|it| format!("tap{it}")).collect();
        let chart = chart(String::new(), &Axis::Names(&names), &[plot(&points, (0.0, 0.5))]);
        let line = at_path(&chart, &["panels", "0", "lines", "0"]);
        assert_eq!(at_path(&line, &["path"]).to_string().matches('M').count(), 2);
        assert_eq!(at_path(&line, &["band"]).to_string().matches('Z').count(), 2);
        assert_eq!(at_path(&line, &["marks"]).len(), Some(4));
        assert!(at_path(&line, &["marks", "0", "is_peak"]).is_true());
        assert_eq!(at_path(&chart, &["ticks"]).len(), Some(5));
    }

    #[test]
    fn odd_input_stays_inside() {
        let far = [Some(Point { value: f64::MAX, interval: Some((f64::MIN, f64::MAX)) })];
        for (names, points) in [(vec!["a".to_owned()], &far[..]), (Vec::new(), &[][..])] {
            for range in [(0.0, 0.0), (0.0, 1.0), bounds(std::iter::empty())] {
                let chart = chart(String::new(), &Axis::Names(&names), &[plot(points, range)]);
                for mark in at_path(&chart, &["panels", "0", "lines", "0", "marks"]).try_iter().unwrap() {
                    let place = ["x", "y"].map(|key| f64::try_from(at_path(&mark, &[key])).unwrap());
                    assert!(place.iter().all(|it| it.is_finite()));
                }
                assert!(at_path(&chart, &["panels", "0", "levels"]).len().unwrap() < 12);
            }
        }
        let numbers = [(0.0, "0".to_owned()), (0.0, "0".to_owned())];
        assert!(Axis::Numbers(&numbers).places().iter().all(|it| it.is_finite()));
    }

    #[test]
    fn many_taps_are_named_where_there_is_room() {
        let names: Vec<String> = (0..150).map(|it| format!("layer{it}")).collect();
        let points = vec![Some(Point { value: 0.2, interval: None }); 150];
        let chart = chart(String::new(), &Axis::Names(&names), &[plot(&points, (0.0, 0.5))]);
        let ticks: Vec<Value> = at_path(&chart, &["ticks"]).try_iter().unwrap().collect();
        assert!(ticks.len() < 15);
        assert_eq!(at_path(ticks.last().unwrap(), &["text"]).as_str(), Some("layer149"));
        assert_eq!(at_path(&chart, &["panels", "0", "lines", "0", "marks"]).len(), Some(1));
    }
}
