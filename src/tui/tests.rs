//! The whole interface on a recorded run, without a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

use super::app::{App, Effect, Feed, Msg, Pane, Phase, Screen, Source, Wish};
use super::keys::BINDINGS;
use super::theme::{Marker, Palette, Theme};
use super::update::update;
use super::view;
use crate::audit::event::{AuditEvent, GrowingCurves, Outcome, Stage};

const COLOR: Theme = Theme { color: true, ascii: false, palette: Palette::Terminal, marker: Marker::Braille };
const ASCII: Theme = Theme { color: false, ascii: true, ..COLOR };

/// The events of a recorded run.
pub(super) fn recorded() -> Vec<Feed> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run.jsonl");
    super::journal::read(&path).unwrap()
}

fn event(event: AuditEvent) -> Msg {
    Msg::Feed(Feed::Event(Box::new(event)))
}

fn key(code: KeyCode) -> Msg {
    Msg::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// A run that got as far as a state of the list.
fn app(state: &str, size: (u16, u16)) -> App {
    let mut app = App::new(Source::Live, size);
    let feeds = recorded();
    let total = feeds.len();
    let is = |feed: &Feed, wanted: Stage| matches!(feed, Feed::Event(it) if matches!(**it, AuditEvent::StageStarted { stage, .. } if stage == wanted));
    let until = |wanted: Stage| feeds.iter().position(|feed| is(feed, wanted)).unwrap() + 1;
    let second = until(Stage::Attack { attack: 1 });
    let taken = match state {
        "loading" | "no model" => 0,
        "measuring" => until(Stage::CleanCurve),
        "running" | "growing" | "paused" | "stopping" | "question" | "attack failed" | "called off" => second,
        _ => total,
    };
    update(&mut app, Msg::Tick(Duration::from_secs(2)));
    for feed in feeds.into_iter().take(taken) {
        update(&mut app, Msg::Feed(feed));
    }
    update(&mut app, Msg::Tick(Duration::from_secs(5)));
    match state {
        "no model" => {
            update(&mut app, Msg::Feed(Feed::Closed(Some("resnet20.th: no such file".to_owned()))));
        }
        "running" => {
            let stage = Stage::Attack { attack: 1 };
            update(&mut app, event(AuditEvent::StageProgress { stage, done: 15_000 }));
            update(&mut app, Msg::Stderr("[W] a warning of libtorch".to_owned()));
        }
        "growing" => {
            let levels = |shift: f64| (0..app.taps()).map(|tap| Some(0.5 + 0.02 * tap as f64 - shift)).collect();
            let curves = GrowingCurves { n: 24, clean: levels(0.0), adversarial: levels(0.1) };
            update(&mut app, event(AuditEvent::AttackCurvesGrew { attack: 1, curves }));
            let stage = Stage::Attack { attack: 1 };
            update(&mut app, event(AuditEvent::StageProgress { stage, done: 25_000 }));
        }
        "paused" => {
            update(&mut app, key(KeyCode::Char(' ')));
            update(&mut app, Msg::Tick(Duration::from_mins(1)));
        }
        "called off" => {
            update(&mut app, event(AuditEvent::AttackCancelled { attack: 1 }));
            update(&mut app, event(AuditEvent::Finished { outcome: Outcome::Interrupted, seconds: 4.0 }));
        }
        "question" => {
            update(&mut app, key(KeyCode::Char('q')));
        }
        "stopping" => {
            update(&mut app, key(KeyCode::Char('q')));
            update(&mut app, key(KeyCode::Enter));
        }
        "attack failed" => {
            let error = "the logits are not finite at step 3: check the model's weights and the range of its input";
            update(&mut app, event(AuditEvent::AttackFailed { attack: 1, error: error.to_owned() }));
            update(&mut app, event(AuditEvent::Finished { outcome: Outcome::Failed, seconds: 4.0 }));
            update(&mut app, Msg::Feed(Feed::Closed(None)));
        }
        "finished" => {
            update(&mut app, Msg::Feed(Feed::Closed(None)));
        }
        _ => (),
    }
    app.refresh();
    app
}

const STATES: [&str; 11] = [
    "loading",
    "no model",
    "measuring",
    "running",
    "growing",
    "paused",
    "question",
    "stopping",
    "called off",
    "attack failed",
    "finished",
];

fn frame(app: &App, theme: Theme, (columns, rows): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| view::draw(frame, app, theme)).unwrap();
    terminal.backend().buffer().clone()
}

