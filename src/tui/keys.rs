//! The one table of keys: dispatch, footer and help read it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::screen::Screen;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Quit,
    Interrupt,
    Help,
    Show(Screen),
    NextPane,
    PreviousPane,
    Expand,
    Close,
    Confirm,
    /// Confirm, where Enter also means something else.
    Agree,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
    Left,
    Right,
    ChartMode,
    Axis,
    Table,
    Marker,
    /// Next order of the results.
    Sort,
    Theme,
    Fate,
    NextClass,
    PreviousClass,
    Gain,
    NextPicture,
    ImageMode,
    SavePictures,
    Pause,
    Stop,
    Suspend,
    Redraw,
    Export,
    Add,
    CallOff,
    Earlier,
    Later,
    Undo,
    Defaults,
    SavePlan,
}

impl Command {
    /// The lines that it goes down, for those that go by lines.
    pub(super) fn lines(self) -> Option<isize> {
        match self {
            Self::Up => Some(-1),
            Self::Down => Some(1),
            Self::PageUp => Some(-10),
            Self::PageDown => Some(10),
            _ => None,
        }
    }
}

/// Where a binding stands in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Global,
    Run,
    Chart,
    Lists,
    Samples,
    Attacks,
}

impl Group {
    /// In the order of the help, with their titles.
    pub(crate) const ALL: [(Self, &'static str); 6] = [
        (Self::Global, "EVERYWHERE"),
        (Self::Run, "RUN"),
        (Self::Chart, "CHART"),
        (Self::Lists, "TABLES, LOG"),
        (Self::Samples, "SAMPLES"),
        (Self::Attacks, "ATTACKS"),
    ];
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    key: Key,
    /// Another key for the same.
    also: Option<Key>,
    pub shown: &'static str,
    pub command: Command,
    /// On which screens; empty: on all.
    screens: &'static [Screen],
    pub group: Group,
    /// One short line; empty where another line of the table speaks for this one.
    pub help: &'static str,
    /// A word for the footer; empty: not there.
    pub footer: &'static str,
}

/// Letters and Shift-Tab are without Shift here: terminals name it beside a capital letter, or do not.
type Key = (KeyCode, KeyModifiers);

/// A key of all screens that neither help nor footer names.
const fn key(code: KeyCode, shown: &'static str, command: Command) -> Binding {
    let key = (code, KeyModifiers::NONE);
    Binding { key, also: None, shown, command, screens: &[], group: Group::Global, help: "", footer: "" }
}

/// The same for the letter that `shown` begins with.
const fn letter(shown: &'static str, command: Command) -> Binding {
    key(KeyCode::Char(shown.as_bytes()[0] as char), shown, command)
}

const fn control(letter: char, shown: &'static str, command: Command) -> Binding {
    Binding { key: (KeyCode::Char(letter), KeyModifiers::CONTROL), ..key(KeyCode::Null, shown, command) }
}

impl Binding {
    const fn also(self, code: KeyCode) -> Self {
        Self { also: Some((code, KeyModifiers::NONE)), ..self }
    }

    /// On these screens only.
    const fn on(self, screens: &'static [Screen]) -> Self {
        Self { screens, ..self }
    }

    pub(super) const fn help(self, group: Group, help: &'static str) -> Self {
        Self { group, help, ..self }
    }

