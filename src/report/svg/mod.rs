//! Line charts, and heatmaps, as SVG files that stand alone: light and dark, without scripts and without anything to load.

mod heatmap;
pub(super) mod path;

use std::fmt::{Result, Write as _};

pub(crate) use heatmap::{Heatmap, heatmaps};

use crate::stats::round_step;
use crate::text::names::is_obeyed;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LineChart {
    pub title: String,
    /// Under each place of the horizontal axis.
    pub places: Vec<String>,
    /// Smallest and largest value that the vertical axis shows.
    pub range: (f64, f64),
    /// In the order in which they are drawn.
    pub lines: Vec<Line>,
    /// Whether places follow each other, so that values are joined; else they are dots, with a bar for their band.
    pub is_joined: bool,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub name: String,
    /// One per place; a line has a gap where there is none.
    pub values: Vec<Option<f64>>,
    /// Lower and upper end of a band around each value; none where there is none.
    pub band: Vec<Option<(f64, f64)>>,
    pub colour: Colour,
}

impl Line {
    /// Without a band.
    pub(crate) fn new(name: &str, values: impl IntoIterator<Item = Option<f64>>, colour: Colour) -> Self {
        Self { name: name.to_owned(), values: values.into_iter().collect(), band: Vec::new(), colour }
    }
}

/// How a line is told from others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Colour {
    /// One of a row, from 0 (the first) to 1 (the last): from light to dark through hues that colour-blind people tell apart.
    Step(f64),
    /// One of few, with its own dash.
    Own(usize),
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 78.0;
/// Most labels under the horizontal axis, and most lines in a legend.
const LABELS: usize = 16;

const STYLE: &str = "text{font:11px system-ui,sans-serif;fill:#444}.title{font-weight:600;font-size:13px;fill:#111}\
    .axis{stroke:#8889;fill:none}.line{fill:none;stroke-width:1.8}.band{stroke:none;opacity:.16}.mark{fill:#fff;stroke:#0006;stroke-width:.5}\
    @media (prefers-color-scheme:dark){svg{background:#14171b}text{fill:#aab}.title{fill:#eef}}";

/// Most charts beside each other, and matrices: those of one attack, before and after.
const ACROSS: usize = 2;

/// The charts in one file, side by side and then below each other.
pub(crate) fn charts(charts: &[LineChart], description: &str) -> String {
    let rows = |chart: &LineChart| shown(chart.lines.len()).len().div_ceil(legend_columns(chart));
    let height = HEIGHT + 18.0 * charts.iter().map(rows).max().unwrap_or(0) as f64;
    grid(charts, (WIDTH, height), description, draw)
}

