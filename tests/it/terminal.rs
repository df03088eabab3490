//! `advmod tui` on a pseudoterminal: the real program, its screen, and what it leaves behind.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{advmod, root};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

struct Terminal {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn std::io::Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    /// The terminal's settings before the program took it over.
    before: String,
}

impl Terminal {
    /// A shell command in a terminal of 120×36, in this folder.
    fn shell(command: &str, folder: &Path, environment: &[(&str, &str)]) -> Self {
        let size = PtySize { rows: 36, cols: 120, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut builder = CommandBuilder::new("sh");
        builder.args(["-c", command]);
        builder.cwd(folder);
        builder.env("TERM", "xterm-256color");
        builder.env("OMP_WAIT_POLICY", "passive");
        builder.env("ADVMOD", env!("CARGO_BIN_EXE_advmod"));
        builder.env("RUST_BACKTRACE", "0");
        builder.env_remove("NO_COLOR");
        builder.env_remove("LD_LIBRARY_PATH");
        for (name, value) in environment {
            builder.env(name, value);
        }
        let before = settings(&*pair.master);
        let child = pair.slave.spawn_command(builder).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(36), cells(120), 200)));
        let (mut reader, seen) = (pair.master.try_clone_reader().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                seen.lock().unwrap().process(&bytes[..n]);
            }
        });
        Self { keyboard: pair.master.take_writer().unwrap(), master: pair.master, child, screen, before }
    }

    fn tui(arguments: &str, folder: &Path) -> Self {
        Self::shell(&format!("exec \"$ADVMOD\" tui {arguments}"), folder, &[])
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self.keyboard.flush().unwrap();
    }

    /// A click of the left button on a cell, from 0.
    fn click(&mut self, column: usize, row: usize) {
        self.press(&format!("\x1b[<0;{};{}M\x1b[<0;{};{}m", column + 1, row + 1, column + 1, row + 1));
    }

    /// A click where this text stands.
    fn click_on(&mut self, text: &str) {
        let lines: Vec<String> = self.text().lines().map(str::to_owned).collect();
        let (row, line) = lines.iter().enumerate().find(|(_, line)| line.contains(text)).unwrap();
        let column = line[..line.find(text).unwrap()].chars().count();
        self.click(column, row);
    }

    fn resize(&mut self, columns: u16, rows: u16) {
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }).unwrap();
        self.screen.lock().unwrap().screen_mut().set_size(cells(rows), cells(columns));
    }

    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.process_id().unwrap() as i32).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            let ended = self.child.try_wait().unwrap();
            let text = self.text();
            assert!(begun.elapsed() < PATIENCE && ended.is_none(), "no {what}; exit {ended:?}\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&mut self, text: &str) {
        self.wait_until(text, |it| it.text().contains(text));
    }

    /// The exit code and what stands on the shell's screen then, which must be sane.
    fn ended(mut self) -> (u32, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not end\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        };
        // The reader may be behind.
        std::thread::sleep(Duration::from_millis(200));
        self.assert_given_back();
        (status.exit_code(), self.text())
    }

    fn assert_given_back(&self) {
        let parser = self.screen.lock().unwrap();
        let screen = parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{}", screen.contents());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert_eq!(settings(&*self.master), self.before);
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

/// Echo, line editing and the like.
fn settings(master: &(dyn MasterPty + Send)) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

/// Small enough for a test, with something to see.
const SMALL: &str = "--first 40 --attacks fgsm --threads 1";

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A report without what differs between two runs: its timing, and files that were asked for.
fn report(path: &Path) -> serde_json::Value {
    let mut report: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    report.as_object_mut().unwrap().remove("timing");
    report
}

#[test]
fn the_keyboard_alone_leads_from_start_to_export_with_the_numbers_of_the_audit() {
    let folder = folder();
    let mut terminal = Terminal::tui(&format!("{SMALL} --out live"), folder.path());
    terminal.wait_for("FINISHED");
    for (key, text) in [
        ("3", "another attack"),
        ("2", "change ×16"),
        ("1", "Modularity Q"),
        ("m", "under attack"),
        ("t", "tap"),
        ("?", "EVERYWHERE"),
    ] {
        terminal.press(key);
        terminal.wait_for(text);
    }
    terminal.press("?");
    terminal.press("x");
    terminal.wait_for("results so far are in advmod-export");
    terminal.press("q");
    let (code, text) = terminal.ended();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("success % [95 %]") && text.contains("results: live"), "{text}");

    let audit = format!("audit {SMALL} --out headless");
    advmod(&audit.split(' ').collect::<Vec<_>>()).current_dir(folder.path()).assert().success();
    let headless = report(&folder.path().join("headless/report.json"));
    assert_eq!(report(&folder.path().join("live/report.json")), headless);
    assert_eq!(report(&folder.path().join("advmod-export/report.json")), headless);
}

