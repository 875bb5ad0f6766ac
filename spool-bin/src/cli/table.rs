//! The options of commands that print a list of the service as a table or as JSON.

use super::columns::Columns;
use super::console::{self, Output};
use super::which::Admin;
use crate::failure::Failure;
use clap::Args;
use serde::de::DeserializeOwned;
use std::io::{self, Write};

#[derive(Debug, Args)]
pub(super) struct TableOptions {
    #[command(flatten)]
    pub(super) admin: Admin,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    format: String,
    #[command(flatten)]
    pub(super) columns: Columns,
}

impl TableOptions {
    pub(super) fn is_json(&self) -> bool {
        self.format == "json"
    }

    /// Asks the service for a list, one JSON object a line. Prints it unchanged as JSON, otherwise by `table`, which gets the width.
    pub(super) fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        table: impl FnOnce(&[T], usize, &mut Output) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let text = self.admin.service()?.get(path)?.text()?;
        if self.is_json() {
            return console::print(|out| text.lines().try_for_each(|line| writeln!(out, "{line}")));
        }
        let all = text.lines().map(read).collect::<Result<Vec<T>, _>>()?;
        console::print(|out| table(&all, self.columns.width(), out))
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::Failed(format!(
            "the service's answer is not understood ({error}); with --format json it is shown as it is"
        ))
    })
}
