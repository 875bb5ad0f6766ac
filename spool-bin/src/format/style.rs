//! The formats and styles of listings.

use clap::ValueEnum;
use spool_core::Timestamp;

/// The format of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns that fit the terminal.
    #[default]
    Table,
    /// As `exim -bp` prints it.
    Exim,
    /// Ids only.
    Id,
    /// One JSON object a line.
    Json,
}

/// The format of a listing, and what it depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) format: Format,
    pub(crate) width: usize,
    pub(crate) colour: bool,
    pub(crate) now: Timestamp,
}
