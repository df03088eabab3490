//! Exit code and every format tell the same about a gate, however it came out.

use std::path::Path;

use serde_json::Value;

use crate::support::advmod;

/// How a gate comes out, and how each format says so.
struct Case {
    name: &'static str,
    /// Of a plan file: one gate called `g`.
    plan: &'static str,
    exit: i32,
    /// As report.json has it.
    result: &'static str,
    /// As the table, Markdown and HTML have it.
    word: &'static str,
    /// Level of its SARIF result, if it has one.
    sarif: Option<&'static str>,
    /// Element inside its JUnit test, if there is one.
    junit: Option<&'static str>,
    /// Its workflow command, if there is one.
    github: Option<&'static str>,
}

const WAIVED: &str = "[[gate]]\nid = 'g'\nexpr = 'asr.fgsm <= 1 %'\n\
                      [[waiver]]\ngate = 'g'\nreason = 'old model'\nexpires = 9999-12-31\n";
const EXPIRED: &str = "[[gate]]\nid = 'g'\nexpr = 'asr.fgsm <= 1 %'\n\
                       [[waiver]]\ngate = 'g'\nreason = 'old model'\nexpires = 2020-01-31\n";

const CASES: [Case; 6] = [
    Case {
        name: "passing",
        plan: "[[gate]]\nid = 'g'\nexpr = 'accuracy.clean >= 50 %'\n",
        exit: 0,
        result: "pass",
        word: "pass",
        sarif: None,
        junit: None,
        github: None,
    },
    Case {
        name: "failing",
        plan: "[[gate]]\nid = 'g'\nexpr = 'asr.fgsm <= 1 %'\n",
        exit: 1,
        result: "fail",
        word: "FAIL",
        sarif: Some("error"),
        junit: Some("failure"),
        github: Some("error"),
    },
    Case {
        name: "inconclusive",
        plan: "[[gate]]\nid = 'g'\nexpr = 'asr.fgsm <= 65 %'\n",
        exit: 4,
        result: "inconclusive",
        word: "inconclusive",
        sarif: Some("warning"),
        junit: Some("error"),
        github: Some("warning"),
    },
    Case {
        name: "waived",
        plan: WAIVED,
        exit: 0,
        result: "waived",
        word: "waived",
        sarif: Some("error"),
        junit: Some("skipped"),
        github: Some("notice"),
    },
    Case {
        name: "with an expired waiver",
        plan: EXPIRED,
        exit: 1,
        result: "fail",
        word: "FAIL",
        sarif: Some("error"),
        junit: Some("failure"),
        github: Some("error"),
    },
    Case {
        name: "failing, warning only",
        plan: "[[gate]]\nid = 'g'\nexpr = 'asr.fgsm <= 1 %'\nseverity = 'warning'\n",
        exit: 0,
        result: "fail",
        word: "FAIL",
        sarif: Some("warning"),
        junit: Some("skipped"),
        github: Some("warning"),
    },
];

fn read(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn every_format_tells_alike_how_a_gate_came_out() {
    let folder = tempfile::tempdir().unwrap();
    for Case { name, plan, exit, result, word, sarif, junit, github } in CASES {
        let file = folder.path().join("advmod.toml");
        std::fs::write(&file, format!("threads = 1\n[data]\nsamples = 50\n[[attack]]\nname = 'fgsm'\n{plan}")).unwrap();
        let out = folder.path().join("out");
        let flags = ["audit", "--plan", file.to_str().unwrap(), "--force", "--out", out.to_str().unwrap()];
        let output = advmod(&flags).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{name}");

        let report: Value = serde_json::from_str(&read(&out, "report.json")).unwrap();
        assert_eq!((&report["gates"][0]["gate"]["id"], &report["gates"][0]["result"]), (&"g".into(), &result.into()));
        let table = String::from_utf8(output.stdout).unwrap();
        let row = table.lines().find(|line| line.starts_with("g  ")).unwrap();
        assert!(row.contains(word), "{name}: {row}");
        let markdown = read(&out, "report.md");
        let row = markdown.lines().find(|line| line.starts_with("| g |")).unwrap();
        assert!(row.contains(&format!("| {word}")), "{name}: {row}");

        let html = read(&out, "report.html");
        let row = html.split("<tr>").find(|it| it.starts_with("<th scope=\"row\" class=\"name\">g<")).unwrap();
        assert!(row.contains(&format!(">{word}</span>")), "{name}: {row}");

        let log: Value = serde_json::from_str(&read(&out, "report.sarif")).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        let found = results.iter().find(|it| it["properties"]["gate"] == "g");
        assert_eq!(found.map(|it| it["level"].as_str().unwrap()), sarif, "{name}");
        let is_suppressed = found.is_some_and(|it| it.get("suppressions").is_some());
        assert_eq!(is_suppressed, result == "waived", "{name}");

        let xml = read(&out, "report.junit.xml");
        let test = xml.split("<testcase ").find(|it| it.starts_with("name=\"g\"")).unwrap();
        let test = test.split("</testcase>").next().unwrap();
        let inside = ["failure", "error", "skipped"].into_iter().find(|it| test.contains(&format!("<{it}")));
        assert_eq!(inside, junit, "{name}: {test}");

        let printed = advmod(&["report", out.to_str().unwrap(), "--format", "github"]).output().unwrap().stdout;
        let printed = String::from_utf8(printed).unwrap();
        let command = printed.lines().find(|line| line.contains("title=gate g%3A"));
        let command = command.map(|line| line.trim_start_matches(':').split([' ', ':']).next().unwrap());
        assert_eq!(command, github, "{name}: {printed}");
    }
    // One that does not exist is said before anything runs, so no format has it.
    let output = advmod(&["audit", "--attacks", "fgsm", "--gate", "asr.pgd <= 0.5"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
}
