//! A grid of text: columns as wide as needed, cut to fit.

use std::io::{self, Write};

/// The least a column shrinks to.
const LEAST: usize = 4;

/// Columns of a grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid<const N: usize> {
    widths: [usize; N],
}

impl<const N: usize> Grid<N> {
    /// As wide as `head` and `rows` need; when that is more than `width`, the widest column gives way, then the next. The
    /// column `last` is what one copies: it gives way last.
    pub(super) fn new(head: &[&str; N], rows: &[[String; N]], last: usize, width: usize) -> Self {
        let mut widths = head.map(|head| head.chars().count());
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let gaps = 2 * N.saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > width {
            let yields = |place: usize| usize::from(place != last) * 1000;
            let widest = widths.iter_mut().enumerate().filter(|(_, width)| **width > LEAST);
            match widest.max_by_key(|(place, width)| **width + yields(*place)) {
                Some((_, widest)) => *widest -= 1,
                None => break,
            }
        }
        Self { widths }
    }

    /// The heads, and a rule below them.
    pub(super) fn head(&self, head: &[&str; N], width: usize, out: &mut impl Write) -> io::Result<()> {
        self.line(&head.map(str::to_owned), out)?;
        writeln!(out)?;
        let rule = self.widths.iter().sum::<usize>() + 2 * N.saturating_sub(1);
        writeln!(out, "{}", "-".repeat(rule.min(width)))
    }

    /// One row, without the end of its line.
    pub(super) fn line(&self, row: &[String; N], out: &mut impl Write) -> io::Result<()> {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(self.widths) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            let long = cell.chars().count() > width;
            let kept: String = cell
                .chars()
                .take(if long { width.saturating_sub(1) } else { width })
                .collect();
            let kept = if long { format!("{kept}…") } else { kept };
            text += &format!("{kept:<width$}");
        }
        out.write_all(text.trim_end().as_bytes())
    }
}
