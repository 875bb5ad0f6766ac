//! Spool directories that earlier versions wrote, each read whole by this one. `tests/fixtures/NAME` is the directory and
//! `tests/fixtures/NAME.json` says what was written to it; `examples/fixture` made both, once for each format.

use super::scan::{Item, Scan};
use super::segment::{End, Found};
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

/// The listing's own words for one message, checked against its text.
fn shown(listed: &Value, message: &Message, body: &[u8]) -> Value {
    let line = listed["body"]["line"].as_str().unwrap();
    let times = usize::try_from(listed["body"]["times"].as_u64().unwrap()).unwrap();
    assert_eq!(body, line.repeat(times).as_bytes(), "{}", message.id);
    assert_eq!(message.body_size, body.len() as u64);
    listing::describe(message, line, times)
}

/// What each segment says of its end.
fn ends(dir: &Path) -> Vec<End> {
    let journal = dir.join("journal");
    let seqs = super::super::replay::segments(&RealFs, &journal).unwrap();
    let end = |seq| {
        let bytes = std::fs::read(segment::path(&journal, seq)).unwrap();
        let Found::Own { end, .. } = segment::decode_header(&bytes[..segment::HEADER], seq) else {
            panic!("{seq} has no header");
        };
        end
    };
    seqs.into_iter().map(end).collect()
}

/// What kinds of frames stand in the journal.
fn kinds(dir: &Path) -> BTreeMap<&'static str, usize> {
    let mut kinds = BTreeMap::new();
    let journal = dir.join("journal");
    for seq in super::super::replay::segments(&RealFs, &journal).unwrap() {
        let path = segment::path(&journal, seq);
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
                *kinds.entry("Hole").or_default() += 1;
            }
            end = u64::from(place.offset) + header.frame_len();
            let kind = match header.kind {
                frame::Kind::Add => "Add",
                frame::Kind::Mark => "Mark",
                frame::Kind::State => "State",
                frame::Kind::Finish => "Finish",
                frame::Kind::Note => "Note",
                frame::Kind::Move => "Move",
                frame::Kind::Hole => panic!("stepped over"),
            };
            *kinds.entry(kind).or_default() += 1;
        }
    }
    kinds
}

#[test]
fn a_spool_of_format_1_is_read_whole() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    copy(&fixtures().join("format-1"), &dir);
    let all = ["Add", "Finish", "Hole", "Mark", "Move", "Note", "State"];
    assert_eq!(kinds(&dir).into_keys().collect::<Vec<_>>(), all);
    assert_eq!(ends(&dir), [End::Untold; 3], "its program did not tell them");
    let listing = std::fs::read(fixtures().join("format-1.json")).unwrap();
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
        assert_eq!(&shown(listed[&message.id], &message, &body), listed[&message.id]);
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
            assert_eq!(&shown(listed[&id], &message, &body), listed[&id]);
        }
        shelves_are_as_listed(&store, &listing);
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
        let keys: BTreeMap<String, Vec<MessageId>> =
            recovery.keys.into_iter().map(|key| (key.key, key.ids)).collect();
        assert_eq!(serde_json::to_value(keys).unwrap(), listing["keys"]);
    }
    assert_eq!(ends(&dir), [End::Untold; 3]);
    let checkup = checkup(&dir, Timestamp(1), false, &mut || {}).unwrap();
    assert_eq!(
        (checkup.whole, checkup.shelved, checkup.findings),
        (listed.len() as u64, 2, vec![])
    );
}

fn shelves_are_as_listed(store: &Store, listing: &Value) {
    let pairs = listing["shelves"].as_array().unwrap();
    for shelf in Shelf::ALL {
        assert_eq!(store.list_shelf(shelf, None, 10).unwrap().len(), 1);
    }
    for pair in pairs {
        let id = pair["message"]["id"].as_str().unwrap().parse().unwrap();
        let shelf = Shelf::ALL
            .into_iter()
            .find(|shelf| pair["shelf"] == shelf.name())
            .unwrap();
        let (shelved, body) = store.shelved(shelf, id).unwrap();
        let read = serde_json::json!({
            "shelf": shelf.name(),
            "at": shelved.at,
            "reason": shelved.reason,
            "message": shown(&pair["message"], &shelved.message, &body),
        });
        assert_eq!(&read, pair);
    }
}
