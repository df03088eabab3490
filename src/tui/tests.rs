//! The whole interface on a recorded run, without a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use advmod_attacks::attack::Passes;
use clap::ValueEnum as _;
use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Rect;

use super::app::{App, Phase};
use super::keys::{BINDINGS, Binding};
use super::message::{Effect, Msg};
use super::runtime;
use super::state::attacks::{Item, Standing};
use super::state::samples::Look;
use super::state::screen::{Pane, Screen};
use super::state::{Source, Wish};
use super::theme::{Marker, Palette, Theme};
use super::update::update;
use super::view;
use crate::audit::attack::ResolvedAttack;
use crate::audit::event::{AuditEvent, GrowingCurves, Outcome, Stage};
use crate::audit::follow::Feed;
use crate::audit::gate::GatePlan;
use crate::audit::plan::{AttackPlan, AuditPlan};
use crate::audit::state::AttackState;
use crate::store::picture::Picture;

const COLOR: Theme = Theme {
    color: true,
    ascii: false,
    truecolor: true,
    graphics: false,
    palette: Palette::Terminal,
    marker: Marker::Braille,
};
const ASCII: Theme = Theme { color: false, ascii: true, ..COLOR };

/// The events of a recorded run.
pub(super) fn recorded() -> Vec<Feed> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run.jsonl");
    crate::audit::follow::read(&path).unwrap()
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
            let levels =
                |shift: f64| (0..app.tap_names().len()).map(|tap| Some(0.5 + 0.02 * tap as f64 - shift)).collect();
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
            update(&mut app, event(AuditEvent::Finished { outcome: Outcome::Interrupted, seconds: 4.0, error: None }));
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
            update(&mut app, event(AuditEvent::Finished { outcome: Outcome::Failed, seconds: 4.0, error: None }));
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
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    view::render(area, &mut buffer, app, theme);
    buffer
}

/// The letters, without blanks at line ends.
pub(super) fn glyphs(buffer: &Buffer) -> String {
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
fn layers_and_log_at_every_size_and_in_every_state() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for (screen, digit) in [("layers", '3'), ("log", '5')] {
            for state in STATES {
                let mut app = app(state, (columns, rows));
                update(&mut app, key(KeyCode::Char(digit)));
                let name = format!("{screen}-{columns}x{rows}-{}", state.replace(' ', "-"));
                insta::assert_snapshot!(name, glyphs(&frame(&app, COLOR, (columns, rows))));
            }
        }
    }
}

