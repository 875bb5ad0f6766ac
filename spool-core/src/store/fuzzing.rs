//! The bodies of the fuzz targets: any bytes as a segment, and any bytes as a whole spool directory. The suite calls them
//! too, with mutated seeds.
//!
//! They panic where a property does not hold, and are in no program.

#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a fuzz target panics"
)]

use super::change::Change;
use super::error::{OpenError, StoreError};
use super::fs::{Fs, Mode, SimFs};
use super::handle::Store;
use super::journal::decoded::Decoded;
use super::journal::frame::{self, Header, Kind};
use super::journal::record;
use super::journal::scan::{Item, Scan};
use super::journal::segment::{self, End};
use super::layout::{self, JOURNAL, SPARE, Seq};
use super::logs::event_page::EventCursor;
use super::offline::mail_from_disk_on;
use super::types::{Recovery, StoreOptions};
use super::{checkup_on, count_from_disk_on};
use crate::archive::Archive;
use crate::clock::Timestamp;
use crate::id::MessageId;
use crate::message::Message;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DIR: &str = "/spool";
/// Before the number in an id of a seed.
const ID_TIME: u128 = 1_795_491_552_000 << 80;

/// The first byte says how: bit 0, whether the checksums are made right, so that the code behind them is reached; bit 1,
/// whether bodies are checked; bit 2, whether the rest is no segment but a payload.
pub fn frames(input: &[u8]) {
    let Some((how, bytes)) = input.split_first() else {
        return;
    };
    if how & 4 != 0 {
        for kind in Kind::ALL {
            for version in 1..=frame::VERSION {
                let header = Header::of(kind, bytes, &[], 0).unwrap();
                payload(Header { version, ..header }, bytes);
            }
        }
        return;
    }
    let mut bytes = bytes.to_vec();
    if how & 1 != 0 {
        correct_checksums(&mut bytes, Seq::MIN);
    }
    scan(&bytes, how & 2 != 0);
}

/// Everything lies behind the thing before it and inside the file, and every payload is what its checksum says.
fn scan(bytes: &[u8], bodies: bool) {
    let fs = SimFs::new();
    let path = Path::new("/segment");
    fs.plant(path, bytes);
    let mut scan = Scan::new(fs.open(path, Mode::Read).unwrap(), Seq::MIN, bodies).unwrap();
    let mut at = 0;
    while let Ok(Some(item)) = scan.next() {
        let (from, length) = match item {
            Item::Frame { place, header } => {
                assert_eq!(scan.payload.len() as u64, u64::from(header.payload_len));
                assert_eq!(crc32c::crc32c(&scan.payload), header.payload_crc);
                payload(header, &scan.payload);
                (u64::from(place.offset), header.frame_len())
            }
            Item::Damage(bad) | Item::Tail(bad) => {
                assert!(bad.length > 0 && bad.length >= bad.kept);
                (bad.offset, bad.kept)
            }
        };
        assert!(from >= at, "{from}, {length} after {at}");
        at = from + length;
        assert!(at <= bytes.len() as u64);
    }
    assert!(scan.end() <= scan.size());
}

/// What can be read is written as it is read again. What no spool writes, such as a number with more bytes than it needs or a
/// host's name that is not ASCII, differs once.
fn payload(header: Header, bytes: &[u8]) {
    let Ok(change) = record::decode(header, bytes) else {
        return;
    };
    let header = Header {
        version: frame::VERSION,
        ..header
    };
    let written = |change: &Change| {
        let mut frame = Vec::new();
        assert_eq!(record::encode(change, &mut frame), Some(header.kind));
        frame.split_off(frame::HEADER)
    };
    let read = record::decode(header, &written(&change)).unwrap();
    assert_eq!(read, change);
    assert_eq!(written(&read), written(&change));
    if let Change::Add(add) | Change::Move(add) = change {
        let count = add.messages.len();
        let add = Decoded::new(add, 5);
        for index in 0..=count {
            let message = add.message(index as u32);
            assert_eq!(message.is_some(), index < count);
            if let Some(message) = message {
                let _ = message.state.retry_wait();
            }
        }
    }
}

