//! `report.html`: the result in one file that needs nothing else, for those who decide.

mod about;
mod changes;
pub(super) mod chart;
mod classes;
mod curves;
pub(super) mod page;
mod results;
mod samples;
pub(super) mod text;
mod verdict;

use data_encoding::BASE64;
use minijinja::{Environment, Value, context};

use super::{Evidence, template};
use crate::text::names;
use crate::verdict::Report;

/// Every template, by the name under which others include it. The ending decides how text is escaped.
const TEMPLATES: [(&str, &str); 8] = [
    ("open.html", include_str!("templates/open.html")),
    ("page.html", include_str!("templates/page.html")),
    ("curves.html", include_str!("templates/curves.html")),
    ("head.html", include_str!("templates/head.html")),
    ("results.html", include_str!("templates/results.html")),
    ("evidence.html", include_str!("templates/evidence.html")),
    ("end.html", include_str!("templates/end.html")),
    ("macros.html", include_str!("templates/macros.html")),
];

const STYLE: &str = include_str!("templates/style.css");

/// What the page of clean curves has beyond that.
const CURVE_STYLE: &str = include_str!("templates/curves.css");

pub(super) fn render(report: &Report, evidence: &Evidence) -> Vec<u8> {
    fill("page.html", &page::page(report, evidence), STYLE)
}

/// The page of clean curves.
pub(super) fn curve_page(page: &Value) -> Vec<u8> {
    fill("curves.html", page, &format!("{STYLE}\n{CURVE_STYLE}"))
}

fn fill(template: &str, page: &Value, style: &str) -> Vec<u8> {
    let mut environment = Environment::new();
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() && text.contains(names::is_hidden) => {
            minijinja::escape_formatter(out, state, &Value::from(names::harmless(text)))
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    let content = context! { page => page, style => Value::from_safe_string(style.to_owned()) };
    template::fill(environment, &TEMPLATES, template, content)
}

/// Base64 needs no escapes.
fn data_uri(png: &[u8]) -> Value {
    Value::from_safe_string(format!("data:image/png;base64,{}", BASE64.encode(png)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::journal::replay;
    use crate::store::picture::Picture;
    use crate::verdict::testing::{JOURNAL, recorded, recorded_state};

    fn html(report: &Report, evidence: &Evidence) -> String {
        String::from_utf8(render(report, evidence)).unwrap()
    }

    #[test]
    fn nothing_is_loaded_and_nothing_runs() {
        let report = recorded();
        let picture = Picture { shape: report.data.shape, pixels: vec![0.5; report.data.shape.iter().product()] };
        let html = html(&report, &Evidence::gather(&report, &mut |_, _| Some(picture.clone())));
        let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">";
        assert!(html.contains(policy));
        assert!(html.starts_with("<!doctype html>") && html.contains("<html lang=\"en\">"));
        for word in ["<script", "<link", "@import", "url(", "src=\"http", "srcset", "<iframe", "onload", "{{", "{%"] {
            assert!(!html.contains(word), "{word}");
        }
        assert_eq!(html.matches("<img ").count(), html.matches("src=\"data:image/png;base64,").count());
        assert_eq!(html.matches("<img ").count(), html.matches("\" alt=\"").count());
        assert_eq!(html.matches("role=\"img\"").count(), html.matches("role=\"img\" aria-label=\"").count());
    }

    /// A run of so many samples, attacks and classes, with these curves stretched to so many taps.
    fn large(samples: usize, attacks: usize, classes: usize, taps: usize, shape: [usize; 3]) -> Report {
        let mut state = recorded_state();
        let start = state.start.as_mut().unwrap();
        start.data.shape = shape;
        start.data.indices = (0..samples).collect();
        start.data.labels = (0..samples).map(|it| (it % classes) as u32).collect();
        start.data.classes = (0..classes).map(|it| format!("class of a long name, number {it}")).collect();
        start.model.classes = classes;
        start.taps = (0..taps).map(|it| format!("features.block{it}.conv")).collect();
        state.predictions = Some(start.data.labels.clone());
        state.likeliest.clear();
        let stretch = |curve: &mut crate::modularity::Curve| {
            let all = std::mem::take(&mut curve.taps);
            curve.taps = all.into_iter().cycle().take(taps).collect();
        };
        let clean = state.clean_curves.as_mut().unwrap();
        stretch(&mut clean.true_labels);
        stretch(&mut clean.predicted_labels);
        let (mut plan, mut found) = (start.plan.attacks[1].clone(), state.attacks[1].clone());
        let curves = found.curves.as_mut().unwrap();
        stretch(&mut curves.clean);
        stretch(&mut curves.adversarial);
        stretch(&mut curves.adversarial_predicted);
        curves.drops = curves.drops.iter().copied().cycle().take(taps).collect();
        let one = found.samples[0].clone();
        found.samples =
            (0..samples).map(|sample| crate::audit::event::SampleResult { sample, ..one.clone() }).collect();
        state.attacks = vec![found; attacks];
        let label = |at: usize| {
            plan.label = format!("pgd-{at}");
            plan.clone()
        };
        start.plan.attacks = (0..attacks).map(label).collect();
        Report::new(&state).unwrap()
    }

    /// Pixels that no PNG makes smaller.
    fn noise(shape: [usize; 3], seed: usize) -> Picture {
        let mut state = seed as u32 | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state >> 24) as f32 / 255.0
        };
        Picture { shape, pixels: (0..shape.iter().product()).map(|_| next()).collect() }
    }

    #[test]
    fn a_report_stays_under_five_megabytes() {
        for (samples, attacks, classes, taps, shape) in
            [(1000, 6, 10, 20, [3, 32, 32]), (1000, 6, 1000, 20, [3, 224, 224]), (1000, 30, 1000, 150, [3, 224, 224])]
        {
            let report = large(samples, attacks, classes, taps, shape);
            let evidence = Evidence::gather(&report, &mut |attack, sample| {
                Some(noise(shape, sample + attack.map_or(0, |it| 7919 * it.len())))
            });
            assert!(evidence.pairs.len() >= 2 * attacks);
            let html = html(&report, &evidence);
            assert!(html.len() < 5_000_000, "{attacks} attacks, {classes} classes: {} bytes", html.len());
            assert_eq!(html.matches("<img ").count(), 3 * evidence.pairs.len());
            assert_eq!(html.contains("Images are shown smaller"), evidence.shrunk > 1);
        }
    }

    #[test]
    fn reports_without_much_in_them_still_render() {
        for lines in 1..JOURNAL.lines().count() {
            let some: Vec<&str> = JOURNAL.lines().take(lines).collect();
            let Some(report) = Report::new(&replay(&some.join("\n")).0) else { continue };
            let html = html(&report, &Evidence::default());
            assert!(html.contains("</html>") && html.contains("INCONCLUSIVE"), "{lines}");
        }
        let mut report = recorded();
        report.attacks.clear();
        report.budgets.clear();
        assert!(html(&report, &Evidence::default()).contains("No attack was planned."));
    }

    #[test]
    fn an_invalid_set_of_attacks_is_said_to_mean_nothing() {
        let mut report = recorded();
        report.validity.verdict = crate::verdict::validity::ValidityVerdict::Failed;
        let html = html(&report, &Evidence::default());
        assert!(html.contains("INCONCLUSIVE") && html.contains("their failures mean nothing"));
        // The one place is the title of a paper.
        assert!(!html.to_lowercase().replace("robustness</a>", "").contains("robust"));
    }
}