    pub(super) const fn footer(self, footer: &'static str) -> Self {
        Self { footer, ..self }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        std::iter::once(self.key).chain(self.also)
    }
}

// What the tables of all screens have; where its help is empty, each says what it does there.
pub(super) const HELP: Binding =
    letter("?", Command::Help).also(KeyCode::F(1)).help(Group::Global, "this help").footer("help");
pub(super) const QUIT: Binding = letter("q", Command::Quit).footer("quit");
pub(super) const UP: Binding = key(KeyCode::Up, "↑ ↓", Command::Up).also(KeyCode::Char('k'));
pub(super) const DOWN: Binding = key(KeyCode::Down, "↓", Command::Down).also(KeyCode::Char('j'));
pub(super) const PAGE_UP: Binding = key(KeyCode::PageUp, "PgUp PgDn", Command::PageUp);
pub(super) const PAGE_DOWN: Binding = key(KeyCode::PageDown, "PgDn", Command::PageDown);
pub(super) const FIRST: Binding = letter("g G", Command::First).also(KeyCode::Home);
pub(super) const LAST: Binding = letter("G", Command::Last).also(KeyCode::End);
pub(super) const LEFT: Binding = key(KeyCode::Left, "← →", Command::Left).also(KeyCode::Char('h'));
pub(super) const RIGHT: Binding = key(KeyCode::Right, "→", Command::Right).also(KeyCode::Char('l'));
pub(super) const CLOSE: Binding = key(KeyCode::Esc, "Esc", Command::Close);
pub(super) const INTERRUPT: Binding = control('c', "Ctrl-C", Command::Interrupt);
pub(super) const SUSPEND: Binding =
    control('z', "Ctrl-Z", Command::Suspend).help(Group::Global, "back to the shell; fg returns");
pub(super) const REDRAW: Binding = control('l', "Ctrl-L", Command::Redraw).help(Group::Global, "draw everything anew");
pub(super) const THEME: Binding =
    letter("T", Command::Theme).help(Group::Global, "colours: terminal, dark, light").footer("colours");

const OVERVIEW: &[Screen] = &[Screen::Overview];

const fn overview(binding: Binding, group: Group, help: &'static str) -> Binding {
    binding.on(OVERVIEW).help(group, help)
}

const fn samples(letters: &'static str, command: Command, help: &'static str) -> Binding {
    letter(letters, command).on(&[Screen::Samples]).help(Group::Samples, help)
}

const fn attacks(binding: Binding, help: &'static str) -> Binding {
    binding.on(&[Screen::Attacks]).help(Group::Attacks, help)
}

/// Every key that does something. What stands first wins the room in the footer.
pub(crate) static BINDINGS: &[Binding] = &[
    HELP,
    QUIT.help(Group::Global, "quit; asks while a run goes on"),
    letter("1-5", Command::Show(Screen::Overview))
        .help(Group::Global, "Overview, Samples, Layers, Attacks, Log")
        .footer("screen"),
    letter("2", Command::Show(Screen::Samples)),
    letter("3", Command::Show(Screen::Layers)),
    letter("4", Command::Show(Screen::Attacks)),
    letter("5", Command::Show(Screen::Log)),
    samples("o", Command::Fate, "list broken ones, those that held, or all").footer("fate"),
    samples("c C", Command::NextClass, "only one class, the next or the one before; all of them come between")
        .footer("class"),
    samples("C", Command::PreviousClass, ""),
    samples("d", Command::Gain, "the change ×1, ×8, ×16, ×64, its sign, its size").footer("change"),
    samples("v", Command::NextPicture, "the next picture first, where not all have room").footer("view"),
    samples("m", Command::ImageMode, "large images in pixels, where the terminal draws them, or in cells"),
    samples("w", Command::SavePictures, "write the pictures as PNG files").footer("save"),
    attacks(key(KeyCode::Tab, "Tab", Command::NextPane).also(KeyCode::BackTab), "list or form; also ← →")
        .footer("form"),
    LEFT.on(&[Screen::Attacks]),
    RIGHT.on(&[Screen::Attacks]),
    attacks(key(KeyCode::Enter, "Enter", Command::Confirm), "edit the field; Enter applies, Esc leaves it as it was")
        .footer("edit"),
    attacks(letter("a", Command::Add).also(KeyCode::Char('r')), "add this attack to the run; also r").footer("add"),
    attacks(letter("c", Command::CallOff).also(KeyCode::Delete), "call off a queued or running attack; also Del")
        .footer("call off"),
    attacks(letter("J K", Command::Later), "a queued attack runs later, earlier").footer("move"),
    attacks(letter("K", Command::Earlier), ""),
    attacks(letter("u", Command::Undo), "undo the last change of the form").footer("undo"),
    attacks(letter("D", Command::Defaults), "the form's defaults").footer("defaults"),
    attacks(letter("W", Command::SavePlan), "save the run's attacks as a plan, advmod.toml").footer("save"),
    overview(key(KeyCode::Tab, "Tab", Command::NextPane), Group::Global, "next pane; Shift-Tab: previous")
        .footer("pane"),
    key(KeyCode::BackTab, "Shift-Tab", Command::PreviousPane).on(OVERVIEW),
    UP.help(Group::Lists, "select, scroll; also k j").footer("select"),
    DOWN,
    PAGE_UP.help(Group::Lists, "ten lines"),
    PAGE_DOWN,
    FIRST.help(Group::Lists, "first, last; also Home End"),
    LAST,
    LEFT.on(OVERVIEW).help(Group::Chart, "cursor: reads the values of a tap; also h l").footer("tap"),
    LEFT.on(&[Screen::Samples, Screen::Layers])
        .help(Group::Lists, "in Samples and Layers: another attack; also h l")
        .footer("attack"),
    RIGHT.on(&[Screen::Overview, Screen::Samples, Screen::Layers]),
    overview(letter("m", Command::ChartMode), Group::Chart, "levels, difference, a chart per attack, classes nearby")
        .footer("mode"),
    overview(letter("y", Command::Axis), Group::Chart, "axis from 0 to 1, or fitted to the curves").footer("axis"),
    overview(letter("t", Command::Table), Group::Chart, "the chart's numbers as a table").footer("table"),
    overview(letter("b", Command::Marker), Group::Chart, "curves in Braille, dots or letters"),
    overview(letter("s", Command::Sort), Group::Lists, "results as planned, by success, by peak drop").footer("sort"),
    // The footer has no room for it.
    THEME.footer(""),
    overview(letter("e", Command::Expand), Group::Global, "pane over the whole screen, and back").footer("expand"),
    key(KeyCode::Char(' '), "Space", Command::Pause).help(Group::Run, "halt the run, and let it go on").footer("pause"),
    letter("S", Command::Stop).help(Group::Run, "stop the run after the batch in work").footer("stop"),
    letter("x", Command::Export).help(Group::Run, "write the results so far: JSON, Markdown, CSV").footer("export"),
    CLOSE.help(Group::Global, "close, back"),
    key(KeyCode::Enter, "Enter", Command::Confirm).on(&[
        Screen::Overview,
        Screen::Samples,
        Screen::Layers,
        Screen::Log,
    ]),
    letter("Y", Command::Agree),
    INTERRUPT.help(Group::Run, "stop and leave; again: leave without results"),
    SUSPEND,
    REDRAW,
];

/// The bindings of a screen, in their order.
pub(crate) fn of(screen: Screen) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |it| it.screens.is_empty() || it.screens.contains(&screen))
}

