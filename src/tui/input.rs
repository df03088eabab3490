//! Keys, mouse and sizes, read on a thread of their own: whatever happens to the terminal, the loop goes on.

use std::io;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[derive(Debug)]
pub(crate) enum Input {
    /// A key, the mouse, a new size.
    Event(Event),
    /// The terminal has gone away, or can no longer be read.
    Gone,
}

/// How often a new size is looked for, which does not show on the input.
const GLANCE: Duration = Duration::from_millis(50);

pub(crate) fn listen() -> io::Result<Receiver<Input>> {
    let (sender, receiver) = unbounded();
    std::thread::Builder::new().name("input".to_owned()).spawn(move || {
        if read(&sender).is_err() {
            let _ = sender.send(Input::Gone);
        }
    })?;
    Ok(receiver)
}

/// Reads until nobody wants it any more.
fn read(sender: &Sender<Input>) -> io::Result<()> {
    let stdin = io::stdin();
    loop {
        let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
        let glance = Timespec::try_from(GLANCE).ok();
        match poll(&mut descriptors, glance.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
        // Reading a terminal that has gone away never ends, so that is looked for first.
        if descriptors[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Not zero, for which nothing is looked for at all.
        while event::poll(Duration::from_millis(1))? {
            if sender.send(Input::Event(event::read()?)).is_err() {
                return Ok(());
            }
        }
    }
}
