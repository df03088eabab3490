//! Class by class: a table whose colours say where the model breaks.

use serde::Serialize;

use super::text::{self, name};
use crate::stats::rates::Rate;
use crate::verdict::Report;

#[derive(Debug, Serialize)]
pub(super) struct Classes {
    attacks: Vec<String>,
    rows: Vec<Row>,
    further: Vec<Row>,
    note: String,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    class: String,
    clean: Cell,
    worst: Cell,
    attacks: Vec<Cell>,
}

/// A share with the strength of its colour.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    text: String,
    detail: String,
    heat: u32,
}

impl Cell {
    fn new(rate: Option<&Rate>, is_bad: bool) -> Self {
        let value = rate.and_then(|it| it.value);
        let bad = value.map_or(0.0, |it| if is_bad { it } else { 1.0 - it });
        Self {
            text: value.map_or_else(|| "–".to_owned(), |it| format!("{:.0} %", 100.0 * it)),
            detail: rate.filter(|it| it.of > 0).map_or(String::new(), |it| format!("{} of {}", it.count, it.of)),
            heat: (100.0 * bad).round() as u32,
        }
    }
}

/// Rows that are seen without opening anything.
const OPEN: usize = 20;

const MOST: usize = 200;

const ATTACKS: usize = 30;

pub(super) fn classes(report: &Report) -> Option<Classes> {
    if report.classes.is_empty() {
        return None;
    }
    let row = |it: &crate::verdict::classes::ClassResult| Row {
        class: match &it.name {
            Some(class_name) => format!("{} {}", it.class, name(class_name)),
            None => it.class.to_string(),
        },
        clean: Cell::new(it.clean.as_ref(), false),
        worst: Cell::new(Some(&it.worst_case), true),
        attacks: it.success.iter().take(ATTACKS).map(|it| Cell::new(Some(it), true)).collect(),
    };
    let mut all: Vec<_> = report.classes.iter().collect();
    let n = all.len();
    let mut note = String::new();
    if n > OPEN {
        // By the lower end: a class with one image that broke is not the worst.
        all.sort_by(|a, b| b.worst_case.low.total_cmp(&a.worst_case.low).then(a.class.cmp(&b.class)));
        let shown =
            if n > MOST { format!("; the first {MOST} are here, all are in report.json") } else { String::new() };
        note = format!("{n} classes, ordered by the lower end of the worst case's interval{shown}.");
    }
    if report.attacks.len() > ATTACKS {
        note.extend([" The first ", &ATTACKS.to_string(), " attacks have columns."]);
    }
    let mut rows: Vec<Row> = all.into_iter().take(MOST).map(row).collect();
    let further = rows.split_off(rows.len().min(OPEN));
    let attacks = report.attacks.iter().take(ATTACKS).map(|it| text::name(&it.attack.label)).collect();
    Some(Classes { attacks, rows, further, note })
}