/// Pictures of one size in one file.
fn grid<T>(all: &[T], (width, height): (f64, f64), description: &str, draw: fn(&mut String, &T) -> Result) -> String {
    let (right, bottom) = (width * all.len().min(ACROSS) as f64, height * all.len().div_ceil(ACROSS) as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right} {bottom}\" width=\"{right}\" height=\"{bottom}\" role=\"img\" \
         aria-label=\"{}\">\n<style>{STYLE}</style>\n",
        escape(description)
    );
    for (place, it) in all.iter().enumerate() {
        let (x, y) = (width * (place % ACROSS) as f64, height * (place / ACROSS) as f64);
        writeln!(svg, "<g transform=\"translate({x} {y})\">").expect("writing to memory cannot fail");
        draw(&mut svg, it).expect("writing to memory cannot fail");
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// Long names of lines need more room.
fn legend_columns(chart: &LineChart) -> usize {
    match chart.lines.iter().map(|line| line.name.chars().count()).max() {
        Some(0..=20) | None => 3,
        Some(21..=30) => 2,
        Some(_) => 1,
    }
}

fn draw(svg: &mut String, chart: &LineChart) -> Result {
    let (right, bottom) = (WIDTH - 14.0, HEIGHT - BOTTOM);
    let (low, high) = chart.range;
    // Dots keep off the axis, and have room beside each other.
    let inset = if chart.is_joined { 0.0 } else { 20.0 };
    let across = |place: usize| {
        LEFT + inset + (right - LEFT - 2.0 * inset) * place as f64 / (chart.places.len().max(2) - 1) as f64
    };
    let up =
        |value: f64| bottom - (bottom - TOP) * ((value.clamp(low, high) - low) / (high - low).max(f64::MIN_POSITIVE));
    writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"18\">{}</text>", escape(&chart.title))?;
    for value in levels(chart.range) {
        let y = up(value);
        writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{right}\"/>")?;
        writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.2}</text>", LEFT - 6.0, y + 4.0)?;
    }
    for place in shown(chart.places.len()) {
        hang(svg, &chart.places[place], (across(place), bottom + 14.0), BOTTOM - 18.0)?;
    }
    if chart.is_joined {
        joined(svg, chart, &across, &up)?;
    } else {
        dots(svg, chart, &across, &up)?;
    }
    for (cell, at) in shown(chart.lines.len()).into_iter().enumerate() {
        let line = &chart.lines[at];
        let columns = legend_columns(chart);
        let width = 405.0 / columns as f64;
        let (x, y) = (LEFT + width * (cell % columns) as f64, HEIGHT + 18.0 * (cell / columns) as f64 - 6.0);
        if chart.is_joined {
            writeln!(svg, "<path class=\"line\" {} d=\"M{x} {y}h18\"/>", look(line.colour))?;
        } else {
            writeln!(svg, "<circle {} cx=\"{}\" cy=\"{y}\" r=\"3\"/>", solid(line.colour), x + 9.0)?;
        }
        let name: String = line.name.chars().take(60 / columns).collect();
        writeln!(svg, "<text x=\"{}\" y=\"{}\">{}</text>", x + 23.0, y + 4.0, escape(&name))?;
    }
    Ok(())
}

/// Lines over the bands of all of them.
fn joined(svg: &mut String, chart: &LineChart, across: &dyn Fn(usize) -> f64, up: &dyn Fn(f64) -> f64) -> Result {
    let show = |number: f64| format!("{number:.1}");
    for line in &chart.lines {
        let ends = line.values.iter().zip(&line.band).enumerate().map(|(place, (value, band))| {
            value.filter(|it| it.is_finite())?;
            let (low, high) = band.filter(|(low, high)| low.is_finite() && high.is_finite())?;
            Some((across(place), [up(high), up(low)]))
        });
        let band = path::band(&ends.collect::<Vec<_>>(), show);
        if !band.is_empty() {
            writeln!(svg, "<path class=\"band\" {} d=\"{band}\"/>", look(line.colour))?;
        }
    }
    for line in &chart.lines {
        let point = |(place, value): (usize, &Option<f64>)| {
            value.filter(|value| value.is_finite()).map(|value| (across(place), up(value)))
        };
        let points: Vec<_> = line.values.iter().enumerate().map(point).collect();
        // A line of one point shows nothing.
        for (x, y) in points.split(Option::is_none).filter(|it| it.len() == 1).flatten().flatten() {
            let look = look(line.colour);
            writeln!(svg, "<circle class=\"point\" {look} cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>")?;
        }
        let (path, name) = (path::line(&points, show), escape(&line.name));
        writeln!(svg, "<path class=\"line\" {} d=\"{path}\"><title>{name}</title></path>", look(line.colour))?;
    }
    Ok(())
}

/// Values beside each other at each place, with a bar from end to end of their band.
fn dots(svg: &mut String, chart: &LineChart, across: &dyn Fn(usize) -> f64, up: &dyn Fn(f64) -> f64) -> Result {
    let middle = (chart.lines.len().max(1) - 1) as f64 / 2.0;
    for (number, line) in chart.lines.iter().enumerate() {
        for (place, value) in line.values.iter().enumerate() {
            let Some(value) = value.filter(|it| it.is_finite()) else { continue };
            let (x, look) = (across(place) + 7.0 * (number as f64 - middle), solid(line.colour));
            if let Some((low, high)) = line.band.get(place).copied().flatten() {
                writeln!(svg, "<path class=\"line\" {look} d=\"M{x:.1} {:.1}V{:.1}\"/>", up(low), up(high))?;
            }
            let name = escape(&line.name);
            writeln!(
                svg,
                "<circle {look} cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3\"><title>{name}: {value:.3}</title></circle>",
                up(value)
            )?;
        }
    }
    Ok(())
}

