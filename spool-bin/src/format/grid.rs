//! A grid of text: columns are as wide as needed, and narrowed where that is too wide for the terminal.
//!
//! First free text is cut at its end, then names in their middle; then columns that can be spared move to a line below each
//! row. Numbers, states, ports and the count of further hops are never cut.

use super::cell::{Cell, MARK};
use std::io::{self, Write};

/// The narrowest width of a grid.
pub(crate) const NARROWEST: usize = 40;
/// Widths to which free text and names are shortened, one after the other, before columns move to a line below.
const FLOORS: [(usize, usize); 2] = [(24, 24), (8, 12)];
/// Indentation of the line below.
const BELOW: usize = 4;
/// When a column becomes narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shrinks {
    /// Numbers and states.
    Never,
    /// Free text.
    First,
    /// Names.
    Second,
}

/// A column: its title, and when it becomes narrower.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    shrinks: Shrinks,
    /// The order in which columns move to a line below, the highest first; 0: never.
    spare: u8,
}

impl Column {
    pub(super) const fn new(title: &'static str, shrinks: Shrinks, spare: u8) -> Self {
        Self {
            title,
            shrinks,
            spare,
        }
    }
}

/// Columns of a grid.
#[derive(Debug, Clone)]
pub(super) struct Grid<const N: usize> {
    columns: [Column; N],
    /// `None`: on a line below.
    widths: [Option<usize>; N],
    width: usize,
}

impl<const N: usize> Grid<N> {
    /// Columns for `rows` in at most `width` columns of a terminal.
    pub(super) fn new(columns: [Column; N], rows: &[[Cell; N]], width: usize) -> Self {
        let cells = |place: usize| rows.iter().filter_map(move |row| row.get(place));
        let (mut most, mut least) = ([0; N], [0; N]);
        for (place, ((column, most), least)) in columns.iter().zip(&mut most).zip(&mut least).enumerate() {
            let title = column.title.chars().count();
            *most = cells(place).map(Cell::most).max().unwrap_or(0).max(title);
            *least = match column.shrinks {
                Shrinks::Never => *most,
                Shrinks::First | Shrinks::Second => {
                    cells(place).map(Cell::least).max().unwrap_or(0).max(MARK)
                }
            };
        }
        let is_empty = |place: usize| cells(place).all(Cell::is_empty);
        let widths = most.map(Some);
        let mut grid = Self {
            columns,
            widths,
            width,
        };
        // Empty columns first.
        while grid.total() > width && grid.leave_out(|place, _| is_empty(place)) {}
        loop {
            for (text, name) in FLOORS {
                grid.narrow(Shrinks::First, &least.map(|least| least.max(text)), width);
                grid.narrow(Shrinks::Second, &least.map(|least| least.max(name)), width);
            }
            if grid.total() <= width || !grid.leave_out(|_, _| true) {
                break;
            }
            for (width, most) in grid.widths.iter_mut().zip(most) {
                *width = width.map(|_| most);
            }
        }
        grid.narrow(Shrinks::First, &least, width);
        grid.narrow(Shrinks::Second, &least, width);
        grid
    }

    /// The width of all columns.
    fn total(&self) -> usize {
        let shown = || self.widths.iter().flatten();
        shown().sum::<usize>() + 2 * shown().count().saturating_sub(1)
    }

    /// Narrows columns of one kind, the widest first, down to `least`.
    fn narrow(&mut self, shrinks: Shrinks, least: &[usize; N], width: usize) {
        let mut excess = self.total().saturating_sub(width);
        while excess > 0 {
            let all = self.widths.iter_mut().zip(&self.columns).zip(least);
            let shrinking = all.filter(|((_, column), _)| column.shrinks == shrinks);
            let shrinking = shrinking.filter_map(|((width, _), least)| {
                let width = width.as_mut()?;
                (*width > *least).then_some(width)
            });
            let Some(widest) = shrinking.max_by_key(|width| **width) else {
                return;
            };
            *widest -= 1;
            excess -= 1;
        }
    }

