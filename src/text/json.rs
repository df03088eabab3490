//! JSON for people and files, and JSON that others wrote.

use std::borrow::Cow;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use serde_json::{Serializer, from_str};

use super::names::is_obeyed;

/// Indented, with a final line break; fields in the order of the types, so that equal values are equal bytes.
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    written(value, PrettyFormatter::new())
}

/// In one line, with its line break.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    written(value, CompactFormatter)
}

fn written(value: &impl Serialize, form: impl Formatter) -> Vec<u8> {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, Escaping(form)))
        .expect("plain data always has a JSON form");
    bytes.push(b'\n');
    bytes
}

/// Escapes what a terminal would obey, also where JSON does not ask for it.
struct Escaping<F>(F);

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_obeyed) {
            let (before, after) = rest.split_at(at);
            let letter = after.chars().next().unwrap_or_default();
            // All of them have four digits.
            write!(writer, "{before}\\u{:04x}", u32::from(letter))?;
            rest = &after[letter.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    forward! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
    }
}

/// Text that stands in its lines: the content of a plan file. All other text of our files is names and sentences of one line.
const IN_LINES: &str = "plan_file";

/// Reads what somebody may have written who wants a text to be obeyed by a terminal, or to look like a line of ours: every text in it becomes
/// one line, with a sign in place of what would be obeyed.
///
/// # Errors
/// As [`from_str`].
pub(crate) fn read<T: DeserializeOwned>(json: &str) -> serde_json::Result<T> {
    from_str(&one_line(json))
}

/// JSON with harmless strings. What is no JSON stays none.
fn one_line(json: &str) -> Cow<'_, str> {
    // Between strings a control character is a line break or an error.
    if !json.contains('\\') && !json.contains(|letter| is_obeyed(letter) && !letter.is_ascii()) {
        return Cow::Borrowed(json);
    }
    let (mut out, mut rest) = (String::with_capacity(json.len()), json);
    let mut key = "";
    while let Some(at) = rest.find('"') {
        let (before, string) = (&rest[..at], &rest[at + 1..]);
        let end = end_of(string);
        let (string, after) = string.split_at(end);
        out.push_str(before);
        out.push('"');
        let is_key = after.strip_prefix('"').is_some_and(|after| after.trim_start().starts_with(':'));
        harmless(string, key == IN_LINES && !is_key, &mut out);
        key = if is_key { string } else { "" };
        rest = after.strip_prefix('"').map_or(after, |after| {
            out.push('"');
            after
        });
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where a string ends that has begun: at its quote, or with the text.
fn end_of(string: &str) -> usize {
    let mut is_escaped = false;
    let end = string.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.unwrap_or(string.len())
}

/// Adds the inside of a string, with or without its line breaks and tabs.
fn harmless(string: &str, in_lines: bool, out: &mut String) {
    let sign = |letter: char| is_obeyed(letter) && !(in_lines && matches!(letter, '\n' | '\t'));
    let mut rest = string;
    while let Some(at) = rest.find(|letter| letter == '\\' || is_obeyed(letter)) {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let mut letters = escape.chars();
        let (first, kind) = (letters.next().unwrap_or_default(), letters.next());
        let (meant, length) = match (first, kind) {
            ('\\', Some('n')) => (Some('\n'), 2),
            ('\\', Some('r')) => (Some('\r'), 2),
            ('\\', Some('t')) => (Some('\t'), 2),
            ('\\', Some('b' | 'f')) => (Some('\u{8}'), 2),
            ('\\', Some('u')) => {
                let digits = escape.get(2..6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                (
                    digits.and_then(char::from_u32),
                    if escape.is_char_boundary(6.min(escape.len())) { 6.min(escape.len()) } else { 2 },
                )
            }
            ('\\', Some(kind)) => (None, 1 + kind.len_utf8()),
            ('\\', None) => (None, 1),
            (letter, _) => (Some(letter), letter.len_utf8()),
        };
        match meant.is_some_and(sign) {
            true => out.push_str("\\ufffd"),
            false => out.push_str(&escape[..length]),
        }
        rest = &escape[length..];
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_obeyed_is_written_as_an_escape() {
        let value = json!({ "a\u{202e}": ["\u{9b}\u{1b}[2J\nä", 1.5] });
        for bytes in [pretty(&value), line(&value)] {
            let text = String::from_utf8(bytes).unwrap();
            assert!(
                !text.contains(|it| is_obeyed(it) && it != '\n') && text.contains("\\u009b\\u001b[2J\\nä"),
                "{text}"
            );
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
        assert_eq!(line(&json!([1, {"a": []}])), b"[1,{\"a\":[]}]\n");
        assert_eq!(pretty(&json!([1])), b"[\n  1\n]\n");
    }

    #[test]
    fn strings_of_others_become_one_line() {
        let json = "{ \"a\\n\": \"x\\r\\n::error::\\u001b[2J\\u202e\u{9b}\\\\n\\\"\\u00e4\\ud83d\\ude00\",\n\t\"plan_file\" : \"a\\n\\tb\\u001b\", \"b\": \"plan_file\", \"c\": \"\\n\" }";
        let read: Value = read(json).unwrap();
        let expected = json!({
            "a\u{fffd}": "x\u{fffd}\u{fffd}::error::\u{fffd}[2J\u{fffd}\u{fffd}\\n\"ä😀",
            "plan_file": "a\n\tb\u{fffd}",
            "b": "plan_file",
            "c": "\u{fffd}",
        });
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in
            ["\"", "{\"a\\", "\"\\u12", "\"\\uä", "\"\\", "[\"a\" \"b\\n\"", "\"\n\"", "\\n", "\"\\u\u{202e}abc\""]
        {
            assert!(read::<Value>(text).is_err(), "{text}");
        }
    }
}
