//! The power is cut at every operation on the disk between the add of a message that fails and the end of its notice: there is one notice in
//! the end, never none and never two.

use crate::support::{envelope, minutes};
use bytes::Bytes;
use spool_actors::{Add, KillAndFlush, Spool, SpoolActor, WaitIdle, WhenLoaded};
use spool_core::bounce::NoticeConfig;
use spool_core::store::fs::{Loss, SimFs};
use spool_core::{
    AttemptReport, AttemptResult, BoxFuture, DeliveryAgent, Job, ManualClock, MessageId, NoDice,
    RefusedRecipient, Reply, SpoolConfig,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Refuses one of two recipients for good, defers the other once, and takes notices.
#[derive(Default)]
struct Peer {
    /// The notices that were taken, and whom they are about.
    notices: Mutex<BTreeSet<(MessageId, Vec<String>)>>,
}

struct Agent(Arc<Peer>);

impl DeliveryAgent for Agent {
    fn deliver(&self, job: Job) -> BoxFuture<AttemptReport> {
        let mut report = AttemptReport::new(AttemptResult::Accepted(Reply::new(250, "ok")));
        if job.envelope.reverse_path.is_null() {
            let text = String::from_utf8(job.body.to_vec()).unwrap();
            let about = text
                .lines()
                .filter_map(|line| line.strip_prefix("Final-Recipient: rfc822; "));
            let about = about.map(str::to_owned).collect();
            self.0.notices.lock().unwrap().insert((job.message, about));
        } else {
            report.result = AttemptResult::AllRefused;
            let both = job.recipients.len() == 2;
            report.refused = job
                .recipients
                .iter()
                .map(|recipient| RefusedRecipient {
                    recipient: *recipient,
                    reply: match (recipient, both) {
                        (1, true) => Reply::new(450, "4.2.0 later"),
                        _ => Reply::new(550, "5.1.1 no"),
                    },
                })
                .collect();
        }
        Box::pin(std::future::ready(report))
    }
}

async fn start(fs: &SimFs, clock: &ManualClock, peer: &Arc<Peer>) -> actix::Addr<SpoolActor> {
    let mut config = SpoolConfig::new("/spool");
    config.store.segment_size = 64 << 10;
    config.store.min_free_space = 0;
    config.threads = 1;
    config.notices = Some(NoticeConfig::new("mta.example"));
    let agent = Arc::new(Agent(Arc::clone(peer)));
    let (fs, clock) = (Arc::new(fs.clone()), Arc::new(clock.clone()));
    let spool = Spool::start_on(fs, config, agent, clock, Arc::new(NoDice))
        .await
        .unwrap()
        .addr;
    spool.send(WhenLoaded).await.unwrap().unwrap();
    spool
}

/// Goes on until nothing waits; `false` when the spool has ended.
async fn to_the_end(spool: &actix::Addr<SpoolActor>, clock: &ManualClock) -> bool {
    loop {
        let idle = tokio::time::timeout(Duration::from_secs(20), spool.send(WaitIdle));
        match idle.await.expect("an answer") {
            Ok(Ok(idle)) => match idle.next_attempt {
                Some(next) => clock.set(next),
                None => return true,
            },
            Ok(Err(_)) | Err(_) => return false,
        }
    }
}

/// One history whose power is cut after `count` operations; whether it was cut at all, and the notices in the end.
async fn cut_after(count: usize, loss: Loss) -> (bool, BTreeSet<(MessageId, Vec<String>)>) {
    let (fs, peer) = (SimFs::new(), Arc::new(Peer::default()));
    let clock = ManualClock::new(crate::support::START);
    let spool = start(&fs, &clock, &peer).await;
    fs.cut_after(fs.operations().len() + count);
    let to = envelope(&["gone@example.net", "late@example.net"]);
    let add = Add::new(to, Bytes::from_static(b"Subject: x\r\n\r\nx\r\n"));
    let add = add.next_hop("mx.example.net:25").retry(&minutes(&[5]));
    let added = matches!(spool.send(add).await, Ok(Ok(_)));
    let whole = added && to_the_end(&spool, &clock).await && !fs.is_cut();
    fs.cut_after(0);
    let _ = spool
        .send(KillAndFlush {
            timeout: Some(Duration::ZERO),
        })
        .await;
    let fs = fs.after_power_cut(loss);
    let spool = start(&fs, &clock, &peer).await;
    assert!(to_the_end(&spool, &clock).await);
    let _ = spool.send(KillAndFlush { timeout: None }).await;
    let notices = peer.notices.lock().unwrap().clone();
    if added {
        let told: Vec<&String> = notices.iter().flat_map(|(_, about)| about).collect();
        assert_eq!(told.len(), 2, "{count} {loss:?}: {notices:?}");
        assert!(
            told.iter().any(|to| *to == "gone@example.net")
                && told.iter().any(|to| *to == "late@example.net")
        );
    }
    (!whole, notices)
}

#[tokio::test]
async fn wherever_the_power_is_cut_each_failure_is_told_of_once() {
    let mut cuts = 0;
    for count in 0..1000 {
        let mut was_cut = false;
        for loss in [Loss::Everything, Loss::Nothing, Loss::Torn(count as u64)] {
            let (cut, notices) = cut_after(count, loss).await;
            let mut seen = BTreeSet::new();
            for to in notices.iter().flat_map(|(_, about)| about) {
                assert!(
                    seen.insert(to.clone()),
                    "{count} {loss:?}: {to} is told twice: {notices:?}"
                );
            }
            was_cut |= cut;
        }
        if !was_cut {
            break;
        }
        cuts += 1;
    }
    println!("{cuts} places");
    assert!((8..1000).contains(&cuts), "{cuts}");
}
