//! Class by class: a table whose colours say where the model breaks.

use minijinja::{Value, context};

use super::text::name;
use crate::stats::rates::Rate;
use crate::verdict::Report;
use crate::verdict::classes::ClassResult;

/// A share with the strength of its colour.
fn cell(rate: Option<&Rate>, is_bad: bool) -> Value {
    let value = rate.and_then(|it| it.value);
    let bad = value.map_or(0.0, |it| if is_bad { it } else { 1.0 - it });
    context! {
        text => value.map_or_else(|| "–".to_owned(), |it| format!("{:.0} %", 100.0 * it)),
        detail => rate.filter(|it| it.of > 0).map_or(String::new(), |it| format!("{} of {}", it.count, it.of)),
        heat => (100.0 * bad).round() as u32,
    }
}

/// Rows that are seen without opening anything.
const OPEN: usize = 20;

const MOST: usize = 200;

const ATTACKS: usize = 30;

pub(super) fn classes(report: &Report) -> Option<Value> {
    if report.classes.is_empty() {
        return None;
    }
    let row = |it: &ClassResult| {
        let class = match &it.name {
            Some(class_name) => format!("{} {}", it.class, name(class_name)),
            None => it.class.to_string(),
        };
        let clean = cell(it.clean.as_ref(), false);
        let attacks: Value = it.success.iter().take(ATTACKS).map(|it| cell(Some(it), true)).collect();
        context! { class, clean, attacks }
    };
    let mut all: Vec<_> = report.classes.iter().collect();
    let n = all.len();
    let mut note = String::new();
    if n > OPEN {
        // By the lower end: a class with one image that broke is not the worst.
        let weakest = |it: &ClassResult| it.success.iter().map(|rate| rate.low).fold(0.0, f64::max);
        all.sort_by(|a, b| weakest(b).total_cmp(&weakest(a)).then(a.class.cmp(&b.class)));
        let shown =
            if n > MOST { format!("; the first {MOST} are here, all are in report.json") } else { String::new() };
        note = format!("{n} classes, ordered by the lower end of the largest success's interval{shown}.");
    }
    if report.attacks.len() > ATTACKS {
        note.extend([" The first ", &ATTACKS.to_string(), " attacks have columns."]);
    }
    let mut rows: Vec<Value> = all.into_iter().take(MOST).map(row).collect();
    let further = rows.split_off(rows.len().min(OPEN));
    let attacks: Value = report.attacks.iter().take(ATTACKS).map(|it| name(&it.attack.label)).collect();
    Some(context! { attacks, rows, further, note })
}
