//! The page of clean curves: what it says, before it is laid out.

use minijinja::{Value, context};

use super::picture::groups;
use crate::modularity::{ClassQ, TapDetails, TapPoint};
use crate::report::html::chart::{Axis, Content, Plot, Point, Series, bounds, chart};
use crate::report::html::page::fact;
use crate::report::html::text::{SENTENCE, clip, distinct, name, signed};
use crate::study::results::curve::{CurveResult, ModelCurve};
use crate::text::numbers::{self, number};

/// Looks of a chart's lines; so many stand in one chart.
const LOOKS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];

/// The look of what comes by chance.
const NULL: &str = "null";

/// Most rows of the summary and panels of classes; a sweep may have hundreds of curves.
const MOST: usize = 12;

/// Most classes and taps of a panel.
const CLASSES: usize = 30;
const TAPS: usize = 12;

pub(super) fn page(CurveResult { advmod, libtorch, command, curves, warnings }: &CurveResult) -> Value {
    context! {
        title => title(curves),
        subtitle => subtitle(curves),
        figures => figures(curves, "Q", &[Measure { title: "Q", height: 220.0, is_share: false, value: q }], true),
        summary => curves.iter().take(MOST).map(summary).collect::<Value>(),
        left_out => curves.len().saturating_sub(MOST),
        tables => curves.iter().map(table).collect::<Value>(),
        classes => curves.iter().take(MOST).map(classes).collect::<Value>(),
        hubs => figures(curves, "neighbours", &HUBS, false),
        warnings => warnings.iter().map(|it| clip(it, SENTENCE)).collect::<Value>(),
        command,
        facts => facts(curves, advmod, libtorch),
        tool => format!("advmod {advmod}"),
    }
}

/// A model's file without its folders.
fn file_name(it: &ModelCurve) -> String {
    let file = it.model.rsplit(['/', '\\']).next().unwrap_or(&it.model);
    name(file)
}

fn title(curves: &[ModelCurve]) -> String {
    let mut names: Vec<String> = curves.iter().map(file_name).collect();
    names.dedup();
    match names.len() {
        0..=3 => names.join(", "),
        n => format!("{n} models"),
    }
}

fn subtitle(curves: &[ModelCurve]) -> String {
    let Some(first) = curves.first() else { return String::new() };
    let count = match curves.len() {
        1 => format!("N = {}, k = {}, {}", first.curve.n, first.curve.k, first.curve.similarity),
        n => format!("{n} curves"),
    };
    format!("On {} · {count} · up to {} disjoint sets of samples", name(&first.data), sets(curves))
}

fn sets(curves: &[ModelCurve]) -> usize {
    curves.iter().map(ModelCurve::repeats).max().unwrap_or(0)
}

/// A value per tap.
type TapValue = fn(&ModelCurve, usize) -> Option<Point>;

/// A panel of a chart.
struct Measure {
    title: &'static str,
    height: f64,
    is_share: bool,
    value: TapValue,
}

const HUBS: [Measure; 3] = [
    Measure { title: "kNN accuracy", height: 90.0, is_share: true, value: |it, at| plain(it.details[at].knn_accuracy) },
    Measure {
        title: "largest hub",
        height: 90.0,
        is_share: false,
        value: |it, at| plain(it.curve.taps[at].hubness.map(|hub| hub.largest_in_degree as f64)),
    },
    Measure { title: "never chosen", height: 70.0, is_share: true, value: |it, at| plain(it.details[at].never_chosen) },
];

fn plain(value: Option<f64>) -> Option<Point> {
    value.map(|value| Point { value, interval: None })
}

fn q(it: &ModelCurve, at: usize) -> Option<Point> {
    let point = &it.curve.taps[at];
    let value = point.q?;
    Some(Point { value, interval: point.std_dev.map(|sd| (value - sd, value + sd)) })
}

fn null(it: &ModelCurve, at: usize) -> Option<Point> {
    plain(it.curve.taps[at].null)
}

