//! Matrices as pictures.

use std::fmt::Write as _;

use super::{ending, escape, grid, hang, shown};

/// A matrix as a picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heatmap {
    pub title: String,
    /// Of rows and columns alike.
    pub names: Vec<String>,
    /// From 0 up; a cell stays empty where there is none.
    pub values: Vec<Vec<Option<f64>>>,
    /// The value of the brightest colour.
    pub largest: f64,
    /// Cells with a dot in them; none where it is empty.
    pub marks: Vec<Vec<bool>>,
}

/// Of a heatmap, in pixels.
const SIDE: f64 = 320.0;
/// Left of a heatmap, for the names of its rows.
const LEFT: f64 = 110.0;

/// The matrices in one file, in pairs below each other.
pub(crate) fn heatmaps(maps: &[Heatmap], description: &str) -> String {
    grid(maps, (SIDE + LEFT + 20.0, SIDE + LEFT + 50.0), description, draw)
}

fn draw(svg: &mut String, map: &Heatmap) -> std::fmt::Result {
    let cell = SIDE / map.names.len().max(1) as f64;
    writeln!(svg, "<text class=\"title\" x=\"{LEFT}\" y=\"18\">{}</text>", escape(&map.title))?;
    for (row, values) in map.values.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            let (x, y) = (LEFT + cell * column as f64, 30.0 + cell * row as f64);
            let (a, b, colour) = (escape(&map.names[row]), escape(&map.names[column]), shade(value / map.largest));
            writeln!(
                svg,
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{cell:.2}\" height=\"{cell:.2}\" fill=\"{colour}\"><title>{a}, {b}: \
                 {value:.3}</title></rect>"
            )?;
            if map.marks.get(row).and_then(|marks| marks.get(column)) == Some(&true) {
                let (x, y, radius) = (x + cell / 2.0, y + cell / 2.0, (cell / 9.0).min(3.0));
                writeln!(svg, "<circle class=\"mark\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius:.2}\"/>")?;
            }
        }
    }
    for at in shown(map.names.len()) {
        let (name, middle) = (&map.names[at], cell * (at as f64 + 0.5));
        let (x, y, beside) = (LEFT - 6.0, 30.0 + middle + 4.0, escape(&ending(name, LEFT - 8.0)));
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{beside}</text>")?;
        hang(svg, name, (LEFT + middle + 4.0, 30.0 + SIDE + 14.0), LEFT - 30.0)?;
    }
    let y = SIDE + LEFT + 22.0;
    for step in 0..=10 {
        let (x, value) = (LEFT + 20.0 * f64::from(step), f64::from(step) / 10.0);
        writeln!(svg, "<rect x=\"{x}\" y=\"{y}\" width=\"20\" height=\"10\" fill=\"{}\"/>", shade(value))?;
        if step % 5 == 0 {
            let value = map.largest * value;
            writeln!(svg, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{value:.2}</text>", x + 10.0, y + 22.0)?;
        }
    }
    Ok(())
}

/// From dark violet over blue and green to yellow: readable without colours too.
fn shade(value: f64) -> String {
    let value = if value.is_finite() { value.clamp(0.0, 1.0) } else { 0.0 };
    format!("hsl({:.0} 60% {:.0}%)", 285.0 - 230.0 * value, 18.0 + 52.0 * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heatmaps(maps: &[Heatmap], description: &str) -> String {
        let svg = super::heatmaps(maps, description);
        roxmltree::Document::parse(&svg).unwrap();
        svg
    }

    #[test]
    fn a_matrix_has_a_cell_for_each_value() {
        let names = vec!["<a>".to_owned(), "b".to_owned()];
        let values = vec![vec![Some(1.0), None], vec![Some(0.5), Some(f64::NAN)]];
        let marks = vec![vec![false, true], vec![true, false]];
        let svg = heatmaps(&[Heatmap { title: "t".to_owned(), names, values, largest: 1.0, marks }], "d");
        // Where there is no value there is nothing to mark.
        assert_eq!(svg.matches("<circle").count(), 1);
        assert_eq!(svg.matches("</rect>").count(), 2);
        assert!(svg.contains("b, &lt;a&gt;: 0.500") && !svg.contains("<a>"), "{svg}");
    }

    #[test]
    fn many_matrices_stand_below_each_other() {
        let map = Heatmap {
            title: "t".to_owned(),
            names: vec!["a".to_owned()],
            values: vec![vec![Some(1.0)]],
            largest: 1.0,
            marks: Vec::new(),
        };
        let size = |n: usize| {
            let svg = heatmaps(&vec![map.clone(); n], "d");
            assert_eq!(svg.matches("<g ").count(), n);
            let size = svg.split('"').nth(3).unwrap().to_owned();
            assert!(n < 5 || svg.contains(&format!("translate(0 {})", 2.0 * (SIDE + LEFT + 50.0))), "{svg}");
            size
        };
        assert_eq!((size(1), size(2), size(5)), ("0 0 450 480".into(), "0 0 900 480".into(), "0 0 900 1440".into()));
    }
}
