//! Pieces that the panes share: frames, cut texts, times.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Widget as _, Wrap};

use super::super::app::App;
use super::super::state::screen::{Pane, Screen};
use super::super::steps::first_shown;
use super::super::theme::{Role, Theme};

pub(super) fn pane(area: Rect, buffer: &mut Buffer, app: &App, theme: Theme, pane: Pane, title: &str) -> Rect {
    let focused = app.ui.screen == Screen::Overview && app.ui.overview.pane == pane;
    framed(area, buffer, theme, focused, title)
}

/// Draws a frame and returns what is inside.
pub(super) fn framed(area: Rect, buffer: &mut Buffer, theme: Theme, focused: bool, title: &str) -> Rect {
    let role = if focused { Role::Focus } else { Role::Frame };
    let title = fit(title, usize::from(area.width.saturating_sub(4)));
    let block = Block::bordered()
        .border_style(theme.style(role))
        .title(theme.span(format!(" {title} "), if focused { Role::Focus } else { Role::Title }));
    let inner = block.inner(area);
    block.render(area, buffer);
    inner
}

pub(super) fn corner(frame: Rect, buffer: &mut Buffer, theme: Theme, text: &str) {
    let x = frame.right().saturating_sub(text.len() as u16 + 1);
    buffer.set_string(x, frame.bottom().saturating_sub(1), text, theme.style(Role::Dim));
}

/// Says in a frame's lower edge how much has no room.
pub(super) fn more(frame: Rect, buffer: &mut Buffer, theme: Theme, hidden: usize) {
    if hidden > 0 {
        corner(frame, buffer, theme, &format!(" {hidden} more "));
    }
}

/// A row of an area, counted from its top.
pub(super) fn row_at(area: Rect, at: usize) -> Rect {
    Rect { y: area.y + at as u16, height: 1, ..area }
}

/// Draws lines below each other, as many as have room.
pub(super) fn stack<'a>(area: Rect, buffer: &mut Buffer, lines: impl IntoIterator<Item = Line<'a>>) {
    for (at, line) in lines.into_iter().take(usize::from(area.height)).enumerate() {
        line.render(row_at(area, at), buffer);
    }
}

/// An area without its first rows.
pub(super) fn below(area: Rect, rows: u16) -> Rect {
    Rect { y: area.y + rows.min(area.height), height: area.height.saturating_sub(rows), ..area }
}

/// Draws as many rows of a list as have room, the selected one among them, and says in the frame which ones these are.
pub(super) fn list(
    area: Rect,
    frame: Rect,
    buffer: &mut Buffer,
    theme: Theme,
    (selected, len): (usize, usize),
    row: impl Fn(usize) -> Vec<Span<'static>>,
) {
    let room = usize::from(area.height);
    let first = first_shown(selected, len, room);
    stack(area, buffer, (first..len).map(|at| fit_line(row(at), usize::from(area.width))));
    if len > room && room > 0 {
        corner(frame, buffer, theme, &format!(" {}-{} of {len} ", first + 1, first + room));
    }
}

/// Draws spans over the lower edge of the frame around an area, where they take no row.
pub(super) fn on_frame(inner: Rect, buffer: &mut Buffer, spans: Vec<Span<'static>>) {
    let line = fit_line(spans, usize::from(inner.width.saturating_sub(2)));
    let place = Rect { x: inner.x + 1, y: inner.bottom(), width: line.width() as u16, height: 1 };
    line.render(place, buffer);
}

/// A place in the middle, at most so large.
pub(super) fn centered(area: Rect, columns: u16, rows: u16) -> Rect {
    area.centered(Constraint::Length(columns.min(area.width)), Constraint::Length(rows.min(area.height)))
}

/// Draws a frame over what is there, and returns what is inside.
pub(super) fn overlay(shape: Rect, buffer: &mut Buffer, theme: Theme, title: &str) -> Rect {
    Clear.render(shape, buffer);
    framed(shape, buffer, theme, true, title)
}

/// Says something about a third down in a pane that has nothing else to show yet.
pub(super) fn in_the_middle<'a>(inner: Rect, buffer: &mut Buffer, message: impl Into<Line<'a>>) {
    Paragraph::new(message.into()).wrap(Wrap { trim: true }).centered().render(below(inner, inner.height / 3), buffer);
}