/// Makes the checksums of a segment right, frame after frame as their lengths tell. In a frame's header byte 6, which is zero
/// on disk, says what is left wrong: bit 0 the payload, bit 1 the body, bit 2 the salt.
fn correct_checksums(bytes: &mut [u8], seq: Seq) {
    let Some(salt) = bytes.get(16..24).and_then(|salt| salt.try_into().ok()) else {
        return;
    };
    let salt = u64::from_le_bytes(salt);
    if bytes.len() < segment::HEADER {
        return;
    }
    let end = match u32::from_le_bytes(bytes[24..28].try_into().unwrap()) {
        0 => End::Unknown,
        1 => End::Open,
        end => End::At(end),
    };
    bytes[..segment::HEADER].copy_from_slice(&segment::encode_header(seq, salt, end));
    let mut at = segment::HEADER;
    while at + frame::HEADER <= bytes.len() {
        if bytes[at..at + 4] != frame::MAGIC {
            at += 1;
            continue;
        }
        let number = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap()) as usize;
        let (payload, body) = (number(at + 8), number(at + 16));
        let wrong = bytes[at + 6];
        bytes[at + 6] = 0;
        let body_at = at + frame::HEADER + payload;
        let end = body_at.saturating_add(body);
        if end <= bytes.len() {
            let crc = |from: usize, to: usize, wrong: u8| crc32c::crc32c(&bytes[from..to]) ^ u32::from(wrong);
            let payload = crc(at + frame::HEADER, body_at, wrong & 1);
            let body = crc(body_at, end, wrong & 2);
            bytes[at + 12..at + 16].copy_from_slice(&payload.to_le_bytes());
            bytes[at + 20..at + 24].copy_from_slice(&body.to_le_bytes());
        }
        let salt = salt ^ u64::from(wrong & 4);
        bytes[at + 24..at + 32].copy_from_slice(&salt.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[at..at + 32]), &seq.get().to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &(at as u32).to_le_bytes());
        bytes[at + 32..at + 36].copy_from_slice(&crc.to_le_bytes());
        at = if end <= bytes.len() { end } else { at + 1 };
    }
}

/// The files of an input: kind, number, length in two bytes, content.
fn unpack(mut input: &[u8]) -> SimFs {
    let fs = SimFs::new();
    let plant = |path: String, bytes: &[u8]| fs.plant(&Path::new(DIR).join(path), bytes);
    plant("FORMAT".to_owned(), b"spool 1\n");
    plant(format!("{JOURNAL}/{SPARE}"), b"");
    while let [kind, number, low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (content, after) = rest.split_at(length);
        input = after;
        let seq = Seq::MIN.saturating_add(u32::from(number % 6));
        let id = MessageId::from_u128(ID_TIME | u128::from(*number));
        match kind % 14 {
            0 | 1 => {
                let mut content = content.to_vec();
                correct_checksums(&mut content, seq);
                plant(layout::segment_file(seq), &content);
            }
            2 => plant(layout::segment_file(seq), content),
            3 => plant(format!("{JOURNAL}/{SPARE}"), content),
            4 => plant(format!("events/{number:020}.jsonl"), content),
            5 => plant(format!("keys/{number:020}.jsonl"), content),
            6 => plant(format!("removed/{id}.eml"), content),
            7 => plant(format!("removed/{id}.json"), content),
            8 => plant(format!("quarantine/{id}.eml"), content),
            9 => plant(format!("quarantine/{id}.json"), content),
            10 => plant(format!("corrupt/{seq:010}-32.bin"), content),
            11 => plant(format!("removed/{id}.json.tmp"), content),
            12 => plant(format!("{JOURNAL}/odd{number}"), content),
            _ => plant("FORMAT".to_owned(), content),
        }
    }
    fs
}

/// An input of the files in a spool directory, as far as one has room for them.
pub fn pack(files: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut packed = Vec::new();
    for (path, bytes) in files {
        let (Some(dir), Some(name)) = (path.parent().and_then(Path::to_str), path.file_name()) else {
            continue;
        };
        let name = name.to_str().unwrap();
        let id = || Some(name.split_once('.')?.0.parse::<MessageId>().ok()?.as_u128() as u8);
        let (kind, number) = match (dir, path.extension().and_then(|kind| kind.to_str())) {
            (JOURNAL, _) => (
                0,
                layout::parse_segment_name(name).map(|seq| (seq.get() - 1) as u8),
            ),
            ("events", _) => (4, Some(1)),
            ("keys", _) => (5, Some(1)),
            ("removed", Some("eml")) => (6, id()),
            ("removed", _) => (7, id()),
            ("quarantine", Some("eml")) => (8, id()),
            ("quarantine", _) => (9, id()),
            _ => continue,
        };
        if let (Some(number), Ok(length)) = (number, u16::try_from(bytes.len())) {
            packed.extend([kind, number]);
            packed.extend(length.to_le_bytes());
            packed.extend(bytes);
        }
    }
    packed
}

/// All that can be read of a spool's live mail.
type Seen = BTreeMap<MessageId, (Result<Message, StoreError>, Result<Bytes, StoreError>)>;

fn see(store: &Store, recovery: &Recovery) -> Seen {
    let ids = recovery.messages.iter().map(|message| message.id);
    let seen: Seen = ids.map(|id| (id, (store.load(id), store.body(id)))).collect();
    assert_eq!(seen.len() as u64, store.stats().messages);
    for (recovered, (message, _)) in recovery
        .messages
        .iter()
        .filter_map(|r| Some((r, seen.get(&r.id)?)))
    {
        if let Ok(message) = message {
            let state = &message.state;
            assert_eq!(
                (recovered.status, recovered.in_flight),
                (state.status, state.in_flight)
            );
            assert_eq!(recovered.body_size, message.body_size);
        }
    }
    seen
}

