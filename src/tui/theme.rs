//! Looks by meaning: views ask for a role, never for a colour.

use std::borrow::Cow;

use clap::ValueEnum;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::text::heatmap::heat;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Plain,
    Dim,
    Frame,
    /// The frame of the pane that has the keys.
    Focus,
    Title,
    Selected,
    Clean,
    /// An attack, by its place in the plan.
    Attack(usize),
    Good,
    Warning,
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "what a terminal can do are independent facts")]
pub struct Theme {
    pub color: bool,
    /// Whether only ASCII is drawn.
    pub ascii: bool,
    /// Whether the terminal shows 16 million colours, which images need.
    pub truecolor: bool,
    /// Whether the terminal draws images in pixels of its own.
    pub graphics: bool,
    pub palette: Palette,
    pub marker: Marker,
}

impl Role {
    /// Of a row in a list.
    pub(crate) fn row(is_selected: bool) -> Self {
        if is_selected { Self::Selected } else { Self::Plain }
    }
}

impl Default for Theme {
    fn default() -> Self {
        Self {
            color: true,
            ascii: false,
            truecolor: true,
            graphics: false,
            palette: Palette::Terminal,
            marker: Marker::Braille,
        }
    }
}

/// A set of colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Palette {
    /// The terminal's own sixteen, which fit its background.
    #[default]
    Terminal,
    /// For dark backgrounds, told apart by colour-blind people too (after Okabe and Ito, 2008).
    Dark,
    /// The same for light backgrounds.
    Light,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Marker {
    /// Eight dots to a cell.
    #[default]
    Braille,
    /// One dot to a cell, for fonts without Braille.
    Dots,
    /// One letter to a cell, another for each curve.
    Letters,
}

impl Palette {
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    fn color(self, role: Role) -> Option<Color> {
        use Color::{Blue, Cyan, Green, Indexed, LightMagenta, Magenta, Red, Yellow};
        // Clean, then the attacks; good, to be known, bad. Numbers are places in the 256 colours of xterm.
        let (hues, verdicts) = match self {
            Self::Terminal => ([Cyan, Yellow, Magenta, Red, Blue, Green, LightMagenta], [Green, Yellow, Red]),
            Self::Dark => ([74, 214, 175, 202, 36, 227, 67].map(Indexed), [36, 214, 202].map(Indexed)),
            Self::Light => ([25, 130, 132, 160, 29, 94, 61].map(Indexed), [29, 130, 160].map(Indexed)),
        };
        match role {
            Role::Plain | Role::Dim | Role::Frame | Role::Selected | Role::Title => None,
            Role::Focus | Role::Clean => Some(hues[0]),
            Role::Attack(place) => Some(hues[1 + place % 6]),
            Role::Good => Some(verdicts[0]),
            Role::Warning => Some(verdicts[1]),
            Role::Bad => Some(verdicts[2]),
        }
    }
}

/// Letters of curves where colours or dots cannot tell them apart; the first is the clean one.
const MARKS: [&str; 7] = ["o", "x", "+", "*", "#", "%", "@"];

impl Theme {
    pub(crate) fn style(self, role: Role) -> Style {
        let modifier = match role {
            Role::Dim | Role::Frame => Modifier::DIM,
            Role::Title | Role::Focus | Role::Bad => Modifier::BOLD,
            Role::Selected => Modifier::REVERSED,
            _ => Modifier::empty(),
        };
        let style = Style::new().add_modifier(modifier);
        self.palette.color(role).filter(|_| self.color).map_or(style, |color| style.fg(color))
    }

    pub(crate) fn span<'a>(self, text: impl Into<Cow<'a, str>>, role: Role) -> Span<'a> {
        Span::styled(text, self.style(role))
    }

    /// The look of a cell of a heatmap that stands at this share of the range.
    pub(crate) fn heat(self, share: f64) -> Style {
        if !self.color {
            return Style::new();
        }
        let (ground, ink) = heat(share);
        Style::new().bg(Color::Indexed(ground)).fg(Color::Indexed(ink))
    }

    /// What curves are drawn with: letters wherever nothing else tells them apart.
    pub(crate) fn marker(self) -> Marker {
        if self.ascii || !self.color { Marker::Letters } else { self.marker }
    }

    /// The mark of a curve in legend and table: its letter, or a line in its colour. 0 is the clean one.
    pub(crate) fn mark(self, curve: usize) -> &'static str {
        if self.marker() == Marker::Letters { MARKS[curve % MARKS.len()] } else { "━" }
    }

    pub fn sign(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.ascii { ascii } else { unicode }
    }
}
