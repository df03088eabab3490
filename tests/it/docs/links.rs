//! Links between the pages: to files that exist, and to headings that they have.

use std::path::Path;

use super::{pages, text};
use crate::support::root;

/// A heading's anchor, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// The page without its blocks of code.
fn prose(page: &str) -> String {
    page.split("```").step_by(2).collect()
}

fn has_anchor(page: &str, wanted: &str) -> bool {
    let prose = prose(page);
    let mut headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.any(|line| anchor(line.trim_start_matches('#')) == wanted)
}

fn targets(page: &str) -> Vec<String> {
    let prose = prose(page);
    let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.contains("://")).map(str::to_owned).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let others = ["ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "benches/README.md", "fixtures/README.md"];
    let mut dead = Vec::new();
    for page in pages().into_iter().chain(others.map(str::to_owned)) {
        for link in targets(&text(&page)) {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => root().join(&page),
                _ => root().join(&page).parent().unwrap().join(file),
            };
            let is_there = target.exists()
                && (heading.is_empty() || has_anchor(&std::fs::read_to_string(&target).unwrap(), heading));
            if !is_there {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    assert_eq!(dead, [""; 0]);
}

#[test]
fn a_dead_link_is_found() {
    let page =
        "# One heading, with `code`\n[a](b.md#c) ```\n[no](link)\n``` [d](https://e.f) [g](#one-heading-with-code)";
    assert_eq!(targets(page), ["b.md#c", "#one-heading-with-code"]);
    assert!(has_anchor(page, "one-heading-with-code") && !has_anchor(page, "one"));
}

#[test]
fn every_page_and_picture_is_reached() {
    let index = targets(&text("docs/README.md"));
    let linked: Vec<String> = pages().iter().flat_map(|page| targets(&text(page))).collect();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let extension = Path::new(&name).extension().unwrap_or_default().to_owned();
        if extension == "md" && name != "README.md" {
            assert!(index.contains(&name), "docs/README.md does not name {name}");
        } else if extension == "svg" {
            assert!(linked.iter().any(|link| link.ends_with(&name)), "no page shows {name}");
        }
    }
}
