//! The arguments of all queue commands: which messages, and which service or directory.
//!
//! A directory is read without its lock, also while a service runs on it; it is never written.

use crate::failure::Failure;
use crate::operation::Request;
use crate::print;
use crate::selector::Selector;
use crate::target::{Service, encode};
use clap::Args;
use spool_core::store::{archive_from_disk, status_from_disk};
use spool_core::{Clock, MessageSummary, SystemClock};
use std::path::{Path, PathBuf};

/// A running service, for what only a service can do.
#[derive(Debug, Clone, Args)]
pub(super) struct Admin {
    /// The running service
    #[arg(
        long,
        value_name = "URL",
        env = "SPOOL_ADMIN",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8525"
    )]
    admin: String,
    /// Holds the token that the service asks for [default: admin.token_file of /etc/spool/spool.toml, for the service there]
    #[arg(long, value_name = "FILE", env = "SPOOL_TOKEN_FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

impl Admin {
    pub(super) fn service(&self) -> Result<Service, Failure> {
        super::token::service(self.token_file.as_deref(), &self.admin)
    }
}

/// Where to ask.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    #[command(flatten)]
    admin: Admin,
    /// A spool directory instead, with or without a service running on it
    // No conflict with --admin: SPOOL_ADMIN in the environment would be one.
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// A selection of messages.
#[derive(Debug, Clone, Args)]
pub(super) struct Selection {
    #[command(flatten)]
    filters: Filters,
    /// Messages with a next hop that matches
    #[arg(long, value_name = "REGEX")]
    next_hop: Option<String>,
}

/// The same without the next hop.
#[derive(Debug, Clone, Args)]
pub(super) struct Filters {
    /// Ids of messages
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// Frozen messages
    #[arg(long)]
    frozen: bool,
    /// Frozen messages that failed or expired, and about which no notice was returned
    #[arg(long)]
    failed: bool,
    /// Messages in this queue: active, frozen, removed, quarantine
    #[arg(long, value_name = "Q")]
    queue: Option<String>,
    /// Messages whose sender matches
    #[arg(long, value_name = "REGEX")]
    sender: Option<String>,
    /// Messages with a recipient that matches
    #[arg(long, value_name = "REGEX")]
    recipient: Option<String>,
    /// Messages at least this old: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "SPAN")]
    older: Option<String>,
    /// Messages younger than this
    #[arg(long, value_name = "SPAN")]
    younger: Option<String>,
}

impl Target {
    pub(super) fn service(&self) -> Result<Service, Failure> {
        let service = self.admin.service()?;
        Ok(service.or("read a directory with --spool DIR"))
    }

    pub(super) fn directory(&self) -> Option<&Path> {
        self.spool.as_deref()
    }
}

impl Filters {
    /// The same as a request.
    pub(super) fn request(&self) -> Request {
        Request {
            ids: self.ids.clone(),
            all: self.all,
            frozen: self.frozen,
            failed: self.failed,
            queue: self.queue.clone(),
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            older: self.older.clone(),
            younger: self.younger.clone(),
            ..Request::default()
        }
    }
}

impl Selection {
    /// The same as a request.
    pub(super) fn request(&self) -> Request {
        Request {
            next_hop: self.next_hop.clone(),
            ..self.filters.request()
        }
    }

    pub(super) fn selector(&self) -> Result<Selector, Failure> {
        Selector::read(self.request().conditions()).map_err(Failure::Usage)
    }

    /// As a query, `?` included; empty for everything.
    pub(super) fn query(&self) -> Result<String, Failure> {
        self.selector()?;
        let request = self.request();
        let pairs: Vec<_> = request
            .conditions()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        Ok(if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        })
    }

    /// The selected messages of a directory, in no order. Unreadable files in an archive are reported on standard error.
    pub(super) fn in_directory(
        &self,
        dir: &Path,
        each: &mut dyn FnMut(MessageSummary),
    ) -> Result<(), Failure> {
        let (selector, now) = (self.selector()?, SystemClock.now());
        let mut offer = |summary: MessageSummary| {
            if selector.matches(&summary, now) {
                each(summary);
            }
        };
        let Some(archive) = selector.archive() else {
            status_from_disk(dir, &mut |message| offer(MessageSummary::of(&message, now)))?;
            return Ok(());
        };
        archive_from_disk(dir, archive, &mut |id, archived| {
            if let Err(reason) = &archived {
                print::print_error(&format!("{id} in {}: {reason}", archive.queue()));
            }
            offer(MessageSummary::of_archived(id, archive, archived.as_ref()));
        })?;
        Ok(())
    }
}