    /// Leaves out one of the columns that can be spared and are `wanted`; `false` when there is none.
    fn leave_out(&mut self, wanted: impl Fn(usize, &Column) -> bool) -> bool {
        let all = self.widths.iter_mut().zip(&self.columns).enumerate();
        let spare = all
            .filter(|(place, (width, column))| width.is_some() && column.spare > 0 && wanted(*place, column));
        let first = spare.max_by_key(|(_, (_, column))| column.spare);
        first.map(|(_, (width, _))| width.take()).is_some()
    }

    /// The titles, and a rule below them.
    pub(super) fn head(&self, out: &mut impl Write) -> io::Result<()> {
        let shown = self.columns.iter().zip(self.widths);
        let titles = shown.filter_map(|(column, width)| {
            let width = width?;
            Some(format!("{:<width$}", Cell::text(column.title, 0).fit(width)))
        });
        let titles: Vec<String> = titles.collect();
        writeln!(out, "{}", titles.join("  ").trim_end())?;
        writeln!(out, "{}", "-".repeat(self.total()))
    }

    /// One row, and below it the cells without a column, without the end of the last line.
    pub(super) fn line(&self, row: &[Cell; N], out: &mut impl Write) -> io::Result<()> {
        let cells = || row.iter().zip(self.widths).zip(&self.columns);
        let shown = cells().filter_map(|((cell, width), _)| width.map(|width| (cell, width)));
        let shown: Vec<String> = shown
            .map(|(cell, width)| format!("{:<width$}", cell.fit(width)))
            .collect();
        out.write_all(shown.join("  ").trim_end().as_bytes())?;
        let below = cells().filter(|((cell, width), _)| width.is_none() && !cell.is_empty());
        let mut taken = self.width;
        for ((cell, _), column) in below {
            let room = self.width.saturating_sub(BELOW + column.title.len() + 2);
            let piece = format!("{}: {}", column.title, cell.fit(cell.most().min(room)));
            let length = piece.chars().count();
            let before = match taken.saturating_add(2 + length) <= self.width {
                true => "  ".to_owned(),
                false => {
                    taken = 0;
                    format!("\n{}", " ".repeat(BELOW))
                }
            };
            taken += length + if taken == 0 { BELOW } else { 2 };
            write!(out, "{before}{piece}")?;
        }
        Ok(())
    }
}