#[test]
fn the_mouse_alone_does_the_same() {
    let folder = folder();
    let mut terminal = Terminal::tui(SMALL, folder.path());
    terminal.wait_for("FINISHED");
    terminal.click_on("Layers");
    terminal.wait_for("another attack");
    terminal.click_on("1 Overview");
    terminal.wait_for("Modularity Q");
    terminal.click_on("fgsm ");
    terminal.click_on("mode");
    terminal.wait_for("under attack");
    terminal.click_on("export");
    terminal.wait_for("results so far are in advmod-export");
    // The first click reads the notice away.
    terminal.click_on("results so far");
    terminal.wait_for("quit");
    terminal.click_on("quit");
    let (code, text) = terminal.ended();
    assert_eq!(code, 0, "{text}");
    assert!(folder.path().join("advmod-export/report.json").exists());
}

#[test]
fn a_model_that_cannot_be_loaded_is_told_and_ends_with_3() {
    let folder = folder();
    std::fs::write(folder.path().join("broken.pt"), b"this is no model").unwrap();
    let mut terminal = Terminal::tui("--model broken.pt", folder.path());
    terminal.wait_for("FAILED");
    terminal.wait_for("broken.pt");
    terminal.press("q");
    let (code, text) = terminal.ended();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("error: ") && text.contains("broken.pt"), "{text}");
}

#[test]
fn a_disk_that_takes_no_export_costs_nothing_else() {
    let folder = folder();
    // No file may grow beyond 4 KiB; the signal for that is ignored, so that writing fails as on a full disk.
    let command = format!("trap '' XFSZ; ulimit -f 8; exec \"$ADVMOD\" tui {SMALL}");
    let mut terminal = Terminal::shell(&command, folder.path(), &[]);
    terminal.wait_for("FINISHED");
    terminal.press("x");
    terminal.wait_for("cannot export");
    terminal.press("q");
    let (code, text) = terminal.ended();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("success % [95 %]"), "{text}");
    let left = std::fs::read_dir(folder.path().join("advmod-export")).unwrap();
    let names: Vec<String> = left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.contains(&"report.json".to_owned()) && names.iter().all(|name| !name.contains("tmp")), "{names:?}");
}

#[test]
fn results_that_cannot_be_written_at_the_end_are_told_at_once() {
    let folder = folder();
    let mut terminal = Terminal::tui("--first 60 --attacks cw --preset quick --threads 1 --out run", folder.path());
    terminal.wait_for("attacking with cw");
    std::fs::create_dir(folder.path().join("run/report.json")).unwrap();
    terminal.wait_for("FAILED");
    terminal.press("5");
    terminal.wait_for("report.json");
    terminal.press("q");
    let (code, text) = terminal.ended();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("success % [95 %]"), "{text}");
}

#[test]
fn one_cell_and_back() {
    let folder = folder();
    let mut terminal = Terminal::tui(SMALL, folder.path());
    terminal.wait_for("Results");
    terminal.resize(1, 1);
    std::thread::sleep(Duration::from_millis(200));
    terminal.resize(50, 10);
    terminal.wait_for("advmod needs 60×16");
    terminal.resize(80, 24);
    terminal.wait_for("Results");
    terminal.wait_for("FINISHED");
    terminal.press("q");
    assert_eq!(terminal.ended().0, 0);
}

#[test]
fn a_key_that_comes_together_with_a_new_size_counts() {
    let folder = folder();
    let mut terminal = Terminal::tui(SMALL, folder.path());
    terminal.wait_for("FINISHED");
    for round in 0..10 {
        terminal.resize(100 + round, 30);
        let (key, text) = if round % 2 == 0 { ("3", "another attack") } else { ("1", "Modularity Q") };
        terminal.press(key);
        terminal.wait_for(text);
    }
    terminal.press("q");
    assert_eq!(terminal.ended().0, 0);
}

#[test]
fn a_request_to_terminate_ends_with_143_and_the_results_so_far() {
    let folder = folder();
    let mut terminal = Terminal::tui("--first 200 --attacks cw --threads 1 --out run", folder.path());
    terminal.wait_for("attacking with cw");
    terminal.signal(Signal::TERM);
    let (code, text) = terminal.ended();
    assert_eq!(code, 143, "{text}");
    assert!(text.contains("interrupted"), "{text}");
    assert!(folder.path().join("run/report.json").exists());
}

#[test]
fn the_shell_gets_its_terminal_while_the_program_is_stopped() {
    for press in [true, false] {
        let folder = folder();
        let mut terminal = Terminal::tui(SMALL, folder.path());
        terminal.wait_for("Results");
        if press {
            terminal.press("\x1a");
        } else {
            terminal.signal(Signal::TSTP);
        }
        let stat = format!("/proc/{}/stat", terminal.pid().as_raw_nonzero());
        terminal.wait_until("stop", |_| std::fs::read_to_string(&stat).unwrap().contains(") T "));
        std::thread::sleep(Duration::from_millis(200));
        terminal.assert_given_back();
        terminal.signal(Signal::CONT);
        terminal.wait_for("FINISHED");
        assert!(terminal.screen.lock().unwrap().screen().alternate_screen());
        terminal.press("q");
        assert_eq!(terminal.ended().0, 0);
    }
}