/// The letters, without blanks at line ends.
fn glyphs(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text
}

/// Where which look is: a letter per cell and the list of letters.
fn looks(buffer: &Buffer) -> String {
    let mut seen: Vec<String> = Vec::new();
    let mut text = String::new();
    for y in 0..buffer.area.height {
        let mut line = String::new();
        for x in 0..buffer.area.width {
            let cell = &buffer[(x, y)];
            let look = format!("{:?} {:?}", cell.fg, cell.modifier);
            if look == "Reset NONE" {
                line.push('.');
                continue;
            }
            let place = seen.iter().position(|it| *it == look).unwrap_or_else(|| {
                seen.push(look);
                seen.len() - 1
            });
            line.push(char::from(b'a' + place as u8));
        }
        writeln!(text, "{}", line.trim_end_matches('.')).unwrap();
    }
    for (place, look) in seen.iter().enumerate() {
        writeln!(text, "{} {look}", char::from(b'a' + place as u8)).unwrap();
    }
    text
}

#[test]
fn the_overview_at_every_size_and_in_every_state() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for state in STATES {
            let app = app(state, (columns, rows));
            let name = format!("overview-{columns}x{rows}-{}", state.replace(' ', "-"));
            insta::assert_snapshot!(name, glyphs(&frame(&app, COLOR, (columns, rows))));
        }
    }
}

#[test]
fn the_other_screens() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for (name, keys) in [
            ("layers", "2jjj"),
            ("log", "3"),
            ("help", "?"),
            ("difference", "m"),
            ("each", "mm"),
            ("cursor", "hhe"),
            ("numbers", "tjj"),
            ("dots", "bs"),
        ] {
            let mut app = app("growing", (columns, rows));
            for letter in keys.chars() {
                update(&mut app, key(KeyCode::Char(letter)));
            }
            let theme = app.ui.theme;
            insta::assert_snapshot!(format!("{name}-{columns}x{rows}"), glyphs(&frame(&app, theme, (columns, rows))));
        }
    }
}

#[test]
fn without_colours_and_unicode() {
    let buffer = frame(&app("finished", (120, 36)), ASCII, (120, 36));
    assert!(glyphs(&buffer).is_ascii());
    assert!(!looks(&buffer).contains("Cyan"));
    insta::assert_snapshot!("overview-ascii", glyphs(&buffer));
}

#[test]
fn colours_mean_what_they_say() {
    insta::assert_snapshot!("overview-looks", looks(&frame(&app("attack failed", (120, 36)), COLOR, (120, 36))));
}

#[test]
fn too_small_terminals_say_how_large() {
    for size in [(1, 1), (59, 16), (60, 15), (20, 3), (300, 2)] {
        let text = glyphs(&frame(&app("running", size), COLOR, size));
        assert!(size.0 < 40 || text.contains("advmod needs 60×16"), "{size:?}\n{text}");
    }
}

#[test]
fn numbers_are_those_of_the_printed_table() {
    let app = app("finished", (200, 50));
    let text = glyphs(&frame(&app, COLOR, (200, 50)));
    for row in crate::report::table::rows(app.report.as_ref().unwrap()) {
        for cell in row {
            assert!(text.contains(&cell), "{cell}\n{text}");
        }
    }
}

#[test]
fn every_key_in_every_screen_and_state() {
    for state in STATES {
        for screen in Screen::ALL {
            for pane in Pane::ALL {
                for binding in BINDINGS {
                    for &(code, modifiers) in binding.keys {
                        let mut app = app(state, (80, 24));
                        (app.ui.screen, app.ui.pane) = (screen, pane);
                        update(&mut app, Msg::Key(KeyEvent::new(code, modifiers)));
                        update(&mut app, Msg::Key(KeyEvent::new(code, modifiers)));
                        app.refresh();
                        frame(&app, COLOR, (80, 24));
                    }
                }
            }
        }
    }
}

#[test]
fn a_pause_halts_the_clock_of_the_attack_and_results_are_sorted() {
    let mut app = app("running", (120, 36));
    let began = app.ui.stage_began;
    assert_eq!(update(&mut app, key(KeyCode::Char(' '))), [Effect::Pause(true)]);
    update(&mut app, Msg::Tick(Duration::from_secs(65)));
    assert_eq!(app.phase(), Phase::Paused);
    assert_eq!(update(&mut app, key(KeyCode::Char(' '))), [Effect::Pause(false)]);
    assert_eq!(app.ui.stage_began, began.map(|began| began + Duration::from_mins(1)));

    let mut app = self::app("finished", (120, 36));
    assert_eq!(app.listed(), [0, 1]);
    update(&mut app, key(KeyCode::Char('s')));
    // PGD breaks more than FGSM, and is below it in the plan.
    assert_eq!((app.listed(), app.ui.selected), (vec![1, 0], 0));
    update(&mut app, key(KeyCode::Tab));
    update(&mut app, key(KeyCode::Up));
    assert_eq!(app.ui.selected, 1);
}