/// A chart for every group of curves, with a panel for each measure over the same taps.
fn figures(curves: &[ModelCurve], what: &str, measures: &[Measure], has_null: bool) -> Vec<Value> {
    // One scale for all charts, so that they can be compared.
    let range = |measure: &Measure| {
        let values = curves.iter().flat_map(|it| (0..it.curve.taps.len()).map(move |at| (measure.value)(it, at)));
        let ends = values.flatten().flat_map(|it| it.interval.map_or([it.value; 2], |(low, high)| [low, high]));
        let (low, high) = bounds(ends);
        (low.min(0.0), high)
    };
    let ranges: Vec<(f64, f64)> = measures.iter().map(range).collect();
    let draw = |title: &str, lines: &[(String, &ModelCurve)]| {
        let paths: Vec<String> = lines[0].1.curve.taps.iter().map(|tap| name(&tap.tap)).collect();
        let series = |class, value: TapValue, it: &ModelCurve| {
            let points = (0..paths.len()).map(|at| value(it, at)).collect();
            // By chance there is no peak, and of what is no Q it says nothing.
            let peak = it.curve.peak().filter(|_| has_null && class != NULL).map(|peak| peak.index);
            Series { class, points, peak }
        };
        let plot = |(measure, range): (&Measure, &(f64, f64))| {
            let null = lines.iter().filter(|_| has_null).map(|(_, it)| series(NULL, null, it));
            let own = lines.iter().zip(LOOKS).map(|((_, it), look)| series(look, measure.value, it));
            let content = Content::Lines(null.chain(own).collect());
            let Measure { title, height, is_share, .. } = *measure;
            Plot { title, height, range: *range, is_share, content }
        };
        let plots: Vec<Plot> = measures.iter().zip(&ranges).map(plot).collect();
        let names: Vec<String> =
            lines.iter().map(|(line, it)| if line.is_empty() { file_name(it) } else { name(line) }).collect();
        let label = format!(
            "Line chart of {what} over the taps for {}; the numbers are in the tables.",
            clip(&names.join("; "), 300)
        );
        let own = names.into_iter().zip(LOOKS).map(|(name, class)| context! { class, name });
        let null = has_null.then(|| context! { class => NULL, name => "by chance" });
        let chart = chart(label, &Axis::Names(&distinct(&paths)), &plots);
        context! { title => name(title), chart, legend => own.chain(null).collect::<Value>() }
    };
    let groups = groups(curves);
    groups.iter().flat_map(|group| group.lines.chunks(LOOKS.len()).map(|lines| draw(&group.title, lines))).collect()
}

/// Dashes where no tap has a Q.
fn summary(it: &ModelCurve) -> [String; 5] {
    let known = || it.curve.taps.iter().filter(|tap| tap.q.is_some());
    let shown = |tap: Option<&TapPoint>| {
        let text = tap.and_then(|tap| Some(format!("{:.3} at {}", tap.q?, name(&tap.tap))));
        text.map_or("–".to_owned(), |text| signed(&text))
    };
    let peak = it.curve.peak().and_then(|peak| it.curve.taps.get(peak.index));
    let z = signed(&number(peak.and_then(|tap| tap.z), 0));
    [clip(&it.heading(), 200), shown(known().next()), shown(peak), z, shown(known().next_back())]
}

fn table(it: &ModelCurve) -> Value {
    let number = |value: Option<f64>, digits: usize| signed(&number(value, digits));
    let share = |value: Option<f64>| numbers::share(value).replace(' ', "\u{a0}");
    let rows = it.curve.taps.iter().zip(&it.details).map(|(point, details)| {
        let weakest =
            |class: &ClassQ| format!("{} ({})", name(&it.class_name(class.class)), number(class.separation, 2));
        let reason = || point.reason.clone().map_or("–".to_owned(), |reason| clip(&reason, 200));
        [
            name(&point.tap),
            number(point.q, 4),
            number(point.std_dev, 4),
            number(point.null, 4),
            number(point.null_std_dev, 4),
            number(point.z, 1),
            share(point.label_overlap),
            share(details.knn_accuracy),
            point.hubness.map_or("–".to_owned(), |hub| hub.largest_in_degree.to_string()),
            number(point.hubness.map(|hub| hub.skewness), 2),
            share(details.never_chosen),
            details.weakest().map_or_else(reason, weakest),
        ]
    });
    let head = [
        "tap",
        "mean Q",
        "sd",
        "by chance",
        "sd by chance",
        "z",
        "same label",
        "kNN accuracy",
        "largest hub",
        "hub skewness",
        "never chosen",
        "weakest (separation)",
    ];
    // Random weights are there to compare with.
    let is_open = it.random_init.is_none();
    context! { title => clip(&it.heading(), 200), is_open, head, rows => rows.collect::<Value>() }
}

/// Separation of classes at taps, as a table whose colours say where it is small.
fn classes(it: &ModelCurve) -> Value {
    let n = it.details.len();
    let taps: Vec<usize> = match n {
        0..=TAPS => (0..n).collect(),
        _ => (0..TAPS).map(|at| at * (n - 1) / (TAPS - 1)).collect(),
    };
    let order = it.details.last().map_or(Vec::new(), TapDetails::weakest_first);
    let n_classes = order.len();
    let row = |class: &ClassQ| {
        let cell = |&tap: &usize| {
            let found = it.details[tap].classes.iter().find(|it| it.class == class.class);
            let separation = found.and_then(|it| it.separation);
            let heat = separation.map_or(0, |it| (100.0 * (1.0 - it).clamp(0.0, 1.0)).round() as u32);
            context! { text => signed(&number(separation, 2)), heat }
        };
        let (name, share) = (name(&it.class_name(class.class)), signed(&format!("{:.4}", class.q)));
        context! { name, cells => taps.iter().map(cell).collect::<Value>(), share }
    };
    let paths: Vec<String> = it.details.iter().map(|tap| name(&tap.tap)).collect();
    let names = distinct(&paths);
    let mut note = Vec::new();
    if n_classes > CLASSES {
        note.push(format!("The {CLASSES} weakest of {n_classes} classes at the last tap; classes.csv has all."));
    }
    if n > TAPS {
        note.push(format!("{TAPS} of {n} taps; classes.csv has all."));
    }
    context! {
        title => clip(&it.heading(), 200),
        is_open => it.random_init.is_none(),
        taps => taps.iter().map(|&tap| &names[tap]).collect::<Value>(),
        rows => order.into_iter().take(CLASSES).map(row).collect::<Value>(),
        note => note.join(" "),
    }
}