#[test]
fn a_terminal_that_goes_away_ends_the_run_and_keeps_its_results() {
    let folder = folder();
    let run = "echo $$ > pid; exec \"$ADVMOD\" tui --first 200 --attacks cw --threads 1 --out run";
    let mut terminal = std::process::Command::new("script")
        .args(["-qfc", run, "/dev/null"])
        .env("ADVMOD", env!("CARGO_BIN_EXE_advmod"))
        .env("TERM", "xterm-256color")
        .env_remove("LD_LIBRARY_PATH")
        .current_dir(folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let wait = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let journal = folder.path().join("run/run.jsonl");
    wait("no attack", &|| std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"kind\":\"attack\"")));
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    let process = format!("/proc/{}/stat", pid.trim());
    wait("it did not end", &|| {
        std::fs::read_to_string(&process).is_ok_and(|stat| stat.contains(") Z ")) || !Path::new(&process).exists()
    });
    assert!(folder.path().join("run/report.json").exists());
}

#[test]
fn a_panic_leaves_a_sane_terminal_and_says_so() {
    let folder = folder();
    let command = format!("exec \"$ADVMOD\" tui {SMALL}");
    let mut terminal = Terminal::shell(&command, folder.path(), &[("ADVMOD_PANIC", "worker")]);
    terminal.wait_for("FAILED");
    terminal.wait_for("please report this");
    terminal.press("q");
    let (code, text) = terminal.ended();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("the audit broke off"), "{text}");

    let terminal = Terminal::shell(&command, folder.path(), &[("ADVMOD_PANIC", "interface")]);
    let (code, text) = terminal.ended();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("a panic of the interface was asked for"), "{text}");
    // The results are not lost.
    assert!(text.contains("success % [95 %]"), "{text}");
}

#[test]
fn a_recorded_run_needs_no_model_and_gives_its_exit_code() {
    let folder = folder();
    let recorded = root().join("fixtures/run.jsonl");
    let mut terminal = Terminal::tui(&format!("--replay {}", recorded.display()), folder.path());
    terminal.wait_for("FINISHED");
    terminal.press("q");
    let (code, text) = terminal.ended();
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("success % [95 %]"), "{text}");
}

#[test]
fn a_matrix_has_coloured_cells_unless_no_color_says_no() {
    let folder = folder();
    for (environment, is_coloured) in [(vec![], true), (vec![("NO_COLOR", "1")], false)] {
        let command =
            "\"$ADVMOD\" similarity --samples 40 --threads 1 --progress none 2> /dev/null; echo done; read line";
        let mut terminal = Terminal::shell(command, folder.path(), &environment);
        terminal.wait_for("done");
        assert!(
            terminal.text().contains("linear CKA (full)") && terminal.text().contains("1.00"),
            "{}",
            terminal.text()
        );
        let parser = terminal.screen.lock().unwrap();
        let cells = (0..36).flat_map(|row| (0..120).map(move |column| (row, column)));
        let grounds = cells.filter_map(|(row, column)| Some(parser.screen().cell(row, column)?.bgcolor()));
        let coloured = grounds.filter(|colour| *colour != vt100::Color::Default).count();
        // Ten by ten cells of six columns at least, in two matrices, of which the first may have left the screen.
        assert_eq!(coloured >= 600, is_coloured, "{coloured}");
        assert!(is_coloured || coloured == 0);
        drop(parser);
        terminal.press("\n");
        terminal.ended();
    }
}

#[test]
fn a_training_is_watched_from_before_its_first_checkpoint() {
    let folder = folder();
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let mut terminal = Terminal::tui("--dynamics out", folder.path());
    terminal.wait_for("No checkpoint has been measured here yet");
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let model = root().join("fixtures/resnet20-fashion-mnist.safetensors");
    for epoch in 1..=2 {
        std::fs::copy(&model, models.join(format!("epoch-{epoch}.safetensors"))).unwrap();
        let measure = ["dynamics", "models", "--samples", "50", "--taps", "layer3.?", "--threads", "1", "--out", "out"];
        advmod(&measure).current_dir(folder.path()).assert().success();
        terminal.wait_for(&format!("{epoch} checkpoint"));
    }
    terminal.wait_for("epoch-2.safetensors: accuracy");
    terminal.press("\x1b[D");
    terminal.wait_for("epoch-1.safetensors: accuracy");
    terminal.press("?");
    terminal.wait_for("another checkpoint");
    terminal.press("qq");
    assert_eq!(terminal.ended().0, 0);
    std::fs::write(out.join("dynamics.json"), "{}").unwrap();
    for (folder_name, word) in [("out", "not a dynamics.json"), ("nowhere", "not a folder")] {
        let (code, text) = Terminal::tui(&format!("--dynamics {folder_name}"), folder.path()).ended();
        assert!(code == 3 && text.contains(word), "{code} {text}");
    }
}