/// Says in a pane why it shows nothing else.
pub(super) fn note(inner: Rect, buffer: &mut Buffer, theme: Theme, text: impl Into<String>) {
    let line = Line::styled(text.into(), theme.style(Role::Dim));
    Paragraph::new(line).wrap(Wrap { trim: true }).render(inner, buffer);
}

/// What stands before a row of a list.
pub(super) fn pointer(theme: Theme, is_selected: bool) -> &'static str {
    if is_selected { theme.sign("▶ ", "> ") } else { "  " }
}

/// Columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Line::raw(text).width()
}

/// A text in at most so many columns; what does not fit is cut, with a mark.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut used = 0;
    let kept = text.chars().take_while(|letter| {
        used += width(letter.encode_utf8(&mut [0; 4]));
        used < columns
    });
    kept.chain((columns > 0).then_some('…')).collect()
}

/// A text in exactly so many columns: cut, or with blanks behind it.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let pad = " ".repeat(columns.saturating_sub(width(&text)));
    text + &pad
}

/// Spans in at most so many columns; what does not fit is cut, with a mark.
pub(super) fn fit_line(spans: Vec<Span<'static>>, columns: usize) -> Line<'static> {
    if spans.iter().map(Span::width).sum::<usize>() <= columns {
        return Line::from(spans);
    }
    let (mut line, mut left) = (Line::default(), columns);
    for span in spans {
        let wide = span.width();
        if wide >= left {
            // Cut even where it just fits: the mark needs room, for more follows.
            line.push_span(Span::styled(fit(&format!("{} ", span.content), left), span.style));
            break;
        }
        left -= wide;
        line.push_span(span);
    }
    line
}

/// A text in lines of at most so many columns, broken at spaces where there are some.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split(' ') {
        let letters: Vec<char> = word.chars().collect();
        if !line.is_empty() && line.chars().count() + 1 + letters.len() > columns {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        for (at, part) in letters.chunks(columns.max(1)).enumerate() {
            if at > 0 {
                lines.push(std::mem::take(&mut line));
            }
            line.extend(part);
        }
    }
    lines.push(line);
    lines
}

/// A text in lines that begin with a blank, the later ones with three.
pub(super) fn paragraph(text: &str, style: Style, columns: usize) -> Vec<Line<'static>> {
    let lines = wrapped(text, columns.saturating_sub(4).max(1)).into_iter().enumerate();
    lines.map(|(at, line)| Line::styled(format!("{}{line}", if at == 0 { " " } else { "   " }), style)).collect()
}

/// `12:05`, or `1:02:05` from an hour on, for seconds, which may be anything.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e9) as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes:02}:{seconds:02}") }
}

/// A tap's name in few letters: `layer3.2` becomes `L3.2`.
pub(super) fn short_tap(tap: &str) -> String {
    tap.strip_prefix("layer").map_or_else(|| tap.to_owned(), |rest| format!("L{rest}"))
}

/// Spells everything on the screen in ASCII, one letter per cell.
pub(super) fn to_ascii(area: Rect, buffer: &mut Buffer) {
    for position in area.positions() {
        let Some(cell) = buffer.cell_mut(position) else { continue };
        if let Some(letter) = cell.symbol().chars().next().filter(|_| !cell.symbol().is_ascii()) {
            cell.set_char(ascii(letter));
        }
    }
}

fn ascii(letter: char) -> char {
    match letter {
        '│' | '║' | '┊' => '|',
        '─' | '━' | '═' | '–' | '−' | '→' => '-',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '╔' | '╗' | '╚' | '╝' => '+',
        '█' => '#',
        '░' | '·' => '.',
        '∞' => 'i',
        '±' | '…' => '~',
        'ε' => 'e',
        'Δ' => 'd',
        '≥' => '>',
        '≤' | '←' => '<',
        '×' => 'x',
        '↑' => '^',
        '↓' => 'v',
        letter if letter.is_ascii() => letter,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_texts_say_so_and_fit() {
        assert_eq!((fit("layer", 5), fit("layer", 4), fit("layer", 0)), ("layer".into(), "lay…".into(), String::new()));
        assert_eq!(fit("模型模型", 5), "模型…");
        let line = fit_line(vec![Span::raw("abc"), Span::raw("defg")], 5);
        assert_eq!((line.to_string(), line.width()), ("abcd…".to_owned(), 5));
    }

    #[test]
    fn long_lines_are_broken_and_nothing_is_lost() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(clock(65.0), "01:05");
        assert_eq!(clock(3725.0), "1:02:05");
    }
}