/// Where the vertical axis has lines: round numbers, of which some six are in the range.
fn levels((low, high): (f64, f64)) -> Vec<f64> {
    // Up to rounding, as many steps as fit.
    let step = round_step((high - low).max(f64::MIN_POSITIVE) / 6.0 * 0.999);
    let (first, last) = ((low / step - 1e-6).ceil() as i64, (high / step + 1e-6).floor() as i64);
    (first..=last).take(20).map(|at| at as f64 * step).collect()
}

/// All places, or evenly spread ones with the first and the last.
fn shown(n: usize) -> Vec<usize> {
    match n {
        0..=LABELS => (0..n).collect(),
        _ => (0..LABELS).map(|label| label * (n - 1) / (LABELS - 1)).collect(),
    }
}

/// How long a label can be that hangs aslant to the left of `x`, with so much room below.
fn aslant(x: f64, below: f64) -> f64 {
    // It is turned by 38°.
    (x / 0.79).min(below / 0.62)
}

/// A label that hangs aslant from its end.
fn hang(svg: &mut String, label: &str, (x, y): (f64, f64), below: f64) -> Result {
    let label = escape(&ending(label, aslant(x, below)));
    writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\" transform=\"rotate(-38 {x:.1} {y:.1})\">{label}</text>"
    )
}

/// The end of a label, as far as there is room: what tells taps apart is at the end of their paths.
fn ending(label: &str, room: f64) -> String {
    // Letters are about 6.2 pixels wide.
    let letters = label.chars().count();
    match (room / 6.2) as usize {
        room if letters <= room => label.to_owned(),
        room => std::iter::once('…').chain(label.chars().skip(letters + 1 - room.max(1))).collect(),
    }
}

/// Okabe and Ito's colours, readable on light and dark.
const OWN: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

