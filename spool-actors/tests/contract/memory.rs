//! Memory that is short: whoever waits for it is served in order.

use crate::support::*;
use spool_actors::{Add, Explain, Flushed, KillAndFlush, Remove, SendNow, Which};
use spool_core::{Hold, SpoolError};
use std::collections::VecDeque;
use std::time::Duration;

#[tokio::test]
async fn a_large_message_is_read_in_its_turn_however_many_small_ones_come() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.memory_limit = 120_000;
    let (spool, mut jobs) = open_with(config).await;
    let large = Add::new(envelope(&["b@x.example"]), vec![b'x'; 50_000])
        .next_hop("large:25")
        .frozen();
    let large = spool.send(large).await.unwrap().unwrap()[0];
    // Each has a destination of its own, so that nothing but memory holds it up.
    let mut hops = 0..;
    let mut small = || {
        let hop = format!("h{}:25", hops.next().unwrap_or(0));
        Add::new(envelope(&["b@x.example"]), vec![b'x'; 5_000]).next_hop(&hop)
    };
    let mut running = VecDeque::new();
    while spool.send(small()).await.unwrap().is_ok() {
        running.push_back(jobs.next().await.1);
    }
    assert!(running.len() > 5);
    let send = SendNow {
        which: Which::SomeMessages(vec![large]),
        retry_intervals: Vec::new(),
    };
    let sent = tokio::spawn(spool.send(send));
    let mut in_turn = false;
    for _ in 0..200 {
        let Some(answer) = running.pop_front() else { break };
        answer.send(accepted()).unwrap();
        if spool.send(small()).await.unwrap().is_ok() {
            let (job, answer) = jobs.next().await;
            running.push_back(answer);
            if job.message == large {
                in_turn = true;
                // And the one that was just added.
                running.push_back(jobs.next().await.1);
            }
        }
        if in_turn {
            break;
        }
    }
    if !in_turn {
        assert!(
            running.is_empty(),
            "small messages overtake the large one for ever"
        );
        let (job, answer) = jobs.next().await;
        assert_eq!(job.message, large);
        running.push_back(answer);
    }
    assert_eq!(done(&sent.await.unwrap().unwrap().unwrap()), 1);
    for answer in running {
        answer.send(accepted()).unwrap();
    }
    end(spool).await;
}

#[tokio::test]
async fn an_operation_that_waits_for_memory_changes_nothing_once_the_spool_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.memory_limit = 120_000;
    let (spool, mut jobs) = open_with(config).await;
    let large = Add::new(envelope(&["b@x.example"]), vec![b'x'; 50_000])
        .next_hop("large:25")
        .frozen();
    let large = spool.send(large).await.unwrap().unwrap()[0];
    let mut running = Vec::new();
    loop {
        let hop = format!("h{}:25", running.len());
        let small = Add::new(envelope(&["b@x.example"]), vec![b'x'; 5_000]).next_hop(&hop);
        if spool.send(small).await.unwrap().is_err() {
            break;
        }
        running.push(jobs.next().await.1);
    }
    let removed = tokio::spawn(spool.send(Remove(vec![large])));
    while spool.send(Explain(large)).await.unwrap().unwrap() != [Hold::Writing] {
        tokio::task::yield_now().await;
    }
    let timeout = Some(Duration::from_millis(1));
    assert_eq!(
        spool.send(KillAndFlush { timeout }).await.unwrap(),
        Flushed::Timeout
    );
    assert_eq!(removed.await.unwrap().unwrap(), Err(SpoolError::Killed));
    for answer in running {
        answer.send(accepted()).unwrap();
    }
    end(spool).await;
    let left: Vec<_> = on_disk(dir.path()).iter().map(|message| message.id).collect();
    assert_eq!(left, [large]);
}
