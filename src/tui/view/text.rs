//! Pieces that the panes share: frames, cut texts, times.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Widget as _, Wrap};

use super::super::app::App;
use super::super::state::screen::{Pane, Screen};
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
        .title(Span::styled(format!(" {title} "), theme.style(if focused { Role::Focus } else { Role::Title })));
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

/// Says in a frame's lower edge which rows of a list are shown, where not all of them have room.
pub(super) fn shown_of(frame: Rect, buffer: &mut Buffer, theme: Theme, first: usize, room: usize, of: usize) {
    if of > room {
        corner(frame, buffer, theme, &format!(" {}-{} of {of} ", first + 1, first + room));
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

/// Says something about a third down in a pane that has nothing else to show yet.
pub(super) fn in_the_middle<'a>(inner: Rect, buffer: &mut Buffer, message: impl Into<Line<'a>>) {
    let middle = Rect { y: inner.y + inner.height / 3, height: inner.height - inner.height / 3, ..inner };
    Paragraph::new(message.into()).wrap(Wrap { trim: true }).centered().render(middle, buffer);
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
    let mut cut = String::new();
    let mut used = 0;
    for letter in text.chars() {
        let wide = width(letter.encode_utf8(&mut [0; 4]));
        if used + wide + 1 > columns {
            break;
        }
        used += wide;
        cut.push(letter);
    }
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// A text in exactly so many columns: cut, or with blanks behind it.
pub(super) fn padded(text: &str, columns: usize) -> String {
    let text = fit(text, columns);
    let pad = " ".repeat(columns.saturating_sub(width(&text)));
    text + &pad
}

/// Spans in at most so many columns; what does not fit is cut, with a mark.
pub(super) fn fit_line(spans: Vec<Span<'static>>, columns: usize) -> Line<'static> {
    let mut left = columns;
    let total: usize = spans.iter().map(Span::width).sum();
    if total <= columns {
        return Line::from(spans);
    }
    let mut line = Vec::with_capacity(spans.len());
    for span in spans {
        let wide = span.width();
        if wide < left {
            left -= wide;
            line.push(span);
        } else {
            // Cut even where it just fits: the mark needs room, for more follows.
            let content = fit(&format!("{} ", span.content), left);
            line.push(Span::styled(content, span.style));
            break;
        }
    }
    Line::from(line)
}

/// A text in lines of at most so many columns, broken at spaces where there are some.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last().map_or(0, |line| line.chars().count());
        let wide = word.chars().count();
        if line > 0 && line + 1 + wide > columns {
            lines.push(String::new());
        } else if line > 0
            && let Some(last) = lines.last_mut()
        {
            last.push(' ');
        }
        let mut rest: Vec<char> = word.chars().collect();
        while rest.len() > columns.max(1) {
            let tail = rest.split_off(columns.max(1));
            if let Some(last) = lines.last_mut() {
                last.extend(rest);
            }
            lines.push(String::new());
            rest = tail;
        }
        if let Some(last) = lines.last_mut() {
            last.extend(rest);
        }
    }
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
