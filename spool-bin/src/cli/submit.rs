//! `spool submit`: spools one message through a running service.

use super::console;
use super::which::Admin;
use crate::failure::Failure;
use base64::Engine;
use clap::Args;
use serde::Deserialize;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool submit --from ada@example.org --to bob@example.net message.eml
  printf 'Subject: hi\\n\\nhello\\n' | spool submit --from ada@example.org --to bob@example.net
  spool submit --idempotency-key invoice-4711 --from ada@example.org --to bob@example.net invoice.eml

Line ends become CRLF. The ids of the spooled messages are printed, one a line: they are durable \
by then.")]
pub(super) struct Submit {
    /// The sender; empty for the null reverse-path
    #[arg(long, value_name = "ADDRESS")]
    from: String,
    /// A recipient, or several
    #[arg(long, value_name = "ADDRESS", required = true, num_args = 1..)]
    to: Vec<String>,
    /// Spool it frozen: it waits for `spool send`
    #[arg(long)]
    frozen: bool,
    /// The message; `-` or none: standard input
    #[arg(value_name = "FILE", last = false)]
    file: Option<PathBuf>,
    /// A name for this submission. When it is repeated within idempotency.window (a day), nothing is spooled and the ids
    /// of the first submission are printed; with another body or envelope it is refused
    #[arg(long, value_name = "K")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

/// The answer of the service.
#[derive(Deserialize)]
struct Spooled {
    ids: Vec<String>,
}

impl Submit {
    /// `--to A B FILE`: the last one is no recipient if it has no `@`, as every address does.
    fn tell_file_from_recipient(&mut self) {
        if self.file.is_none()
            && self.to.len() > 1
            && let Some(file) = self.to.pop_if(|last| !last.contains('@'))
        {
            self.file = Some(file.into());
        }
    }

    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.tell_file_from_recipient();
        let body = console::input(self.file.as_deref(), u64::MAX)?;
        let mut request = serde_json::json!({
            "from": self.from,
            "to": self.to,
            "frozen": self.frozen,
            "body_base64": base64::engine::general_purpose::STANDARD.encode(body),
        });
        if let (Some(key), Some(request)) = (self.idempotency_key, request.as_object_mut()) {
            request.insert("idempotency_key".to_owned(), key.into());
        }
        let (service, request) = (self.admin.service()?, request.to_string());
        let answer = service.request("POST", "/api/v1/messages", Some(&request))?;
        let Spooled { ids } = answer.json()?;
        console::print(|out| ids.iter().try_for_each(|id| writeln!(out, "{id}")))
    }
}
