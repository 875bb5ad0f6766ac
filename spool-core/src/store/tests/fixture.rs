//! Spool directories that earlier versions wrote, each read whole by this one. `tests/fixtures/NAME` is the directory and
//! `tests/fixtures/NAME.json` says what was written to it; `examples/fixture` made both, once for each format.

use super::*;
use crate::store::fs::RealFs;
use serde_json::Value;
use std::collections::BTreeMap;

#[path = "../../../examples/fixture/listing.rs"]
mod listing;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// A fixture, and what is peculiar to its format.
struct Fixture {
    name: &'static str,
    ends: Vec<End>,
    kinds: &'static [&'static str],
    has_fingerprints: bool,
    /// The listing's words for a message, from those of today.
    words: fn(Value) -> Value,
}

/// Formats 1 and 2 knew nothing of notices.
fn format_2_words(mut message: Value) -> Value {
    let notices = message["state"].as_object_mut().unwrap().remove("notices");
    let none = serde_json::to_value(crate::bounce::Notices::default()).unwrap();
    assert_eq!(notices, Some(none));
    message
}

/// Format 1 knew neither where a route comes from, nor why a message is frozen, nor of attempts left out.
fn format_1_words(message: Value) -> Value {
    let mut message = format_2_words(message);
    let origin = message.as_object_mut().unwrap().remove("origin");
    assert_eq!(origin, Some("named".into()));
    let state = message["state"].as_object_mut().unwrap();
    let frozen = state.remove("frozen").unwrap();
    let nobody_remains = state["remaining"] == Value::from(Vec::<u32>::new());
    // On an archive nothing is assumed.
    if state["status"] == "frozen" && !frozen.is_null() {
        assert_eq!(frozen["why"].get("held").is_none(), nobody_remains);
        assert_eq!(frozen["at"], Value::Null);
    }
    let attempts = state["attempts"].take();
    assert_eq!(attempts["left_out"], 0);
    state.insert("attempts".to_owned(), attempts["kept"].clone());
    message
}

/// The listing's own words for one message, checked against its text.
fn shown(fixture: &Fixture, listed: &Value, message: &Message, body: &[u8]) -> Value {
    let line = listed["body"]["line"].as_str().unwrap();
    let times = usize::try_from(listed["body"]["times"].as_u64().unwrap()).unwrap();
    assert_eq!(body, line.repeat(times).as_bytes(), "{}", message.id);
    assert_eq!(message.body_size, body.len() as u64);
    (fixture.words)(listing::describe(message, line, times))
}

/// What each segment says of its end.
fn ends(dir: &Path) -> Vec<End> {
    let journal = dir.join("journal");
    let seqs = crate::store::journal::replay::segments(&RealFs, &journal).unwrap();
    let end = |seq| {
        let bytes = std::fs::read(layout::segment_path(&journal, seq)).unwrap();
        let HeaderKind::Own { end, .. } = segment::decode_header(&bytes[..segment::HEADER], seq) else {
            panic!("{seq} has no header");
        };
        end
    };
    seqs.into_iter().map(end).collect()
}

/// The kinds of frames in the journal.
fn kinds(dir: &Path) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    let journal = dir.join("journal");
    for seq in crate::store::journal::replay::segments(&RealFs, &journal).unwrap() {
        let path = layout::segment_path(&journal, seq);
        let bytes = std::fs::read(&path).unwrap();
        let file = RealFs.open(&path, fs::Mode::Read).unwrap();
        let mut scan = Scan::new(file, seq, true).unwrap();
        let mut end = segment::HEADER as u64;
        while let Some(item) = scan.next().unwrap() {
            let Item::Frame { place, header } = item else {
                panic!("{item:?}");
            };
            if u64::from(place.offset) > end {
                assert_eq!(bytes[usize::try_from(end).unwrap() + 4], 5);
                *kinds.entry("Gap").or_default() += 1;
            }
            end = u64::from(place.offset) + header.frame_len();
            let kind = match header.kind {
                frame::Kind::Add => "Add",
                frame::Kind::Mark => "Mark",
                frame::Kind::State => "State",
                frame::Kind::Finish => "Finish",
                frame::Kind::Note => "Note",
                frame::Kind::Move => "Move",
                frame::Kind::Route => "Route",
                frame::Kind::Gap => panic!("stepped over"),
            };
            *kinds.entry(kind).or_default() += 1;
        }
    }
    kinds
}