fn look(colour: Colour) -> String {
    let dash = match colour {
        Colour::Own(index) => ["none", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"][index % 6],
        Colour::Step(_) => "none",
    };
    format!("{} stroke-dasharray=\"{dash}\"", solid(colour))
}

fn solid(colour: Colour) -> String {
    match colour {
        Colour::Own(index) => {
            let colour = OWN[index % OWN.len()];
            format!("stroke=\"{colour}\" fill=\"{colour}\"")
        }
        Colour::Step(step) => {
            // From yellow over green and blue to violet, as viridis does.
            let step = if step.is_finite() { step.clamp(0.0, 1.0) } else { 0.0 };
            let (hue, light) = (50.0 + 235.0 * step, 52.0 - 12.0 * step);
            format!("stroke=\"hsl({hue:.0} 65% {light:.0}%)\" fill=\"hsl({hue:.0} 65% {light:.0}%)\"")
        }
    }
}

/// Names come from files that may be anybody's; XML has no control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            letter if is_obeyed(letter) || matches!(letter, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a browser reads it, which takes no attribute twice.
    fn charts(drawn: &[LineChart], description: &str) -> String {
        let svg = super::charts(drawn, description);
        roxmltree::Document::parse(&svg).unwrap();
        svg
    }

    #[test]
    fn lines_have_gaps_and_names_stay_text() {
        let line = Line {
            name: "</svg><script>\u{ffff}".to_owned(),
            values: vec![Some(0.0), None, Some(1.0), Some(f64::NAN)],
            band: Vec::new(),
            colour: Colour::Step(0.5),
        };
        let places = (0..4).map(|it| format!("\"{it}\u{0}")).collect();
        let chart =
            LineChart { title: "a & b".to_owned(), places, range: (0.0, 1.0), lines: vec![line], is_joined: true };
        let svg = charts(&[chart], "\"x\"");
        assert!(!svg.contains("<script") && !svg.contains('\u{0}') && svg.contains("a &amp; b"), "{svg}");
        assert_eq!(svg.matches("</svg>").count(), 1);
        // From the bottom to the top, with a new start behind the gap.
        let right = WIDTH - 14.0;
        let third = LEFT + (right - LEFT) * 2.0 / 3.0;
        let drawn = format!("d=\"M{LEFT:.1} {:.1}M{third:.1} {TOP:.1}\"", HEIGHT - BOTTOM);
        assert!(svg.contains(&drawn), "{drawn} {svg}");
        // Neither is a line.
        assert_eq!(svg.matches("<circle class=\"point\"").count(), 2);
    }

    #[test]
    fn a_label_without_room_keeps_its_end() {
        let cut = |label: &str, x| ending(label, aslant(x, BOTTOM - 18.0));
        assert_eq!(cut("features.0", LEFT), "features.0");
        let cut_at_the_left = cut("features.denseblock1.denselayer2", LEFT);
        assert!(cut_at_the_left.starts_with('…') && cut_at_the_left.ends_with("denselayer2"), "{cut_at_the_left}");
        assert_eq!(cut("layer4.2", 400.0), "layer4.2");
        assert!(cut(&"ä".repeat(500), 400.0).chars().count() < 20);
        assert_eq!(cut("ab", 0.0), "…");
    }

    #[test]
    fn a_band_has_its_own_ends_and_gaps() {
        let values = vec![Some(0.5); 6];
        let near = Some((0.4, 1.0));
        let band = vec![near, near, Some((f64::NAN, 0.6)), near, Some((0.3, 0.7)), near];
        let line = Line { name: "a".to_owned(), values, band, colour: Colour::Own(0) };
        let chart = LineChart {
            title: String::new(),
            places: vec![String::new(); 6],
            range: (0.0, 1.0),
            lines: vec![line],
            is_joined: true,
        };
        let svg = charts(&[chart], "");
        let band = svg.lines().find(|line| line.contains("class=\"band\"")).unwrap();
        // Two places, then three: each there and back.
        assert_eq!((band.matches('Z').count(), band.matches('L').count()), (2, 3 + 5), "{band}");
        let lower = HEIGHT - BOTTOM - 0.4 * (HEIGHT - BOTTOM - TOP);
        assert!(
            band.contains(&format!("d=\"M{LEFT:.1} {TOP:.1}L")) && band.contains(&format!("L{LEFT:.1} {lower:.1}Z")),
            "{band}"
        );
    }

    #[test]
    fn places_in_no_order_have_dots_and_bars() {
        let line = |colour| Line {
            name: "a".to_owned(),
            values: vec![Some(0.5), None, Some(0.25)],
            band: vec![Some((0.25, 1.0)), None, None],
            colour: Colour::Own(colour),
        };
        let places = vec![String::new(); 3];
        let chart = LineChart {
            title: String::new(),
            places,
            range: (0.0, 1.0),
            lines: vec![line(0), line(1)],
            is_joined: false,
        };
        let svg = charts(&[chart], "");
        // Two lines with two dots each, and two more in the legend.
        assert_eq!((svg.matches("<circle").count(), svg.matches('V').count()), (4 + 2, 2), "{svg}");
        // Beside each other.
        assert!(
            svg.contains(&format!("cx=\"{:.1}\"", LEFT + 16.5)) && svg.contains(&format!("cx=\"{:.1}\"", LEFT + 23.5))
        );
    }

    #[test]
    fn the_axis_has_round_numbers() {
        let shown = |range| levels(range).iter().map(|it| format!("{it:.2}")).collect::<Vec<_>>().join(" ");
        assert_eq!(shown((0.5, 0.8)), "0.50 0.55 0.60 0.65 0.70 0.75 0.80");
        assert_eq!(shown((0.0, 1.0)), "0.00 0.20 0.40 0.60 0.80 1.00");
        assert_eq!(shown((-0.05, 0.05)), "-0.04 -0.02 0.00 0.02 0.04");
        assert!((1..=20).contains(&levels((0.3, 0.3)).len().max(1)));
    }

    #[test]
    fn many_places_are_thinned_out() {
        assert_eq!(shown(3), [0, 1, 2]);
        let some = shown(200);
        assert!(some.len() == LABELS && some[0] == 0 && some[LABELS - 1] == 199);
    }
}
