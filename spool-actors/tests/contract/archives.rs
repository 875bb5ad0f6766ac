//! Quarantine, remove, purge, recover: the rows of the contract's table of operations about mail beside the queue.

use crate::support::*;
use spool_actors::{Add, GetBody, ListMessages, Purge, Quarantine, Recover, Spool};
use spool_core::store::{Archive, count_from_disk};
use spool_core::{EventKind, MessageId, Queue, ShownStatus, SpoolError};
use std::time::Duration;

#[tokio::test]
async fn quarantine_puts_mail_where_a_person_finds_it_and_in_no_listing_of_active_mail() {
    let bench = Bench::new().await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    let reason = "looks odd".to_owned();
    let quarantine = Quarantine {
        reason: reason.clone(),
        mail: mail("hello\n"),
    };
    let id = bench.ask(quarantine).await.unwrap()[0];
    assert_eq!(event(&mut events).await, EventKind::Quarantined(reason.clone()));
    let file = std::fs::read(bench.path(&format!("quarantine/{id}.eml"))).unwrap();
    assert_eq!(file, b"hello\r\n");
    assert_eq!(bench.status(id).await, None);
    assert_eq!(count_from_disk(&bench.config.dir).unwrap(), 0);
    let details = bench.details(id).await;
    assert_eq!((details.queue, details.reason), (Queue::Quarantine, Some(reason)));
    let archive = ListMessages {
        archive: Some(Archive::Quarantine),
        ..ListMessages::default()
    };
    let listed = bench.ask(archive).await.unwrap();
    assert_eq!((listed[0].id, listed[0].status), (id, ShownStatus::Quarantined));
    let bench = bench.crash().await;
    assert_eq!(done(&bench.recover(id, Archive::Quarantine).await), 1);
    assert_eq!(bench.status(id).await, Some(ShownStatus::Frozen));
    assert!(!bench.path(&format!("quarantine/{id}.eml")).exists());
    end(bench.spool).await;
}

#[tokio::test]
async fn remove_takes_only_frozen_messages_and_keeps_them_in_the_archive() {
    let mut bench = Bench::new().await;
    let waiting = bench.add(mail("waiting")).await;
    bench.answer(no_connection()).await;
    bench.idle().await;
    let outcome = bench.remove(waiting).await;
    assert_eq!(
        (outcome.done, &outcome.errors[..]),
        (0, &[SpoolError::NotFrozen(waiting)][..])
    );
    assert!(outcome.errors[0].to_string().contains("frozen"));
    bench.freeze(waiting).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    assert_eq!(done(&bench.remove(waiting).await), 1);
    assert_eq!(event(&mut events).await, EventKind::Removed);
    assert_eq!(bench.status(waiting).await, None);
    assert_eq!(count_from_disk(&bench.config.dir).unwrap(), 0);
    let bench = bench.crash().await;
    let details = bench.details(waiting).await;
    assert_eq!(
        (details.queue, details.message.state.attempts.total()),
        (Queue::Removed, 1)
    );
    assert_eq!(bench.ask(GetBody(waiting)).await.unwrap(), "waiting\r\n");
    end(bench.spool).await;
}

#[tokio::test]
async fn purge_deletes_only_what_was_removed_longer_ago() {
    let bench = Bench::new().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = bench.add(mail("x").frozen()).await;
        bench.remove(id).await;
        ids.push(id);
        bench.clock.advance(Duration::from_secs(3600));
    }
    let purge = |hours: u64| Purge {
        older_than: Duration::from_secs(hours * 3600),
        ids: None,
    };
    assert_eq!(done(&bench.ask(purge(3)).await.unwrap()), 0);
    assert_eq!(done(&bench.ask(purge(2)).await.unwrap()), 1);
    assert!(!bench.path(&format!("removed/{}.eml", ids[0])).exists());
    assert!(bench.path(&format!("removed/{}.eml", ids[1])).exists());
    end(bench.spool).await;
}

