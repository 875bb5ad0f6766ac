//! The bytes on disk, as `docs/spool-format.md` describes them. When one of these fails, a spool written by an earlier version cannot be read.

use super::golden::{
    concluding, held, hold, hops, kinds, rich_add, rich_state, simple_add, unreadable, unreturned,
};
use super::*;
use crate::bounce::Notices;
use crate::frozen::FrozenReason;

const SALT: u64 = 0x0123_4567_89ab_cdef;

pub(super) fn place(offset: u32) -> Place {
    Place {
        seq: Seq::MIN,
        offset,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Header and payload of `change` as the first frame of segment 1.
fn encoded(change: &Change) -> (String, String) {
    let (kind, payload) = record_of(change);
    let header = Header::of(kind, &payload, change.body(), SALT).unwrap();
    (hex(&header.encode(place(32))), hex(&payload))
}

#[test]
fn golden_bytes() {
    let rich = Change::State {
        id: id(2),
        state: Box::new(rich_state()),
        events: kinds().into_iter().map(|kind| event(2, kind)).collect(),
    };
    let note = Change::Note {
        events: vec![event(9, EventKind::Quarantined("q".to_owned()))],
    };
    let Change::Add(moved) = rich_add() else { panic!() };
    let moved = Change::Move(Addition {
        key: None,
        conclusion: None,
        events: vec![],
        ..moved
    });
    let route = Change::Route {
        id: id(1),
        next_hops: hops(),
        origin: RouteOrigin::BuiltInSink,
        events: vec![],
    };
    let rerouted = Change::Route {
        id: id(1),
        next_hops: hops(),
        origin: RouteOrigin::Named,
        events: vec![event(1, EventKind::Rerouted(hops()))],
    };
    let header = |end| hex(&segment::encode_header(Seq::MIN, SALT, end));
    let all = [
        ("segment", (header(End::Open), String::new())),
        ("segment, sealed", (header(End::At(1234)), String::new())),
        ("segment, end unknown", (header(End::Unknown), String::new())),
        ("add", encoded(&simple_add())),
        ("add, rich", encoded(&rich_add())),
        ("mark", encoded(&begin(1, 6))),
        ("mark, frozen", encoded(&freeze(1))),
        ("mark, held", encoded(&hold(held()))),
        ("mark, failed", encoded(&hold(rich_state().frozen.unwrap().why))),
        ("mark, expired", encoded(&hold(FrozenReason::Expired))),
        ("mark, hook", encoded(&hold(FrozenReason::Hook))),
        ("mark, unreadable", encoded(&hold(unreadable()))),
        ("mark, unreturned", encoded(&hold(unreturned()))),
        ("state", encoded(&rich)),
        ("route", encoded(&route)),
        ("route, told", encoded(&rerouted)),
        (
            "add, finishing",
            encoded(&concluding(Outcome::Finish(Finish::Delivered))),
        ),
        (
            "add, deferring",
            encoded(&concluding(Outcome::State(Box::new(state(7, 9))))),
        ),
        ("finish", encoded(&finish(1))),
        ("note", encoded(&note)),
        ("move", encoded(&moved)),
        (
            "gap",
            (
                hex(&Header::gap(100, SALT).unwrap().encode(place(32))),
                String::new(),
            ),
        ),
    ];
    let lines: Vec<String> = all
        .iter()
        .map(|(name, (header, payload))| format!("{name}: {header} {payload}\n"))
        .collect();
    assert_eq!(lines.concat(), include_str!("golden.txt"));
}

#[test]
fn the_documentation_shows_the_golden_bytes() {
    let page: String = include_str!("../../../../docs/spool-format.md")
        .split_whitespace()
        .collect();
    for line in include_str!("golden.txt").lines() {
        let (name, hex) = line.split_once(": ").unwrap();
        if [
            "segment",
            "segment, sealed",
            "mark",
            "mark, held",
            "route",
            "route, told",
            "finish",
            "note",
            "gap",
        ]
        .contains(&name)
        {
            let hex: String = hex.split_whitespace().collect();
            assert!(page.contains(&hex), "{name}: {hex}");
        }
    }
    let (header, _) = encoded(&simple_add());
    for part in [&header[16..32], &header[32..48], &header[64..]] {
        assert!(page.contains(part), "add: {part}");
    }
}

#[test]
fn golden_bytes_are_read() {
    read_golden(3, include_str!("golden.txt"));
}

#[test]
fn golden_bytes_of_format_2_are_read() {
    read_golden(2, include_str!("golden-2.txt"));
}

#[test]
fn golden_bytes_of_format_1_are_read() {
    read_golden(1, include_str!("golden-1.txt"));
}

/// The state that was written, as a program reads it that knows what format 1 recorded.
fn recorded(format: u8, mut state: MessageState) -> MessageState {
    if format < 3 {
        state.notices = Notices::default();
    }
    if format == 1 {
        state.frozen = None;
        state.attempts = state.attempts.iter().cloned().collect();
    }
    state
}

fn kinds_of(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind.clone()).collect()
}

fn read_golden(format: u8, golden: &str) {
    for line in golden.lines() {
        let (name, hex) = line.split_once(": ").unwrap();
        let (header, payload) = hex.split_once(' ').unwrap();
        let bytes = |hex: &str| -> Vec<u8> {
            let pair = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
            (0..hex.len()).step_by(2).map(pair).collect()
        };
        let (header, payload) = (bytes(header), bytes(payload));
        let end = match name {
            "segment" => Some(End::Open),
            "segment, sealed" => Some(End::At(1234)),
            "segment, end unknown" => Some(End::Unknown),
            _ => None,
        };
        if let Some(end) = end {
            let found = segment::decode_header(&header, Seq::MIN);
            assert_eq!(found, segment::HeaderKind::Own { salt: SALT, end });
            continue;
        }
        let header = Header::decode(header.first_chunk().unwrap(), place(32), Some(SALT)).unwrap();
        let written_by = if header.kind == Kind::Gap { 1 } else { format };
        assert_eq!(header.version, written_by);
        if header.kind == Kind::Gap {
            assert_eq!(header.frame_len(), 100);
            continue;
        }
        match record::decode(header, &payload).unwrap() {
            Change::Add(record) => {
                let expected = match name {
                    "add" => simple_add(),
                    "add, finishing" => concluding(Outcome::Finish(Finish::Delivered)),
                    "add, deferring" => concluding(Outcome::State(Box::new(state(7, 9)))),
                    _ => rich_add(),
                };
                let Change::Add(expected) = expected else { panic!() };
                let concluded = record.conclusion.as_ref().map(|concluded| concluded.id);
                assert_eq!(concluded, expected.conclusion.as_ref().map(|one| one.id));
                match record.conclusion.map(|concluded| concluded.outcome) {
                    Some(Outcome::State(read)) => assert_eq!(*read, state(7, 9)),
                    Some(Outcome::Finish(_)) => assert_eq!(name, "add, finishing"),
                    None => assert!(!name.ends_with("ing")),
                }
                assert_eq!(record.flows, expected.flows);
                assert_eq!(record.related, expected.related);
                let name = |key: &Option<AddKey>| key.as_ref().map(|key| key.key.clone());
                assert_eq!(name(&record.key), name(&expected.key));
                assert!(format == 1 || record.key == expected.key);
                assert_eq!(kinds_of(&record.events), kinds_of(&expected.events));
                for (read, written) in record.messages.iter().zip(&expected.messages) {
                    assert_eq!(read.id, written.id);
                    assert_eq!(read.section.envelope, written.section.envelope);
                    assert_eq!(read.section.retry, written.section.retry);
                    assert_eq!(read.section.next_hops, written.section.next_hops);
                    assert_eq!(read.section.origin, written.section.origin);
                    assert_eq!(read.frozen, written.frozen);
                    assert_eq!((read.status, read.in_flight), (written.status, written.in_flight));
                    let expected = written.state.as_deref().cloned();
                    assert_eq!(
                        read.state.as_deref().cloned(),
                        expected.map(|state| recorded(format, state))
                    );
                }
            }
            Change::Mark { id: read, frozen, .. } => {
                let why = match name {
                    "mark, held" => Some(held()),
                    "mark, failed" => Some(rich_state().frozen.unwrap().why),
                    "mark, expired" => Some(FrozenReason::Expired),
                    "mark, hook" => Some(FrozenReason::Hook),
                    "mark, unreadable" => Some(unreadable()),
                    "mark, unreturned" => Some(unreturned()),
                    _ => None,
                };
                let expected = why.map(|why| Box::new(Frozen::new(Timestamp(8), why)));
                assert_eq!((read, frozen), (id(1), expected));
            }
            Change::Route {
                id: read,
                origin: from,
                next_hops,
                events,
            } => {
                let (origin, kinds) = match name {
                    "route, told" => (RouteOrigin::Named, vec![EventKind::Rerouted(hops())]),
                    _ => (RouteOrigin::BuiltInSink, vec![]),
                };
                let route = (read, from, next_hops, kinds_of(&events));
                assert_eq!(route, (id(1), origin, hops(), kinds));
            }
            Change::State { state, events, .. } => {
                let expected = recorded(format, rich_state());
                let mut kinds = kinds();
                // Format 2 knew no notices.
                kinds.retain(|kind| format >= 3 || !matches!(kind, EventKind::Notice { .. }));
                assert_eq!((*state, kinds_of(&events)), (expected, kinds));
            }
            Change::Finish { id: read, .. } => assert_eq!(read, id(1)),
            Change::Note { events } => {
                assert_eq!(events, [event(9, EventKind::Quarantined("q".to_owned()))]);
            }
            Change::Move(record) => {
                assert_eq!((record.key, record.events), (None, vec![]));
                let expected = recorded(format, rich_state());
                assert_eq!(record.messages[1].state.as_deref(), Some(&expected));
            }
        }
    }
}

#[test]
fn what_a_newer_program_wrote_is_refused_and_kept() {
    let path = Path::new(DIR).join("journal/0000000001.log");
    let segment = |bytes: &mut Vec<u8>| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    };
    // A byte of the first frame's header: its kind, the version of its payload, what is zero today.
    let frame = |at: usize, value: u8| {
        move |bytes: &mut Vec<u8>| {
            bytes[32 + at] = value;
            let mut crc = crc32c::crc32c(&bytes[32..64]);
            crc = crc32c::crc32c_append(crc, &1_u32.to_le_bytes());
            crc = crc32c::crc32c_append(crc, &32_u32.to_le_bytes());
            bytes[64..68].copy_from_slice(&crc.to_le_bytes());
        }
    };
    type Changes = Box<dyn Fn(&mut Vec<u8>)>;
    let newer: [(&str, Changes); 5] = [
        ("segment version", Box::new(segment)),
        ("frame kind", Box::new(frame(4, 9))),
        ("payload version", Box::new(frame(5, 4))),
        ("reserved", Box::new(frame(6, 1))),
        ("reserved too", Box::new(frame(7, 1))),
    ];
    for (what, change) in newer {
        let fs = SimFs::new();
        let (store, _) = open(&fs);
        all_ok(&store.commit(&mut [add(&[1], "x\r\n"), freeze(1)]));
        drop(store);
        let mut bytes = fs.read(&path).unwrap();
        change(&mut bytes);
        fs.plant(&path, &bytes);
        let arc = || -> Arc<dyn Fs> { Arc::new(fs.clone()) };
        let refusals = [
            try_open(&fs).map(drop),
            count_from_disk_on(arc(), Path::new(DIR)).map(drop),
            mail_from_disk_on(arc(), Path::new(DIR), &mut |_, _| ()).map(drop),
            checkup_on(arc(), Path::new(DIR), Timestamp(1), false, &mut || {}).map(drop),
            checkup_on(arc(), Path::new(DIR), Timestamp(1), true, &mut || {}).map(drop),
        ];
        for refusal in refusals {
            assert!(
                matches!(refusal, Err(OpenError::NewerFormat { .. })),
                "{what}: {refusal:?}"
            );
        }
        assert_eq!(fs.read(&path), Some(bytes), "{what}");
        assert!(
            !fs.files().iter().any(|file| file.starts_with("/spool/corrupt")),
            "{what}"
        );
    }
}
