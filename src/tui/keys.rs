//! The one table of keys: dispatch, footer and help read it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::app::Screen;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Leave; asks while a run goes on.
    Quit,
    /// Stop the run and leave; again: leave at once.
    Interrupt,
    /// Show or hide the help.
    Help,
    /// Show this screen.
    Show(Screen),
    /// Next pane.
    NextPane,
    /// Previous pane.
    PreviousPane,
    /// The pane fills the screen, or no longer.
    Expand,
    /// Close what lies on top.
    Close,
    /// Agree to what is asked.
    Confirm,
    /// The same, where Enter also means something else.
    Agree,
    /// One up.
    Up,
    /// One down.
    Down,
    /// Ten up.
    PageUp,
    /// Ten down.
    PageDown,
    /// To the first.
    First,
    /// To the last.
    Last,
    /// Cursor one tap back.
    Left,
    /// Cursor one tap on.
    Right,
    /// Next chart mode.
    ChartMode,
    /// Axis fixed or fitted.
    Axis,
    /// Numbers in place of the chart.
    Table,
    /// Next marker of the curves.
    Marker,
    /// Next order of the results.
    Sort,
    /// Next set of colours.
    Theme,
    /// List samples of another fate.
    Fate,
    /// List samples of the next class.
    NextClass,
    /// List samples of the class before.
    PreviousClass,
    /// Show the change in another way.
    Gain,
    /// Another picture comes first.
    NextPicture,
    /// Large images in pixels or in cells.
    ImageMode,
    /// Write the pictures as files.
    SavePictures,
    /// Halt the run, or let it go on.
    Pause,
    /// Ask whether to stop the run.
    Stop,
    /// Give the shell its terminal.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Write the results so far.
    Export,
    /// Add the attack of the form.
    Add,
    /// Call an attack off.
    CallOff,
    /// A queued attack runs earlier.
    Earlier,
    /// A queued attack runs later.
    Later,
    /// Take back the last change of the form.
    Undo,
    /// The form's defaults.
    Defaults,
    /// Write the run's attacks to a plan file.
    SavePlan,
}

/// Where a binding stands in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Everywhere.
    Global,
    /// The run.
    Run,
    /// The chart.
    Chart,
    /// Tables and lists.
    Lists,
    /// Images before and after.
    Samples,
    /// The attacks and their form.
    Attacks,
}

impl Group {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 6] = [Self::Global, Self::Run, Self::Chart, Self::Lists, Self::Samples, Self::Attacks];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Global => "EVERYWHERE",
            Self::Run => "RUN",
            Self::Chart => "CHART",
            Self::Lists => "TABLES, LOG",
            Self::Samples => "SAMPLES",
            Self::Attacks => "ATTACKS",
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// Any of these.
    pub keys: &'static [(KeyCode, KeyModifiers)],
    /// How help and footer write them.
    pub shown: &'static str,
    /// What they do.
    pub command: Command,
    /// On which screens; empty: on all.
    pub screens: &'static [Screen],
    /// Where in the help.
    pub group: Group,
    /// One short line; empty where another line of the table speaks for this one.
    pub help: &'static str,
    /// A word for the footer; empty: not there.
    pub footer: &'static str,
}

pub(super) const fn plain(code: KeyCode) -> (KeyCode, KeyModifiers) {
    (code, KeyModifiers::NONE)
}

pub(super) const fn control(letter: char) -> (KeyCode, KeyModifiers) {
    (KeyCode::Char(letter), KeyModifiers::CONTROL)
}

const fn in_samples(
    keys: &'static [(KeyCode, KeyModifiers)],
    shown: &'static str,
    command: Command,
    help: &'static str,
    footer: &'static str,
) -> Binding {
    Binding { keys, shown, command, screens: &[Screen::Samples], group: Group::Samples, help, footer }
}

const fn in_attacks(
    keys: &'static [(KeyCode, KeyModifiers)],
    shown: &'static str,
    command: Command,
    help: &'static str,
    footer: &'static str,
) -> Binding {
    Binding { keys, shown, command, screens: &[Screen::Attacks], group: Group::Attacks, help, footer }
}

