//! The request for an operation, and its checks.

use super::kind::Operation;
use crate::config::parse_span;
use crate::selector::Selector;
use clap::Args;
use serde::{Deserialize, Serialize};
use spool_actors::NewRoute;
use spool_core::store::Archive;
use spool_core::{NextHop, Queue, RetryInterval};
use std::time::Duration;

/// The most next hops of one route in a request.
const MAX_NEXT_HOPS: usize = 100;

/// A request. Its first fields are also the options of the commands that select messages. Every field may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Request {
    /// Ids of messages
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// All messages
    #[arg(long)]
    pub(crate) all: bool,
    /// Frozen messages
    #[arg(long)]
    pub(crate) frozen: bool,
    /// Frozen messages that failed or expired, and about which no notice was returned
    #[arg(long)]
    pub(crate) failed: bool,
    /// Messages in this queue: active, frozen, removed, quarantine
    #[arg(long, value_name = "Q")]
    pub(crate) queue: Option<String>,
    /// Messages whose sender matches
    #[arg(long, value_name = "REGEX")]
    pub(crate) sender: Option<String>,
    /// Messages with a recipient that matches
    #[arg(long, value_name = "REGEX")]
    pub(crate) recipient: Option<String>,
    /// Messages with a next hop that matches
    #[arg(long, value_name = "REGEX")]
    pub(crate) next_hop: Option<String>,
    /// Messages at least this old: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "SPAN")]
    pub(crate) older: Option<String>,
    /// Messages younger than this
    #[arg(long, value_name = "SPAN")]
    pub(crate) younger: Option<String>,
    #[arg(skip)]
    pub(crate) dry_run: bool,
    #[arg(skip)]
    pub(crate) retry_intervals: Vec<String>,
    #[arg(skip)]
    pub(crate) from: Option<String>,
    #[arg(skip)]
    pub(crate) next_hops: Vec<String>,
    #[arg(skip)]
    pub(crate) by_config: bool,
    #[arg(skip)]
    pub(crate) reason: Option<String>,
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) operation: Operation,
    pub(crate) selector: Selector,
    pub(crate) dry_run: bool,
    /// Of `send`.
    pub(crate) retry_intervals: Vec<RetryInterval>,
    /// The archive of the messages; `None`: they are on the spool.
    pub(crate) archive: Option<Archive>,
    /// Of `purge`: only what was removed longer ago.
    pub(crate) older_than: Duration,
    /// Of `reroute`.
    pub(crate) route: NewRoute,
    /// The request in one line, for the log.
    pub(crate) words: String,
    /// Of `bounce`.
    pub(crate) reason: Option<String>,
}

/// Conditions that the log names; further ones are counted.
const MAX_WORDS: usize = 20;

