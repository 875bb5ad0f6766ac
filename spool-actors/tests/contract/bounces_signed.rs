//! Notices are signed before they are written, and never lost for want of a signature.

use crate::support::*;
use bytes::Bytes;
use spool_actors::{Add, KillAndFlush};
use spool_core::bounce::NoticeConfig;
use spool_core::{BoxFuture, ReversePath, SignError, Signer, SpoolConfig, Stage};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const SIGNATURE: &[u8] = b"DKIM-Signature: v=1\r\n";

/// What a signer does with a notice, once it may.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Signature,
    Failure,
    Panic,
}

#[derive(Debug)]
struct Scripted {
    answer: Answer,
    open: watch::Receiver<bool>,
}

impl Signer for Scripted {
    fn sign(&self, message: Bytes) -> BoxFuture<Result<Bytes, SignError>> {
        let (answer, mut open) = (self.answer, self.open.clone());
        Box::pin(async move {
            open.wait_for(|open| *open).await.unwrap();
            match answer {
                Answer::Signature => Ok([SIGNATURE, message.as_ref()].concat().into()),
                Answer::Failure => Err(SignError::Failed("no key".to_owned())),
                Answer::Panic => panic!("told to panic"),
            }
        })
    }
}

fn signing(config: &mut SpoolConfig, answer: Answer, open: watch::Receiver<bool>) {
    let mut notices = NoticeConfig::new("mta.example.org");
    notices.retry = minutes(&[5]);
    config.notices = Some(notices);
    config.signer = Some(Arc::new(Scripted { answer, open }));
}

fn mail_that_fails() -> Add {
    let body = Bytes::from_static(b"Subject: hi\r\n\r\nHello\r\n");
    Add::new(envelope(&["b@example.net"]), body).next_hop("mx.example.net:25")
}

fn refusal() -> Verdict {
    refused(Stage::Rcpt, 550, "5.1.1 no such user")
}

#[tokio::test]
async fn a_notice_is_signed_before_it_is_written() {
    let (_gate, open) = watch::channel(true);
    let mut bench = Bench::with(|config| signing(config, Answer::Signature, open)).await;
    bench.add(mail_that_fails()).await;
    bench.answer(refusal()).await;
    let (job, answer) = bench.jobs.next().await;
    assert_eq!(job.envelope.reverse_path, ReversePath::Null);
    assert!(job.body.starts_with(SIGNATURE), "{:?}", job.body);
    let size = u64::try_from(job.body.len()).unwrap();
    assert_eq!(bench.details(job.message).await.message.body_size, size);
    answer.send(accepted()).unwrap();
    bench.idle().await;
    end(bench.spool).await;
}

#[tokio::test]
async fn a_signer_that_fails_or_panics_loses_no_notice() {
    for answer in [Answer::Failure, Answer::Panic] {
        let (_gate, open) = watch::channel(true);
        let mut bench = Bench::with(|config| signing(config, answer, open)).await;
        bench.add(mail_that_fails()).await;
        bench.answer(refusal()).await;
        let (job, sent) = bench.jobs.next().await;
        assert_eq!(job.envelope.reverse_path, ReversePath::Null);
        assert!(!job.body.starts_with(SIGNATURE), "{answer:?}");
        sent.send(accepted()).unwrap();
        bench.idle().await;
        end(bench.spool).await;
    }
}

#[tokio::test]
async fn a_shutdown_waits_for_the_signature_of_a_notice() {
    let (gate, open) = watch::channel(false);
    let mut bench = Bench::with(|config| signing(config, Answer::Signature, open)).await;
    let id = bench.add(mail_that_fails()).await;
    bench.answer(refusal()).await;
    // The attempt has ended, and the notice waits for its signature.
    while bench.details(id).await.message.state.in_flight.is_none() {
        tokio::task::yield_now().await;
    }
    let mut ended = Box::pin(bench.spool.send(KillAndFlush { timeout: None }));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut ended).await;
    assert!(early.is_err(), "the notice is not written yet");
    gate.send(true).unwrap();
    ended.await.unwrap();
    let messages = on_disk(bench.dir.path());
    assert_eq!(
        messages.len(),
        1,
        "the message has ended in the change of its notice"
    );
    assert!(messages[0].id.is_notice(id, 0));
    assert_eq!(messages[0].parent, Some(id));
}
