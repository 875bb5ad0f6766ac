//! A spool with everything in it: three segments with every kind of frame, a spare, both logs in two files each, pairs on
//! both archives.

use super::*;

/// Live afterwards: 1 with a state and a mark, 2 frozen and copied forward, 3 with a name, 4 and 5 of one add, 8.
/// Removed: 6. Quarantined: 9. Ended: 7.
pub(super) fn spool() -> SimFs {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [
        add(&[1], "Subject: one\r\n\r\none\r\n"),
        named("first", 3, "Subject: three\r\n\r\nthree\r\n"),
        add(&[7], "seven\r\n"),
        begin(1, 1500),
        defer(1, 9000),
    ]));
    store.maintain();
    drop(store);
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [
        add(&[2], text(2, 300)),
        add(&[4, 5], "Subject: shared\r\n\r\nby two\r\n"),
        freeze(2),
        add(&[6], "Subject: six\r\n\r\nsix\r\n"),
        named("second", 8, "eight\r\n"),
        finish(7),
        begin(1, 9000),
    ]));
    archive(&store, Archive::Removed, 6, 6);
    all_ok(&store.commit(&mut [finish(6), freeze(6)])[..1]);
    archive(&store, Archive::Quarantine, 4, 9);
    let note = event(9, EventKind::Quarantined("odd".to_owned()));
    all_ok(&store.commit(&mut [Change::Note { events: vec![note] }]));
    store.maintain();
    // What compaction would write of it.
    let message = store.load(id(2)).unwrap();
    let body = store.body(id(2)).unwrap();
    all_ok(&store.commit(&mut [Change::Move(Addition {
        messages: vec![NewMessage {
            id: id(2),
            section: section(2),
            status: message.state.status,
            frozen: None,
            in_flight: None,
            state: Some(Box::new(message.state)),
        }],
        body,
        flows: message.flows,
        parent: message.parent,
        related: message.related.to_vec(),
        spooled_at: message.spooled_at,
        key: None,
        conclusion: None,
        events: vec![],
    })]));
    store.maintain();
    drop(store);
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [defer(4, 7000), freeze(5)]));
    store.maintain();
    drop(store);
    // All of it is on the disk.
    fs.after_power_cut(crate::store::fs::Loss::Nothing)
}

fn named(name: &str, number: u128, body: &'static str) -> Change {
    let mut change = add(&[number], body);
    if let Change::Add(addition) = &mut change {
        addition.key = Some(AddKey::new(name));
    }
    change
}

/// The message `number` as a pair of `name`.
fn archive(store: &Store, archive: Archive, number: u128, name: u128) {
    let mut message = store.load(id(number)).unwrap();
    let body = store.body(id(number)).unwrap();
    message.id = id(name);
    (message.state.status, message.state.in_flight) = (Status::Frozen, None);
    let (at, reason) = (Timestamp(5000), Some("odd".to_owned()));
    all_ok(&store.archive(archive, &[(Archived { message, at, reason }, body)]));
}

/// Every file with its bytes.
pub(super) fn files(fs: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs.files().into_iter();
    files
        .map(|path| (path.clone(), fs.read(&path).unwrap()))
        .collect()
}

/// The path of a file of the spool.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}
