//! The keys of this screen: dispatch, footer and help read this table, as those of an audit read theirs.

use super::super::keys::{
    Binding, CLOSE, DOWN, FIRST, Group, HELP, INTERRUPT, LAST, LEFT, PAGE_DOWN, PAGE_UP, QUIT, REDRAW, RIGHT, SUSPEND,
    THEME, UP,
};

pub(crate) static BINDINGS: &[Binding] = &[
    HELP,
    QUIT.help(Group::Global, "quit; the training goes on"),
    UP.help(Group::Chart, "another tap; also k j").footer("tap"),
    DOWN,
    PAGE_UP.help(Group::Chart, "ten taps"),
    PAGE_DOWN,
    LEFT.help(Group::Chart, "another checkpoint; also h l").footer("checkpoint"),
    RIGHT,
    FIRST.help(Group::Chart, "the first checkpoint, or always the newest; also Home End").footer("first, newest"),
    LAST,
    THEME,
    CLOSE.help(Group::Global, "close the help; back to the newest checkpoint"),
    INTERRUPT.help(Group::Global, "quit"),
    SUSPEND,
    REDRAW,
];
