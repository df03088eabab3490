//! What comes to the interface, and what it wants to be done outside.

use std::time::Duration;

use ratatui::crossterm::event::KeyEvent;

use super::keys::Command;
use super::state::attacks::{Item, PlanDraft};
use super::state::samples::Look;
use super::state::screen::{Pane, Screen};
use crate::audit::follow::Feed;
use crate::audit::plan::AttackPlan;

#[derive(Clone, Debug)]
pub enum Msg {
    Key(KeyEvent),
    /// The wheel was turned by so many lines.
    Wheel(isize),
    /// The left button was pressed on something, or on nothing.
    Click(Option<Spot>),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    Feed(Feed),
    /// A line that a library wrote to stderr.
    Stderr(String),
    /// So long after the start.
    Tick(Duration),
    /// SIGINT, SIGTERM or SIGHUP.
    Terminate,
    Suspend,
    Looked(Box<Look>),
    /// What was to be written is: where to find it, or why not.
    Written(Result<String, String>),
    /// The attacks that wait, in their order.
    Queue(Vec<usize>),
    /// What the plan file would be, or why there cannot be one.
    PlanDrafted(Result<PlanDraft, String>),
}

/// What is under the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    Tab(Screen),
    /// A row of the results.
    Attack(usize),
    Pane(Pane),
    Sample(usize),
    Item(Item),
    Field(usize),
    /// The footer's word for this, or an answer to the question.
    Command(Command),
}

/// What `update` wants to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    StopRun,
    /// Halt the run, or let it go on.
    Pause(bool),
    /// Leave; nothing runs any more.
    Quit,
    /// Leave at once, whatever runs.
    Kill,
    /// Give the terminal back and stop the process until it is continued.
    Suspend,
    Redraw,
    Export,
    /// Find the images of a sample under an attack, both by their places.
    Look {
        attack: usize,
        sample: usize,
    },
    SavePictures,
    Add(AttackPlan),
    /// Call off the attack at this place of the plan.
    Cancel(usize),
    /// Let a waiting attack change places with the one before it, or behind it.
    Shift {
        attack: usize,
        is_later: bool,
    },
    DraftPlan,
    SavePlan,
}