impl Request {
    /// As JSON, without the fields that have their default values: an older service does not know all of them.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        let default = serde_json::to_value(Self::default())?;
        let mut json = serde_json::to_value(self)?;
        if let Some(fields) = json.as_object_mut() {
            fields.retain(|name, value| default.get(name) != Some(value));
        }
        serde_json::to_string(&json)
    }

    /// The conditions, by the names they have in a query.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = [
            ("all", self.all.then_some("true")),
            ("frozen", self.frozen.then_some("true")),
            ("failed", self.failed.then_some("true")),
            ("queue", self.queue.as_deref()),
            ("sender", self.sender.as_deref()),
            ("recipient", self.recipient.as_deref()),
            ("next_hop", self.next_hop.as_deref()),
            ("older", self.older.as_deref()),
            ("younger", self.younger.as_deref()),
        ];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        self.ids.iter().map(|id| ("id", id.as_str())).chain(named)
    }

    /// The request in one line: `recipient=@example\.net$ older=1d`.
    fn words(&self) -> String {
        let named = |name: &'static str, values: &[String]| -> Vec<String> {
            values.iter().map(|value| format!("{name}={value}")).collect()
        };
        let mut all: Vec<String> = self
            .conditions()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        all.extend(named("from", self.from.as_slice()));
        all.extend(named("to", &self.next_hops));
        all.extend(self.by_config.then(|| "by_config=true".to_owned()));
        all.extend(named("retry_interval", &self.retry_intervals));
        let more = all.len().saturating_sub(MAX_WORDS);
        all.truncate(MAX_WORDS);
        let mut words = all.join(" ");
        if more > 0 {
            words.push_str(&format!(" and {more} more"));
        }
        words
    }

    /// Checks it for `operation`.
    ///
    /// # Errors
    /// The field and what is wrong with it.
    pub(crate) fn check(mut self, operation: Operation) -> Result<Order, String> {
        let words = self.words();
        for (field, is_set, its) in [
            (
                "retry_intervals",
                !self.retry_intervals.is_empty(),
                Operation::Send,
            ),
            ("from", self.from.is_some(), Operation::Recover),
            ("reason", self.reason.is_some(), Operation::Bounce),
            ("next_hops", !self.next_hops.is_empty(), Operation::Reroute),
            ("by_config", self.by_config, Operation::Reroute),
        ] {
            if is_set && operation != its {
                let (its, name) = (its.name(), operation.name());
                return Err(format!("{field}: goes with {its}, not with {name}"));
            }
        }
        let route = match operation == Operation::Reroute {
            true => self.new_route()?,
            false => NewRoute::ByConfig,
        };
        let older_than = match operation == Operation::Purge {
            true => self.purge_age()?,
            false => Duration::ZERO,
        };
        let selector = Selector::read(self.conditions())?;
        if operation != Operation::Purge {
            selector.check()?;
        }
        let archive = archive(operation, self.from.as_deref(), selector.queue)?;
        Ok(Order {
            operation,
            selector,
            dry_run: self.dry_run,
            retry_intervals: intervals(&self.retry_intervals)?,
            archive,
            older_than,
            route,
            words,
            reason: self.reason,
        })
    }

    /// The route of reroute.
    fn new_route(&self) -> Result<NewRoute, String> {
        match (self.next_hops.as_slice(), self.by_config) {
            ([], true) => Ok(NewRoute::ByConfig),
            ([], false) | ([_, ..], true) => Err("reroute: give either next_hops or by_config".to_owned()),
            (hops, false) if hops.len() > MAX_NEXT_HOPS => Err(format!("next_hops: at most {MAX_NEXT_HOPS}")),
            (hops, false) => {
                let hop = |text: &String| {
                    let hop = text.parse::<NextHop>();
                    hop.map_err(|error| format!("next_hops: {}: {error}", spool_core::harmless(text)))
                };
                Ok(NewRoute::To(hops.iter().map(hop).collect::<Result<_, _>>()?))
            }
        }
    }

    /// The age of purge: since the removal, not since the arrival.
    fn purge_age(&mut self) -> Result<Duration, String> {
        if self.younger.is_some() || self.frozen || self.failed {
            return Err("purge: goes with ids, sender, recipient and next_hop only".to_owned());
        }
        let older = self
            .older
            .take()
            .ok_or("older: purge deletes for good, so the age since the removal is required, such as 30d")?;
        parse_span(&older).map_err(|error| format!("older: {error}"))
    }
}

/// Reads retry intervals, without jitter.
pub(crate) fn intervals(spans: &[String]) -> Result<Vec<RetryInterval>, String> {
    let read = |text: &String| {
        let span = parse_span(text).map_err(|error| format!("retry_intervals: {error}"))?;
        Ok(RetryInterval::new(span, Duration::ZERO))
    };
    spans.iter().map(read).collect()
}

