//! PNG: a file of 8 bits per image in folders of classes, and a table of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use image::{ExtendedColorType, ImageEncoder as _};

use super::{Export, ExportError, JUDGED_AT_ONCE};
use crate::report::{cell, safe_cell};
use crate::text::names::is_obeyed;

const MANIFEST: &str = "manifest.csv";

/// Longest name of a class's folder, in bytes.
const LONGEST: usize = 100;

/// An image that is written and waits for its verdict.
struct Written {
    row: usize,
    cells: Vec<String>,
}

pub(super) fn write(export: &mut Export<'_>, folder: &Path) -> Result<(), ExportError> {
    let fail = |source| ExportError::Write { file: MANIFEST.to_owned(), source };
    let is_exact = export.report.plan.eight_bit;
    let has_verdicts = is_exact || export.judge.is_some();
    let file = File::create_new(folder.join(MANIFEST)).map_err(fail)?;
    let mut manifest = csv::Writer::from_writer(BufWriter::new(file));
    let header = "file attack sample index label class target prediction success judged l2_8bit linf_8bit".split(' ');
    let verdict = if has_verdicts { &["prediction_8bit", "success_8bit"][..] } else { &[] };
    manifest.write_record(header.chain(verdict.iter().copied())).map_err(|error| fail(error.into()))?;
    let folders = folders(&export.report.data.classes, &export.report.data.labels);
    let values = export.clean.shape().iter().product::<usize>();
    for at in 0..export.attacks.len() {
        let (mut waiting, mut pixels, mut holds) = (Vec::new(), Vec::new(), 0);
        let n = export.attacks[at].rows.len();
        for row in 0..n {
            let (cells, rounded) = image(export, folder, at, row, &folders)?;
            waiting.push(Written { row, cells });
            if export.judge.is_some() && !is_exact {
                pixels.extend(rounded);
            }
            if waiting.len() == JUDGED_AT_ONCE || row + 1 == n {
                let classes = match &mut export.judge {
                    Some(judge) if !is_exact => {
                        debug_assert_eq!(pixels.len(), waiting.len() * values);
                        judge(&pixels).map_err(ExportError::Judge)?
                    }
                    _ => waiting.iter().map(|it| export.attacks[at].rows[it.row].result.prediction).collect(),
                };
                for (Written { row, mut cells }, class) in waiting.drain(..).zip(classes) {
                    let row = &export.attacks[at].rows[row];
                    let meets_goal = row.result.target.map_or(class != row.label, |target| class == target);
                    holds += usize::from(row.result.success && meets_goal);
                    if has_verdicts {
                        cells.extend([class.to_string(), meets_goal.to_string()]);
                    }
                    manifest.write_record(cells).map_err(|error| fail(error.into()))?;
                }
                pixels.clear();
            }
            export.step()?;
        }
        let attack = &export.attacks[at];
        let label = &attack.attack.attack.label;
        let successes = attack.rows.iter().filter(|it| it.result.success).count();
        export.notes.push(match (is_exact, has_verdicts) {
            (true, _) => format!("{label}: {n} images, the pixels that were judged; {successes} broken"),
            (_, true) => {
                format!("{label}: {n} images, rounded to 8 bits; {holds} of {successes} broken ones stay broken")
            }
            _ => format!("{label}: {n} images, rounded to 8 bits; the verdicts are of the pixels before rounding"),
        });
    }
    let file = manifest.into_inner().map_err(|error| fail(error.into_error()))?;
    file.into_inner().map(drop).map_err(|error| fail(error.into_error()))
}

