//! Where the network loses the classes, and how success grows with ε.

use minijinja::{Value, context};

use super::chart::{Axis, Content, Plot, Point, Series, bounds, chart};
use super::text::{self, distinct, name, signed};
use crate::modularity::{AnchoredCurve, AnchoredTap, ClassShare, Curve, Interval, TapPoint};
use crate::report::table::{captured_from, point_success};
use crate::text::numbers::{number, or_dash};
use crate::verdict::Report;
use crate::verdict::across::{Sweep, SweepPoint};
use crate::verdict::facts::{AttackResult, AttackStatus, shown_label};

/// How many attacks' figures are open.
const OPEN: usize = 9;

pub(super) fn modularity(report: &Report) -> Value {
    let intro = format!(
        "Each sample is joined to its {} nearest by {} similarity of their representations at a tap. Q is the modularity of that graph under \
         the true labels: near 0 where neighbours do not share a class more often than chance, higher the better the classes keep apart. \
         Clean and attacked curves of an attack are over the images that it attacked, those that held included, so they have another N and \
         another peak than the curve of all clean images. Bands and whiskers are 95 % intervals, from random halves, of each tap alone: of \
         {} taps without a drop, {:.1} would show one above 0 by chance.",
        report.plan.k,
        report.plan.similarity,
        report.taps.len(),
        0.025 * report.taps.len() as f64
    );
    let taps: Vec<String> = report.taps.iter().map(|tap| name(tap)).collect();
    let (range, drops) = (range(report), drops(report));
    let mut figures: Vec<Value> =
        report.attacks.iter().filter_map(|attack| attack_figure(attack, &taps, range, drops)).collect();
    let further = figures.split_off(figures.len().min(OPEN));
    let missing = |it: &AttackResult| {
        let why = if it.status == AttackStatus::Failed { "it failed" } else { "it did not come that far" };
        format!("{}: no curves, {why}.", name(&shown_label(&report.attacks, &it.attack)))
    };
    context! {
        intro,
        figures,
        further,
        clean => report.clean.curves.as_ref().map(|curves| clean_figure(report, &curves.true_labels, &taps, range)),
        summary => report.attacks.iter().filter_map(|attack| summary(report, attack)).collect::<Value>(),
        missing => report.attacks.iter().filter(|it| it.curves.is_none()).map(missing).collect::<Value>(),
    }
}

/// One scale for all charts, so that they can be compared.
fn range(report: &Report) -> (f64, f64) {
    let of_attacks = report.attacks.iter().filter_map(|it| it.curves.as_ref());
    let curves = of_attacks.flat_map(|it| [&it.clean, &it.adversarial]);
    let curves = curves.chain(report.clean.curves.iter().map(|it| &it.true_labels));
    let ends = curves.flat_map(|it| &it.taps).filter_map(|it| {
        let q = it.q?;
        Some(it.interval.map_or([q, q], |it| [it.low, it.high]))
    });
    bounds(ends.flatten())
}

/// Likewise for the drops, from zero.
fn drops(report: &Report) -> (f64, f64) {
    let curves = report.attacks.iter().filter_map(|it| it.curves.as_ref());
    let (low, high) = bounds(curves.flat_map(|it| &it.drops).flatten().flat_map(|it| [it.low, it.high]));
    (low.min(0.0), high.max(0.0))
}

fn line(class: &'static str, curve: &Curve) -> Series {
    let point = |it: &TapPoint| {
        Some(Point { value: it.q?, interval: it.interval.map(|interval| (interval.low, interval.high)) })
    };
    Series { class, points: curve.taps.iter().map(point).collect(), peak: curve.peak().map(|peak| peak.index) }
}

fn cell(point: Option<&TapPoint>) -> String {
    match point.map(|it| (it.q, it.interval)) {
        Some((Some(q), Some(it))) => signed(&format!("{q:.3} [{:.3}, {:.3}]", it.low, it.high)),
        Some((Some(q), None)) => signed(&format!("{q:.3}")),
        _ => "–".to_owned(),
    }
}

fn plain(value: Option<f64>) -> String {
    signed(&number(value, 3))
}

