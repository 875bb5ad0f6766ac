//! The archives: pairs of files that survive a power cut whole, are read as people leave them, and never block the journal.

use super::*;
use crate::message::FailedRecipient;
use crate::reply::Reply;
use crate::store::fs::OpKind;
use std::io::ErrorKind;

fn path(kind: &str, number: u128) -> PathBuf {
    Path::new(DIR)
        .join("removed")
        .join(format!("{}.{kind}", id(number)))
}

fn archived(number: u128, body: &Bytes) -> Archived {
    let section = section(number);
    let mut state = MessageState::new(&section, Status::Frozen, Timestamp(999));
    state.remaining = Vec::new();
    state.failed = vec![FailedRecipient {
        recipient: 1,
        reply: Some(Reply::new(550, "5.1.1 no such user")),
        reason: "550 5.1.1 no such user".to_owned(),
    }];
    state.attempts = crate::store::tests::state(number, 2000).attempts;
    Archived {
        message: Message {
            id: id(number),
            parent: Some(id(77)),
            related: vec![id(78)].into(),
            flows: vec![crate::id::FlowId::from_u128(7)],
            spooled_at: Timestamp(999),
            next_hops: section.next_hops,
            origin: section.origin,
            envelope: Arc::new(section.envelope),
            body_size: body.len() as u64,
            state,
        },
        at: Timestamp(5000),
        reason: Some("odd".to_owned()),
    }
}

fn lay(store: &Store, number: u128) -> Result<(), StoreError> {
    let body = Bytes::from(format!("body {number}\r\n"));
    let pair = (archived(number, &body), body);
    store.archive(Archive::Removed, &[pair]).remove(0)
}

fn metadata(fs: &SimFs, number: u128) -> String {
    String::from_utf8(fs.read(&path("json", number)).unwrap()).unwrap()
}

/// As a person does it who has edited the pair.
fn without_checksum(fs: &SimFs, number: u128) {
    let metadata = metadata(fs, number);
    let kept: Vec<&str> = metadata
        .lines()
        .filter(|line| !line.contains("\"checksum\""))
        .collect();
    assert_eq!(kept.len() + 1, metadata.lines().count());
    fs.plant(&path("json", number), kept.join("\n").as_bytes());
}

#[test]
fn a_pair_is_read_as_it_was_written() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    lay(&store, 1).unwrap();
    let body = Bytes::from("body 1\r\n");
    let expected = archived(1, &body);
    assert_eq!(
        store.archived(Archive::Removed, id(1)),
        Ok((expected.clone(), body))
    );
    assert_eq!(
        store.list_archive(Archive::Removed, None, 10),
        Ok(vec![(id(1), Ok(expected))])
    );
    assert_eq!(
        store.archived(Archive::Quarantine, id(1)),
        Err(StoreError::NoSuchMessage(id(1)))
    );
    let metadata = metadata(&fs, 1);
    for readable in [
        "\"sender\": \"sender1@example.org\"",
        "\"shelved_at\": \"1970-01-01T00:00:05.000Z\"",
        "\"fate\": \"done\"",
        "\"fate\": \"failed\"",
        "no such user",
    ] {
        assert!(metadata.contains(readable), "{readable} in {metadata}");
    }
}

#[test]
fn a_listing_continues_after_an_id_and_shows_errors() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in [3, 1, 2] {
        lay(&store, number).unwrap();
    }
    fs.plant(&path("json", 2), b"{\"sender\": 5}");
    for foreign in ["notes.txt", "x.json", "01jdf3t0000000000000000007.json"] {
        fs.plant(&Path::new(DIR).join("removed").join(foreign), b"{}");
    }
    let page = |after, limit| store.list_archive(Archive::Removed, after, limit).unwrap();
    let first = page(None, 2);
    assert_eq!((first[0].0, first[1].0), (id(1), id(2)));
    let why = first[1].1.as_ref().unwrap_err();
    assert!(
        why.contains("line 1") && why.contains(&id(2).to_string()),
        "{why}"
    );
    let rest = page(Some(id(2)), 10);
    assert_eq!((rest.len(), rest[0].0), (1, id(3)));
    without_checksum(&fs, 3);
    fs.plant(&path("eml", 3), b"a\0b");
    let why = store.archived(Archive::Removed, id(3)).unwrap_err().to_string();
    assert!(why.contains("NUL at byte 1"), "{why}");
    fs.unlink(&path("eml", 3)).unwrap();
    let why = page(Some(id(2)), 10)[0].1.clone().unwrap_err();
    assert!(why.contains("eml is missing"), "{why}");
    store.discard(Archive::Removed, &[id(1), id(2), id(9)]).unwrap();
    assert_eq!(page(None, 10).len(), 1);
}

