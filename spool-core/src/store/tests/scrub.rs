//! Cold data is read again, and damage in it is told of.

use super::*;
use std::collections::BTreeSet;

fn pass(store: &Store) -> (u64, Vec<Finding>) {
    let (mut bytes, mut new) = (0, Vec::new());
    for _ in 0..10_000 {
        let step = store.scrub(1000);
        bytes += step.bytes;
        new.extend(step.new_findings);
        if step.pass_over {
            return (bytes, new);
        }
    }
    panic!("a pass has no end");
}

fn mail(number: u128) -> Vec<u8> {
    format!("mail {number:03}\r\n").repeat(1200).into_bytes()
}

/// Two sealed segments and a head.
fn sample() -> (SimFs, Store) {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..=12 {
        all_ok(&store.commit(&mut [add(&[number], mail(number))]));
    }
    (fs, store)
}

fn corrupt(fs: &SimFs, name: &str, wanted: &[u8]) {
    let path = Path::new(DIR).join(name);
    let mut bytes = fs.read(&path).unwrap();
    let at = bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .unwrap();
    bytes[at + 50] ^= 1;
    fs.plant(&path, &bytes);
}

#[test]
fn intact_files_are_read_in_small_steps() {
    let (_, store) = sample();
    let (bytes, new) = pass(&store);
    assert!(new.is_empty(), "{new:?}");
    assert!(bytes > 2 * 48_000, "two segments, bodies and all: {bytes}");
    let step = store.scrub(1000);
    assert!(step.bytes < 13_000, "{} for a step of 1,000", step.bytes);
    assert!(store.scrub_findings().is_empty());
}

#[test]
fn damage_is_reported_once_with_its_messages() {
    let (fs, store) = sample();
    corrupt(&fs, "journal/0000000001.log", &mail(2)[..100]);
    let (_, new) = pass(&store);
    let [finding] = new.as_slice() else {
        panic!("{new:?}");
    };
    assert_eq!(finding.file, "journal/0000000001.log");
    assert!(finding.what.contains(&id(2).to_string()), "{finding:?}");
    assert!(!finding.what.contains(&id(3).to_string()), "{finding:?}");
    assert!(pass(&store).1.is_empty(), "it is known now");
    assert_eq!(store.scrub_findings(), new);
    // It only looks: the message says so itself when it is read, and everything else goes on.
    assert!(matches!(store.body(id(2)), Err(StoreError::Damaged { .. })));
    assert_eq!(store.body(id(3)).unwrap(), mail(3));
    all_ok(&store.commit(&mut [add(&[100], "x\r\n")]));
}

#[test]
fn damage_in_the_archives_is_reported() {
    let (fs, store) = sample();
    let mut pairs = Vec::new();
    for number in [2, 3, 4] {
        let message = store.load(id(number)).unwrap();
        let at = Timestamp(5);
        pairs.push((
            Archived {
                message,
                at,
                reason: None,
            },
            store.body(id(number)).unwrap(),
        ));
    }
    for (archive, pairs) in [
        (Archive::Removed, &pairs[..2]),
        (Archive::Quarantine, &pairs[2..]),
    ] {
        assert!(store.archive(archive, pairs).iter().all(Result::is_ok));
    }
    let (whole, new) = pass(&store);
    assert!(new.is_empty(), "{new:?}");
    let text = format!("removed/{}.eml", id(3));
    corrupt(&fs, &text, b"mail 003");
    let (bytes, new) = pass(&store);
    let [finding] = new.as_slice() else {
        panic!("{new:?}");
    };
    assert_eq!((finding.file.as_str(), finding.id), (text.as_str(), Some(id(3))));
    assert!(
        bytes + 20_000 > whole && whole > 2 * 48_000 + 3 * 12_000,
        "{bytes} of {whole}"
    );
    assert!(pass(&store).1.is_empty(), "it is known now");
    // Whoever has it no longer is not told of it.
    store.discard(Archive::Removed, &[id(3)]).unwrap();
    assert!(pass(&store).1.is_empty());
    assert!(store.scrub_findings().is_empty());
}

#[test]
fn segments_deleted_meanwhile_are_not_damage() {
    let (fs, store) = sample();
    corrupt(&fs, "journal/0000000001.log", &mail(4)[..100]);
    assert!(!store.scrub(1000).pass_over);
    all_ok(&store.commit(&mut (1..=12).map(finish).collect::<Vec<_>>()));
    store.maintain();
    assert!(pass(&store).1.is_empty());
    let ids: BTreeSet<_> = open_again(fs, store);
    assert!(ids.is_empty());
}

fn open_again(fs: SimFs, store: Store) -> BTreeSet<MessageId> {
    drop(store);
    let (_, recovery) = open(&fs);
    recovery.messages.iter().map(|message| message.id).collect()
}

#[test]
fn whoever_looks_at_the_findings_does_not_wait_for_a_step() {
    let (_, store) = sample();
    let store = Arc::new(store);
    // As a step does for as long as the disk takes to read.
    let step = locked(&store.scrub);
    let (found, findings) = std::sync::mpsc::channel();
    let other = Arc::clone(&store);
    std::thread::spawn(move || found.send(other.scrub_findings()));
    let findings = findings.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(findings, Ok(Vec::new()));
    drop(step);
}

#[test]
fn findings_and_named_messages_are_bounded() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    let ten: Vec<u128> = (1..=10).collect();
    let eleven: Vec<u128> = (11..=21).collect();
    all_ok(&store.commit(&mut [add(&ten, mail(1))]));
    all_ok(&store.commit(&mut [add(&[50], mail(50))]));
    all_ok(&store.commit(&mut [add(&eleven, mail(2))]));
    for number in 100..=112 {
        all_ok(&store.commit(&mut [add(&[number], mail(number))]));
    }
    corrupt(&fs, "journal/0000000001.log", &mail(1)[..100]);
    corrupt(&fs, "journal/0000000001.log", &mail(2)[..100]);
    let (_, new) = pass(&store);
    let [few, many] = new.as_slice() else {
        panic!("{new:?}");
    };
    assert!(
        few.what.contains(&id(1).to_string()) && few.what.contains(&id(10).to_string()),
        "{few:?}"
    );
    assert!(many.what.ends_with("; 11 messages"), "{many:?}");
    for number in 1..=1001 {
        let pair = Path::new(DIR).join("removed").join(id(1000 + number).to_string());
        fs.plant(&pair.with_extension("eml"), b"x\r\n");
        fs.plant(&pair.with_extension("json"), b"{");
    }
    let (_, new) = pass(&store);
    assert_eq!(new.len(), 1001, "each is told");
    assert_eq!(store.scrub_findings().len(), 1000);
}