fn clean_figure(report: &Report, curve: &Curve, taps: &[String], range: (f64, f64)) -> Value {
    let null = curve.taps.iter().map(|it| it.null.map(|value| Point { value, interval: None })).collect();
    let series = vec![Series { class: "null", points: null, peak: None }, line("clean", curve)];
    // What comes by chance is the level to compare with.
    let range = (range.0.min(0.0), range.1);
    let plot = Plot { title: "Q", height: 246.0, range, is_share: false, content: Content::Lines(series) };
    let sentence = report.clean.peak.as_ref().map_or_else(
        || "No tap has a Q.".to_owned(),
        |it| {
            let within = it.interval.map_or(String::new(), |it| format!(" [{:.3}, {:.3}]", it.low, it.high));
            format!("The clean classes keep apart best at tap {}: Q = {:.3}{within}.", name(&it.tap), it.q)
        },
    );
    let predicted = report.clean.curves.as_ref().map(|it| &it.predicted_labels.taps);
    let rows = curve.taps.iter().zip(taps).enumerate().map(|(at, (it, tap))| {
        let predicted = predicted.and_then(|taps| taps.get(at));
        [tap.clone(), cell(Some(it)), plain(predicted.and_then(|it| it.q)), plain(it.null)]
    });
    let alternative = format!("Line chart of modularity Q over the taps. {sentence}");
    context! {
        title => format!("All clean images, N = {}", curve.n),
        chart => chart(alternative, &Axis::Names(&distinct(taps)), &[plot]),
        head => ["tap", "Q, true labels", "Q, predicted labels", "Q by chance"],
        rows => rows.collect::<Value>(),
        sentence,
    }
}

fn attack_figure(attack: &AttackResult, taps: &[String], range: (f64, f64), drop_range: (f64, f64)) -> Option<Value> {
    let curves = attack.curves.as_ref()?;
    let drop = |it: &Option<Interval>| it.map(|it| Point { value: it.estimate, interval: Some((it.low, it.high)) });
    let drops = curves.drops.iter().map(drop).collect();
    let series = vec![line("clean", &curves.clean), line("adv", &curves.adversarial)];
    let mut plots = vec![
        Plot { title: "Q", height: 150.0, range, is_share: false, content: Content::Lines(series) },
        Plot { title: "drop of Q", height: 70.0, range: drop_range, is_share: false, content: Content::Bars(drops) },
    ];
    let anchored = curves.anchored.as_ref();
    plots.extend(anchored.map(among_clean));
    let sentence = sentence(attack, taps);
    let rows = taps.iter().enumerate().map(|(at, tap)| {
        let drop = curves.drops.get(at).copied().flatten();
        [
            tap.clone(),
            cell(curves.clean.taps.get(at)),
            cell(curves.adversarial.taps.get(at)),
            plain(curves.adversarial_predicted.taps.get(at).and_then(|it| it.q)),
            or_dash(drop.as_ref(), text::interval),
            shares(anchored.and_then(|it| it.taps.get(at)?.retained)),
            shares(anchored.and_then(|it| it.taps.get(at)?.captured)),
        ]
    });
    let label = name(&attack.attack.label);
    let alternative = format!(
        "Line charts over the taps for {label}: modularity Q, clean and attacked, with bars of the drop, and the classes of the nearest clean \
         images. {sentence}"
    );
    Some(context! {
        title => format!("{label}, {}, N = {}", text::clip(&attack.attack.summary(), 60), curves.clean.n),
        chart => chart(alternative, &Axis::Names(&distinct(taps)), &plots),
        head => ["tap", "Q clean", "Q attacked", "Q attacked, predicted labels", "drop", "retained %", "captured %"],
        rows => rows.collect::<Value>(),
        sentence,
    })
}

/// Which classes the nearest clean images have.
fn among_clean(curve: &AnchoredCurve) -> Plot {
    let line = |class, point: &dyn Fn(&AnchoredTap) -> Option<Point>| Series {
        class,
        points: curve.taps.iter().map(point).collect(),
        peak: None,
    };
    let after = |it: ClassShare| Point { value: it.adversarial, interval: it.interval.map(|it| (it.low, it.high)) };
    let series = vec![
        line("clean", &|it| Some(Point { value: it.retained?.clean, interval: None })),
        line("adv", &|it| it.retained.map(after)),
        line("captured", &|it| it.captured.map(after)),
    ];
    Plot { title: "among clean", height: 110.0, range: (0.0, 1.0), is_share: true, content: Content::Lines(series) }
}

/// Before and after the attack, in percent.
fn shares(share: Option<ClassShare>) -> String {
    let interval = |it: Interval| format!(" [{:.1}, {:.1}]", 100.0 * it.low, 100.0 * it.high);
    or_dash(share, |it| {
        let after = it.interval.map_or(String::new(), interval);
        signed(&format!("{:.1} → {:.1}{after}", 100.0 * it.clean, 100.0 * it.adversarial))
    })
}

/// The tap with the largest drop that has an interval.
fn largest_drop(attack: &AttackResult) -> Option<(usize, Interval)> {
    let drops = attack.curves.as_ref()?.drops.iter().enumerate().filter_map(|(at, it)| Some((at, (*it)?)));
    drops.reduce(|best, next| if next.1.estimate > best.1.estimate { next } else { best })
}