#[test]
fn the_other_screens() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for (name, keys) in [
            ("layers", "3jjj"),
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
fn gates_are_seen_before_the_end() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for state in ["running", "finished"] {
            let mut app = app(state, (columns, rows));
            let gate = |text: &str| GatePlan::named(text);
            let gates =
                ["asr.fgsm <= 0.9", "asr.pgd <= 0.5", "accuracy.clean >= 0.9", "peak_drop.pgd <= 0.4"].map(gate);
            let start = app.audit.start.as_mut().unwrap();
            start.plan.gates = crate::audit::gate::check::resolve(&gates, &[], &start.plan.attacks).unwrap();
            app.stale = true;
            app.refresh();
            update(&mut app, key(KeyCode::Char('j')));
            update(&mut app, key(KeyCode::Tab));
            update(&mut app, key(KeyCode::Char('j')));
            let name = format!("gates-{columns}x{rows}-{state}");
            insta::assert_snapshot!(name, glyphs(&frame(&app, COLOR, (columns, rows))));
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
    let app = app("finished", (240, 50));
    let text = glyphs(&frame(&app, COLOR, (240, 50)));
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
            for &pane in Pane::value_variants() {
                for binding in BINDINGS {
                    for (code, modifiers) in binding.keys() {
                        let mut app = app(state, (80, 24));
                        (app.ui.screen, app.ui.overview.pane) = (screen, pane);
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
fn every_key_while_a_field_is_edited() {
    for state in STATES {
        for binding in BINDINGS {
            for (code, modifiers) in binding.keys() {
                let mut app = app(state, (80, 24));
                for letter in "3ljj".chars() {
                    update(&mut app, key(KeyCode::Char(letter)));
                }
                update(&mut app, key(KeyCode::Enter));
                for _ in 0..2 {
                    update(&mut app, Msg::Key(KeyEvent::new(code, modifiers)));
                    app.refresh();
                    frame(&app, COLOR, (60, 16));
                }
            }
        }
    }
}

/// The screen's keys, with every image that is asked for handed over: a ramp, and the same with a bright corner.
fn look(app: &mut App, keys: &str, side: usize) {
    let ramp: Vec<f32> = (0..side * side).map(|place| (place % side) as f32 / side as f32).collect();
    let picture = |corner: f32| {
        let bright = |place: usize| place % side < side / 3 && place / side < side / 3;
        let pixels = ramp.iter().enumerate().map(|(place, value)| value + if bright(place) { corner } else { 0.0 });
        Picture { shape: [1, side, side], pixels: pixels.collect() }
    };
    for letter in keys.chars() {
        for effect in update(app, key(KeyCode::Char(letter))) {
            if let Effect::Look { attack, sample } = effect {
                let (clean, adversarial) = (Some(picture(0.0)), Some(picture(8.0 / 255.0)));
                update(app, Msg::Looked(Box::new(Look { attack, sample, clean, adversarial, note: None })));
            }
        }
    }
}

#[test]
fn the_samples_screen_at_every_size_and_in_every_state() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for state in STATES {
            let mut app = app(state, (columns, rows));
            look(&mut app, "2", 28);
            let name = format!("samples-{columns}x{rows}-{}", state.replace(' ', "-"));
            insta::assert_snapshot!(name, glyphs(&frame(&app, COLOR, (columns, rows))));
        }
        for (name, keys, side) in
            [("sorted-out", "2oc", 28), ("heat", "2lddd", 28), ("large", "2jj", 224), ("held", "2oj", 28)]
        {
            let mut app = app("finished", (columns, rows));
            look(&mut app, keys, side);
            let name = format!("samples-{columns}x{rows}-{name}");
            insta::assert_snapshot!(name, glyphs(&frame(&app, COLOR, (columns, rows))));
        }
    }
    // Only what does not fit as it is is left to the terminal, unless cells are asked for.
    let pixels = Theme { graphics: true, ..COLOR };
    let area = Rect::new(0, 0, 120, 36);
    let mut app = app("finished", (120, 36));
    look(&mut app, "2", 28);
    assert!(view::pictures(area, &app, pixels).is_empty());
    look(&mut app, "j", 224);
    let slots = view::pictures(area, &app, pixels);
    let buffer = frame(&app, pixels, (120, 36));
    assert!(
        slots.len() == 3 && slots.iter().all(|(slot, _)| slot.positions().all(|cell| buffer[cell].symbol() == " "))
    );
    app.ui.theme = pixels;
    look(&mut app, "m", 224);
    assert!(view::pictures(area, &app, pixels).is_empty());
    let mut app = self::app("finished", (120, 36));
    look(&mut app, "2", 28);
    assert!(glyphs(&frame(&app, ASCII, (120, 36))).is_ascii());
    let mut app = self::app("finished", (80, 24));
    update(&mut app, key(KeyCode::Char('2')));
    let (attack, sample) = app.ui.samples.asked.unwrap();
    let note = Some("the images are not in this recording; audits with --out DIR keep them beside it".to_owned());
    update(&mut app, Msg::Looked(Box::new(Look { attack, sample, note, ..Look::default() })));
    insta::assert_snapshot!("samples-80x24-without-images", glyphs(&frame(&app, COLOR, (80, 24))));
}

#[test]
fn samples_are_filtered_and_images_asked_for_once() {
    let mut app = app("finished", (120, 36));
    let Some(Effect::Look { attack: 0, sample: first }) = update(&mut app, key(KeyCode::Char('2'))).pop() else {
        panic!()
    };
    assert_eq!(update(&mut app, Msg::Tick(Duration::from_secs(9))), []);
    assert!(
        matches!(update(&mut app, key(KeyCode::Char('j')))[..], [Effect::Look { attack: 0, sample }] if sample > first)
    );
    // What comes too late is not shown.
    update(&mut app, Msg::Looked(Box::new(Look { sample: first, ..Look::default() })));
    assert_eq!(app.ui.samples.look, None);
    assert!(matches!(update(&mut app, key(KeyCode::Right))[..], [Effect::Look { attack: 1, .. }]));
    assert!(app.listed_samples().iter().all(|sample| sample.success));
    let broken = app.listed_samples().len();
    update(&mut app, key(KeyCode::Char('c')));
    let class = app.ui.samples.class;
    assert_eq!(class, Some(0));
    assert!(app.listed_samples().len() < broken);
    assert!(app.listed_samples().iter().all(|sample| app.label_of(sample.sample) == class));
    update(&mut app, key(KeyCode::Char('C')));
    assert_eq!((app.ui.samples.class, app.listed_samples().len()), (None, broken));
}

#[test]
fn images_of_an_earlier_run_are_not_shown() {
    let mut app = app("finished", (120, 36));
    look(&mut app, "2", 28);
    assert!(app.ui.samples.look.is_some());
    update(&mut app, Msg::Feed(Feed::Restarted));
    assert_eq!((&app.ui.samples.look, app.ui.samples.asked), (&None, None));
}

#[test]
fn pictures_are_saved_with_what_is_known_of_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = app("finished", (120, 36));
    assert_eq!(update(&mut app, key(KeyCode::Char('w'))), []);
    look(&mut app, "2", 28);
    assert_eq!(update(&mut app, key(KeyCode::Char('w'))), [Effect::SavePictures]);
    super::samples::save(&app, folder.path()).unwrap();
    let names: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    for end in ["before.png", "after.png", "change.png", "sample.json"] {
        assert!(names.iter().any(|name| name.ends_with(end)), "{names:?}");
    }
    assert!(super::samples::save(&app, &folder.path().join("missing")).unwrap_err().contains("cannot save"));
}

#[test]
fn the_attacks_screen_at_every_size_and_in_every_state() {
    for (columns, rows) in [(120, 36), (80, 24), (60, 16)] {
        for state in STATES {
            let mut app = app(state, (columns, rows));
            update(&mut app, key(KeyCode::Char('4')));
            let name = format!("attacks-{columns}x{rows}-{}", state.replace(' ', "-"));
            insta::assert_snapshot!(name, glyphs(&frame(&app, COLOR, (columns, rows))));
        }
        let mut app = app("running", (columns, rows));
        press(&mut app, "4ljl");
        update(&mut app, key(KeyCode::Enter));
        press(&mut app, "x");
        insta::assert_snapshot!(format!("attacks-{columns}x{rows}-edit"), glyphs(&frame(&app, COLOR, (columns, rows))));
        let mut app = self::app("finished", (columns, rows));
        app.ui.run.source = Source::Replay;
        press(&mut app, "4Ga");
        insta::assert_snapshot!(
            format!("attacks-{columns}x{rows}-replay"),
            glyphs(&frame(&app, COLOR, (columns, rows)))
        );
    }
    let mut app = app("running", (120, 36));
    press(&mut app, "4jlG");
    insta::assert_snapshot!("attacks-looks", looks(&frame(&app, COLOR, (120, 36))));
    assert!(glyphs(&frame(&app, ASCII, (120, 36))).is_ascii());
}

fn press(app: &mut App, keys: &str) {
    for letter in keys.chars() {
        update(app, key(KeyCode::Char(letter)));
    }
}

/// The value of a field of the form.
fn value(app: &App, name: &str) -> String {
    let given = app.given(app.item());
    App::value(app.preview(app.item(), &given).ok().as_ref(), &given, name)
}

fn edit(app: &mut App, text: &str) {
    update(app, key(KeyCode::Enter));
    update(app, Msg::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    press(app, text);
    update(app, key(KeyCode::Enter));
}

#[test]
fn fields_are_edited_checked_undone_and_what_they_say_is_added() {
    let mut app = app("finished", (120, 36));
    app.plan = Some(AuditPlan { preset: Some("quick".to_owned()), ..AuditPlan::default() });
    app.ui.run.closed = None;
    press(&mut app, "4jl");
    assert_eq!((app.item(), value(&app, "eps").as_str(), value(&app, "steps").as_str()), (Item::Run(1), "8/255", "10"));
    edit(&mut app, "2/255|4/255");
    assert_eq!(value(&app, "eps"), "2/255|4/255");
    // A letter that is a key elsewhere goes into the field, and what is wrong stays there.
    press(&mut app, "j");
    edit(&mut app, "q");
    assert!(app.ui.attacks.edit.is_some() && app.edit_error().unwrap().contains("pgd.norm = q"));
    update(&mut app, key(KeyCode::Esc));
    edit(&mut app, "l2");
    assert_eq!(value(&app, "norm"), "l2");
    press(&mut app, "u");
    assert_eq!((value(&app, "norm").as_str(), value(&app, "eps").as_str()), ("linf", "2/255|4/255"));
    let wanted = AttackPlan::parse("pgd:eps=2/255|4/255").unwrap();
    assert_eq!(update(&mut app, key(KeyCode::Char('a'))), [Effect::Add(wanted)]);
    // It is not in the plan yet, but leaving would break it off.
    assert!(app.is_busy());
    assert_eq!(update(&mut app, key(KeyCode::Char('q'))), []);
    update(&mut app, key(KeyCode::Esc));
    update(&mut app, event(AuditEvent::AttackRefused { error: "no".to_owned() }));
    assert!(!app.is_busy());
    press(&mut app, "D");
    assert_eq!(value(&app, "eps"), "8/255");
    press(&mut app, "uuu");
    assert!(app.ui.attacks.drafts.is_empty());
    press(&mut app, "u");
    assert!(app.ui.notice.is_some());
    press(&mut app, "jj");
    edit(&mut app, "12");
    assert!(app.edit_error().unwrap().contains("the model has 10 classes"));
}

#[test]
fn attacks_are_called_off_and_moved_and_sweeps_keep_their_order() {
    let mut app = app("running", (120, 36));
    press(&mut app, "4j");
    assert_eq!(update(&mut app, key(KeyCode::Char('c'))), []);
    assert_eq!(update(&mut app, key(KeyCode::Enter)), [Effect::Cancel(1)]);
    assert_eq!(app.standing(1), Standing::Ending);
    let add = |app: &mut App, sweep: Option<usize>| {
        let like = app.planned(1).unwrap().clone();
        let attack = ResolvedAttack { label: format!("pgd-{}", app.attacks()), sweep, ..like };
        update(app, event(AuditEvent::AttacksAdded { attacks: vec![attack], command: String::new(), plan_file: None }));
    };
    add(&mut app, Some(2));
    add(&mut app, Some(2));
    add(&mut app, None);
    update(&mut app, Msg::Queue(vec![2, 3, 4]));
    assert_eq!(app.running_order(), [0, 1, 2, 3, 4]);
    press(&mut app, "j");
    assert_eq!(update(&mut app, key(KeyCode::Char('J'))), []);
    press(&mut app, "jj");
    assert_eq!(update(&mut app, key(KeyCode::Char('K'))), [Effect::Shift { attack: 4, is_later: false }]);
    assert_eq!(update(&mut app, key(KeyCode::Char('J'))), []);
    assert_eq!(update(&mut app, key(KeyCode::Delete)), [Effect::Cancel(4)]);
    update(&mut app, Msg::Queue(vec![2, 3]));
    assert_eq!((app.standing(4), app.standing(3)), (Standing::CalledOff, Standing::Queued));
    update(&mut app, event(AuditEvent::StageStarted { stage: Stage::Attack { attack: 3 }, total: 1 }));
    assert_eq!(app.running_order()[..3], [0, 1, 3]);
}

#[test]
fn the_estimate_is_the_rate_so_far_times_the_work() {
    let mut app = app("finished", (120, 36));
    let most = Passes { forwards: 4, backwards: 3 };
    let [a, b] = [0, 1].map(|attack| app.audit.attacks[attack].clone());
    let work =
        |attack: &AttackState| attack.samples.iter().map(|it| it.forwards + 2 * it.backwards).sum::<u64>() as f64;
    let rate = (a.seconds.unwrap() + b.seconds.unwrap()) / (work(&a) + work(&b));
    let estimate = app.estimate(most).unwrap();
    assert!((estimate.seconds - rate * 39.0 * 10.0).abs() < 1e-9 && estimate.is_by_attacks);
    app.audit.attacks.clear();
    app.ui.attacks.clean_pace = Some(0.5);
    let by_clean = app.estimate(most).unwrap();
    assert!((by_clean.seconds - 0.5 * 39.0 * 10.0).abs() < 1e-9 && !by_clean.is_by_attacks);
}

#[test]
fn a_shown_run_takes_no_orders() {
    for source in [Source::Replay, Source::Attached] {
        let mut app = app("running", (80, 24));
        app.ui.run.source = source;
        press(&mut app, "4j");
        for code in [KeyCode::Char('a'), KeyCode::Char('c'), KeyCode::Char('J'), KeyCode::Delete] {
            assert_eq!(update(&mut app, key(code)), []);
            assert!(app.ui.notice.as_ref().unwrap().text.contains("only shown"));
        }
    }
}

#[test]
fn a_pause_halts_the_clock_of_the_attack_and_results_are_sorted() {
    let mut app = app("running", (120, 36));
    let began = app.ui.clock.stage_began;
    assert_eq!(update(&mut app, key(KeyCode::Char(' '))), [Effect::Pause(true)]);
    update(&mut app, Msg::Tick(Duration::from_secs(65)));
    assert_eq!(app.phase(), Phase::Paused);
    assert_eq!(update(&mut app, key(KeyCode::Char(' '))), [Effect::Pause(false)]);
    assert_eq!(app.ui.clock.stage_began, began.map(|began| began + Duration::from_mins(1)));

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
    assert_eq!((app.phase(), app.ui.run.wish), (Phase::Running, Wish::GoOn));
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

fn click(app: &mut App, column: u16, row: u16) {
    let kind = MouseEventKind::Down(MouseButton::Left);
    let event = Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE });
    let msg = runtime::message(app, &event).unwrap();
    update(app, msg);
}

#[test]
fn the_mouse_selects() {
    let mut app = app("finished", (120, 36));
    let text = glyphs(&frame(&app, COLOR, (120, 36)));
    let row = text.lines().position(|line| line.contains("pgd  ")).unwrap() as u16;
    click(&mut app, 80, row);
    assert_eq!((app.ui.selected, app.ui.overview.pane), (1, Pane::Results));
    click(&mut app, 28, 1);
    assert_eq!(app.ui.screen, Screen::Layers);
    click(&mut app, 0, 0);
    assert_eq!(app.ui.screen, Screen::Layers);
}

/// Any message: recorded events in any order, keys, sizes, time.
fn message() -> impl Strategy<Value = Msg> {
    let feeds = recorded();
    let keys: Vec<(KeyCode, KeyModifiers)> = BINDINGS.iter().flat_map(Binding::keys).collect();
    let feed = (1..feeds.len()).prop_map(move |at| Msg::Feed(feeds[at].clone()));
    let press = (0..keys.len()).prop_map(move |at| Msg::Key(KeyEvent::new(keys[at].0, keys[at].1)));
    let progress = (0_usize..3, 0_u64..50_000)
        .prop_map(|(attack, done)| event(AuditEvent::StageProgress { stage: Stage::Attack { attack }, done }));
    prop_oneof![
        3 => feed,
        4 => press,
        2 => progress,
        2 => proptest::char::range(' ', 'z').prop_map(|letter| key(KeyCode::Char(letter))),
        1 => Just(key(KeyCode::Enter)),
        1 => proptest::collection::vec(0_usize..4, 0..4).prop_map(Msg::Queue),
        1 => (0_u16..200, 0_u16..60).prop_map(|(columns, rows)| Msg::Resize(columns, rows)),
        1 => (0_u64..100).prop_map(|seconds| Msg::Tick(Duration::from_secs(seconds))),
        1 => prop_oneof![Just(1), Just(-1)].prop_map(Msg::Wheel),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_progress_never_falls(
        messages in proptest::collection::vec((message(), proptest::option::of((0_u16..200, 0_u16..60))), 1..60),
    ) {
        let mut app = App::new(Source::Live, (80, 24));
        update(&mut app, Msg::Feed(recorded().remove(0)));
        let mut before = vec![0.0; app.attacks()];
        for (msg, clicked) in messages {
            update(&mut app, msg);
            if let Some((column, row)) = clicked {
                click(&mut app, column, row);
            }
            let now: Vec<f64> = (0..app.attacks()).map(|attack| app.share(attack)).collect();
            prop_assert!(now.iter().zip(&before).all(|(now, before)| now >= before && *now <= 1.0), "{before:?} {now:?}");
            before = now;
            app.refresh();
            let (columns, rows) = app.ui.size;
            frame(&app, COLOR, (columns.max(1), rows.max(1)));
        }
    }
}
