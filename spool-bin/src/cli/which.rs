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
    pub(super) spool: Option<PathBuf>,
}

impl Target {
    pub(super) fn service(&self) -> Result<Service, Failure> {
        let mut service = self.admin.service()?;
        service.instead = Some("read a directory with --spool DIR");
        Ok(service)
    }
}

/// What the options select.
impl Request {
    pub(super) fn selector(&self) -> Result<Selector, Failure> {
        Selector::read(self.conditions()).map_err(Failure::Usage)
    }

    /// As a query, `?` included; empty for everything.
    pub(super) fn query(&self) -> Result<String, Failure> {
        self.selector()?;
        let pairs = self
            .conditions()
            .zip(std::iter::once("?").chain(std::iter::repeat("&")));
        let pairs = pairs.map(|((name, value), before)| format!("{before}{name}={}", encode(value)));
        Ok(pairs.collect())
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
