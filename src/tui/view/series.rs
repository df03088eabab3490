//! The curves of the chart as values by tap.

use super::super::app::App;
use super::super::state::ChartMode;
use super::super::theme::Role;
use crate::audit::event::GrowingCurves;
use crate::modularity::{AnchoredTap, Curve};

#[derive(Default)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) note: String,
    /// 0 is the clean one, attacks follow.
    pub(super) curve: usize,
    /// A value at each tap, where there is one.
    pub(super) values: Vec<Option<f64>>,
    pub(super) peak: Option<usize>,
    /// Drawn over the others.
    pub(super) selected: bool,
}

impl Series {
    pub(super) fn role(&self) -> Role {
        if self.curve == 0 { Role::Clean } else { Role::Attack(self.curve - 1) }
    }

    pub(super) fn value(&self, tap: usize) -> Option<f64> {
        self.values.get(tap).copied().flatten()
    }

    /// With a curve's values and its peak.
    fn levels(self, of: &Curve) -> Self {
        let values = of.taps.iter().map(|point| point.q).collect();
        Self { values, peak: of.peak().map(|peak| peak.index), ..self }
    }
}

/// The curves that the chart shows together.
pub(super) fn series(app: &App) -> Vec<Series> {
    let Some(report) = &app.report else { return Vec::new() };
    if app.ui.chart.mode == ChartMode::Shares {
        return shares(app).unwrap_or_default();
    }
    let mut series = Vec::new();
    if app.ui.chart.mode == ChartMode::Level {
        // Of the images that the selected attack is compared on; of all images until it has curves.
        let attacked = report.attacks.get(app.ui.selected).and_then(|it| it.curves.as_ref()).map(|it| &it.clean);
        let all = report.clean.curves.as_ref().map(|it| &it.true_labels);
        let clean = attacked.or(all).map(|curve| {
            let note = format!(" (n={})", curve.n);
            Series { name: "clean".to_owned(), note, ..Series::default() }.levels(curve)
        });
        series.extend(clean);
    }
    for (place, attack) in report.attacks.iter().enumerate() {
        let name = attack.attack.label.clone();
        let empty = Series { name, curve: place + 1, selected: place == app.ui.selected, ..Series::default() };
        let is_difference = app.ui.chart.mode == ChartMode::Difference;
        series.extend(match (&attack.curves, growing(app, place)) {
            (Some(curves), _) if is_difference => {
                let values = curves.drops.iter().map(|drop| drop.map(|drop| -drop.estimate)).collect();
                let series = Series { values, ..empty };
                let tapped = series.values.iter().enumerate().filter_map(|(tap, value)| Some((tap, (*value)?)));
                let peak = tapped.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(tap, _)| tap);
                Some(Series { peak, ..series })
            }
            (Some(curves), _) => Some(empty.levels(&curves.adversarial)),
            // No peak: it may still move.
            (None, Some(growing)) => {
                let pairs = growing.adversarial.iter().zip(&growing.clean);
                let values = match is_difference {
                    true => pairs.map(|(a, b)| Some((*a)? - (*b)?)).collect(),
                    false => growing.adversarial.clone(),
                };
                Some(Series { values, note: format!(" (n={} so far)", growing.n), ..empty })
            }
            (None, None) => None,
        });
    }
    series
}

/// Shares of the k nearest clean images of the selected attack's images, tap by tap; none before it has curves.
fn shares(app: &App) -> Option<Vec<Series>> {
    let selected = app.ui.selected;
    let attack = app.report.as_ref()?.attacks.get(selected)?;
    let anchored = attack.curves.as_ref()?.anchored.as_ref()?;
    let of = |name: String, curve: usize, value: &dyn Fn(&AnchoredTap) -> Option<f64>| Series {
        name,
        curve,
        values: anchored.taps.iter().map(value).collect(),
        ..Series::default()
    };
    let label = &attack.attack.label;
    Some(vec![
        of("true class, clean".to_owned(), 0, &|it| Some(it.retained?.clean)),
        of(format!("true class, {label}"), selected + 1, &|it| Some(it.retained?.adversarial)),
        of(format!("predicted class, {label}"), selected + 2, &|it| Some(it.captured?.adversarial)),
    ])
}

/// Clean and adversarial curve of an attack's images, and how many there are where more are to come; none without curves.
pub(super) fn pair(app: &App, attack: usize) -> Option<([Series; 2], Option<usize>)> {
    let curves = app.report.as_ref()?.attacks.get(attack)?.curves.as_ref();
    let adversarial = Series { curve: attack + 1, selected: true, ..Series::default() };
    Some(match (curves, growing(app, attack)) {
        (Some(curves), _) => ([Series::default().levels(&curves.clean), adversarial.levels(&curves.adversarial)], None),
        (None, Some(growing)) => {
            let clean = Series { values: growing.clean.clone(), ..Series::default() };
            ([clean, Series { values: growing.adversarial.clone(), ..adversarial }], Some(growing.n))
        }
        (None, None) => return None,
    })
}

/// The curves of an attack that has not finished, over the samples so far.
pub(super) fn growing(app: &App, attack: usize) -> Option<&GrowingCurves> {
    app.audit.attacks.get(attack)?.growing.as_ref()
}
