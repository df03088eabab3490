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
    pub keys: &'static [Key],
    pub shown: &'static str,
    pub command: Command,
    /// On which screens; empty: on all.
    pub screens: &'static [Screen],
    pub group: Group,
    /// One short line; empty where another line of the table speaks for this one.
    pub help: &'static str,
    /// A word for the footer; empty: not there.
    pub footer: &'static str,
}

/// Letters and Shift-Tab are without Shift here: terminals name it beside a capital letter, or do not.
type Key = (KeyCode, KeyModifiers);

const fn plain(code: KeyCode) -> Key {
    (code, KeyModifiers::NONE)
}

pub(super) const fn letter(letter: char) -> Key {
    plain(KeyCode::Char(letter))
}

const fn control(letter: char) -> Key {
    (KeyCode::Char(letter), KeyModifiers::CONTROL)
}

/// A key of all screens that neither help nor footer names.
pub(super) const fn bind(keys: &'static [Key], shown: &'static str, command: Command) -> Binding {
    Binding { keys, shown, command, screens: &[], group: Group::Global, help: "", footer: "" }
}

impl Binding {
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
}

// What the tables of all screens have; where its help is empty, each says what it does there.
pub(super) const HELP: Binding =
    bind(&[letter('?'), plain(KeyCode::F(1))], "?", Command::Help).help(Group::Global, "this help").footer("help");
pub(super) const QUIT: Binding = bind(&[letter('q')], "q", Command::Quit).footer("quit");
pub(super) const UP: Binding = bind(&[plain(KeyCode::Up), letter('k')], "↑ ↓", Command::Up);
pub(super) const DOWN: Binding = bind(&[plain(KeyCode::Down), letter('j')], "↓", Command::Down);
pub(super) const PAGE_UP: Binding = bind(&[plain(KeyCode::PageUp)], "PgUp PgDn", Command::PageUp);
pub(super) const PAGE_DOWN: Binding = bind(&[plain(KeyCode::PageDown)], "PgDn", Command::PageDown);
pub(super) const FIRST: Binding = bind(&[plain(KeyCode::Home), letter('g')], "g G", Command::First);
pub(super) const LAST: Binding = bind(&[plain(KeyCode::End), letter('G')], "G", Command::Last);
pub(super) const LEFT: Binding = bind(&[plain(KeyCode::Left), letter('h')], "← →", Command::Left);
pub(super) const RIGHT: Binding = bind(&[plain(KeyCode::Right), letter('l')], "→", Command::Right);
pub(super) const CLOSE: Binding = bind(&[plain(KeyCode::Esc)], "Esc", Command::Close);
pub(super) const INTERRUPT: Binding = bind(&[control('c')], "Ctrl-C", Command::Interrupt);
pub(super) const SUSPEND: Binding =
    bind(&[control('z')], "Ctrl-Z", Command::Suspend).help(Group::Global, "back to the shell; fg returns");
pub(super) const REDRAW: Binding =
    bind(&[control('l')], "Ctrl-L", Command::Redraw).help(Group::Global, "draw everything anew");
pub(super) const THEME: Binding =
    bind(&[letter('T')], "T", Command::Theme).help(Group::Global, "colours: terminal, dark, light").footer("colours");

const OVERVIEW: &[Screen] = &[Screen::Overview];
const SAMPLES: &[Screen] = &[Screen::Samples];
const ATTACKS: &[Screen] = &[Screen::Attacks];

const fn overview(keys: &'static [Key], shown: &'static str, command: Command) -> Binding {
    bind(keys, shown, command).on(OVERVIEW)
}

const fn samples(keys: &'static [Key], shown: &'static str, command: Command, help: &'static str) -> Binding {
    bind(keys, shown, command).on(SAMPLES).help(Group::Samples, help)
}

const fn attacks(keys: &'static [Key], shown: &'static str, command: Command, help: &'static str) -> Binding {
    bind(keys, shown, command).on(ATTACKS).help(Group::Attacks, help)
}