/// Where the messages of `operation` are.
fn archive(
    operation: Operation,
    from: Option<&str>,
    queue: Option<Queue>,
) -> Result<Option<Archive>, String> {
    let named = |name: &str| {
        let found = name.parse().ok().and_then(Archive::of_queue);
        found.ok_or_else(|| {
            format!(
                "from: {}: neither removed nor quarantine",
                spool_core::harmless(name)
            )
        })
    };
    let of_queue = queue.and_then(Archive::of_queue);
    let archive = match operation == Operation::Recover {
        true => Some(match from {
            Some(from) => named(from)?,
            None => of_queue.unwrap_or(Archive::Removed),
        }),
        false => (operation == Operation::Purge).then_some(Archive::Removed),
    };
    match (archive, queue) {
        (None, Some(queue)) if of_queue.is_some() => Err(format!(
            "queue: {} works on the spool, and {queue} messages are off it; recover them first",
            operation.name()
        )),
        (Some(archive), Some(queue)) if archive.queue() != queue => Err(format!(
            "queue: {queue} messages cannot be {} from {}",
            operation.done(),
            archive.queue()
        )),
        (archive, _) => Ok(archive),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: Operation, json: &str) -> Result<Order, String> {
        let request: Request = serde_json::from_str(json).map_err(|error| error.to_string())?;
        request.check(operation)
    }

    #[test]
    fn only_fields_that_are_set_are_sent() {
        let request = Request {
            all: true,
            older: Some("1d".to_owned()),
            ..Request::default()
        };
        assert_eq!(request.to_json().unwrap(), r#"{"all":true,"older":"1d"}"#);
        assert_eq!(Request::default().to_json().unwrap(), "{}");
    }

    #[test]
    fn a_request_without_selection_is_refused() {
        use Operation::{Freeze, Purge, Recover, Remove, Send};
        for operation in [Freeze, Send, Remove, Recover, Purge] {
            for (json, word) in [
                (
                    "{}",
                    if operation == Operation::Purge {
                        "older"
                    } else {
                        "selected"
                    },
                ),
                (r#"{"colour":"red"}"#, "colour"),
                (r#"{"ids":["../../etc/passwd"],"older":"1d"}"#, "id: "),
                (r#"{"all":true,"sender":"a","older":"1d"}"#, "all"),
                (r#"{"sender":"(","older":"1d"}"#, "sender"),
            ] {
                let error = check(operation, json).unwrap_err();
                assert!(error.contains(word), "{} {json}: {error}", operation.name());
            }
        }
    }

    #[test]
    fn each_operation_takes_only_its_own_fields() {
        for (operation, json) in [
            (Operation::Freeze, r#"{"all":true,"retry_intervals":["1m"]}"#),
            (Operation::Remove, r#"{"all":true,"from":"removed"}"#),
            (Operation::Freeze, r#"{"queue":"removed"}"#),
            (Operation::Recover, r#"{"from":"active","all":true}"#),
            (Operation::Recover, r#"{"from":"removed","queue":"quarantine"}"#),
            (Operation::Recover, r#"{"queue":"frozen"}"#),
            (Operation::Purge, r#"{"older":"1d","younger":"2d"}"#),
            (Operation::Purge, r#"{"older":"1d","queue":"quarantine"}"#),
            (Operation::Send, r#"{"all":true,"retry_intervals":["soon"]}"#),
            (Operation::Expire, r#"{"all":true,"reason":"x"}"#),
            (Operation::Bounce, r#"{"all":true,"by_config":true}"#),
            (Operation::Bounce, r#"{"queue":"removed"}"#),
        ] {
            assert!(check(operation, json).is_err(), "{} {json}", operation.name());
        }
        let send = check(
            Operation::Send,
            r#"{"frozen":true,"retry_intervals":["1m","2h"]}"#,
        )
        .unwrap();
        assert_eq!(send.retry_intervals.len(), 2);
        assert!(send.selector.is_frozen_only() && send.archive.is_none());
        let recover = |json| check(Operation::Recover, json).unwrap().archive;
        assert_eq!(recover(r#"{"all":true}"#), Some(Archive::Removed));
        assert_eq!(recover(r#"{"queue":"quarantine"}"#), Some(Archive::Quarantine));
        assert_eq!(
            recover(r#"{"all":true,"from":"quarantine"}"#),
            Some(Archive::Quarantine)
        );
        let purge = check(Operation::Purge, r#"{"older":"30d","dry_run":true}"#).unwrap();
        assert_eq!(purge.older_than, Duration::from_secs(30 * 86_400));
        assert!(purge.dry_run && purge.selector.is_everything());
    }

    #[test]
    fn only_reroute_takes_a_route() {
        let route = |json: &str| check(Operation::Reroute, json).map(|order| order.route);
        assert_eq!(route(r#"{"all":true,"by_config":true}"#), Ok(NewRoute::ByConfig));
        let hops = ["a:25", "b:26"].map(|hop| hop.parse().unwrap());
        assert_eq!(
            route(r#"{"next_hop":"dead","next_hops":["a:25","b:26"]}"#),
            Ok(NewRoute::To(hops.into()))
        );
        for json in [
            r#"{"all":true}"#,
            r#"{"all":true,"by_config":true,"next_hops":["a:25"]}"#,
            r#"{"all":true,"next_hops":["a"]}"#,
            r#"{"by_config":true}"#,
            r#"{"queue":"removed","by_config":true}"#,
        ] {
            assert!(route(json).is_err(), "{json}");
        }
        assert!(check(Operation::Send, r#"{"all":true,"by_config":true}"#).is_err());
        assert!(check(Operation::Freeze, r#"{"all":true,"next_hops":["a:25"]}"#).is_err());
    }

    #[test]
    fn a_route_has_no_more_next_hops_than_allowed() {
        let reroute = |count: usize| {
            let hops: Vec<String> = (0..count).map(|n| format!("h{n}.example:25")).collect();
            let json = serde_json::json!({"all": true, "next_hops": hops}).to_string();
            check(Operation::Reroute, &json).map(drop)
        };
        assert_eq!(reroute(100), Ok(()));
        assert_eq!(reroute(101), Err("next_hops: at most 100".to_owned()));
    }
}
