//! `spool export`: messages of a directory as plain files.
//!
//! It reads the spool without its lock, beside whatever service runs on it, and never writes there.

use super::console;
use crate::failure::Failure;
use crate::operation::Request;
use clap::Args;
use indicatif::ProgressBar;
use spool_core::store::{
    Archive, Archived, archive_from_disk, archived_text_from_disk, export_pair, mail_from_disk,
};
use spool_core::{Clock, Message, MessageId, MessageSummary, SystemClock, Timestamp, harmless};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool export --spool /var/spool/out --to ./mail                    everything on the spool
  spool export --spool /var/spool/out --frozen --older 2d --to ./old
  spool export --spool /var/spool/out --queue removed --to ./removed

Each message becomes ID.eml, byte for byte as it would be sent, and ID.json with its envelope and every attempt. \
The spool is only read: what was exported is still on it. Copied into the removed directory of a spool, a pair comes back \
with `spool recover ID`.")]
pub(super) struct Export {
    #[command(flatten)]
    which: Request,
    /// The spool's directory, with or without a service running on it
    #[arg(long, value_name = "DIR")]
    spool: PathBuf,
    /// Where to write; made when missing
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

/// What was written, and what could not be.
struct ExportOutcome<'a> {
    to: &'a Path,
    now: Timestamp,
    done: usize,
    /// Damaged places that may have held mail.
    damaged: usize,
    errors: BTreeMap<MessageId, String>,
    bar: ProgressBar,
}

impl Export {
    pub(super) fn run(self) -> Result<(), Failure> {
        let selector = self.which.selector()?;
        let is_spool = self.to.join("FORMAT").exists() || self.to.join("journal").exists();
        if is_spool || is_inside(&self.to, &self.spool) {
            let (to, what) = (
                self.to.display(),
                if is_spool { "a spool" } else { "inside the spool" },
            );
            return Err(Failure::Usage(format!(
                "--to {to}: is {what}; name another directory"
            )));
        }
        let mut outcome = ExportOutcome {
            to: &self.to,
            now: SystemClock.now(),
            done: 0,
            damaged: 0,
            errors: BTreeMap::new(),
            bar: console::progress(None, "{spinner} {pos} exported, {per_sec}"),
        };
        let now = outcome.now;
        let meant = |message: &Message, archive: Option<Archive>| {
            let mut summary = MessageSummary::of(message, now);
            summary.queue = archive.map_or(summary.queue, Archive::queue);
            selector.matches(&summary, now)
        };
        // Made only once the spool was found to be one.
        let made = std::cell::OnceCell::new();
        let make = || {
            made.get_or_init(|| std::fs::create_dir_all(&self.to).err())
                .is_none()
        };
        match selector.archive() {
            None => {
                outcome.damaged = mail_from_disk(&self.spool, &mut |message, body| {
                    if meant(&message, None) && make() {
                        let body = body();
                        let (at, reason) = (now, None);
                        outcome.write(Archived { message, at, reason }, body);
                    }
                })?;
            }
            Some(archive) => archive_from_disk(&self.spool, archive, &mut |id, archived| match archived {
                Ok(archived) => {
                    if meant(&archived.message, Some(archive)) && make() {
                        let text = archived_text_from_disk(&self.spool, archive, id);
                        let text = text.unwrap_or_else(|error| Some(Err(error.to_string())));
                        outcome.write(archived, text);
                    }
                }
                Err(reason) => drop(outcome.errors.insert(id, reason)),
            })?,
        }
        if let Some(Some(error)) = made.get() {
            return Err(Failure::Failed(format!("--to {}: {error}", self.to.display())));
        }
        outcome.end()
    }
}

impl ExportOutcome<'_> {
    /// Without a body it has gone meanwhile, or comes again.
    fn write(&mut self, archived: Archived, body: Option<Result<bytes::Bytes, String>>) {
        let Some(body) = body else { return };
        let id = archived.message.id;
        let written = body.and_then(|body| {
            export_pair(self.to, archived, body).map_err(|error| format!("{}: {error}", self.to.display()))
        });
        match written {
            Ok(()) => {
                self.done += 1;
                self.bar.inc(1);
            }
            Err(reason) => drop(self.errors.insert(id, reason)),
        }
    }

    fn end(self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        console::print(|out| writeln!(out, "{} exported", self.done))?;
        let errors = self.errors.iter();
        let mut text: Vec<String> = errors
            .map(|(id, reason)| format!("{id}: {}", harmless(reason)))
            .collect();
        if self.damaged > 0 {
            let (count, s) = (self.damaged, if self.damaged == 1 { "" } else { "s" });
            text.push(format!(
                "{count} damaged place{s} in the journal, and mail may have stood there: see `spool fsck`"
            ));
        }
        match text.is_empty() {
            true => Ok(()),
            false => Err(Failure::Failed(text.join("\nspool: "))),
        }
    }
}

/// Whether `to`, which need not be there yet, lies in the directory `spool`: what is written there would take the place of
/// what it holds.
fn is_inside(to: &Path, spool: &Path) -> bool {
    let (Ok(to), Ok(spool)) = (std::path::absolute(to), spool.canonicalize()) else {
        return false;
    };
    let there = to.ancestors().find_map(|path| path.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(spool))
}
