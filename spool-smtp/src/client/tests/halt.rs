//! Nothing is started after the spool has ended.

use super::peer::{EHLO, GO, HELLO, OK, TAKEN, peer};
use super::{code, config, deliver, job};
use crate::client::SmtpAgent;
use spool_core::AttemptResult;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[tokio::test]
async fn no_transaction_begins_on_a_cached_session_after_the_end() {
    let (hop, seen) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN, OK, OK, GO, TAKEN]]).await;
    let agent = SmtpAgent::new(config());
    let first = job(&[hop], &["b@example.net"], b"x\r\n");
    assert_eq!(code(&deliver(&agent, first.clone()).await.result), 250);
    first.halt.set();
    let report = deliver(&agent, first).await;
    assert!(
        matches!(report.result, AttemptResult::NotBegun { .. }),
        "{report:?}"
    );
    assert_eq!(seen.count("MAIL"), 1);
}

#[tokio::test]
async fn an_attempt_that_waits_for_a_connection_when_the_spool_ends_sends_no_mail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hop = listener.local_addr().unwrap().into();
    let (connected, reached) = oneshot::channel();
    let (greet, greeted) = oneshot::channel::<()>();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&lines);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        connected.send(()).unwrap();
        greeted.await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 peer\r\n").await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            heard.lock().unwrap().push(std::mem::take(&mut line));
            stream.write_all(b"250 ok\r\n").await.unwrap();
        }
    });
    let job = job(&[hop], &["b@example.net"], b"x\r\n");
    let (halt, agent) = (job.halt.clone(), SmtpAgent::new(config()));
    let attempt = tokio::spawn(async move { deliver(&agent, job).await });
    reached.await.unwrap();
    halt.set();
    greet.send(()).unwrap();
    let report = attempt.await.unwrap();
    assert!(
        matches!(report.result, AttemptResult::NotBegun { .. }),
        "{report:?}"
    );
    let said = lines.lock().unwrap().clone();
    assert!(
        !said.is_empty() && !said.iter().any(|line| line.starts_with("MAIL")),
        "{said:?}"
    );
}

#[tokio::test]
async fn an_attempt_that_has_sent_mail_when_the_spool_ends_has_the_result_of_that_and_asks_no_other_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = listener.local_addr().unwrap().into();
    let (next, not_asked) = peer(&[&[HELLO, EHLO, OK, OK, GO, TAKEN]]).await;
    let job = job(&[first, next], &["b@example.net"], b"x\r\n");
    let halt = job.halt.clone();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.write_all(b"220 peer\r\n").await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
            let is_mail = std::mem::take(&mut line).starts_with("MAIL");
            if is_mail {
                halt.set();
            }
            let reply: &[u8] = if is_mail { b"451 later\r\n" } else { b"250 ok\r\n" };
            stream.write_all(reply).await.unwrap();
        }
    });
    let report = deliver(&SmtpAgent::new(config()), job).await;
    assert_eq!(code(&report.result), 451, "{}", report.result);
    assert!(not_asked.from.lock().unwrap().is_empty());
}
