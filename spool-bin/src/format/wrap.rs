//! Text wrapped to a width.

use std::io::{self, Write};

/// `first` and then `text`, broken at blanks into lines of at most `width` columns; lines after the first begin behind `indent`
/// blanks. A word is never broken: one that is wider than its line is alone in it.
pub(crate) fn wrapped(
    out: &mut impl Write,
    width: usize,
    first: &str,
    indent: usize,
    text: &str,
) -> io::Result<()> {
    let (mut line, mut column, mut fresh) = (first.to_owned(), first.chars().count(), true);
    for word in text.split(' ') {
        let length = word.chars().count();
        if !fresh && column + 1 + length > width {
            writeln!(out, "{}", line.trim_end())?;
            (line, column, fresh) = (" ".repeat(indent), indent, true);
        }
        if !fresh {
            line.push(' ');
            column += 1;
        }
        line += word;
        column += length;
        fresh = false;
    }
    writeln!(out, "{}", line.trim_end())
}