#[test]
fn a_spool_of_format_1_is_read_whole() {
    is_read_whole(&Fixture {
        name: "format-1",
        // The program that wrote it did not record them.
        ends: vec![End::Unknown; 3],
        kinds: &["Add", "Finish", "Gap", "Mark", "Move", "Note", "State"],
        has_fingerprints: false,
        words: format_1_words,
    });
}

#[test]
fn a_spool_of_format_2_is_read_whole() {
    is_read_whole(&Fixture {
        name: "format-2",
        ends: ends(&fixtures().join("format-2")),
        kinds: &["Add", "Finish", "Gap", "Mark", "Move", "Note", "Route", "State"],
        has_fingerprints: true,
        words: format_2_words,
    });
}

#[test]
fn a_spool_of_format_3_is_read_whole() {
    is_read_whole(&Fixture {
        name: "format-3",
        ends: ends(&fixtures().join("format-3")),
        kinds: &["Add", "Finish", "Gap", "Mark", "Move", "Note", "Route", "State"],
        has_fingerprints: true,
        words: std::convert::identity,
    });
}

#[test]
fn a_spool_of_an_older_format_is_upgraded() {
    for older in [1, 2] {
        becomes_one_of_format_3(older);
    }
}

fn becomes_one_of_format_3(older: u32) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    copy(&fixtures().join(format!("format-{older}")), &dir);
    let format = || std::fs::read_to_string(dir.join("FORMAT")).unwrap();
    let checkup = checkup(&dir, Timestamp(1), true, &mut || {}).unwrap();
    assert_eq!(
        (checkup.findings, format().as_str()),
        (vec![], format!("spool {older}\n").as_str())
    );
    let count = count_from_disk(&dir).unwrap();
    let (store, recovery) = Store::open(&dir, &options()).unwrap();
    assert_eq!(
        (format().as_str(), recovery.messages.len() as u64),
        ("spool 3\n", count)
    );
    let before: Vec<Message> = recovery
        .messages
        .iter()
        .map(|one| store.load(one.id).unwrap())
        .collect();
    all_ok(&store.commit(&mut [add(&[1], "new\r\n")]));
    while store.compact() {
        store.maintain();
    }
    drop(store);
    let (store, _) = Store::open(&dir, &options()).unwrap();
    for message in before {
        assert_eq!(store.load(message.id).unwrap(), message);
    }
    assert_eq!(count_from_disk(&dir).unwrap(), count + 1);
}

