//! A line that is being typed.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Letters that a value may have; longer ones are no value of any parameter.
const LONGEST: usize = 200;

/// A text with a cursor in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextLine {
    before: String,
    behind: String,
}

impl TextLine {
    /// A text with the cursor behind it.
    pub(crate) fn new(text: &str) -> Self {
        Self { before: text.to_owned(), behind: String::new() }
    }

    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.before, self.behind)
    }

    /// What stands before and behind the cursor.
    pub(crate) fn halves(&self) -> (&str, &str) {
        (&self.before, &self.behind)
    }

    /// Takes a key that types or moves; others are left alone.
    pub(crate) fn press(&mut self, key: KeyEvent) {
        let is_plain = (key.modifiers - KeyModifiers::SHIFT).is_empty();
        let Self { before, behind } = self;
        let has_room = before.chars().count() + behind.chars().count() < LONGEST;
        match key.code {
            KeyCode::Char('u') if key.modifiers == KeyModifiers::CONTROL => *self = Self::default(),
            KeyCode::Char(letter) if is_plain && !letter.is_control() && has_room => before.push(letter),
            KeyCode::Backspace => {
                before.pop();
            }
            KeyCode::Delete if !behind.is_empty() => {
                behind.remove(0);
            }
            KeyCode::Left => before.pop().into_iter().for_each(|letter| behind.insert(0, letter)),
            KeyCode::Right if !behind.is_empty() => before.push(behind.remove(0)),
            KeyCode::Home => behind.insert_str(0, &std::mem::take(before)),
            KeyCode::End => before.push_str(&std::mem::take(behind)),
            _ => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_type_move_and_delete() {
        let mut line = TextLine::new("8/25");
        let mut press = |code, modifiers| line.press(KeyEvent::new(code, modifiers));
        press(KeyCode::Char('5'), KeyModifiers::NONE);
        press(KeyCode::Home, KeyModifiers::NONE);
        press(KeyCode::Delete, KeyModifiers::NONE);
        press(KeyCode::Char('4'), KeyModifiers::NONE);
        press(KeyCode::Char('x'), KeyModifiers::ALT);
        press(KeyCode::Right, KeyModifiers::NONE);
        press(KeyCode::Backspace, KeyModifiers::NONE);
        assert_eq!((line.text(), line.halves()), ("4255".to_owned(), ("4", "255")));
        line.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
        assert_eq!(line, TextLine::default());
    }
}
