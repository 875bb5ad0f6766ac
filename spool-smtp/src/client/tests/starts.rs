//! The start of an attempt is recorded once, with an open session, directly before the first MAIL.

use super::peer::Act::{Close, Say};
use super::peer::{EHLO, GO, HELLO, OK, Seen, TAKEN, peer, play};
use super::pool::twice;
use super::{code, config, deliver, job};
use crate::client::SmtpAgent;
use spool_core::{AttemptReport, AttemptResult, Begin, NextHop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A start that is recorded after `look`, and the number of its calls.
fn counted(look: impl FnOnce() + Send + 'static) -> (Begin, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let ask = async move {
        look();
        counter.fetch_add(1, Ordering::SeqCst);
        true
    };
    (Begin::asking(ask), count)
}

async fn begin(agent: &SmtpAgent, hops: &[NextHop], begin: Begin) -> AttemptReport {
    let mut job = job(hops, &["b@example.net"], b"x\r\n");
    job.begin = begin;
    deliver(agent, job).await
}

fn is_not_begun(report: &AttemptReport) -> bool {
    matches!(report.result, AttemptResult::NotBegun { .. })
}

#[tokio::test]
async fn a_refused_start_sends_nothing_and_keeps_the_session() {
    let (hop, seen) = peer(&[&twice()]).await;
    let (next, not_asked) = peer(&[&twice()]).await;
    let agent = SmtpAgent::new(config());
    let refused = Begin::asking(std::future::ready(false));
    let report = begin(&agent, &[hop.clone(), next.clone()], refused).await;
    assert!(is_not_begun(&report), "{report:?}");
    assert_eq!((seen.count("EHLO"), seen.count("MAIL")), (1, 0));
    assert!(not_asked.from.lock().unwrap().is_empty());
    let shown = agent.snapshot();
    assert_eq!((shown.open, shown.destinations[0].idle), (1, 1), "{shown:?}");
    let report = begin(&agent, &[hop, next], Begin::recorded()).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
    assert_eq!((seen.count("EHLO"), seen.bodies()), (1, 1));
}

#[tokio::test]
async fn a_start_that_is_refused_at_the_second_host_is_no_attempt_although_the_first_replied() {
    let (no, _) = peer(&[&[Say(b"554 no\r\n"), Close]]).await;
    let (next, seen) = peer(&[&twice()]).await;
    let refused = Begin::asking(std::future::ready(false));
    let report = begin(&SmtpAgent::new(config()), &[no, next], refused).await;
    assert!(is_not_begun(&report), "{report:?}");
    assert_eq!((seen.count("EHLO"), seen.count("MAIL")), (1, 0));
}

#[tokio::test]
async fn the_start_is_recorded_once_and_only_with_a_session() {
    let refusals: [(&[_], _); 2] = [
        (&[Say(b"554 no\r\n"), Close], 0),
        (
            &[
                HELLO,
                EHLO,
                Say(b"451 later\r\n"),
                Say(b"503 x\r\n"),
                Say(b"503 x\r\n"),
            ],
            1,
        ),
    ];
    for (refusal, asked_at_first) in refusals {
        let (first, seen_first) = peer(&[refusal]).await;
        let (second, seen_second) = peer(&[&twice()]).await;
        let seen = [seen_first, seen_second];
        let then = seen.clone();
        let look = move || {
            let hellos = then.each_ref().map(|seen| seen.count("EHLO"));
            assert_eq!(hellos, [asked_at_first, 1 - asked_at_first]);
            assert_eq!(then.map(|seen| seen.count("MAIL")), [0, 0]);
        };
        let (asking, count) = counted(look);
        let report = begin(&SmtpAgent::new(config()), &[first, second], asking).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(seen.map(|seen| seen.count("MAIL")), [asked_at_first, 1]);
    }
}

#[tokio::test]
async fn no_start_is_recorded_without_a_session() {
    let dead: NextHop = "127.0.0.1:1".parse().unwrap();
    // It offers no 8BITMIME.
    let (unable, seen) = peer(&[&[HELLO, Say(b"250 peer\r\n")]]).await;
    let (asking, count) = counted(|| ());
    let mut job = job(&[dead, unable], &["b@example.net"], "\u{fc}\r\n".as_bytes());
    job.begin = asking;
    let report = deliver(&SmtpAgent::new(config()), job).await;
    assert!(
        matches!(report.result, AttemptResult::NoConnection { .. }),
        "{report:?}"
    );
    assert_eq!((count.load(Ordering::SeqCst), seen.count("EHLO")), (0, 1));
}

#[tokio::test]
async fn a_session_that_ends_while_the_start_is_recorded_is_replaced_and_the_start_stays_recorded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop: NextHop = listener.local_addr().unwrap().into();
    let (end, ended) = oneshot::channel::<()>();
    let (gone, is_gone) = oneshot::channel::<()>();
    let seen = Seen::default();
    let notes = seen.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let first = play(stream, twice(), notes.clone());
        tokio::select! { _ = first => {}, _ = ended => {} }
        gone.send(()).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        play(stream, twice(), notes).await;
    });
    let agent = SmtpAgent::new(config());
    let hops = [hop];
    assert_eq!(code(&begin(&agent, &hops, Begin::recorded()).await.result), 250);
    let asking = Begin::asking(async {
        end.send(()).unwrap();
        is_gone.await.unwrap();
        true
    });
    let report = begin(&agent, &hops, asking).await;
    assert_eq!(code(&report.result), 250, "{}", report.result);
    assert_eq!((seen.count("EHLO"), seen.bodies()), (2, 2));
}

#[tokio::test]
async fn a_start_that_is_not_recorded_in_time_is_withdrawn() {
    let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN]]).await;
    let mut config = config();
    config.attempt_timeout = Duration::from_millis(500);
    let never = Begin::asking(std::future::pending());
    let report = begin(&SmtpAgent::new(config), &[hop], never).await;
    assert!(is_not_begun(&report), "{report:?}");
    assert_eq!(seen.count("MAIL"), 0);
}
