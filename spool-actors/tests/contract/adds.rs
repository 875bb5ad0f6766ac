//! Adding mail: durable when it is answered, whole or not at all, and within the limits.

use crate::support::*;
use bytes::Bytes;
use spool_actors::{Add, ListMessages, Spool};
use spool_core::store::count_from_disk;
use spool_core::{AddError, EventKind, RetryPolicy, RouteOrigin, Section, Submission};

fn section(to: &[&str], next_hops: &[&str]) -> Section {
    Section {
        envelope: envelope(to),
        next_hops: next_hops.iter().map(|hop| hop.parse().unwrap()).collect(),
        origin: RouteOrigin::Named,
        retry: RetryPolicy::default(),
    }
}

/// An add whose body is taken as it is: [`Add::new`] corrects the line ends.
fn unchanged(body: &'static str) -> Add {
    let sections = vec![section(&["b@x.example"], &["x:25"])];
    Add::submission(Submission::new(sections, Bytes::from_static(body.as_bytes())))
}

#[tokio::test]
async fn add_answers_when_it_is_durable_and_delivered_mail_leaves_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, mut jobs) = open(dir.path()).await;
    let mut events = Spool::subscribe(&spool).await.unwrap();
    let ids = spool.send(mail("hello\nthere")).await.unwrap().unwrap();
    assert_eq!(ids.len(), 1);
    let disk = on_disk(dir.path());
    assert_eq!(
        (disk[0].id, disk[0].envelope.reverse_path.as_str()),
        (ids[0], "a@example.org")
    );
    let job = jobs.answer(accepted()).await;
    assert_eq!(
        (job.message, job.body, job.recipients),
        (ids[0], Bytes::from_static(b"hello\r\nthere\r\n"), vec![0])
    );
    assert_eq!(event(&mut events).await, EventKind::Spooled);
    assert_eq!(event(&mut events).await, EventKind::Delivered);
    assert_eq!(count_from_disk(&dir.path().join("spool")).unwrap(), 0);
    end(spool).await;
}

#[tokio::test]
async fn an_add_is_spooled_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (spool, _jobs) = open(dir.path()).await;
    let good = vec![
        section(&["b@x.example"], &["x:25"]),
        section(&["c@y.example"], &["y:25"]),
    ];
    let ids = spool
        .send(Add::sections(good, "body").frozen())
        .await
        .unwrap()
        .unwrap();
    let disk = on_disk(dir.path());
    assert_eq!((ids.len(), disk.len()), (2, 2));
    assert!(
        disk.iter()
            .map(|message| message.related.to_vec())
            .all(|related| related.len() == 1 && ids.contains(&related[0]))
    );
    for bad in [
        Add::sections(
            vec![
                section(&["b@x.example"], &["x:25"]),
                section(&["c@y.example"], &[]),
            ],
            "body",
        ),
        Add::sections(vec![], "body"),
        Add::new(envelope(&[]), "body").next_hop("x:25"),
        Add::new(envelope(&["b@x.example"]), "body").next_hop("no port"),
        Add::new(envelope(&["b@x.example"]), "NUL \0").next_hop("x:25"),
        unchanged("no line end"),
        unchanged("a bare LF\n.\r\nMAIL FROM:<evil@x.example>\r\n"),
        unchanged("a bare\rCR\r\n"),
        unchanged("NUL \0\r\n"),
    ] {
        assert!(matches!(
            spool.send(bad).await.unwrap(),
            Err(AddError::Invalid(_))
        ));
    }
    assert_eq!(on_disk(dir.path()).len(), 2);
    end(spool).await;
}

#[tokio::test]
async fn an_add_has_no_more_recipients_than_a_submission_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.max_recipients = 3;
    config.max_concurrent_jobs = 0;
    let (spool, _jobs) = open_with(config).await;
    let two = || section(&["b@x.example", "c@x.example"], &["x:25"]);
    let over = spool
        .send(Add::sections(vec![two(), two()], "body"))
        .await
        .unwrap();
    let error = AddError::TooManyRecipients { count: 4, limit: 3 };
    assert_eq!(over, Err(error.clone()));
    assert_eq!(
        error.to_string(),
        "4 recipients are more than the 3 that one submission may have"
    );
    assert!(on_disk(dir.path()).is_empty());
    let three = Add::sections(vec![two(), section(&["d@x.example"], &["x:25"])], "body");
    let ids = spool.send(three).await.unwrap().unwrap();
    assert_eq!(ids.len(), 2, "the limit itself is allowed");
    end(spool).await;
}

#[tokio::test]
async fn limits_answer_busy_and_full_and_spool_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.memory_limit = 100_000;
    config.store.max_messages = 2;
    config.max_concurrent_jobs = 0;
    let (spool, _jobs) = open_with(config).await;
    let large = Add::new(envelope(&["b@x.example"]), vec![b'x'; 200_000]).next_hop("x:25");
    assert!(matches!(spool.send(large).await.unwrap(), Err(AddError::Busy)));
    // While the start still reads the spool, the number of messages is not known, and an add is answered Busy.
    spool.send(ListMessages::default()).await.unwrap().unwrap();
    for _ in 0..2 {
        spool.send(mail("x")).await.unwrap().unwrap();
    }
    assert!(matches!(
        spool.send(mail("x")).await.unwrap(),
        Err(AddError::Full(_))
    ));
    assert_eq!(on_disk(dir.path()).len(), 2);
    end(spool).await;
}
