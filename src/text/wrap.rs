//! Long text in lines.

/// `first`, then the words of `text` in lines of at most `width` characters; lines after the first begin with `indent` spaces.
pub(crate) fn wrapped(first: &str, indent: usize, text: &str, width: usize) -> String {
    let mut out = first.to_owned();
    let mut column = first.chars().count();
    let mut is_line_empty = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !is_line_empty && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            (column, is_line_empty) = (indent, true);
        }
        if !is_line_empty {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        (column, is_line_empty) = (column + length, false);
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_wrapped_and_a_word_that_is_too_long_stays_whole() {
        assert_eq!(wrapped("  a ", 4, "one two three", 11), "  a one two\n    three\n");
        assert_eq!(wrapped("", 2, "https://too.long to break", 8), "https://too.long\n  to\n  break\n");
        assert_eq!(wrapped("  a ", 4, "", 11), "  a \n");
    }
}