fn facts(curves: &[ModelCurve], advmod: &str, libtorch: &str) -> Vec<Value> {
    let mut facts = vec![
        fact("Tool", format!("advmod {advmod}, libtorch {libtorch}")),
        fact("Data", curves.first().map_or(String::new(), |it| name(&it.data))),
    ];
    let mut seen: Vec<&str> = Vec::new();
    for it in curves {
        let Some(sha256) = it.sha256.as_deref().filter(|sha256| !seen.contains(sha256)) else { continue };
        if seen.len() < MOST {
            facts.push(fact("Model", format!("{} ({}), SHA-256 {sha256}", file_name(it), name(&it.architecture))));
        }
        seen.push(sha256);
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modularity::{Curve, ModularityError, Neighbors, Similarity, TapModularity};
    use crate::report::html::curve_page;

    /// Two classes on a line, measured at so many taps; the last one has no Q.
    fn measured(model: &str, k: usize, taps: usize) -> ModelCurve {
        let value = |at: usize| 1.0 - (at / 8).abs_diff(at % 8) as f32 / 10.0;
        let neighbors = Neighbors::from_dense(8, &(0..64).map(value).collect::<Vec<_>>(), 7).unwrap();
        let found = TapModularity::measure(&neighbors, k, &[0, 0, 0, 0, 1, 1, 1, 1], 2);
        let failed = Err(ModularityError::Undefined { edges: 3, total: 0.0 });
        let repeats = |tap: usize| vec![if tap + 1 == taps { failed.clone() } else { found.clone() }; 2];
        let path = |tap: usize| format!("{model}.block{tap}");
        ModelCurve {
            model: model.to_owned(),
            architecture: model.to_owned(),
            sha256: Some("ab".repeat(32)),
            random_init: None,
            data: model.to_owned(),
            class_names: vec![model.to_owned(); 2],
            curve: Curve {
                n: 8,
                k,
                similarity: Similarity::COSINE,
                taps: (0..taps).map(|tap| TapPoint::from_repeats(path(tap), &repeats(tap))).collect(),
            },
            details: (0..taps).map(|tap| TapDetails::from_repeats(path(tap), &repeats(tap))).collect(),
        }
    }

    fn html(curves: &[ModelCurve], command: &str) -> String {
        let result = CurveResult {
            advmod: "1".to_owned(),
            libtorch: "2".to_owned(),
            command: command.to_owned(),
            curves: curves.to_vec(),
            warnings: vec!["a <b>".to_owned()],
        };
        String::from_utf8(curve_page(&page(&result))).unwrap()
    }

    #[test]
    fn nothing_is_loaded_and_nothing_runs() {
        let html = html(&[measured("m", 2, 4), measured("m", 3, 4)], "advmod curve --k 2,3");
        let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">";
        assert!(html.contains(policy) && html.starts_with("<!doctype html>"));
        for word in
            ["<script", "<link", "@import", "url(", "src=\"http", "srcset", "<iframe", "onload", "{{", "{%", "NaN"]
        {
            assert!(!html.contains(word), "{word}");
        }
        assert!(html.contains("advmod curve --k 2,3") && html.contains("a &lt;b&gt;"));
        assert_eq!(html.matches("role=\"img\"").count(), html.matches("role=\"img\" aria-label=\"").count());
        // Two curves in one chart, each with its band, and what comes by chance.
        assert!(html.contains("band-s0") && html.contains("band-s1") && html.contains("line-null"));
        assert!(html.contains("k = 2") && html.contains("modularity is undefined"), "{html}");
    }

    #[test]
    fn hostile_names_stay_text() {
        let plain = html(&[measured("m", 2, 3)], "c");
        for name in ["<script>alert(1)</script>", "\"'`|&]]>", "\u{1b}[2J\u{0}", "\u{202e}x", &"x".repeat(10_000)] {
            let html = html(&[measured(name, 2, 3)], name);
            assert!(!html.contains("<script") && !html.contains('\u{1b}') && !html.contains('\u{202e}'), "{name:?}");
            assert_eq!(html.matches("<svg").count(), plain.matches("<svg").count(), "{name:?}");
            assert_eq!(html.matches('"').count(), plain.matches('"').count(), "{name:?}");
        }
    }

    #[test]
    fn many_curves_taps_and_no_curve_at_all_still_render() {
        let many: Vec<ModelCurve> = (1..=7).map(|k| measured("m", k, 60)).cycle().take(70).collect();
        let html = html(&many, "c");
        assert!(html.len() < 5_000_000 && html.contains("And 58 more curves") && html.contains("12 of 60 taps"));
        assert!(self::html(&[], "c").contains("</html>"));
        assert!(self::html(&[measured("m", 2, 1)], "c").contains("<td>–</td>"));
    }
}
