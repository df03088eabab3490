//! Draws screens of `advmod tui` as SVG, from the folder of a finished run: what the README shows.
//!
//! ```text
//! make audit && cargo run --example screens -- advmod-report docs
//! ```

use std::fmt::Write as _;
use std::path::Path;

use advmod::audit::follow;
use advmod::tui::app::App;
use advmod::tui::gallery::Gallery;
use advmod::tui::message::{Effect, Msg};
use advmod::tui::state::Source;
use advmod::tui::state::screen::Screen;
use advmod::tui::theme::{Palette, Theme};
use advmod::tui::update::update;
use advmod::tui::view;
use anyhow::{Context as _, Result};
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier};

/// Columns and rows.
const SIZE: (u16, u16) = (120, 36);

/// Pixels of a cell.
const CELL: (f64, f64) = (8.0, 16.0);

const BACKGROUND: &str = "#101418";
const TEXT: &str = "#d8dee4";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [run, target] = &arguments[..] else { anyhow::bail!("expected: RUN_FOLDER TARGET_FOLDER") };
    let mut app = App::new(Source::Replay, SIZE);
    for feed in follow::read(&Path::new(run).join("run.jsonl")).map_err(anyhow::Error::msg)? {
        update(&mut app, Msg::Feed(feed));
    }
    app.refresh();
    let gallery = Gallery::new(Some(run.into()));
    // The second attack: PGD, in a full audit.
    app.ui.selected = 1.min(app.attacks().saturating_sub(1));
    for (screen, name) in [(Screen::Overview, "overview.svg"), (Screen::Samples, "samples.svg")] {
        app.ui.screen = screen;
        // Any message makes the screen ask for the images that it shows.
        for effect in update(&mut app, Msg::Resize(SIZE.0, SIZE.1)) {
            if let Effect::Look { attack, sample } = effect {
                let look = gallery.look(attack, app.label(attack), sample);
                update(&mut app, Msg::Looked(Box::new(look)));
            }
        }
        let area = Rect::new(0, 0, SIZE.0, SIZE.1);
        let mut buffer = Buffer::empty(area);
        view::render(area, &mut buffer, &app, Theme { palette: Palette::Dark, ..Theme::default() });
        let path = Path::new(target).join(name);
        std::fs::write(&path, svg(&buffer)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The screen as a picture. Dots, blocks and half blocks are drawn as shapes, so that no font matters for them.
fn svg(buffer: &Buffer) -> String {
    let (width, height) = (f64::from(SIZE.0) * CELL.0, f64::from(SIZE.1) * CELL.1);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-8 -8 {} {}\" font-family=\"ui-monospace,DejaVu Sans Mono,Menlo,monospace\" \
         font-size=\"13.2\">\n<rect x=\"-8\" y=\"-8\" width=\"{0}\" height=\"{1}\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n",
        width + 16.0,
        height + 16.0
    );
    for row in 0..SIZE.1 {
        let mut column = 0;
        while column < SIZE.0 {
            let cell = &buffer[(column, row)];
            let run = text_run(buffer, column, row);
            let place = (f64::from(column) * CELL.0, f64::from(row) * CELL.1);
            if run > 0 {
                text(&mut svg, buffer, (column, row), run, place);
            } else {
                shape(&mut svg, cell, place);
            }
            column += run.max(1);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// How many cells from here on are text of one look; 0 where the cell is a shape.
fn text_run(buffer: &Buffer, column: u16, row: u16) -> u16 {
    let first = &buffer[(column, row)];
    let look = |cell: &Cell| (cell.fg, cell.bg, cell.modifier);
    let is_same = |&at: &u16| {
        let cell = &buffer[(at, row)];
        look(cell) == look(first) && !is_shape(cell.symbol())
    };
    (column..SIZE.0).take_while(is_same).count() as u16
}

fn is_shape(symbol: &str) -> bool {
    symbol.chars().next().is_some_and(|letter| matches!(letter, '\u{2800}'..='\u{28ff}' | '█' | '░' | '▀' | '▄'))
}

fn text(svg: &mut String, buffer: &Buffer, (column, row): (u16, u16), run: u16, (x, y): (f64, f64)) {
    let cell = &buffer[(column, row)];
    let words: String = (column..column + run).map(|at| buffer[(at, row)].symbol()).collect();
    let (ink, paper) = colors(cell);
    let wide = f64::from(run) * CELL.0;
    if paper != BACKGROUND {
        rectangle(svg, (x, y), (wide, CELL.1), &paper);
    }
    if words.trim().is_empty() {
        return;
    }
    let bold = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let dim = if cell.modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{}\" fill=\"{ink}\" textLength=\"{wide}\" lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\"{bold}{dim}>{words}</text>",
        y + 0.76 * CELL.1
    );
}

fn shape(svg: &mut String, cell: &Cell, (x, y): (f64, f64)) {
    let (ink, paper) = colors(cell);
    let half = CELL.1 / 2.0;
    match cell.symbol().chars().next().unwrap_or(' ') {
        '▀' => {
            rectangle(svg, (x, y), (CELL.0, half), &ink);
            rectangle(svg, (x, y + half), (CELL.0, half), &paper);
        }
        '▄' => {
            rectangle(svg, (x, y), (CELL.0, half), &paper);
            rectangle(svg, (x, y + half), (CELL.0, half), &ink);
        }
        '█' => rectangle(svg, (x, y + 1.0), (CELL.0, CELL.1 - 2.0), &ink),
        '░' => rectangle(svg, (x, y + 1.0), (CELL.0, CELL.1 - 2.0), "#242a30"),
        dots => {
            let bits = dots as u32 - 0x2800;
            for (bit, (right, down)) in
                [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)].into_iter().enumerate()
            {
                if bits >> bit & 1 == 1 {
                    let (cx, cy) =
                        (x + CELL.0 * (0.25 + 0.5 * f64::from(right)), y + CELL.1 * (0.125 + 0.25 * f64::from(down)));
                    let _ = writeln!(svg, "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"1.6\" fill=\"{ink}\"/>");
                }
            }
        }
    }
}

fn rectangle(svg: &mut String, (x, y): (f64, f64), (width, height): (f64, f64), color: &str) {
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{color}\" shape-rendering=\"crispEdges\"/>"
    );
}

/// Ink and paper.
fn colors(cell: &Cell) -> (String, String) {
    let (ink, paper) = (color(cell.fg, TEXT), color(cell.bg, BACKGROUND));
    if cell.modifier.contains(Modifier::REVERSED) { (paper, ink) } else { (ink, paper) }
}

fn color(color: Color, default: &str) -> String {
    match color {
        Color::Rgb(red, green, blue) => format!("#{red:02x}{green:02x}{blue:02x}"),
        // The 6×6×6 cube of xterm's 256 colours.
        Color::Indexed(place @ 16..=231) => {
            let level = |part: u8| if part == 0 { 0 } else { 55 + 40 * u32::from(part) };
            let place = place - 16;
            let [red, green, blue] = [level(place / 36), level(place / 6 % 6), level(place % 6)];
            format!("#{red:02x}{green:02x}{blue:02x}")
        }
        _ => default.to_owned(),
    }
}
