//! What a history knows of the notices of its spool: no sender is notified twice, no failed recipient is forgotten, and no notice is lost.

use crate::history::{History, Life, ask};
use crate::reference::Chance;
use spool_actors::{Bounce, Expire, Get, GetBody};
use spool_core::bounce::{NoticeConfig, OnFailure};
use spool_core::{Job, MessageId, RetryInterval, RetryPolicy};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The notices seen so far, on the spool or by a next hop. A notice that was tried, or found when nothing ran, is durable.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// For each recipient, the notices that say it has failed.
    pub(crate) failed: BTreeMap<String, BTreeSet<MessageId>>,
    /// For each recipient, the notices that say it is late.
    delayed: BTreeMap<String, BTreeSet<MessageId>>,
    /// All of them.
    pub(crate) ids: BTreeSet<MessageId>,
    /// Those that a next hop took.
    pub(crate) taken: BTreeSet<MessageId>,
}

impl Told {
    pub(crate) fn note(&mut self, id: MessageId, body: &[u8]) {
        self.ids.insert(id);
        let text = std::str::from_utf8(body).unwrap();
        for block in text.split("\r\n\r\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            let Some(recipient) = field("Final-Recipient: rfc822; ") else {
                continue;
            };
            let told = match field("Action: ") {
                Some("failed") => &mut self.failed,
                Some("delayed") => &mut self.delayed,
                other => panic!("{id}: {other:?}"),
            };
            told.entry(recipient.to_owned()).or_default().insert(id);
        }
    }

    /// A next hop is asked to take a notice.
    pub(crate) fn tried(&mut self, job: &Job) {
        assert_eq!(job.envelope.recipients[0].address.as_str(), "a@example.org");
        self.note(job.message, &job.body);
    }
}

/// How the spool of a history returns notices, if it does.
pub(crate) fn config(chance: &mut Chance) -> Option<NoticeConfig> {
    let minute = RetryInterval::new(Duration::from_secs(60), Duration::from_secs(20));
    let mut notices = NoticeConfig::new("mta.example");
    notices.per_hour = u32::MAX;
    notices.retry = RetryPolicy {
        intervals: vec![minute; chance.below(4)],
        repeat_last: false,
        expire_after: None,
    };
    if chance.below(4) == 0 {
        notices.on_failure = OnFailure::Freeze;
    }
    notices.delay_warning_after = (chance.below(2) == 0).then_some(Duration::from_secs(90));
    (chance.below(4) > 0).then_some(notices)
}

impl History {
    pub(crate) async fn bounce(&mut self, life: &Life) {
        let ids = self.some();
        let reason = Some("by\r\nhand".to_owned());
        if let Some(Ok(outcome)) = ask(life, Bounce { ids, reason }).await {
            self.tally.ended += outcome.done as u64;
        }
    }

    pub(crate) async fn expire(&mut self, life: &Life) {
        let ids = self.some();
        let outcome = ask(life, Expire(ids.clone())).await;
        let done = outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        self.tally.ended += done.map_or(0, |outcome| outcome.done as u64);
    }

    /// `living`: the notices that are on the spool now, while nothing runs; `open`: the recipients of all other messages, those that are to be
    /// tried or have failed without a notice.
    pub(crate) async fn check_notices(
        &mut self,
        life: &Life,
        living: &BTreeSet<MessageId>,
        open: &BTreeSet<String>,
    ) {
        for id in living {
            let details = ask(life, Get(*id)).await.unwrap().unwrap();
            let parent = details.message.parent.expect("a notice has a parent");
            assert!((0..20).any(|nth| id.is_notice(parent, nth)), "{id} of {parent}");
            let body = ask(life, GetBody(*id)).await.unwrap().unwrap();
            self.seen.lock().unwrap().told.note(*id, &body);
        }
        let seen = self.seen.lock().unwrap();
        let told = &seen.told;
        for (recipient, ids) in told.failed.iter().chain(&told.delayed) {
            assert_eq!(ids.len(), 1, "{recipient} is told of in {ids:?}");
        }
        for recipient in told.failed.keys() {
            assert!(!open.contains(recipient), "{recipient}: told of, and not done");
        }
        for id in &told.ids {
            assert!(
                living.contains(id) || told.taken.contains(id),
                "{id}: the notice is lost"
            );
        }
    }
}
