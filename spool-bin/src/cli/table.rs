//! The options of commands that print a list of the service as a table or as JSON.

use super::columns::Columns;
use super::console;
use super::which::Admin;
use crate::failure::Failure;
use clap::Args;
use serde::de::DeserializeOwned;
use std::io::Write;

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

    /// The answer of the service, to be printed as a table; `None` when it was printed as JSON.
    pub(super) fn ask(&self, path: &str) -> Result<Option<String>, Failure> {
        let answer = self.admin.service()?.request("GET", path, None)?;
        let text = answer.lines().collect::<Result<Vec<_>, _>>()?.join("\n");
        if !self.is_json() {
            return Ok(Some(text));
        }
        if !text.is_empty() {
            console::print(|out| writeln!(out, "{text}"))?;
        }
        Ok(None)
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::Failed(format!(
            "the service's answer is not understood ({error}); with --format json it is shown as it is"
        ))
    })
}