/// Success, retention drop, where captured, largest drop of Q, its tap, the two peaks and their difference.
fn summary(report: &Report, attack: &AttackResult) -> Option<[String; 7]> {
    attack.curves.as_ref()?;
    let largest = largest_drop(attack);
    let drop = or_dash(largest, |(_, it)| text::interval(&it));
    let tap = or_dash(largest.and_then(|(at, _)| report.taps.get(at)), |tap| name(tap));
    let peak = or_dash(attack.peak_drop.as_ref(), text::interval);
    let peaks = attack.clean_peak.as_ref().zip(attack.adversarial_peak.as_ref());
    let peaks = or_dash(peaks, |(clean, adversarial)| {
        format!("{} − {} = {peak}", plain(Some(clean.q)), plain(Some(adversarial.q)))
    });
    let retention = or_dash(attack.retention_drop.as_ref(), text::interval);
    let label = name(&shown_label(&report.attacks, &attack.attack));
    Some([label, text::rate(&attack.success_rate), retention, name(&captured_from(attack)), drop, tap, peaks])
}

fn sentence(attack: &AttackResult, taps: &[String]) -> String {
    let Some(curves) = &attack.curves else { return String::new() };
    let tap = |at: usize| taps.get(at).map_or("", String::as_str);
    let most = largest_drop(attack);
    let mut parts = vec![match &most {
        None => "No tap has a drop with an interval.".to_owned(),
        Some((_, it)) if it.low <= 0.0 => "Even the largest drop is not told apart from 0.".to_owned(),
        Some((at, it)) => {
            format!("The network loses the classes most at tap {}: Q falls by {}.", tap(*at), text::interval(it))
        }
    }];
    let first = curves.drops.iter().position(|it| it.is_some_and(|it| it.low > 0.0));
    if let (Some(at), Some((largest, it))) = (first, &most)
        && it.low > 0.0
        && at != *largest
    {
        parts.push(format!("The first tap with a drop above 0 is {}.", tap(at)));
    }
    if let (Some(clean), Some(adversarial)) = (&attack.clean_peak, &attack.adversarial_peak) {
        let drop = attack.peak_drop.map_or(String::new(), |it| format!(": peak drop {}", text::interval(&it)));
        parts.push(format!(
            "The peak goes from {} at {} to {} at {}{drop}.",
            plain(Some(clean.q)),
            name(&clean.tap),
            plain(Some(adversarial.q)),
            name(&adversarial.tap)
        ));
    }
    if let Some(it) = curves.anchored.as_ref().and_then(|it| it.taps.last()?.retained) {
        let drop =
            attack.retention_drop.map_or(String::new(), |it| format!(": retention drop {}", text::interval(&it)));
        let [before, after] = [it.clean, it.adversarial].map(|it| format!("{:.0} %", 100.0 * it));
        parts.push(format!(
            "At the last tap {after} of the nearest clean images are of the true class, {before} before the attack{drop}."
        ));
    }
    parts.extend(attack.captured_from.as_ref().map(|it| match &it.tap {
        Some(tap) => {
            format!("From tap {} on, more of them are of the predicted class than of the true one.", name(tap))
        }
        None => "At the last tap no more of them are of the predicted class than of the true one.".to_owned(),
    }));
    parts.join(" ")
}

pub(super) fn sweeps(report: &Report) -> Value {
    let view = |sweep: &Sweep| {
        let title = format!("{}, {}, {}", name(&sweep.attack), sweep.norm.sign(), sweep.goal);
        let numbers: Vec<(f64, String)> = sweep.points.iter().map(|it| (it.eps_value, it.eps.to_string())).collect();
        let point = |it: &SweepPoint| {
            let rate = &it.success_rate;
            Some(Point { value: rate.value?, interval: Some((rate.low, rate.high)) })
        };
        let points: Vec<Option<Point>> = sweep.points.iter().map(point).collect();
        let rows = sweep.points.iter().map(|it| {
            let (eps, value) = (it.eps.to_string(), format!("{:.5}", it.eps_value));
            let (n, carried) = (it.success_rate.of.to_string(), it.carried.to_string());
            [eps, value, name(&it.label), point_success(it), n, carried]
        });
        let has_points = points.iter().any(Option::is_some);
        let content = Content::Lines(vec![Series { class: "adv", points, peak: None }]);
        let plot = Plot { title: "success", height: 150.0, range: (0.0, 1.0), is_share: true, content };
        let told =
            sweep.points.iter().filter_map(|it| Some(format!("{:.0} % at {}", 100.0 * it.success_rate.value?, it.eps)));
        let told = told.collect::<Vec<_>>().join(", ");
        let label = format!("Line chart of the success rate over ε for {title}: {told}.");
        let chart = has_points.then(|| chart(label, &Axis::Numbers(&numbers), &[plot]));
        context! { title, chart, rows => rows.collect::<Value>() }
    };
    report.sweeps.iter().map(view).collect()
}