/// Prints a table: the titles, and a line for each row.
pub(super) fn print<const N: usize>(
    columns: [Column; N],
    rows: &[[Cell; N]],
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let grid = Grid::new(columns, rows, width);
    grid.head(out)?;
    rows.iter().try_for_each(|row| {
        grid.line(row, out)?;
        writeln!(out)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use spool_core::NextHop;

    const COLUMNS: [Column; 5] = [
        Column::new("next hop", Shrinks::Second, 0),
        Column::new("messages", Shrinks::Never, 2),
        Column::new("sessions", Shrinks::Never, 3),
        Column::new("rate", Shrinks::Never, 4),
        Column::new("state", Shrinks::First, 0),
    ];

    fn printed(rows: &[[Cell; 5]], width: usize) -> Vec<String> {
        let grid = Grid::new(COLUMNS, rows, width);
        let mut out = Vec::new();
        grid.head(&mut out).unwrap();
        for row in rows {
            grid.line(row, &mut out).unwrap();
            out.push(b'\n');
        }
        let text = String::from_utf8(out).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn hops(texts: &[&str]) -> Vec<NextHop> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn names_are_cut_in_their_middle_and_text_at_its_end() {
        let hop = Cell::hops(&hops(&["first.mail.example.net:2525", "b.example:25"]));
        assert_eq!(hop.fit(60), "first.mail.example.net:2525, b.example:25");
        assert_eq!(hop.fit(30), "first.mail.example.net:2525 +1");
        assert_eq!(hop.fit(20), "first…le.net:2525 +1");
        assert_eq!(hop.fit(hop.least()), "…:2525 +1");
        let exchangers = Cell::hops(&hops(&["mx:example.net:25"]));
        assert_eq!(exchangers.fit(exchangers.least()), "mx:…:25");
        assert_eq!(Cell::text("slower: 450 4.7.0 wait", 6).fit(12), "slower: 450…");
    }

    #[test]
    fn text_makes_room_before_names_and_names_before_columns() {
        let row = [
            Cell::hops(&hops(&["mx.example.net:25"])),
            Cell::whole(12),
            Cell::whole("2 of 4"),
            Cell::whole("30.0/min"),
            Cell::text(format!("slower: {}", "x".repeat(100)), 6),
        ];
        let at = |width| printed(std::slice::from_ref(&row), width).split_off(2).join("\n");
        assert_eq!(
            at(60),
            "mx.example.net:25  12        2 of 4    30.0/min  slower: xx…"
        );
        assert_eq!(at(52), "mx.e….net:25  12        2 of 4    30.0/min  slower:…");
        assert_eq!(
            at(40),
            "mx.example.net:25  12        slower: xx…\n    sessions: 2 of 4  rate: 30.0/min"
        );
    }

    fn host() -> impl Strategy<Value = String> {
        ("[a-z]{1,40}(\\.[a-z]{1,40}){0,3}", 1..=65_535_u16, any::<bool>())
            .prop_map(|(host, port, mx)| format!("{}{host}:{port}", if mx { "mx:" } else { "" }))
    }

    prop_compose! {
        fn row()(
            hops in proptest::collection::vec(host(), 0..4),
            numbers in any::<[u32; 2]>(),
            state in "(well|slower|fewer sessions|left alone)",
            reason in ".{0,200}",
        ) -> ([Cell; 5], String, String) {
            let hops: Vec<NextHop> = hops.iter().map(|hop| hop.parse().unwrap()).collect();
            let end = match hops.as_slice() {
                [] => "(no route)".to_owned(),
                [one] => format!(":{}", one.port()),
                [first, rest @ ..] => format!(":{} +{}", first.port(), rest.len()),
            };
            let text = format!("{state}: {}", spool_core::harmless(&reason));
            let row = [
                Cell::hops(&hops),
                Cell::whole(numbers[0]),
                Cell::whole(format!("{} of {}", numbers[1], numbers[0])),
                Cell::whole("0.5/min"),
                Cell::text(text, state.len()),
            ];
            (row, end, state)
        }
    }

    proptest! {
        #[test]
        fn lines_fit_the_width_and_rows_stay_distinguishable(
            rows in proptest::collection::vec(row(), 1..6),
            width in NARROWEST..200_usize,
        ) {
            let cells: Vec<[Cell; 5]> = rows.iter().map(|(row, ..)| row.clone()).collect();
            let lines = printed(&cells, width);
            // The lines below a row belong to it.
            let mut told: Vec<String> = Vec::new();
            for line in lines.iter().skip(2) {
                match told.last_mut() {
                    Some(row) if line.starts_with("    ") => *row += &format!("{line}  "),
                    _ => told.push(format!("{line}  ")),
                }
            }
            prop_assert_eq!(told.len(), rows.len());
            for line in &lines {
                prop_assert!(line.chars().count() <= width, "{}: {line}", width);
            }
            for (line, (row, end, state)) in told.iter().zip(&rows) {
                let all = row[0].in_full.as_deref();
                let names_all = all.is_some_and(|all| line.starts_with(all));
                prop_assert!(names_all || line.contains(end.as_str()), "{line}: {end}");
                prop_assert!(line.contains(&format!(" {state}")), "{line}: {state}");
                for (title, number) in [("messages", &row[1].text), ("sessions", &row[2].text)] {
                    let in_column = lines[0].contains(title) && line.contains(&format!("  {number}  "));
                    let below = line.contains(&format!("{title}: {number}  "));
                    prop_assert!(in_column || below, "{line}: {title} {number}");
                }
            }
        }
    }
}