#[tokio::test]
async fn recover_brings_a_message_back_frozen_with_all_it_was() {
    let mut bench = Bench::new().await;
    let add = Add::new(envelope(&["gone@x.example", "late@x.example"]), "x").next_hop("x:25");
    let id = bench.add(add).await;
    let verdict = partly(&[(0, 550, "5.1.1 gone"), (1, 451, "4.3.0 later")]);
    bench.answer(verdict).await;
    bench.idle().await;
    bench.freeze(id).await;
    let before = bench.details(id).await.message;
    bench.remove(id).await;
    let mut events = Spool::subscribe(&bench.spool).await.unwrap();
    assert_eq!(done(&bench.recover(id, Archive::Removed).await), 1);
    assert_eq!(event(&mut events).await, EventKind::Recovered(Queue::Removed));
    let mut bench = bench.crash().await;
    assert_eq!(bench.details(id).await.message, before);
    bench.idle().await;
    assert!(bench.jobs.none(), "it is sent only by send");
    let outcome = bench.recover(id, Archive::Removed).await;
    assert_eq!(outcome.errors, [SpoolError::OnSpool(id)]);
    bench.send(id).await;
    let job = bench.answer(accepted()).await;
    assert_eq!(job.recipients, [0, 1]);
    end(bench.spool).await;
}

#[tokio::test]
async fn recover_and_remove_at_the_same_time_never_lose_the_message() {
    let bench = Bench::new().await;
    let id = bench.add(mail("x\r\n").frozen()).await;
    done(&bench.remove(id).await);
    for round in 0..50 {
        let from = Archive::Removed;
        let recover = tokio::spawn(bench.spool.send(Recover { ids: vec![id], from }));
        // As soon as it is back, if not sooner.
        while bench.remove(id).await.done == 0 {}
        assert_eq!(recover.await.unwrap().unwrap().unwrap().done, 1);
        assert_eq!(bench.details(id).await.queue, Queue::Removed, "round {round}");
    }
}

#[tokio::test]
async fn recover_takes_edited_and_foreign_made_pairs_and_refuses_broken_ones_with_the_reason() {
    let mut bench = Bench::new().await;
    let id = bench.add(mail("first\n").frozen()).await;
    bench.remove(id).await;
    let json = bench.path(&format!("removed/{id}.json"));
    let text = std::fs::read_to_string(&json).unwrap();
    let text = text.replace("b@example.net", "other@example.net");
    std::fs::write(&json, &text).unwrap();
    std::fs::write(bench.path(&format!("removed/{id}.eml")), "edited\n").unwrap();
    // It says itself that it is not what was written, until a person says that this is meant.
    let errors = bench.recover(id, Archive::Removed).await.errors;
    assert!(
        errors[0]
            .to_string()
            .contains("Remove the line with \"checksum\""),
        "{errors:?}"
    );
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("\"checksum\""))
        .collect();
    std::fs::write(&json, kept.join("\n")).unwrap();
    assert_eq!(done(&bench.recover(id, Archive::Removed).await), 1);
    bench.send(id).await;
    let job = bench.answer(accepted()).await;
    assert_eq!(
        job.envelope.recipients[0].address.to_string(),
        "other@example.net"
    );
    assert_eq!(job.body, "edited\r\n");

    let foreign = "01JDF3T0000000000000000007".parse::<MessageId>().unwrap();
    let write = |json: &str| {
        std::fs::write(bench.path(&format!("removed/{foreign}.eml")), "by hand\n").unwrap();
        std::fs::write(bench.path(&format!("removed/{foreign}.json")), json).unwrap();
    };
    for (broken, why) in [
        ("{", "line 1"),
        (
            r#"{"sender":"a@example.org","recipients":["b@example.net"]}"#,
            "next_hops",
        ),
        (
            r#"{"sender":"a@example.org","recipients":["nobody at all"],"next_hops":["x:25"]}"#,
            "nobody",
        ),
        (
            r#"{"sender":"","recipients":["b@example.net"],"next_hops":["x:25"],"colour":1}"#,
            "colour",
        ),
    ] {
        write(broken);
        let errors = bench.recover(foreign, Archive::Removed).await.errors;
        assert!(
            errors.len() == 1 && errors[0].to_string().contains(why),
            "{errors:?} for {broken}"
        );
    }
    write(r#"{"sender":"a@example.org","recipients":["b@example.net"],"next_hops":["x:25"]}"#);
    assert_eq!(done(&bench.recover(foreign, Archive::Removed).await), 1);
    bench.send(foreign).await;
    let job = bench.answer(accepted()).await;
    assert_eq!((job.message, job.body), (foreign, "by hand\r\n".into()));
    end(bench.spool).await;
}