#[test]
fn leaving_asks_first_and_insisting_helps() {
    let mut app = app("running", (80, 24));
    assert_eq!(update(&mut app, key(KeyCode::Char('q'))), []);
    assert_eq!(update(&mut app, key(KeyCode::Esc)), []);
    assert_eq!((app.phase(), app.ui.wish), (Phase::Running, Wish::GoOn));
    update(&mut app, key(KeyCode::Char('q')));
    assert_eq!(update(&mut app, key(KeyCode::Enter)), [Effect::StopRun]);
    assert_eq!(app.phase(), Phase::Stopping);
    assert_eq!(update(&mut app, Msg::Feed(Feed::Closed(None))), [Effect::Quit]);

    let mut app = self::app("running", (80, 24));
    assert_eq!(update(&mut app, Msg::Terminate), [Effect::StopRun]);
    assert_eq!(update(&mut app, Msg::Terminate), [Effect::Kill]);

    let mut app = self::app("running", (80, 24));
    update(&mut app, key(KeyCode::Char('S')));
    assert_eq!(update(&mut app, key(KeyCode::Enter)), [Effect::StopRun]);
    assert_eq!(update(&mut app, Msg::Feed(Feed::Closed(None))), []);
    assert_eq!(update(&mut app, key(KeyCode::Char('q'))), [Effect::Quit]);
}

#[test]
fn the_mouse_selects() {
    let mut app = app("finished", (120, 36));
    let click = |column, row| {
        let kind = MouseEventKind::Down(MouseButton::Left);
        Msg::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
    };
    let text = glyphs(&frame(&app, COLOR, (120, 36)));
    let row = text.lines().position(|line| line.contains("pgd  ")).unwrap() as u16;
    update(&mut app, click(80, row));
    assert_eq!((app.ui.selected, app.ui.pane), (1, Pane::Results));
    update(&mut app, click(15, 1));
    assert_eq!(app.ui.screen, Screen::Layers);
    update(&mut app, click(0, 0));
    assert_eq!(app.ui.screen, Screen::Layers);
}

/// Any message: recorded events in any order, keys, sizes, time.
fn message() -> impl Strategy<Value = Msg> {
    let feeds = recorded();
    let keys: Vec<(KeyCode, KeyModifiers)> = BINDINGS.iter().flat_map(|binding| binding.keys).copied().collect();
    let feed = (1..feeds.len()).prop_map(move |at| Msg::Feed(feeds[at].clone()));
    let press = (0..keys.len()).prop_map(move |at| Msg::Key(KeyEvent::new(keys[at].0, keys[at].1)));
    let progress = (0_usize..3, 0_u64..50_000)
        .prop_map(|(attack, done)| event(AuditEvent::StageProgress { stage: Stage::Attack { attack }, done }));
    prop_oneof![
        3 => feed,
        4 => press,
        2 => progress,
        1 => (0_u16..200, 0_u16..60).prop_map(|(columns, rows)| Msg::Resize(columns, rows)),
        1 => (0_u64..100).prop_map(|seconds| Msg::Tick(Duration::from_secs(seconds))),
        1 => (0_u16..200, 0_u16..60).prop_map(|(column, row)| {
            let kind = MouseEventKind::Down(MouseButton::Left);
            Msg::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE })
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_progress_never_falls(messages in proptest::collection::vec(message(), 1..60)) {
        let mut app = App::new(Source::Live, (80, 24));
        update(&mut app, Msg::Feed(recorded().remove(0)));
        let mut before = vec![0.0; app.attacks()];
        for msg in messages {
            update(&mut app, msg);
            let now: Vec<f64> = (0..app.attacks()).map(|attack| app.share(attack)).collect();
            prop_assert!(now.iter().zip(&before).all(|(now, before)| now >= before && *now <= 1.0), "{before:?} {now:?}");
            before = now;
            app.refresh();
            let (columns, rows) = app.ui.size;
            frame(&app, COLOR, (columns.max(1), rows.max(1)));
        }
    }
}