pub(super) const fn everywhere(
    keys: &'static [(KeyCode, KeyModifiers)],
    shown: &'static str,
    command: Command,
    group: Group,
    help: &'static str,
    footer: &'static str,
) -> Binding {
    Binding { keys, shown, command, screens: &[], group, help, footer }
}

// What the tables of all screens have.
pub(super) const HELP: Binding = everywhere(
    &[plain(KeyCode::Char('?')), plain(KeyCode::F(1))],
    "?",
    Command::Help,
    Group::Global,
    "this help",
    "help",
);
pub(super) const SUSPEND: Binding =
    everywhere(&[control('z')], "Ctrl-Z", Command::Suspend, Group::Global, "back to the shell; fg returns", "");
pub(super) const REDRAW: Binding =
    everywhere(&[control('l')], "Ctrl-L", Command::Redraw, Group::Global, "draw everything anew", "");
pub(super) const THEME: Binding = everywhere(
    &[plain(KeyCode::Char('T')), (KeyCode::Char('T'), KeyModifiers::SHIFT)],
    "T",
    Command::Theme,
    Group::Global,
    "colours: terminal, dark, light",
    "colours",
);

/// Every key that does something. What stands first wins the room in the footer.
pub static BINDINGS: &[Binding] = &[
    HELP,
    everywhere(
        &[plain(KeyCode::Char('q'))],
        "q",
        Command::Quit,
        Group::Global,
        "quit; asks while a run goes on",
        "quit",
    ),
    everywhere(
        &[plain(KeyCode::Char('1'))],
        "1-5",
        Command::Show(Screen::Overview),
        Group::Global,
        "Overview, Samples, Layers, Attacks, Log",
        "screen",
    ),
    everywhere(&[plain(KeyCode::Char('2'))], "2", Command::Show(Screen::Samples), Group::Global, "", ""),
    everywhere(&[plain(KeyCode::Char('3'))], "3", Command::Show(Screen::Layers), Group::Global, "", ""),
    everywhere(&[plain(KeyCode::Char('4'))], "4", Command::Show(Screen::Attacks), Group::Global, "", ""),
    everywhere(&[plain(KeyCode::Char('5'))], "5", Command::Show(Screen::Log), Group::Global, "", ""),
    in_samples(&[plain(KeyCode::Char('o'))], "o", Command::Fate, "list broken ones, those that held, or all", "fate"),
    in_samples(
        &[plain(KeyCode::Char('c'))],
        "c C",
        Command::NextClass,
        "only one class, the next or the one before; all of them come between",
        "class",
    ),
    in_samples(
        &[plain(KeyCode::Char('C')), (KeyCode::Char('C'), KeyModifiers::SHIFT)],
        "C",
        Command::PreviousClass,
        "",
        "",
    ),
    in_samples(
        &[plain(KeyCode::Char('d'))],
        "d",
        Command::Gain,
        "the change ×1, ×8, ×16, ×64, its sign, its size",
        "change",
    ),
    in_samples(
        &[plain(KeyCode::Char('v'))],
        "v",
        Command::NextPicture,
        "the next picture first, where not all have room",
        "view",
    ),
    in_samples(
        &[plain(KeyCode::Char('m'))],
        "m",
        Command::ImageMode,
        "large images in pixels, where the terminal draws them, or in cells",
        "",
    ),
    in_samples(&[plain(KeyCode::Char('w'))], "w", Command::SavePictures, "write the pictures as PNG files", "save"),
    in_attacks(
        &[plain(KeyCode::Tab), plain(KeyCode::BackTab), (KeyCode::BackTab, KeyModifiers::SHIFT)],
        "Tab",
        Command::NextPane,
        "list or form; also ← →",
        "form",
    ),
    in_attacks(&[plain(KeyCode::Left), plain(KeyCode::Char('h'))], "←", Command::Left, "", ""),
    in_attacks(&[plain(KeyCode::Right), plain(KeyCode::Char('l'))], "→", Command::Right, "", ""),
    in_attacks(
        &[plain(KeyCode::Enter)],
        "Enter",
        Command::Confirm,
        "edit the field; Enter applies, Esc leaves it as it was",
        "edit",
    ),
    in_attacks(
        &[plain(KeyCode::Char('a')), plain(KeyCode::Char('r'))],
        "a",
        Command::Add,
        "add this attack to the run; also r",
        "add",
    ),
    in_attacks(
        &[plain(KeyCode::Char('c')), plain(KeyCode::Delete)],
        "c",
        Command::CallOff,
        "call off a queued or running attack; also Del",
        "call off",
    ),
    in_attacks(
        &[plain(KeyCode::Char('J')), (KeyCode::Char('J'), KeyModifiers::SHIFT)],
        "J K",
        Command::Later,
        "a queued attack runs later, earlier",
        "move",
    ),
    in_attacks(&[plain(KeyCode::Char('K')), (KeyCode::Char('K'), KeyModifiers::SHIFT)], "K", Command::Earlier, "", ""),
    in_attacks(&[plain(KeyCode::Char('u'))], "u", Command::Undo, "undo the last change of the form", "undo"),
    in_attacks(
        &[plain(KeyCode::Char('D')), (KeyCode::Char('D'), KeyModifiers::SHIFT)],
        "D",
        Command::Defaults,
        "the form's defaults",
        "defaults",
    ),
    in_attacks(
        &[plain(KeyCode::Char('W')), (KeyCode::Char('W'), KeyModifiers::SHIFT)],
        "W",
        Command::SavePlan,
        "save the run's attacks as a plan, advmod.toml",
        "save",
    ),
    Binding {
        keys: &[plain(KeyCode::Tab)],
        shown: "Tab",
        command: Command::NextPane,
        screens: &[Screen::Overview],
        group: Group::Global,
        help: "next pane; Shift-Tab: previous",
        footer: "pane",
    },
    Binding {
        keys: &[plain(KeyCode::BackTab), (KeyCode::BackTab, KeyModifiers::SHIFT)],
        shown: "Shift-Tab",
        command: Command::PreviousPane,
        screens: &[Screen::Overview],
        group: Group::Global,
        help: "",
        footer: "",
    },
    Binding {
        keys: &[plain(KeyCode::Up), plain(KeyCode::Char('k'))],
        shown: "↑ ↓",
        command: Command::Up,
        screens: &[],
        group: Group::Lists,
        help: "select, scroll; also k j",
        footer: "select",
    },
    everywhere(&[plain(KeyCode::Down), plain(KeyCode::Char('j'))], "↓", Command::Down, Group::Lists, "", ""),
    everywhere(&[plain(KeyCode::PageUp)], "PgUp PgDn", Command::PageUp, Group::Lists, "ten lines", ""),
    everywhere(&[plain(KeyCode::PageDown)], "PgDn", Command::PageDown, Group::Lists, "", ""),
    everywhere(
        &[plain(KeyCode::Home), plain(KeyCode::Char('g'))],
        "g G",
        Command::First,
        Group::Lists,
        "first, last; also Home End",
        "",
    ),
    everywhere(
        &[plain(KeyCode::End), plain(KeyCode::Char('G')), (KeyCode::Char('G'), KeyModifiers::SHIFT)],
        "G",
        Command::Last,
        Group::Lists,
        "",
        "",
    ),
    Binding {
        keys: &[plain(KeyCode::Left), plain(KeyCode::Char('h'))],
        shown: "← →",
        command: Command::Left,
        screens: &[Screen::Overview],
        group: Group::Chart,
        help: "cursor: reads the values of a tap; also h l",
        footer: "tap",
    },
    Binding {
        keys: &[plain(KeyCode::Left), plain(KeyCode::Char('h'))],
        shown: "← →",
        command: Command::Left,
        screens: &[Screen::Samples, Screen::Layers],
        group: Group::Lists,
        help: "in Samples and Layers: another attack; also h l",
        footer: "attack",
    },
    Binding {
        keys: &[plain(KeyCode::Right), plain(KeyCode::Char('l'))],
        shown: "→",
        command: Command::Right,
        screens: &[Screen::Overview, Screen::Samples, Screen::Layers],
        group: Group::Chart,
        help: "",
        footer: "",
    },
    Binding {
        keys: &[plain(KeyCode::Char('m'))],
        shown: "m",
        command: Command::ChartMode,
        screens: &[Screen::Overview],
        group: Group::Chart,
        help: "levels, difference to clean, one chart per attack",
        footer: "mode",
    },
    Binding {
        keys: &[plain(KeyCode::Char('y'))],
        shown: "y",
        command: Command::Axis,
        screens: &[Screen::Overview],
        group: Group::Chart,
        help: "axis from 0 to 1, or fitted to the curves",
        footer: "axis",
    },
    Binding {
        keys: &[plain(KeyCode::Char('t'))],
        shown: "t",
        command: Command::Table,
        screens: &[Screen::Overview],
        group: Group::Chart,
        help: "the chart's numbers as a table",
        footer: "table",
    },
    Binding {
        keys: &[plain(KeyCode::Char('b'))],
        shown: "b",
        command: Command::Marker,
        screens: &[Screen::Overview],
        group: Group::Chart,
        help: "curves in Braille, dots or letters",
        footer: "",
    },
    Binding {
        keys: &[plain(KeyCode::Char('s'))],
        shown: "s",
        command: Command::Sort,
        screens: &[Screen::Overview],
        group: Group::Lists,
        help: "results as planned, by success, by peak drop",
        footer: "sort",
    },
    // The footer has no room for it.
    Binding { footer: "", ..THEME },
    Binding {
        keys: &[plain(KeyCode::Char('e'))],
        shown: "e",
        command: Command::Expand,
        screens: &[Screen::Overview],
        group: Group::Global,
        help: "pane over the whole screen, and back",
        footer: "expand",
    },
    everywhere(
        &[plain(KeyCode::Char(' '))],
        "Space",
        Command::Pause,
        Group::Run,
        "halt the run, and let it go on",
        "pause",
    ),
    everywhere(
        &[plain(KeyCode::Char('S')), (KeyCode::Char('S'), KeyModifiers::SHIFT)],
        "S",
        Command::Stop,
        Group::Run,
        "stop the run after the batch in work",
        "stop",
    ),
    everywhere(
        &[plain(KeyCode::Char('x'))],
        "x",
        Command::Export,
        Group::Run,
        "write the results so far: JSON, Markdown, CSV",
        "export",
    ),
    everywhere(&[plain(KeyCode::Esc)], "Esc", Command::Close, Group::Global, "close, back", ""),
    Binding {
        keys: &[plain(KeyCode::Enter)],
        shown: "Enter",
        command: Command::Confirm,
        screens: &[Screen::Overview, Screen::Samples, Screen::Layers, Screen::Log],
        group: Group::Global,
        help: "",
        footer: "",
    },
    everywhere(&[plain(KeyCode::Char('Y'))], "Y", Command::Agree, Group::Global, "", ""),
    everywhere(
        &[control('c')],
        "Ctrl-C",
        Command::Interrupt,
        Group::Run,
        "stop and leave; again: leave without results",
        "",
    ),
    SUSPEND,
    REDRAW,
];

