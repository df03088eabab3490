//! Clean curves of one or several models and settings: tables for people, CSV, a picture and a page.

mod page;
mod picture;
mod tables;
mod text;

use super::{StudyFile, StudyReport, TextOptions};
use crate::report::html::curve_page;
use crate::study::results::curve::CurveResult;
use crate::text::names::harmless;

pub(crate) use picture::q_range;

impl StudyReport for CurveResult {
    const FILES: &'static [StudyFile<Self>] = &[
        StudyFile::json(),
        StudyFile::new("curve.csv", "csv", tables::curve_csv),
        StudyFile::new("classes.csv", "classes", tables::classes_csv),
        StudyFile::new("curve.svg", "svg", picture::picture),
        StudyFile::new("curve.html", "html", |it| curve_page(&page::page(it))),
    ];

    const FLAGS: &'static [&'static str] = &["--details"];

    fn text(&self, options: &TextOptions) -> String {
        harmless(&text::text(self, options.details).expect("writing to memory cannot fail"))
    }
}
