//! An audit's results as bytes: one file per format, none of which reads or writes anything.

pub(crate) mod evidence;
pub mod export;
pub mod study;
pub(crate) mod svg;

mod csv_table;
mod curves_csv;
mod github;
mod html;
mod json;
mod junit;
mod markdown;
mod plan;
mod samples_csv;
mod sarif;
mod template;

pub(crate) mod lines;
pub(crate) mod table;
pub mod verdict;

pub(crate) use csv_table::{Column, cell, csv_columns, csv_table, safe_cell};
pub use evidence::Evidence;

use crate::store::{PLAN_FILE, REPORT_FILE};
use crate::verdict::Report;

pub struct Format {
    /// As `--format` takes it.
    pub name: &'static str,
    /// How its files end; empty where the ending does not tell it.
    pub ending: &'static str,
    /// Name of its file in a run's folder, if it has one there.
    pub file: Option<&'static str>,
    /// Renders a report; only formats that show images look at the evidence. Empty where the report has nothing of the kind.
    pub render: fn(&Report, &Evidence) -> Vec<u8>,
}

/// Every format. A new one is a file and a line here.
pub static FORMATS: &[Format] = &[
    Format { name: "json", ending: ".json", file: Some(REPORT_FILE), render: json::render },
    Format { name: "markdown", ending: ".md", file: Some("report.md"), render: markdown::render },
    Format { name: "html", ending: ".html", file: Some("report.html"), render: html::render },
    Format { name: "curves", ending: "curves.csv", file: Some("curves.csv"), render: curves_csv::render },
    Format { name: "samples", ending: "samples.csv", file: Some("samples.csv"), render: samples_csv::render },
    Format { name: "sarif", ending: ".sarif", file: Some("report.sarif"), render: sarif::render },
    Format { name: "junit", ending: ".xml", file: Some("report.junit.xml"), render: junit::render },
    Format { name: "plan", ending: ".toml", file: Some(PLAN_FILE), render: plan::render },
    Format { name: "github", ending: "", file: None, render: github::render },
];

/// Names of the reports in a run's folder.
pub(crate) fn file_names() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().filter_map(|format| format.file)
}

