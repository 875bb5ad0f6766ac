//! `spool submit`: spools one message through a running service.

use super::console;
use super::which::Admin;
use crate::failure::Failure;
use base64::Engine;
use clap::Args;
use std::io::Read;
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
        let unreadable = |name: &str, error: std::io::Error| Failure::Failed(format!("{name}: {error}"));
        let mut body = Vec::new();
        match self.file.as_deref().filter(|file| file.as_os_str() != "-") {
            Some(file) => {
                body = std::fs::read(file).map_err(|error| unreadable(&file.display().to_string(), error))?
            }
            None => drop(
                std::io::stdin()
                    .lock()
                    .read_to_end(&mut body)
                    .map_err(|error| unreadable("standard input", error))?,
            ),
        }
        let mut request = serde_json::json!({
            "from": self.from,
            "to": self.to,
            "frozen": self.frozen,
            "body_base64": base64::engine::general_purpose::STANDARD.encode(body),
        });
        if let (Some(key), Some(request)) = (self.idempotency_key, request.as_object_mut()) {
            request.insert("idempotency_key".to_owned(), key.into());
        }
        let answer = self
            .admin
            .service()?
            .request("POST", "/api/v1/messages", Some(&request.to_string()))?
            .json()?;
        let ids = answer.get("ids").and_then(serde_json::Value::as_array);
        let mut ids = ids.into_iter().flatten().filter_map(serde_json::Value::as_str);
        console::print(|out| ids.try_for_each(|id| writeln!(out, "{id}")))
    }
}