/// The command of a key on a screen.
pub fn command(key: KeyEvent, screen: Screen) -> Option<Command> {
    find(BINDINGS, key, |binding| binding.screens.is_empty() || binding.screens.contains(&screen))
}

/// The command of a key in a table without screens.
pub fn command_in(bindings: &'static [Binding], key: KeyEvent) -> Option<Command> {
    find(bindings, key, |_| true)
}

fn find(bindings: &'static [Binding], key: KeyEvent, is_here: impl Fn(&Binding) -> bool) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let fits = |binding: &&Binding| is_here(binding) && binding.keys.contains(&(key.code, key.modifiers));
    bindings.iter().find(fits).map(|binding| binding.command)
}

/// The bindings that the footer of a screen names.
pub fn footer(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| {
        !binding.footer.is_empty() && (binding.screens.is_empty() || binding.screens.contains(&screen))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_a_screen() {
        for screen in Screen::ALL {
            let mut seen = Vec::new();
            for binding in BINDINGS.iter().filter(|it| it.screens.is_empty() || it.screens.contains(&screen)) {
                for key in binding.keys {
                    assert!(!seen.contains(key), "{key:?} on {screen:?}");
                    seen.push(*key);
                }
            }
        }
    }

    #[test]
    fn a_release_is_no_press() {
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        assert_eq!(command(key, Screen::Log), Some(Command::Quit));
        key.kind = KeyEventKind::Release;
        assert_eq!(command(key, Screen::Log), None);
    }
}