/// The reports of a run's folder: names and contents.
pub(crate) fn files<'a>(
    report: &'a Report,
    evidence: &'a Evidence,
) -> impl Iterator<Item = (&'static str, Vec<u8>)> + 'a {
    let files = FORMATS.iter().filter_map(move |format| Some((format.file?, (format.render)(report, evidence))));
    files.filter(|(_, bytes)| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::testing::recorded_state;

    /// A report in which every name that comes from a file or a user is this one.
    fn named(name: &str) -> Report {
        let mut state = recorded_state();
        let start = state.start.as_mut().unwrap();
        let plan: crate::audit::plan::AuditPlan = toml::from_str(
            "[[gate]]\nid = 'g'\nexpr = 'asr.pgd <= 0.01'\n[[gate]]\nexpr = 'asr.pgd.class.* <= 0.01'\n",
        )
        .unwrap();
        start.plan.gates = plan.resolve().unwrap().plan.gates;
        let gate = &mut start.plan.gates[0];
        (gate.id, gate.reason) = (name.to_owned(), Some(name.to_owned()));
        gate.place = Some(crate::audit::gate::Place { file: name.to_owned(), line: 1 });
        (start.model.name, start.data.name) = (name.to_owned(), name.to_owned());
        start.data.classes = vec![name.to_owned(); 10];
        start.taps.iter_mut().for_each(|tap| *tap = name.to_owned());
        state.warnings.push(name.to_owned());
        Report::new(&state).unwrap()
    }

    fn render(format: &str, report: &Report) -> String {
        let format = FORMATS.iter().find(|it| it.name == format).unwrap();
        String::from_utf8((format.render)(report, &Evidence::default())).unwrap()
    }

    #[test]
    fn hostile_names_are_harmless_in_every_format() {
        let long = "x".repeat(10_000);
        let plain = render("html", &named("m"));
        for name in [
            "<script>alert(1)</script>",
            "\"'`|&]]>",
            "a\n::error::b\r\n| c |",
            "=cmd()",
            "\u{1b}[2J\u{0}",
            "\u{fffd}",
            &long,
        ] {
            let report = named(name);
            let json: Report = serde_json::from_str(&render("json", &report)).unwrap();
            assert!(json == report, "{name:?}");
            let sarif: serde_json::Value = serde_json::from_str(&render("sarif", &report)).unwrap();
            assert_eq!(sarif["runs"][0]["results"][0]["properties"]["gate"], name);
            let junit = render("junit", &report);
            assert!(!junit.contains("<script") && !junit.contains('\u{1b}') && !junit.contains('\u{0}'), "{junit}");
            assert_eq!(junit.matches("classname=\"gate.").count(), 2);
            let html = render("html", &report);
            assert!(!html.contains("<script") && !html.contains('\u{1b}') && !html.contains('\u{0}'), "{name:?}");
            // With its quotes as they stand, a name could close an attribute.
            assert!(!name.contains('"') || !html.contains(name), "{name:?}");
            assert_eq!(html.matches("<svg").count(), plain.matches("<svg").count(), "{name:?}");
            assert_eq!(html.matches('"').count(), plain.matches('"').count(), "{name:?}");
            let github = render("github", &report);
            assert!(github.lines().count() == 3 && github.lines().all(|line| line.starts_with("::")), "{github}");
            let markdown = render("markdown", &report);
            assert!(!markdown.contains("<script") && !markdown.contains("\n::error"));
            for (format, columns) in [("curves", 30), ("samples", 0)] {
                let text = render(format, &report);
                for record in csv::Reader::from_reader(text.as_bytes()).records() {
                    let record = record.unwrap();
                    assert!(columns == 0 || record.len() == columns);
                    assert!(record.iter().all(|cell| !cell.starts_with(['=', '@'])), "{record:?}");
                }
            }
            let tail = verdict::gates(&report.gates);
            assert!(tail.lines().count() == 6 && !tail.contains('\u{1b}'), "{tail}");
        }
    }

    /// Puts a text in place of every one that stands under a key.
    fn plant(value: &mut serde_json::Value, key: &str, text: &str, is_under: bool) {
        match value {
            serde_json::Value::String(it) if is_under => text.clone_into(it),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|it| plant(it, key, text, is_under)),
            serde_json::Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, it)| plant(it, key, text, name == key));
            }
            _ => (),
        }
    }

    fn keys(value: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        match value {
            serde_json::Value::Array(items) => items.iter().for_each(|it| keys(it, found)),
            serde_json::Value::Object(fields) => fields.iter().for_each(|(name, it)| {
                found.insert(name.clone());
                keys(it, found);
            }),
            _ => (),
        }
    }

    #[test]
    fn a_text_that_somebody_wrote_into_a_report_is_only_shown() {
        let hostile = "x\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\r\n::error::planted\n</script><script>planted";
        let report: serde_json::Value = serde_json::from_str(&render("json", &named("m"))).unwrap();
        let mut fields = std::collections::BTreeSet::new();
        keys(&report, &mut fields);
        let mut read = 0;
        for key in &fields {
            let mut planted = report.clone();
            plant(&mut planted, key, hostile, false);
            let Ok(report) = crate::text::json::read::<Report>(&planted.to_string()) else { continue };
            read += usize::from(planted.to_string().contains("planted"));
            let texts = FORMATS.iter().map(|it| (it.name, render(it.name, &report)));
            for (format, text) in texts.chain([("text", table::text(&report))]) {
                let obeyed = text.find(|it| crate::text::names::is_hidden(it) && !(it == '\r' && format == "curves"));
                assert_eq!(obeyed, None, "{key} in {format}: {}", text.escape_debug());
                // Plans and pages show a plan as it is written.
                let is_plan = key == "plan_file" && matches!(format, "plan" | "html");
                assert!(is_plan || !text.lines().any(|line| line.starts_with("::error::planted")), "{key} in {format}");
                assert!(format != "html" || !text.contains("<script>planted"), "{key}");
            }
        }
        assert!(read > 30, "{read} of {} fields", fields.len());
    }

    /// What a journal comes to in every format, if its run has begun.
    fn render_journal(text: &str) {
        let (state, _) = crate::audit::journal::replay(text);
        let Some(report) = Report::new(&state) else { return };
        for format in FORMATS {
            (format.render)(&report, &Evidence::default());
        }
        table::text(&report);
        let earlier = crate::verdict::change::baseline(&report.facts(), "earlier");
        crate::verdict::change::changes(&report.facts(), &earlier);
    }

    #[test]
    fn a_journal_that_was_cut_or_edited_breaks_nothing() {
        let lines: Vec<&str> = crate::verdict::testing::JOURNAL.lines().collect();
        for at in 0..lines.len() {
            let without = [&lines[..at], &lines[at + 1..]].concat();
            render_journal(&without.join("\n"));
            render_journal(&[&without[..], &lines[at..=at]].concat().join("\n"));
            render_journal(&lines[..at].join("\n"));
            render_journal(&lines[at..].join("\n"));
        }
        // Numbers that nobody measured, in every kind of place.
        let text = lines.join("\n");
        let mut starts: Vec<usize> = Vec::new();
        let is_digit = |at: usize| text.as_bytes()[at].is_ascii_digit();
        starts.extend((1..text.len()).filter(|&at| is_digit(at) && !text.as_bytes()[at - 1].is_ascii_alphanumeric()));
        for (count, &start) in starts.iter().enumerate().step_by(67) {
            let end = (start..text.len()).find(|&at| !is_digit(at)).unwrap_or(text.len());
            let number = ["0", "7", "1000000", "4294967295", "18446744073709551615", "1e300"][count % 6];
            render_journal(&format!("{}{number}{}", &text[..start], &text[end..]));
        }
    }

    #[test]
    fn each_format_says_how_the_gates_came_out() {
        let report = named("m");
        let sarif: serde_json::Value = serde_json::from_str(&render("sarif", &report)).unwrap();
        let result = &sarif["runs"][0]["results"][0];
        assert_eq!((&result["level"], &result["ruleId"]), (&"error".into(), &"advmod/asr".into()));
        assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startLine"], 1);
        let junit = render("junit", &report);
        // The gate over one attack, and its classes, stands in that attack's suite.
        let suite = junit.split("<testsuite ").find(|suite| suite.starts_with("name=\"pgd\"")).unwrap();
        assert!(suite.contains("tests=\"2\"") && suite.contains("<failure"), "{junit}");
        assert!(suite.contains("name=\"eps\" value=\"8/255\""), "{suite}");
        assert!(render("github", &report).starts_with("::error file=m,line=1,title=gate m%3A FAIL::asr.pgd is "));
    }
}