/// Writes one image; its cells of the table, and its rounded pixels.
fn image(
    export: &mut Export<'_>,
    folder: &Path,
    at: usize,
    row: usize,
    folders: &BTreeMap<u32, String>,
) -> Result<(Vec<String>, Vec<u8>), ExportError> {
    let attack = &mut export.attacks[at];
    let (label, picture) = (&attack.attack.attack.label, attack.pixels.picture(row)?);
    let row = &attack.rows[row];
    let (rounded, clean) = (picture.eight_bit(), export.clean.picture(row.clean)?.eight_bit());
    let name = format!("{label}/{}/{}.png", folders[&row.label], row.index);
    let path = folder.join(&name);
    let encoded =
        fs::create_dir_all(path.parent().unwrap_or(folder)).and_then(|()| encode(&path, &rounded, picture.shape));
    encoded.map_err(|source| ExportError::Write { file: name.clone(), source })?;
    let changes = || rounded.iter().zip(&clean).map(|(&a, &b)| f64::from(a.abs_diff(b)) / 255.0);
    let result = row.result;
    let judged = if export.report.plan.eight_bit { "these pixels" } else { "pixels before rounding" };
    let class = export.report.data.classes.get(row.label as usize).map_or("", String::as_str);
    let cells = vec![
        safe_cell(&name),
        safe_cell(label),
        result.sample.to_string(),
        row.index.to_string(),
        row.label.to_string(),
        safe_cell(class),
        cell(result.target),
        result.prediction.to_string(),
        result.success.to_string(),
        judged.to_owned(),
        changes().map(|it| it * it).sum::<f64>().sqrt().to_string(),
        changes().fold(0.0, f64::max).to_string(),
    ];
    Ok((cells, rounded))
}

/// One channel as grey, three as colour.
fn encode(path: &Path, pixels: &[u8], [channels, height, width]: [usize; 3]) -> io::Result<()> {
    let area = height * width;
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let interleaved: Vec<u8> =
        (0..area).flat_map(|at| (0..channels).map(move |channel| pixels[channel * area + at])).collect();
    let mut file = BufWriter::new(File::create_new(path)?);
    let encoder = image::codecs::png::PngEncoder::new(&mut file);
    let written = encoder.write_image(&interleaved, width as u32, height as u32, color);
    written.map_err(|error| match error {
        image::ImageError::IoError(error) => error,
        other => io::Error::other(other),
    })?;
    file.into_inner().map(drop).map_err(io::IntoInnerError::into_error)
}

/// A folder's name for each label: the class's name, made harmless and unlike all others, or the number.
fn folders(classes: &[String], labels: &[u32]) -> BTreeMap<u32, String> {
    let labels: BTreeSet<u32> = labels.iter().copied().collect();
    let digits = labels.last().map_or(1, |label| label.to_string().len());
    let mut taken = BTreeSet::new();
    let name = |label: u32| {
        let number = format!("{label:0digits$}");
        let plain = classes.get(label as usize).and_then(|name| harmless(name)).unwrap_or_else(|| number.clone());
        // Some file systems do not tell A from a.
        let mut unlike = plain;
        while !taken.insert(unlike.to_lowercase()) {
            unlike = format!("{unlike}-{number}");
        }
        (label, unlike)
    };
    labels.into_iter().map(name).collect()
}

/// A name that is one folder on every system; none where nothing of it is left.
fn harmless(name: &str) -> Option<String> {
    let plain = |letter: char| if is_obeyed(letter) || "/\\:*?\"<>|".contains(letter) { '_' } else { letter };
    let mut name: String = name.chars().map(plain).collect();
    let end = (0..=LONGEST.min(name.len())).rev().find(|&end| name.is_char_boundary(end)).unwrap_or(0);
    name.truncate(end);
    // Leading dots hide a folder or lead out of it; trailing ones and spaces get lost on some systems.
    let name = name.trim_start_matches('.').trim_matches([' ', '.']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_names_become_plain_folders() {
        let name = |name: &str| harmless(name).unwrap_or_default();
        assert_eq!(
            [name("../../etc"), name("a/b\\c\nd"), name("…é"), name(".."), name(" . ")],
            ["_.._etc", "a_b_c_d", "…é", "", ""]
        );
        assert_eq!(name(&"é".repeat(1000)).len(), 100);
        let classes = ["cat", "a_b-04", "..", "a/b", "a_b", "CAT"].map(str::to_owned);
        let found = folders(&classes, &[5, 4, 3, 2, 1, 0, 11]);
        let mut names: Vec<String> = found.values().map(|name| name.to_lowercase()).collect();
        assert_eq!(found[&2], "02");
        assert_eq!((found[&11].as_str(), found[&0].as_str()), ("11", "cat"));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 7, "{found:?}");
    }
}
