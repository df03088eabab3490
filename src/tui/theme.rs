//! Looks by meaning: views ask for a role, never for a colour.

use ratatui::style::{Color, Modifier, Style};

/// What something means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ordinary text.
    Plain,
    /// Less important text.
    Dim,
    /// A pane's frame.
    Frame,
    /// The frame of the pane that has the keys.
    Focus,
    /// A heading.
    Title,
    /// The selected row or screen.
    Selected,
    /// The clean images.
    Clean,
    /// An attack, by its place in the plan.
    Attack(usize),
    /// Well.
    Good,
    /// To be known.
    Warning,
    /// Broken.
    Bad,
}

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Whether there are colours. The terminal's own sixteen: they fit its background.
    pub color: bool,
    /// Whether only ASCII is drawn.
    pub ascii: bool,
}

const ATTACKS: [Color; 6] = [Color::Yellow, Color::Magenta, Color::Red, Color::Blue, Color::Green, Color::LightMagenta];

/// Letters of curves where colours or dots cannot tell them apart; the first is the clean one.
const MARKS: [&str; 7] = ["o", "x", "+", "*", "#", "%", "@"];

impl Theme {
    /// The look of a role.
    pub fn style(self, role: Role) -> Style {
        let style = Style::new();
        let style = match role {
            Role::Dim | Role::Frame => style.add_modifier(Modifier::DIM),
            Role::Title | Role::Focus | Role::Bad => style.add_modifier(Modifier::BOLD),
            Role::Selected => style.add_modifier(Modifier::REVERSED),
            _ => style,
        };
        if !self.color {
            return style;
        }
        match role {
            Role::Plain | Role::Dim | Role::Frame | Role::Selected | Role::Title => style,
            Role::Focus | Role::Clean => style.fg(Color::Cyan),
            Role::Attack(place) => style.fg(ATTACKS[place % ATTACKS.len()]),
            Role::Good => style.fg(Color::Green),
            Role::Warning => style.fg(Color::Yellow),
            Role::Bad => style.fg(Color::Red),
        }
    }

    /// Whether curves are drawn with letters instead of dots.
    pub fn has_letters(self) -> bool {
        self.ascii || !self.color
    }

    /// The mark of a curve in legend and table: its letter, or a line in its colour. 0 is the clean one.
    pub fn mark(self, curve: usize) -> &'static str {
        if self.has_letters() { MARKS[curve % MARKS.len()] } else { "━" }
    }

    /// One of two spellings.
    pub fn sign(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }
}

/// Text with nothing but ASCII in it: known signs are spelled, others become `?`.
pub fn plain_ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '–' | '−' | '─' => plain.push('-'),
            '±' => plain.push_str("+-"),
            '∞' => plain.push_str("inf"),
            'ε' => plain.push_str("eps"),
            'Δ' => plain.push('d'),
            '→' => plain.push_str("->"),
            '≥' => plain.push_str(">="),
            '≤' => plain.push_str("<="),
            '×' => plain.push('x'),
            '…' => plain.push('~'),
            '↑' => plain.push('^'),
            '↓' => plain.push('v'),
            '←' => plain.push_str("<-"),
            '·' => plain.push('.'),
            letter if letter.is_ascii() => plain.push(letter),
            _ => plain.push('?'),
        }
    }
    plain
}