/// Opening is possible or refused with a reason; what is read once is read again; a checkup finds nothing that a start should
/// have repaired; copying forward changes nothing.
pub fn recovery(input: &[u8]) {
    let fs = unpack(input);
    let dir = Path::new(DIR);
    let arc = || -> Arc<dyn Fs> { Arc::new(fs.clone()) };
    let options = StoreOptions {
        segment_size: 0,
        min_free_space: 0,
        slack_segments: 0,
        ..StoreOptions::default()
    };
    let open = || Store::open_on(arc(), dir, &options);
    let before = journal(&fs);
    let outside = count_from_disk_on(arc(), dir);
    let mut listed = 0;
    let listing = mail_from_disk_on(arc(), dir, &mut |_, _| listed += 1);
    assert_eq!(outside.is_ok(), listing.is_ok());
    let looked = checkup_on(arc(), dir, Timestamp(1), false, &mut || {});
    assert!(journal(&fs) == before, "a look changes nothing");
    let (store, recovered) = match open() {
        Ok(opened) => opened,
        Err(OpenError::NewerFormat { .. } | OpenError::NotASpool(_) | OpenError::NoFormat(_)) => {
            assert!(outside.is_err() && looked.is_err());
            // The end may have been repaired before something newer was met further in front; nothing is gone.
            let after: Vec<PathBuf> = journal(&fs).into_iter().map(|(_, path)| path).collect();
            assert!(before.iter().all(|(_, path)| after.contains(path)));
            return assert!(open().is_err(), "what was refused is taken");
        }
        Err(other) => panic!("{other}"),
    };
    let first = see(&store, &recovered);
    assert_eq!(outside.unwrap(), first.len() as u64);
    let whole = |seen: &Seen| seen.values().filter(|(m, b)| m.is_ok() && b.is_ok()).count() as u64;
    assert_eq!(looked.unwrap().whole, whole(&first));
    assert!(first.values().filter(|(message, _)| message.is_ok()).count() <= listed);
    read_the_rest(&store);
    drop(store);

    let (store, recovered) = open().unwrap();
    let second = see(&store, &recovered);
    same(&first, &second, &recovered);
    assert_eq!(recovered.torn_bytes, 0);
    // What has no room for a gap stays.
    let small = |length: u64| length < frame::HEADER as u64;
    let all_small = recovered.damage.iter().all(|damage| small(damage.length));
    assert!(second.len() < first.len() || all_small);
    for _ in 0..100 {
        store.maintain();
        if !store.compact() {
            break;
        }
    }
    drop(store);

    let (store, recovered) = open().unwrap();
    same(&second, &see(&store, &recovered), &recovered);
    drop(store);
    let checkup = checkup_on(arc(), dir, Timestamp(1), false, &mut || {}).unwrap();
    assert_eq!(checkup.whole, whole(&first));
}

/// The files of the journal, with what they hold.
fn journal(fs: &SimFs) -> Vec<(Option<Vec<u8>>, PathBuf)> {
    let files = fs.files().into_iter();
    let files = files.filter(|path| path.starts_with("/spool/journal"));
    files.map(|path| (fs.read(&path), path)).collect()
}

/// A later start sees the same. Where the newest segment is gone the bodies of the one before it are looked at: a message whose
/// body is damaged is then set aside, and reported.
fn same(before: &Seen, after: &Seen, recovered: &Recovery) {
    for (id, seen) in after {
        assert_eq!(before.get(id), Some(seen), "a later start differs");
    }
    for (id, (_, body)) in before.iter().filter(|(id, _)| !after.contains_key(*id)) {
        assert!(body.is_err() && !recovered.damage.is_empty(), "{id} is gone");
    }
}

/// Events in order, and every pair in the archives.
fn read_the_rest(store: &Store) {
    let mut cursor = EventCursor::new(0);
    let mut last = 0;
    loop {
        let page = store.events_after(&mut cursor, 100).unwrap();
        if page.is_empty() {
            break;
        }
        for event in page {
            assert!(event.seq > last, "{} after {last}", event.seq);
            last = event.seq;
        }
    }
    // A gap at the end is reported with the next event.
    assert!(last <= store.last_event());
    for archive in Archive::ALL {
        for (id, listed) in store.list_archive(archive, None, usize::MAX).unwrap() {
            let read = store.archived(archive, id);
            if let Ok((archived, _)) = read {
                assert_eq!(archived.message.id, id);
                assert!(listed.is_ok(), "{id}: {listed:?}");
            }
        }
    }
}