pub(crate) fn command(mut bindings: impl Iterator<Item = &'static Binding>, key: KeyEvent) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let modifiers = match (key.code, key.modifiers) {
        (KeyCode::Char(_) | KeyCode::BackTab, KeyModifiers::SHIFT) => KeyModifiers::NONE,
        (_, modifiers) => modifiers,
    };
    bindings.find(|it| it.keys().any(|known| known == (key.code, modifiers))).map(|it| it.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_a_screen() {
        for screen in Screen::ALL {
            let mut seen = Vec::new();
            for key in of(screen).flat_map(Binding::keys) {
                assert!(!seen.contains(&key), "{key:?} on {screen:?}");
                seen.push(key);
            }
        }
    }

    #[test]
    fn a_release_is_no_press_and_capitals_come_with_shift_or_without() {
        let meant = |key: KeyEvent| command(of(Screen::Overview), key);
        let mut key = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        assert_eq!(meant(key), Some(Command::Quit));
        key.kind = KeyEventKind::Release;
        assert_eq!(meant(key), None);
        for modifiers in [KeyModifiers::NONE, KeyModifiers::SHIFT] {
            assert_eq!(meant(KeyEvent::new(KeyCode::Char('G'), modifiers)), Some(Command::Last));
            assert_eq!(meant(KeyEvent::new(KeyCode::BackTab, modifiers)), Some(Command::PreviousPane));
        }
        assert_eq!(meant(KeyEvent::new(KeyCode::Up, KeyModifiers::SHIFT)), None);
    }
}