fn is_read_whole(fixture: &Fixture) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    copy(&fixtures().join(fixture.name), &dir);
    assert_eq!(kinds(&dir).into_keys().collect::<Vec<_>>(), fixture.kinds);
    assert_eq!(ends(&dir), fixture.ends);
    let listing = std::fs::read(fixtures().join(fixture.name).with_extension("json")).unwrap();
    let listing: Value = serde_json::from_slice(&listing).unwrap();
    let listed: BTreeMap<MessageId, &Value> = listing["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (message["id"].as_str().unwrap().parse().unwrap(), message))
        .collect();

    // From outside, as it lies there; then opened, twice.
    assert_eq!(count_from_disk(&dir).unwrap(), listed.len() as u64);
    let mut seen = 0;
    mail_from_disk(&dir, &mut |message, body| {
        let body = body().unwrap().unwrap();
        let listed = listed[&message.id];
        assert_eq!(&shown(fixture, listed, &message, &body), listed);
        seen += 1;
    })
    .unwrap();
    assert_eq!(seen, listed.len());
    for _ in 0..2 {
        let (store, recovery) = Store::open(&dir, &options()).unwrap();
        assert_eq!((recovery.torn_bytes, recovery.damage.as_slice()), (0, &[][..]));
        let ids: Vec<MessageId> = recovery.messages.iter().map(|message| message.id).collect();
        assert_eq!(ids.len(), listed.len());
        for id in ids {
            let (message, body) = (store.load(id).unwrap(), store.body(id).unwrap());
            assert_eq!(&shown(fixture, listed[&id], &message, &body), listed[&id]);
        }
        archives_are_as_listed(fixture, &store, &listing);
        let mut cursor = EventCursor::new(0);
        let mut events = Vec::new();
        loop {
            let page = store.events_after(&mut cursor, 50).unwrap();
            if page.is_empty() {
                break;
            }
            events.extend(page.iter().map(|event| serde_json::to_value(event).unwrap()));
        }
        assert_eq!(Value::from(events), listing["events"]);
        let has_fingerprint = |key: &RememberedKey| key.fingerprint.is_some();
        assert_eq!(
            recovery.keys.iter().all(has_fingerprint),
            fixture.has_fingerprints
        );
        let keys: BTreeMap<String, Vec<MessageId>> =
            recovery.keys.into_iter().map(|key| (key.key, key.ids)).collect();
        assert_eq!(serde_json::to_value(keys).unwrap(), listing["keys"]);
    }
    assert_eq!(ends(&dir), fixture.ends);
    let checkup = checkup(&dir, Timestamp(1), false, &mut || {}).unwrap();
    assert_eq!(
        (checkup.whole, checkup.archived, checkup.findings),
        (listed.len() as u64, 2, vec![])
    );
}

fn archives_are_as_listed(fixture: &Fixture, store: &Store, listing: &Value) {
    let pairs = listing["shelves"].as_array().unwrap();
    for archive in Archive::ALL {
        assert_eq!(store.list_archive(archive, None, 10).unwrap().len(), 1);
    }
    for pair in pairs {
        let id = pair["message"]["id"].as_str().unwrap().parse().unwrap();
        let archive = Archive::ALL
            .into_iter()
            .find(|archive| pair["shelf"] == archive.name())
            .unwrap();
        let (archived, body) = store.archived(archive, id).unwrap();
        let read = serde_json::json!({
            "shelf": archive.name(),
            "at": archived.at,
            "reason": archived.reason,
            "message": shown(fixture, &pair["message"], &archived.message, &body),
        });
        assert_eq!(&read, pair);
    }
}

/// The fixture of format 1 on a simulated disk.
fn planted() -> SimFs {
    fn plant(fs: &SimFs, from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            match entry.file_type().unwrap().is_dir() {
                true => plant(fs, &entry.path(), &target),
                false => fs.plant(&target, &std::fs::read(entry.path()).unwrap()),
            }
        }
    }
    let fs = SimFs::new();
    plant(&fs, &fixtures().join("format-1"), Path::new(DIR));
    fs
}

#[test]
fn a_power_cut_during_an_upgrade_leaves_a_spool_that_opens() {
    let messages = |fs: &SimFs| -> BTreeMap<MessageId, Message> {
        let (store, recovery) = open(fs);
        let read = |one: &Recovered| (one.id, store.load(one.id).unwrap());
        recovery.messages.iter().map(read).collect()
    };
    let whole = planted();
    let expected = messages(&whole);
    let format = Path::new(DIR).join("FORMAT");
    assert_eq!(whole.read(&format).unwrap(), b"spool 3\n");
    let mut formats = BTreeMap::new();
    for cut in 0..whole.operations().len() {
        for loss in [
            fs::Loss::Everything,
            fs::Loss::Nothing,
            fs::Loss::Torn(cut as u64),
        ] {
            let fs = planted();
            fs.cut_after(cut);
            drop(try_open(&fs));
            let fs = fs.after_power_cut(loss);
            let text = String::from_utf8(fs.read(&format).unwrap()).unwrap();
            assert!(text == "spool 1\n" || text == "spool 3\n", "{text:?} after {cut}");
            *formats.entry(text).or_insert(0) += 1;
            assert_eq!(messages(&fs), expected, "after {cut}");
        }
    }
    assert_eq!(formats.len(), 2, "{formats:?}");
}
