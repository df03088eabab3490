//! Tables as CSV.

/// A table with a header, in memory.
pub(crate) fn csv_table(header: &[impl AsRef<[u8]>], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).expect("writing to memory cannot fail");
    for row in rows {
        writer.write_record(row).expect("writing to memory cannot fail");
    }
    writer.into_inner().expect("writing to memory cannot fail")
}

/// A column: its head, and its cell of a row.
pub(crate) type Column<R> = (&'static str, fn(&R) -> String);

/// A table of such columns.
pub(crate) fn csv_columns<R>(columns: &[Column<R>], rows: impl IntoIterator<Item = R>) -> Vec<u8> {
    let head: Vec<&str> = columns.iter().map(|column| column.0).collect();
    csv_table(&head, rows.into_iter().map(|row| columns.iter().map(|(_, cell)| cell(&row)).collect()))
}

/// A value, or an empty cell.
pub(crate) fn cell(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Text that a spreadsheet does not take for a formula.
pub(crate) fn safe_cell(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}
