//! What a frame of the terminal interface costs: `cargo bench --bench frame`.
//!
//! Every screen at 200×60, from the recorded run of the fixtures, and what it takes to bring the results up to date after an event.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::path::Path;

use advmod::audit::follow;
use advmod::tui::app::App;
use advmod::tui::message::Msg;
use advmod::tui::state::Source;
use advmod::tui::state::screen::Screen;
use advmod::tui::theme::Theme;
use advmod::tui::update::update;
use advmod::tui::view;
use criterion::{Criterion, criterion_group, criterion_main};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const SIZE: (u16, u16) = (200, 60);

fn frame(criterion: &mut Criterion) {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run.jsonl");
    let mut app = App::new(Source::Live, SIZE);
    for feed in follow::read(&recorded).expect("the recorded run") {
        update(&mut app, Msg::Feed(feed));
    }
    app.refresh();
    let area = Rect::new(0, 0, SIZE.0, SIZE.1);
    let mut group = criterion.benchmark_group("frame 200x60");
    for screen in Screen::ALL {
        app.ui.screen = screen;
        group.bench_function(screen.title(), |bencher| {
            bencher.iter(|| {
                let mut buffer = Buffer::empty(area);
                view::render(area, &mut buffer, &app, Theme::default());
                buffer
            });
        });
    }
    group.bench_function("refresh", |bencher| {
        bencher.iter(|| {
            app.stale = true;
            app.refresh();
        });
    });
    group.finish();
}

criterion_group!(benches, frame);
criterion_main!(benches);
