//! `spool show`: one message on the spool, removed or in quarantine.
//!
//! A directory is searched without its lock and never written.

use super::columns::Columns;
use super::console;
use super::which::Target;
use crate::failure::Failure;
use crate::format::show;
use crate::page::Page;
use crate::selector::read_id;
use clap::Args;
use spool_core::store::{
    Archive, archive_from_disk, archived_text_from_disk, mail_from_disk, status_from_disk,
};
use spool_core::{Clock, MessageId, MessageSummary, SystemClock};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool show 01M86G2VQ3ZCK4M6B0S0A98KXB                  envelope, status, recipients, every attempt
  spool show 01M86G2VQ3ZCK4M6B0S0A98KXB --body > a.eml   the message itself, byte for byte
  spool show 01M86G2VQ3ZCK4M6B0S0A98KXB --spool ./spool-data --format json

`spool status --format id` lists the ids. A delivered message no longer exists: exit status 4.")]
pub(super) struct Show {
    /// The id of the message
    #[arg(value_name = "ID")]
    id: String,
    /// Write the message itself to standard output
    #[arg(long, conflicts_with_all = ["format", "width"])]
    body: bool,
    #[command(flatten)]
    target: Target,
    /// Output format
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
    #[command(flatten)]
    columns: Columns,
}

impl Show {
    pub(super) fn run(self) -> Result<(), Failure> {
        let id = read_id(&self.id).map_err(Failure::Usage)?;
        match (&self.target.spool, self.body) {
            (None, true) => {
                let path = format!("/api/v1/messages/{id}/body");
                let answer = self.target.service()?.get(&path)?;
                console::print_raw(|out| answer.copy_to(out).map(drop))
            }
            (None, false) => {
                let path = format!("/api/v1/messages/{id}");
                self.print(&self.target.service()?.get(&path)?.json()?)
            }
            (Some(dir), true) => body_in_directory(dir, id),
            (Some(dir), false) => {
                let page = in_directory(dir, id)?.ok_or_else(|| nowhere(dir, id))?;
                self.print(&page)
            }
        }
    }

    fn print(&self, page: &Page) -> Result<(), Failure> {
        if self.format == "json" {
            return console::print_json(page);
        }
        console::print(|out| show(page, self.columns.width(), SystemClock.now(), out))
    }
}

fn nowhere(dir: &Path, id: MessageId) -> Failure {
    Failure::NoSuchMessage(format!(
        "{id}: no such message in {}: not on the spool, not removed, not in quarantine",
        dir.display()
    ))
}

fn in_directory(dir: &Path, id: MessageId) -> Result<Option<Page>, Failure> {
    let (mut page, now): (Option<Page>, _) = (None, SystemClock.now());
    let mut parts = BTreeMap::new();
    status_from_disk(dir, &mut |message| {
        if message.parent == Some(id) {
            let recipients = message.envelope.recipients.iter();
            let recipients: Vec<_> = recipients.map(|recipient| recipient.address.clone()).collect();
            parts.insert(message.id, (message.spooled_at, recipients));
        }
        if message.id == id {
            let line = MessageSummary::of(&message, now);
            page = Some(Page::of(&message, line.queue, line.status, None));
        }
    })?;
    if let Some(page) = &mut page {
        // Other messages may have it as their parent; parts were spooled when it was.
        let spooled_at = page.spooled_at;
        parts.retain(|_, (at, _)| *at == spooled_at);
        let moved: Vec<_> = parts.values().flat_map(|(_, moved)| moved).cloned().collect();
        page.divide(parts.into_keys().collect(), &moved);
    }
    for archive in Archive::ALL {
        let mut found = None;
        archive_from_disk(dir, archive, &mut |other, archived| {
            if other == id && page.is_none() {
                found = Some(archived);
            }
        })?;
        let Some(archived) = found else { continue };
        let why = |reason| Failure::Failed(format!("{id} in {}: {reason}", archive.queue()));
        let archived = archived.map_err(why)?;
        let status = MessageSummary::of(&archived.message, now).status;
        page = Some(Page::of(
            &archived.message,
            archive.queue(),
            status,
            archived.reason,
        ));
    }
    Ok(page)
}

/// From an archive or from the journal, without the lock.
fn body_in_directory(dir: &Path, id: MessageId) -> Result<(), Failure> {
    let mut found = None;
    mail_from_disk(dir, &mut |message, body| {
        if message.id == id {
            found = body();
        }
    })?;
    for archive in Archive::ALL {
        if found.is_none() {
            found = archived_text_from_disk(dir, archive, id)?;
        }
    }
    let body = found.ok_or_else(|| nowhere(dir, id))?;
    let body = body.map_err(|reason| Failure::Failed(format!("{id}: cannot be read: {reason}")))?;
    console::print_raw(|out| out.write_all(&body))
}
