//! The arguments that every queue command shares: which messages, and where to ask.

use crate::failure::Failure;
use crate::selector::Selector;
use crate::target::{Service, encode};
use clap::Args;
use spool_core::store::status_from_disk;
use spool_core::{Clock, MessageSummary, SystemClock};
use std::path::{Path, PathBuf};

/// Where to ask.
#[derive(Debug, Clone, Args)]
pub(super) struct Target {
    /// The running service
    #[arg(
        long,
        value_name = "URL",
        env = "SPOOL_ADMIN",
        default_value = "http://127.0.0.1:8525",
        conflicts_with = "spool"
    )]
    admin: String,
    /// A spool directory instead, with or without a service running on it
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// Which messages.
#[derive(Debug, Clone, Args)]
pub(super) struct Which {
    /// Ids of messages
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All messages
    #[arg(long)]
    all: bool,
    /// Frozen messages
    #[arg(long)]
    frozen: bool,
    /// Messages in this queue: active, frozen
    #[arg(long, value_name = "Q")]
    queue: Option<String>,
    /// Messages whose sender matches
    #[arg(long, value_name = "REGEX")]
    sender: Option<String>,
    /// Messages with a recipient that matches
    #[arg(long, value_name = "REGEX")]
    recipient: Option<String>,
    /// Messages with a next hop that matches
    #[arg(long, value_name = "REGEX")]
    next_hop: Option<String>,
    /// Messages at least this old: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "SPAN")]
    older: Option<String>,
    /// Messages younger than this
    #[arg(long, value_name = "SPAN")]
    younger: Option<String>,
}

impl Target {
    pub(super) fn service(&self) -> Result<Service, Failure> {
        Service::new(&self.admin)
    }

    pub(super) fn directory(&self) -> Option<&Path> {
        self.spool.as_deref()
    }
}

impl Which {
    /// The conditions, by the names they have in a query.
    fn conditions(&self) -> Vec<(&'static str, &str)> {
        let mut conditions: Vec<(&str, &str)> = self.ids.iter().map(|id| ("id", id.as_str())).collect();
        if self.frozen {
            conditions.push(("queue", "frozen"));
        }
        let named = [
            ("queue", &self.queue),
            ("sender", &self.sender),
            ("recipient", &self.recipient),
            ("next_hop", &self.next_hop),
            ("older", &self.older),
            ("younger", &self.younger),
        ];
        conditions.extend(
            named
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.as_deref()?))),
        );
        conditions
    }

    /// Whether everything is meant.
    pub(super) fn is_everything(&self) -> bool {
        self.conditions().is_empty()
    }

    pub(super) fn selector(&self) -> Result<Selector, Failure> {
        let conditions = self.conditions();
        if self.all && !conditions.is_empty() {
            return Err(Failure::Usage("--all goes with no other selection".to_owned()));
        }
        let mut selector = Selector::default();
        for (name, value) in conditions {
            selector.add(name, value).map_err(Failure::Usage)?;
        }
        Ok(selector)
    }

    /// As a query, `?` included; empty for everything.
    pub(super) fn query(&self) -> Result<String, Failure> {
        self.selector()?;
        let pairs: Vec<_> = self
            .conditions()
            .iter()
            .map(|(name, value)| format!("{name}={}", encode(value)))
            .collect();
        Ok(if pairs.is_empty() {
            String::new()
        } else {
            format!("?{}", pairs.join("&"))
        })
    }

    /// The messages of a directory that are meant.
    pub(super) fn in_directory(&self, dir: &Path) -> Result<Vec<MessageSummary>, Failure> {
        let (selector, now) = (self.selector()?, SystemClock.now());
        let mut messages = Vec::new();
        status_from_disk(dir, &mut |message| {
            let summary = MessageSummary::of(&message, now);
            if selector.matches(&summary, now) {
                messages.push(summary);
            }
        })?;
        Ok(messages)
    }
}
