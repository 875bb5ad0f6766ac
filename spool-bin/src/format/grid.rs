//! A grid of text: columns as wide as needed, and where that is too much, made narrower by what they hold.
//!
//! First free text is cut at its end, then names in their middle; then columns that can be spared go to a line below each row. What tells
//! one row from another is never cut: numbers, states, ports, the count of further hops.

use spool_core::NextHop;
use std::io::{self, Write};

/// The narrowest grid that can be asked for.
pub(crate) const NARROWEST: usize = 40;
/// To what free text and names are shortened, one after the other, before columns go to a line below: first a little, then more.
const FLOORS: [(usize, usize); 2] = [(24, 24), (8, 12)];
/// How far the line below is indented.
const BELOW: usize = 4;
/// How much of a name stands before what is left out of it.
const MARK: usize = 1;

/// What a cell says, and what of it stands however narrow its column becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    /// The same in more words, where there is room.
    in_full: Option<String>,
    /// Characters at the beginning, and at the end, that stand.
    head: usize,
    tail: usize,
}

impl Cell {
    /// Never cut.
    pub(super) fn whole(text: impl ToString) -> Self {
        let text = text.to_string();
        let head = text.chars().count();
        Self {
            text,
            head,
            ..Self::default()
        }
    }

    /// Cut at its end, behind its first `head` characters.
    pub(super) fn text(text: impl Into<String>, head: usize) -> Self {
        Self {
            text: text.into(),
            head,
            ..Self::default()
        }
    }

    /// Cut in its middle, before its last `tail` characters.
    pub(super) fn name(text: impl Into<String>, tail: usize) -> Self {
        Self {
            text: text.into(),
            tail,
            ..Self::default()
        }
    }

    /// Next hops: all of them, or the first with its port and the count of the others.
    pub(super) fn hops(hops: &[NextHop]) -> Self {
        let Some(first) = hops.first() else {
            return Self::whole(super::hops(&[]));
        };
        let more = match hops.len() {
            1 => String::new(),
            count => format!(" +{}", count - 1),
        };
        let tail = format!(":{}{more}", first.port()).chars().count();
        let all = super::hops(hops);
        Self {
            text: format!("{first}{more}"),
            in_full: (!more.is_empty()).then_some(all),
            head: if first.is_mx() { 3 } else { 0 },
            tail,
        }
    }

    fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// As many columns as it takes.
    fn most(&self) -> usize {
        self.in_full.as_ref().unwrap_or(&self.text).chars().count()
    }

    /// As few columns as it can be shown in.
    fn least(&self) -> usize {
        let whole = self.text.chars().count();
        whole.min(self.head + MARK + self.tail)
    }

    /// In `width` columns, of which there are as many as it needs at least.
    fn fit(&self, width: usize) -> String {
        let in_full = self.in_full.as_ref();
        if let Some(text) = in_full.filter(|text| text.chars().count() <= width) {
            return text.clone();
        }
        let length = self.text.chars().count();
        if length <= width {
            return self.text.clone();
        }
        let room = width.saturating_sub(self.head + MARK + self.tail);
        let before = self.head + if self.tail == 0 { room } else { room / 2 };
        let after = width.saturating_sub(before + MARK);
        let start: String = self.text.chars().take(before).collect();
        let end: String = self.text.chars().skip(length.saturating_sub(after)).collect();
        format!("{start}…{end}")
    }
}

/// How a column becomes narrower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gives {
    /// It does not.
    Nothing,
    /// First: free text.
    First,
    /// Then: names.
    Then,
}

/// A column: its title, and how it makes room for others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    title: &'static str,
    gives: Gives,
    /// The higher, the sooner it goes to a line below; never when 0.
    spare: u8,
}

impl Column {
    pub(super) const fn new(title: &'static str, gives: Gives, spare: u8) -> Self {
        Self { title, gives, spare }
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
            *least = match column.gives {
                Gives::Nothing => *most,
                Gives::First | Gives::Then => cells(place).map(Cell::least).max().unwrap_or(0).max(MARK),
            };
        }
        let is_empty = |place: usize| cells(place).all(Cell::is_empty);
        let widths = most.map(Some);
        let mut grid = Self {
            columns,
            widths,
            width,
        };
        // An empty column tells nothing.
        while grid.total() > width && grid.leave_out(|place, _| is_empty(place)) {}
        loop {
            for (text, name) in FLOORS {
                grid.narrow(Gives::First, &least.map(|least| least.max(text)), width);
                grid.narrow(Gives::Then, &least.map(|least| least.max(name)), width);
            }
            if grid.total() <= width || !grid.leave_out(|_, _| true) {
                break;
            }
            for (width, most) in grid.widths.iter_mut().zip(most) {
                *width = width.map(|_| most);
            }
        }
        grid.narrow(Gives::First, &least, width);
        grid.narrow(Gives::Then, &least, width);
        grid
    }

    /// Columns of the terminal that it takes.
    fn total(&self) -> usize {
        let shown = || self.widths.iter().flatten();
        shown().sum::<usize>() + 2 * shown().count().saturating_sub(1)
    }

    /// Narrows what gives so, the widest first, down to `least`.
    fn narrow(&mut self, gives: Gives, least: &[usize; N], width: usize) {
        let mut excess = self.total().saturating_sub(width);
        while excess > 0 {
            let all = self.widths.iter_mut().zip(&self.columns).zip(least);
            let giving = all.filter(|((_, column), _)| column.gives == gives);
            let giving = giving.filter_map(|((width, _), least)| {
                let width = width.as_mut()?;
                (*width > *least).then_some(width)
            });
            let Some(widest) = giving.max_by_key(|width| **width) else {
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

    /// One row, and below it what has no column, without the end of the last line.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: [Column; 5] = [
        Column::new("next hop", Gives::Then, 0),
        Column::new("messages", Gives::Nothing, 2),
        Column::new("sessions", Gives::Nothing, 3),
        Column::new("rate", Gives::Nothing, 4),
        Column::new("state", Gives::First, 0),
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
        fn no_line_is_wider_than_asked_for_and_what_tells_rows_apart_stands(
            rows in proptest::collection::vec(row(), 1..6),
            width in NARROWEST..200_usize,
        ) {
            let cells: Vec<[Cell; 5]> = rows.iter().map(|(row, ..)| row.clone()).collect();
            let lines = printed(&cells, width);
            // What stands below a row belongs to it.
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
