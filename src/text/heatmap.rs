//! Matrices in the characters and colours of a terminal.

use std::fmt::Write as _;

use super::names::column;

/// From few to much, of the 256 colours of xterm: dark violet over blue and green to yellow, told apart by colour-blind people too.
const SCALE: [u8; 10] = [53, 55, 61, 25, 31, 30, 36, 71, 149, 220];

/// The first of these on which text is black.
const BRIGHT: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Numbers,
    /// Numbers, or a block per cell where there are many.
    Blocks,
    /// Coloured cells, with numbers where there are few.
    Colours,
}

/// Background and ink of a share from 0 to 1, of the 256 colours of xterm.
pub(crate) fn heat(share: f64) -> (u8, u8) {
    let step = step(share, 1.0, SCALE.len());
    (SCALE[step], if step < BRIGHT { 15 } else { 16 })
}

/// Most rows of a table of numbers for people.
const NUMBERS: usize = 16;

/// Rows and columns have the same names; a cell without a value is a dash. Blocks and colours span 0 to `largest`.
pub fn heatmap(names: &[String], rows: &[Vec<Option<f64>>], largest: f64, look: Look) -> String {
    let width = column(names, 0);
    let has_numbers = look == Look::Numbers || names.len() <= NUMBERS;
    let mut text = String::new();
    for (name, row) in names.iter().zip(rows) {
        write!(text, "  {name:<width$} ").expect("writing to memory cannot fail");
        for value in row {
            let number = value.map_or("     –".to_owned(), |value| format!(" {value:5.2}"));
            let cell = match (look, value) {
                (Look::Colours, Some(value)) => {
                    let content = if has_numbers { number } else { "  ".to_owned() };
                    coloured(share(*value, largest), &content)
                }
                _ if has_numbers => number,
                (_, Some(value)) => BLOCKS[step(*value, largest, BLOCKS.len())].to_string().repeat(2),
                (_, None) => "– ".to_owned(),
            };
            text.push_str(&cell);
        }
        text.push('\n');
    }
    let scale = match look {
        Look::Colours => {
            (0..SCALE.len()).map(|step| coloured((step as f64 + 0.5) / SCALE.len() as f64, "  ")).collect()
        }
        Look::Blocks if !has_numbers => BLOCKS.iter().collect::<String>(),
        Look::Blocks | Look::Numbers => return text,
    };
    let hint = if has_numbers { "" } else { "  (numbers: --out DIR or --format json)" };
    writeln!(text, "  {:<width$}  0 {scale} {largest:.2}{hint}", "").expect("writing to memory cannot fail");
    text
}

const BLOCKS: [char; 5] = [' ', '░', '▒', '▓', '█'];

fn coloured(share: f64, text: &str) -> String {
    let (ground, ink) = heat(share);
    format!("\u{1b}[48;5;{ground};38;5;{ink}m{text}\u{1b}[0m")
}

/// Which of so many equal steps from 0 to `largest`.
fn step(value: f64, largest: f64, steps: usize) -> usize {
    ((share(value, largest) * steps as f64) as usize).min(steps - 1)
}

/// A value's place between 0 and `largest`, from 0 to 1.
fn share(value: f64, largest: f64) -> f64 {
    if largest > 0.0 { (value / largest).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|it| format!("t{it}")).collect()
    }

    #[test]
    fn few_rows_are_numbers_and_many_are_blocks_for_people() {
        let few = vec![vec![Some(1.0), None], vec![Some(0.126), Some(-0.5)]];
        for look in [Look::Numbers, Look::Blocks] {
            assert_eq!(heatmap(&names(2), &few, 1.0, look), "  t0   1.00     –\n  t1   0.13 -0.50\n");
        }
        let many = vec![vec![Some(0.5); 20]; 20];
        let blocks = heatmap(&names(20), &many, 1.0, Look::Blocks);
        assert!(blocks.contains(&"▒".repeat(40)) && blocks.contains("0  ░▒▓█ 1.00  (numbers"), "{blocks}");
        assert!(heatmap(&names(20), &many, 0.5, Look::Blocks).contains(&"█".repeat(40)));
        assert!(heatmap(&names(20), &many, 1.0, Look::Numbers).contains(&"  0.50".repeat(20)));
    }

    #[test]
    fn colours_end_where_they_begin() {
        let rows = vec![vec![Some(0.0), Some(0.25)], vec![None, Some(1.0)]];
        let text = heatmap(&names(2), &rows, 1.0, Look::Colours);
        assert_eq!(text.matches("\u{1b}[48;5;").count(), text.matches("\u{1b}[0m").count());
        assert!(text.contains("\u{1b}[48;5;220;38;5;16m  1.00\u{1b}[0m") && text.contains("     –"), "{text}");
        let many = vec![vec![Some(0.5); 20]; 20];
        assert!(!heatmap(&names(20), &many, 1.0, Look::Colours).contains("0.50"));
    }

    #[test]
    fn steps_stay_inside() {
        let found = [-1.0, 0.0, 0.2, 0.79, 0.8, 1.0, 7.0, f64::NAN].map(|value| step(value, 1.0, 5));
        assert_eq!(found, [0, 0, 1, 3, 4, 4, 4, 0]);
        assert_eq!(step(0.0, 0.0, 5), 0);
    }
}
