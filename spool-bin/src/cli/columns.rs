//! `--width`: how many columns the lines of a command may take.

use super::console;
use crate::format::NARROWEST;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Columns {
    /// Columns to fit the lines into, at least 40 [default: the terminal's, or as many as it takes]
    #[arg(long, value_name = "N", value_parser = columns)]
    width: Option<usize>,
}

impl Columns {
    pub(super) fn width(&self) -> usize {
        width(self.width, usize::MAX)
    }
}

/// The width of the option, or of the terminal, or `otherwise` where there is none. A terminal that is too narrow breaks the lines itself.
pub(super) fn width(asked: Option<usize>, otherwise: usize) -> usize {
    let width = asked.or_else(console::columns).unwrap_or(otherwise);
    width.max(NARROWEST)
}

/// Reads `--width`.
pub(super) fn columns(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(width) if width >= NARROWEST => Ok(width),
        Ok(_) => Err(format!("lines need at least {NARROWEST} columns")),
        Err(_) => Err(format!("not a number of columns, which is {NARROWEST} or more")),
    }
}
