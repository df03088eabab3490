//! Images in real pixels, on terminals that draw them: kitty's, iTerm2's and sixel graphics.
//!
//! Which protocol a terminal speaks is read from its environment and never asked: an answer that does not come would cost a second, and one
//! that comes late would be taken for keys.

use clap::ValueEnum;
use image::{DynamicImage, Rgb, RgbImage};
use ratatui::Frame;
use ratatui::crossterm::terminal::window_size;
use ratatui::layout::{Rect, Size};
use ratatui_image::picker::{Picker, ProtocolType};
use ratatui_image::protocol::Protocol;
use ratatui_image::{FilterType, FontSize, Image, Resize};

use super::app::App;
use super::theme::Theme;
use super::view;
use crate::store::picture::Picture;

/// How large images are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// As the terminal's environment says; in cells inside tmux and screen.
    #[default]
    Auto,
    /// In cells.
    Off,
    /// With kitty's protocol.
    Kitty,
    /// With iTerm2's protocol.
    Iterm2,
    /// With sixels.
    Sixel,
}

pub(crate) struct Graphics {
    picker: Picker,
    /// What was drawn last: encoding is slow, so it is kept while the same images stand at the same places.
    drawn: Vec<(Rect, Picture, Protocol)>,
}

/// The protocol of a terminal, by its environment; none where it has none that is known.
fn protocol(choice: Choice, variable: impl Fn(&str) -> Option<String>) -> Option<ProtocolType> {
    let is = |name: &str, part: &str| variable(name).is_some_and(|value| value.contains(part));
    match choice {
        Choice::Kitty => Some(ProtocolType::Kitty),
        Choice::Iterm2 => Some(ProtocolType::Iterm2),
        Choice::Sixel => Some(ProtocolType::Sixel),
        // Inside these, images flicker and stay behind.
        Choice::Auto if variable("TMUX").is_some() || is("TERM", "screen") || is("TERM", "tmux") => None,
        Choice::Auto if is("TERM", "kitty") || is("TERM", "ghostty") => Some(ProtocolType::Kitty),
        Choice::Auto if is("TERM_PROGRAM", "WezTerm") || is("TERM_PROGRAM", "iTerm") => Some(ProtocolType::Iterm2),
        Choice::Auto if variable("KONSOLE_VERSION").is_some() => Some(ProtocolType::Iterm2),
        Choice::Auto if is("TERM", "foot") || is("TERM", "mlterm") => Some(ProtocolType::Sixel),
        Choice::Auto | Choice::Off => None,
    }
}

impl Graphics {
    /// For this terminal, if it draws images and says how large its cells are.
    pub(crate) fn new(choice: Choice) -> Option<Self> {
        let protocol = protocol(choice, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))?;
        let size = window_size().ok()?;
        let cell = |pixels: u16, cells: u16| pixels.checked_div(cells).filter(|&pixels| pixels > 0);
        let (width, height) = (cell(size.width, size.columns)?, cell(size.height, size.rows)?);
        #[expect(deprecated, reason = "the other constructors ask the terminal")]
        let mut picker = Picker::from_fontsize(FontSize::new(width, height));
        picker.set_protocol_type(protocol);
        Some(Self { picker, drawn: Vec::new() })
    }

    /// Draws the images of the screen over the places that the view has left for them.
    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>, app: &App, theme: Theme) {
        let mut before = std::mem::take(&mut self.drawn);
        for (area, picture) in view::pictures(frame.area(), app, theme) {
            let kept = before.iter().position(|(slot, drawn, _)| *slot == area && *drawn == picture);
            let protocol = kept.map(|place| before.swap_remove(place).2).or_else(|| {
                let resize = Resize::Scale(Some(FilterType::Nearest));
                self.picker.new_protocol(image(&picture), Size::new(area.width, area.height), resize).ok()
            });
            // What cannot be encoded leaves its place empty; its numbers stand below.
            if let Some(protocol) = protocol {
                frame.render_widget(Image::new(&protocol), area);
                self.drawn.push((area, picture, protocol));
            }
        }
    }

    /// Forgets what was drawn: the terminal was cleared.
    pub(crate) fn clear(&mut self) {
        self.drawn.clear();
    }
}

fn image(picture: &Picture) -> DynamicImage {
    let [_, height, width] = picture.shape;
    let rgb = |x: u32, y: u32| {
        Rgb(picture.rgb(x as usize, y as usize).map(|value| (255.0 * value.clamp(0.0, 1.0)).round() as u8))
    };
    RgbImage::from_fn(width as u32, height as u32, rgb).into()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn the_protocol_is_read_from_the_environment() {
        let with = |choice, variables: &'static [(&str, &str)]| {
            protocol(choice, |name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(with(Choice::Auto, &[("TERM", "xterm-kitty")]), Some(ProtocolType::Kitty));
        assert_eq!(
            with(Choice::Auto, &[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")]),
            Some(ProtocolType::Iterm2)
        );
        assert_eq!(with(Choice::Auto, &[("TERM", "foot")]), Some(ProtocolType::Sixel));
        assert_eq!(with(Choice::Auto, &[("TERM", "xterm-256color")]), None);
        assert_eq!(with(Choice::Auto, &[("TERM", "xterm-kitty"), ("TMUX", "/tmp/tmux")]), None);
        assert_eq!(with(Choice::Sixel, &[("TMUX", "/tmp/tmux")]), Some(ProtocolType::Sixel));
        assert_eq!(with(Choice::Off, &[("TERM", "xterm-kitty")]), None);
    }

    #[test]
    fn every_protocol_encodes_an_image() {
        let picture =
            Picture { shape: [3, 80, 90], pixels: (0..3 * 80 * 90).map(|it| (it % 97) as f32 / 97.0).collect() };
        for (protocol, start) in
            [(ProtocolType::Kitty, "\x1b_G"), (ProtocolType::Iterm2, "\x1b]1337"), (ProtocolType::Sixel, "\x1bP")]
        {
            #[expect(deprecated, reason = "there is no terminal")]
            let mut picker = Picker::from_fontsize(FontSize::new(8, 16));
            picker.set_protocol_type(protocol);
            let encoded =
                picker.new_protocol(image(&picture), Size::new(20, 10), Resize::Scale(Some(FilterType::Nearest)));
            let encoded = encoded.unwrap();
            let mut terminal = Terminal::new(TestBackend::new(40, 20)).unwrap();
            terminal.draw(|frame| frame.render_widget(Image::new(&encoded), Rect::new(1, 1, 20, 10))).unwrap();
            let first = terminal.backend().buffer()[(1, 1)].symbol().to_owned();
            assert!(first.contains(start), "{protocol:?}: {first:.40?}");
        }
    }
}
