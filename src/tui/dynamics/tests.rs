//! This screen on made-up trainings, without a terminal.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};
use ratatui::layout::Rect;

use super::super::keys::Binding;
use super::file::Watched;
use super::*;
use crate::modularity::{Curve, Similarity, TapPoint};
use crate::stats::rates::Rate;
use crate::study::results::dynamics::{Checkpoint, DynamicsResult, TapTrend};
use crate::study::results::{StudyResult as _, to_json};
use crate::tui::tests::glyphs;
use crate::tui::view;

/// A training of so many epochs so far: Q rises with depth and over the epochs; one tap never has one.
fn training(epochs: usize, taps: usize) -> DynamicsResult {
    let name = |tap: usize| if tap == 0 { "conv1".to_owned() } else { format!("layer{}.{}", tap / 3 + 1, tap % 3) };
    let point = |epoch: usize, tap: usize| {
        let learned = 1.0 - 0.7_f64.powi(epoch as i32);
        let mut point = TapPoint::from_repeats(name(tap), &[]);
        point.q = (tap != 4).then_some(0.05 + learned * 0.75 * tap as f64 / taps as f64);
        point
    };
    let checkpoint = |epoch: usize| Checkpoint {
        name: format!("epoch-{epoch:03}.safetensors"),
        sha256: String::new(),
        accuracy: Rate::new(500 - 400 / epoch, 500),
        curve: Curve {
            n: 500,
            k: 3,
            similarity: Similarity::COSINE,
            taps: (0..taps).map(|tap| point(epoch, tap)).collect(),
        },
        warnings: Vec::new(),
    };
    let trend = |tap| TapTrend { tap: name(tap), first: None, last: None, rank_correlation: Some(0.98) };
    DynamicsResult {
        checkpoints: (1..=epochs).map(checkpoint).collect(),
        data: "fashion-mnist".to_owned(),
        taps: (0..taps).map(trend).collect(),
    }
}

fn app(dynamics: Option<DynamicsResult>) -> App {
    let mut app = App { folder: "epochs".to_owned(), tap: usize::MAX, ..App::default() };
    if let Some(dynamics) = dynamics {
        update(&mut app, Msg::Read(Ok(dynamics)));
    }
    app
}

fn frame(app: &App, (columns, rows): (u16, u16)) -> Buffer {
    let area = Rect::new(0, 0, columns, rows);
    let mut buffer = Buffer::empty(area);
    view::dynamics(area, &mut buffer, app);
    buffer
}

fn press(app: &mut App, code: KeyCode) -> Option<Effect> {
    update(app, Msg::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

#[test]
fn every_size_and_state() {
    for size in [(120, 36), (80, 24), (60, 16)] {
        for state in ["waiting", "first", "growing", "long", "ascii", "no colour", "help", "unreadable"] {
            let mut app = app(match state {
                "waiting" => None,
                "first" => Some(training(1, 10)),
                "long" => Some(training(150, 55)),
                _ => Some(training(12, 10)),
            });
            match state {
                "ascii" => (app.theme.ascii, app.theme.color) = (true, false),
                "no colour" => {
                    app.theme.color = false;
                    update(&mut app, Msg::Read(Ok(training(150, 10))));
                }
                "help" => app.help = Some(0),
                "unreadable" => {
                    update(&mut app, Msg::Read(Err("cannot read epochs/dynamics.json: no".to_owned())));
                }
                _ => (),
            }
            let name = format!("{}x{}-{}", size.0, size.1, state.replace(' ', "-"));
            insta::assert_snapshot!(name, glyphs(&frame(&app, size)));
        }
    }
}

#[test]
fn colours_tell_much_from_little() {
    let app = app(Some(training(12, 10)));
    let buffer = frame(&app, (80, 24));
    let text = glyphs(&buffer);
    let row = |name: &str| text.lines().position(|line| line.contains(name)).unwrap() as u16;
    let last =
        |name: &str| (0..80).rev().map(|x| buffer[(x, row(name))].bg).find(|bg| *bg != ratatui::style::Color::Reset);
    assert_eq!(last("conv1"), Some(ratatui::style::Color::Indexed(53)));
    assert_eq!(last("layer4.0"), Some(ratatui::style::Color::Indexed(220)));
}

#[test]
fn the_selection_goes_along_with_the_newest_until_it_is_moved() {
    let mut app = app(Some(training(5, 10)));
    assert_eq!((app.selected(), app.tap), (4, 9));
    update(&mut app, Msg::Read(Ok(training(6, 10))));
    assert_eq!(app.selected(), 5);
    press(&mut app, KeyCode::Left);
    update(&mut app, Msg::Read(Ok(training(7, 10))));
    assert_eq!(app.selected(), 4);
    press(&mut app, KeyCode::Char('G'));
    update(&mut app, Msg::Read(Ok(training(8, 10))));
    assert_eq!(app.selected(), 7);
    press(&mut app, KeyCode::Home);
    press(&mut app, KeyCode::PageUp);
    assert_eq!((app.selected(), app.tap), (0, 0));
    // A training that began anew has fewer.
    update(&mut app, Msg::Read(Ok(training(0, 10))));
    assert_eq!((app.selected(), app.tap), (0, 0));
    frame(&app, (80, 24));
}

#[test]
fn every_key_in_every_state() {
    for dynamics in [None, Some(training(0, 0)), Some(training(1, 0)), Some(training(1, 1)), Some(training(40, 30))] {
        for binding in BINDINGS {
            for (code, modifiers) in binding.keys() {
                let mut app = app(dynamics.clone());
                for _ in 0..2 {
                    update(&mut app, Msg::Key(KeyEvent::new(code, modifiers)));
                    frame(&app, (80, 24));
                    frame(&app, (10, 3));
                }
            }
        }
    }
    assert_eq!(press(&mut app(None), KeyCode::Char('q')), Some(Effect::Quit));
    let mut app = app(None);
    press(&mut app, KeyCode::Char('?'));
    assert_eq!(press(&mut app, KeyCode::Char('q')), None);
    assert_eq!(app.help, None);
}

#[test]
fn no_key_means_two_things() {
    let keys: Vec<_> = BINDINGS.iter().flat_map(Binding::keys).collect();
    assert!((1..keys.len()).all(|at| !keys[..at].contains(&keys[at])));
}

#[test]
fn a_growing_file_is_read_anew_and_a_broken_one_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut watched = Watched::new(folder.path());
    assert!(watched.look().is_none());
    let path = folder.path().join(DynamicsResult::FILE);
    let write = |epochs| {
        crate::atomic_file::write(&path, &to_json(&training(epochs, 10))).unwrap();
        // Some file systems count time in coarse steps.
        std::thread::sleep(Duration::from_millis(20));
    };
    write(1);
    assert_eq!(watched.look().unwrap().unwrap(), training(1, 10));
    assert!(watched.look().is_none());
    write(2);
    assert_eq!(watched.look().unwrap().unwrap().checkpoints.len(), 2);
    // So is what an earlier version wrote, which named neither its study nor its version.
    for other in ["{}", "{\"checkpoints\": [], \"data\": \"d\", \"taps\": []}"] {
        std::fs::write(&path, other).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let problem = watched.look().unwrap().unwrap_err();
        assert!(problem.contains("not a dynamics.json of advmod") && problem.lines().count() == 1, "{problem}");
        assert!(problem.ends_with("measure it again with advmod dynamics"), "{problem}");
    }
}
