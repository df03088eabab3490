//! Tables in plain text.

use super::names::COLUMN;

/// Rows under each other, columns two spaces apart and as wide as their widest cell; a row may have fewer; those of `right` are read from the right.
pub(crate) fn aligned<R: AsRef<[String]>>(rows: &[R], right: &[usize]) -> String {
    let mut widths = Vec::new();
    for row in rows {
        let row = row.as_ref();
        widths.resize(widths.len().max(row.len()), 0);
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.chars().count().clamp(*width, COLUMN));
    }
    let mut text = String::new();
    for row in rows {
        let cells =
            row.as_ref().iter().zip(&widths).enumerate().map(|(column, (cell, width))| match right.contains(&column) {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1", ""], ["long", "22", "–"]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows, &[1]), "a      1\nlong  22  –\n");
        assert_eq!(aligned::<[String; 2]>(&[], &[]), "");
        // No name out of a file makes the others unreadable, or more than a column can be.
        let rows = [["x".repeat(70_000), "1".to_owned()], ["y".to_owned(), "2".to_owned()]];
        assert!(aligned(&rows, &[]).lines().last().is_some_and(|line| line.len() == COLUMN + 3));
    }
}
