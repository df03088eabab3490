//! Names for people, out of files that may be anybody's.

use std::path::Path;

/// Whether a terminal or a browser obeys a character instead of showing it: control characters, and those that turn the direction of writing.
pub(crate) fn is_obeyed(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name in one line, with a sign in place of what would be obeyed.
pub(crate) fn shown(name: &str) -> String {
    name.replace(is_obeyed, "\u{fffd}")
}

/// A sentence in one line, with a space in place of each break and a sign in place of what would be obeyed.
pub(crate) fn sentence(text: &str) -> String {
    shown(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Text with line breaks and tabs, with a sign in place of what would be obeyed.
pub(crate) fn harmless(text: &str) -> String {
    text.replace(is_hidden, "\u{fffd}")
}

/// Whether a character is obeyed and is neither a line break nor a tab.
pub(crate) fn is_hidden(letter: char) -> bool {
    is_obeyed(letter) && !matches!(letter, '\n' | '\t')
}

/// At most so many characters of a name out of a model file, none of which is a control character.
pub(crate) fn clipped(name: &str, most: usize) -> String {
    name.chars().filter(|&letter| !is_obeyed(letter)).take(most).collect()
}

/// A file's or folder's name without its parents, to be shown.
pub(crate) fn of_file(path: &Path) -> String {
    shown(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy())
}

/// At most so many characters from the end of a long path, where names of files and modules differ; what is cut shows.
pub(crate) fn tail(text: &str, most: usize) -> String {
    match text.chars().count().checked_sub(most) {
        None | Some(0) => text.to_owned(),
        Some(cut) => ['…'].into_iter().chain(text.chars().skip(cut + 1)).collect(),
    }
}

/// Widest column; what is longer sticks out of it.
pub(super) const COLUMN: usize = 1000;

/// Width of a column of these names, at least `least`.
pub(crate) fn column<'a>(names: impl IntoIterator<Item = &'a String>, least: usize) -> usize {
    names.into_iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(least, COLUMN)
}

/// The first so many of these, and that there are more: `a, b, …`.
pub(crate) fn some(names: &[String], most: usize) -> String {
    let more = if names.len() > most { ", …" } else { "" };
    names[..names.len().min(most)].join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_its_lines() {
        assert_eq!(harmless("a\u{1b}[2Jb\u{9b}c\td\n"), "a\u{fffd}[2Jb\u{fffd}c\td\n");
        assert_eq!(harmless("a\u{202e}txt.lp"), "a\u{fffd}txt.lp");
        assert_eq!(clipped("a\nbcd", 3), "abc");
    }

    #[test]
    fn a_name_is_one_line_and_only_shown() {
        assert_eq!(of_file(Path::new("a/b\n\u{1b}[31mc.pt")), "b\u{fffd}\u{fffd}[31mc.pt");
        assert_eq!(
            (of_file(Path::new("..")), shown("T-shirt\u{202e}")),
            ("..".to_owned(), "T-shirt\u{fffd}".to_owned())
        );
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(column(&["äöü".to_owned(), "a".to_owned()], 2), 3);
        assert_eq!((column([], 2), column([&"x".repeat(70_000)], 0)), (2, 1000));
        assert_eq!((tail("äöü", 3), tail("äöüß", 3)), ("äöü".to_owned(), "…üß".to_owned()));
    }
}