#[test]
fn an_edited_pair_is_accepted_without_a_checksum() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let refused = |result: Result<(Archived, Bytes), StoreError>| {
        let reason = result.unwrap_err().to_string();
        assert!(reason.contains("Remove the line with \"checksum\""), "{reason}");
    };
    let listed = || store.list_archive(Archive::Removed, None, 9).unwrap().remove(0).1;
    lay(&store, 1).unwrap();
    let whole = metadata(&fs, 1);
    // Laid out differently, it says the same.
    let value: serde_json::Value = serde_json::from_str(&whole).unwrap();
    fs.plant(&path("json", 1), value.to_string().as_bytes());
    assert!(store.archived(Archive::Removed, id(1)).is_ok());

    let edited = whole.replace("r1@example.net", "other@example.net");
    fs.plant(&path("json", 1), edited.as_bytes());
    refused(store.archived(Archive::Removed, id(1)));
    assert!(listed().unwrap_err().contains("checksum"));
    without_checksum(&fs, 1);
    let (archived, _) = store.archived(Archive::Removed, id(1)).unwrap();
    let first = &archived.message.envelope.recipients[0];
    assert_eq!(first.address.to_string(), "other@example.net");

    fs.plant(&path("json", 1), whole.as_bytes());
    fs.plant(&path("eml", 1), b"body 2\r\n");
    refused(store.archived(Archive::Removed, id(1)));
    assert!(listed().is_ok(), "a listing reads no texts");
    fs.plant(&path("eml", 1), b"longer\r\n\r\n");
    assert!(listed().unwrap_err().contains("checksum"));
    without_checksum(&fs, 1);
    let (_, text) = store.archived(Archive::Removed, id(1)).unwrap();
    assert_eq!(text, "longer\r\n\r\n");
}

#[test]
fn metadata_out_of_bounds_is_refused_with_its_place() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    fs.plant(&path("eml", 1), b"x\n");
    for (metadata, why) in [
        (
            r#"{"sender":"a@b","recipients":[],"next_hops":["x:25"]}"#,
            "no recipient",
        ),
        (
            r#"{"sender":"a@b","recipients":[7],"next_hops":["x:25"]}"#,
            "an address",
        ),
        (
            r#"{"sender":"a@b","recipients":["c@d"],"next_hops":[]}"#,
            "next_hops",
        ),
        (
            r#"{"sender":"a@b\r\nRCPT TO:<x@y>","recipients":["c@d"],"next_hops":["x:25"]}"#,
            "sender",
        ),
        (
            r#"{"sender":"a@b","recipients":[{"address":"c@d","orcpt":"a\r\nDATA"}],"next_hops":["x:25"]}"#,
            "orcpt",
        ),
        (
            r#"{"sender":"a@b","recipients":["c@d"],"next_hops":["x:25"],"parameters":{"envid":"a\tb"}}"#,
            "envid",
        ),
        (
            r#"{"sender":"a@b","recipients":["c@d"],"next_hops":["x:25"],"parameters":{"colour":"a"}}"#,
            "colour",
        ),
        (
            r#"{"sender":"a@b","recipients":["c@d"],"next_hops":["x:25"],"spooled_at":"yesterday"}"#,
            "yesterday",
        ),
        (
            r#"{"sender":"a@b","recipients":["c@d"],"next_hops":["x:25"],"id":"01JDF3T0000000000000000007"}"#,
            "copy",
        ),
        (
            r#"{"sender":"a@b","recipients":[{"address":"c@d","fate":"done"}],"next_hops":["x:25"]}"#,
            "no recipient",
        ),
    ] {
        fs.plant(&path("json", 1), metadata.as_bytes());
        match store.archived(Archive::Removed, id(1)) {
            Err(StoreError::Damaged { reason, .. }) => {
                assert!(reason.contains(why), "{reason} for {metadata}")
            }
            other => panic!("{other:?} for {metadata}"),
        }
    }
}

#[test]
fn a_failing_disk_fails_the_pair_and_leaves_nothing() {
    for (kind, nth) in [
        (OpKind::Create, 0),
        (OpKind::Write, 0),
        (OpKind::Sync, 0),
        (OpKind::Rename, 0),
        (OpKind::SyncDir, 0),
        (OpKind::Write, 1),
        (OpKind::Sync, 1),
        (OpKind::Rename, 1),
        (OpKind::SyncDir, 1),
    ] {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        lay(&store, 9).unwrap();
        fs.fail(kind, nth, ErrorKind::StorageFull);
        let laid = lay(&store, 1);
        assert!(
            matches!(laid, Err(StoreError::Full(_))),
            "{kind:?} {nth}: {laid:?}"
        );
        let left: Vec<PathBuf> = fs
            .files()
            .into_iter()
            .filter(|path| path.to_string_lossy().contains(&id(1).to_string()))
            .collect();
        assert!(left.is_empty(), "{kind:?} {nth}: {left:?}");
        all_ok(&store.commit(&mut [add(&[50], "x\r\n")]));
        lay(&store, 1).unwrap();
    }
}

#[test]
fn a_full_disk_leaves_the_pair_that_was_to_be_replaced() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    lay(&store, 1).unwrap();
    let before = (fs.read(&path("eml", 1)), metadata(&fs, 1));
    fs.set_capacity(Some(fs.used()));
    let body = Bytes::from("another body\r\n".repeat(1000));
    let pair = (archived(1, &body), body);
    let laid = store.archive(Archive::Removed, &[pair]).remove(0);
    assert!(matches!(laid, Err(StoreError::Full(_))), "{laid:?}");
    assert_eq!((fs.read(&path("eml", 1)), metadata(&fs, 1)), before);
    let (_, text) = store.archived(Archive::Removed, id(1)).unwrap();
    assert_eq!(text, "body 1\r\n");
    assert_eq!(fs.read(&path("eml.draft", 1)), None);
}
