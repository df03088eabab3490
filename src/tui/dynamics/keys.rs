//! The keys of this screen: dispatch, footer and help read this table, as those of an audit read theirs.

use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use super::super::keys::{Binding, Command, Group, HELP, REDRAW, SUSPEND, THEME, control, everywhere, plain};

/// Every key that does something.
pub static BINDINGS: &[Binding] = &[
    HELP,
    everywhere(&[plain(KeyCode::Char('q'))], "q", Command::Quit, Group::Global, "quit; the training goes on", "quit"),
    everywhere(
        &[plain(KeyCode::Up), plain(KeyCode::Char('k'))],
        "↑ ↓",
        Command::Up,
        Group::Chart,
        "another tap; also k j",
        "tap",
    ),
    everywhere(&[plain(KeyCode::Down), plain(KeyCode::Char('j'))], "↓", Command::Down, Group::Chart, "", ""),
    everywhere(&[plain(KeyCode::PageUp)], "PgUp PgDn", Command::PageUp, Group::Chart, "ten taps", ""),
    everywhere(&[plain(KeyCode::PageDown)], "PgDn", Command::PageDown, Group::Chart, "", ""),
    everywhere(
        &[plain(KeyCode::Left), plain(KeyCode::Char('h'))],
        "← →",
        Command::Left,
        Group::Chart,
        "another checkpoint; also h l",
        "checkpoint",
    ),
    everywhere(&[plain(KeyCode::Right), plain(KeyCode::Char('l'))], "→", Command::Right, Group::Chart, "", ""),
    everywhere(
        &[plain(KeyCode::Home), plain(KeyCode::Char('g'))],
        "g G",
        Command::First,
        Group::Chart,
        "the first checkpoint, or always the newest; also Home End",
        "first, newest",
    ),
    everywhere(
        &[plain(KeyCode::End), plain(KeyCode::Char('G')), (KeyCode::Char('G'), KeyModifiers::SHIFT)],
        "G",
        Command::Last,
        Group::Chart,
        "",
        "",
    ),
    THEME,
    everywhere(
        &[plain(KeyCode::Esc)],
        "Esc",
        Command::Close,
        Group::Global,
        "close the help; back to the newest checkpoint",
        "",
    ),
    everywhere(&[control('c')], "Ctrl-C", Command::Interrupt, Group::Global, "quit", ""),
    SUSPEND,
    REDRAW,
];
