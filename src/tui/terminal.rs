//! Takes the terminal over, and gives it back however the program ends.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, PipeWriter, Stdout};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crossbeam_channel::{Receiver, Sender, unbounded};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use signal_hook::consts::SIGTSTP;
use signal_hook::low_level::emulate_default_handler;

use super::graphics::Graphics;
use crate::memory;

/// Whether the terminal is ours. A panic hook must be able to see it.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The stderr of the shell, while ours goes to the log.
static SHELLS_STDERR: Mutex<Option<OwnedFd>> = Mutex::new(None);

pub(crate) struct Session {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    graphics: Option<Graphics>,
    stderr: Option<PipeWriter>,
    lines: Receiver<String>,
}

impl Session {
    /// Takes the terminal over: raw mode, alternate screen, mouse. What libraries write to stderr becomes lines of
    /// [`stderr`](Self::stderr).
    ///
    /// # Errors
    /// The system's; the terminal is as before then.
    pub(crate) fn open(graphics: Option<Graphics>) -> io::Result<Self> {
        restore_on_panic();
        memory::before_end(give_back);
        let (sender, lines) = unbounded();
        // Where stderr is a file, nothing that is written there disturbs the screen.
        let stderr = if io::stderr().is_terminal() { Some(capture(sender)?) } else { None };
        let session = Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?, graphics, stderr, lines };
        session.take().inspect_err(|_| give_back())?;
        Ok(session)
    }

    fn take(&self) -> io::Result<()> {
        TAKEN.store(true, Ordering::SeqCst);
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture)?;
        if let Some(stderr) = &self.stderr {
            let shells = io::stderr().as_fd().try_clone_to_owned()?;
            SHELLS_STDERR.lock().unwrap_or_else(PoisonError::into_inner).replace(shells);
            rustix::stdio::dup2_stderr(stderr)?;
        }
        Ok(())
    }

    /// What was written to stderr since the last look.
    pub(crate) fn stderr(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.try_iter()
    }

    /// Draws a frame, which appears at once; in pixels of its own too, where the terminal does that.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>, Option<&mut Graphics>)) -> io::Result<()> {
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| draw(frame, self.graphics.as_mut()))?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// Forgets what is on the screen, so that the next frame draws everything.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        // Not `Terminal::clear`: it asks the terminal for its cursor and waits for an answer that may never come.
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        self.graphics.iter_mut().for_each(Graphics::clear);
        Ok(())
    }

    /// Gives the terminal to the shell and stops the process; returns when it is continued, with the terminal taken over again.
    pub(crate) fn suspend(&mut self) -> io::Result<()> {
        give_back();
        emulate_default_handler(SIGTSTP)?;
        self.take()?;
        self.clear()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was. Does nothing if it is not ours; what fails cannot be helped.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let _ = execute!(io::stdout(), EndSynchronizedUpdate, DisableMouseCapture, LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
    if let Some(shells) = SHELLS_STDERR.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = rustix::stdio::dup2_stderr(&shells);
    }
}

/// A panic of the interface is read on the shell's screen. A worker's becomes an event and leaves the terminal alone.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() == Some("main") {
                give_back();
            }
            before(info);
        }));
    });
}

/// The writing end of a pipe whose lines go to `sender`.
fn capture(sender: Sender<String>) -> io::Result<PipeWriter> {
    let (reader, writer) = io::pipe()?;
    let reader = File::from(OwnedFd::from(reader));
    std::thread::Builder::new().name("stderr".to_owned()).spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            let Ok(line) = line else { return };
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if !text.is_empty() && sender.send(text).is_err() {
                return;
            }
        }
    })?;
    Ok(writer)
}