/// Every key that does something. What stands first wins the room in the footer.
pub(crate) static BINDINGS: &[Binding] = &[
    HELP,
    QUIT.help(Group::Global, "quit; asks while a run goes on"),
    bind(&[letter('1')], "1-5", Command::Show(Screen::Overview))
        .help(Group::Global, "Overview, Samples, Layers, Attacks, Log")
        .footer("screen"),
    bind(&[letter('2')], "2", Command::Show(Screen::Samples)),
    bind(&[letter('3')], "3", Command::Show(Screen::Layers)),
    bind(&[letter('4')], "4", Command::Show(Screen::Attacks)),
    bind(&[letter('5')], "5", Command::Show(Screen::Log)),
    samples(&[letter('o')], "o", Command::Fate, "list broken ones, those that held, or all").footer("fate"),
    samples(
        &[letter('c')],
        "c C",
        Command::NextClass,
        "only one class, the next or the one before; all of them come between",
    )
    .footer("class"),
    samples(&[letter('C')], "C", Command::PreviousClass, ""),
    samples(&[letter('d')], "d", Command::Gain, "the change ×1, ×8, ×16, ×64, its sign, its size").footer("change"),
    samples(&[letter('v')], "v", Command::NextPicture, "the next picture first, where not all have room")
        .footer("view"),
    samples(
        &[letter('m')],
        "m",
        Command::ImageMode,
        "large images in pixels, where the terminal draws them, or in cells",
    ),
    samples(&[letter('w')], "w", Command::SavePictures, "write the pictures as PNG files").footer("save"),
    attacks(&[plain(KeyCode::Tab), plain(KeyCode::BackTab)], "Tab", Command::NextPane, "list or form; also ← →")
        .footer("form"),
    LEFT.on(ATTACKS),
    RIGHT.on(ATTACKS),
    attacks(
        &[plain(KeyCode::Enter)],
        "Enter",
        Command::Confirm,
        "edit the field; Enter applies, Esc leaves it as it was",
    )
    .footer("edit"),
    attacks(&[letter('a'), letter('r')], "a", Command::Add, "add this attack to the run; also r").footer("add"),
    attacks(
        &[letter('c'), plain(KeyCode::Delete)],
        "c",
        Command::CallOff,
        "call off a queued or running attack; also Del",
    )
    .footer("call off"),
    attacks(&[letter('J')], "J K", Command::Later, "a queued attack runs later, earlier").footer("move"),
    attacks(&[letter('K')], "K", Command::Earlier, ""),
    attacks(&[letter('u')], "u", Command::Undo, "undo the last change of the form").footer("undo"),
    attacks(&[letter('D')], "D", Command::Defaults, "the form's defaults").footer("defaults"),
    attacks(&[letter('W')], "W", Command::SavePlan, "save the run's attacks as a plan, advmod.toml").footer("save"),
    overview(&[plain(KeyCode::Tab)], "Tab", Command::NextPane)
        .help(Group::Global, "next pane; Shift-Tab: previous")
        .footer("pane"),
    overview(&[plain(KeyCode::BackTab)], "Shift-Tab", Command::PreviousPane),
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
    overview(&[letter('m')], "m", Command::ChartMode)
        .help(Group::Chart, "levels, difference to clean, one chart per attack")
        .footer("mode"),
    overview(&[letter('y')], "y", Command::Axis)
        .help(Group::Chart, "axis from 0 to 1, or fitted to the curves")
        .footer("axis"),
    overview(&[letter('t')], "t", Command::Table).help(Group::Chart, "the chart's numbers as a table").footer("table"),
    overview(&[letter('b')], "b", Command::Marker).help(Group::Chart, "curves in Braille, dots or letters"),
    overview(&[letter('s')], "s", Command::Sort)
        .help(Group::Lists, "results as planned, by success, by peak drop")
        .footer("sort"),
    // The footer has no room for it.
    THEME.footer(""),
    overview(&[letter('e')], "e", Command::Expand)
        .help(Group::Global, "pane over the whole screen, and back")
        .footer("expand"),
    bind(&[letter(' ')], "Space", Command::Pause).help(Group::Run, "halt the run, and let it go on").footer("pause"),
    bind(&[letter('S')], "S", Command::Stop).help(Group::Run, "stop the run after the batch in work").footer("stop"),
    bind(&[letter('x')], "x", Command::Export)
        .help(Group::Run, "write the results so far: JSON, Markdown, CSV")
        .footer("export"),
    CLOSE.help(Group::Global, "close, back"),
    bind(&[plain(KeyCode::Enter)], "Enter", Command::Confirm).on(&[
        Screen::Overview,
        Screen::Samples,
        Screen::Layers,
        Screen::Log,
    ]),
    bind(&[letter('Y')], "Y", Command::Agree),
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
    bindings.find(|binding| binding.keys.contains(&(key.code, modifiers))).map(|binding| binding.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_on_a_screen() {
        for screen in Screen::ALL {
            let mut seen = Vec::new();
            for key in of(screen).flat_map(|binding| binding.keys) {
                assert!(!seen.contains(key), "{key:?} on {screen:?}");
                seen.push(*key);
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
