//! Every byte of every file of a spool with everything in it is corrupt in turn. It is always noticed (by a start, by the
//! checkup, or when the message is read), never is anything else handed out than what was written, and all that the byte
//! does not belong to is there and whole.
//!
//! `SPOOL_STRIDE` sets of how many bytes one is corrupt; 1: every one. Without it, a share of them is.

use super::*;
use crate::store::tests::sample::{files, path};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

const MASKS: [u8; 3] = [0x01, 0x80, 0x20];

/// A message as it may be handed out: where it is, envelope and text.
#[derive(Debug, Clone, PartialEq)]
struct Mail {
    archive: Option<Archive>,
    envelope: Envelope,
    text: Bytes,
}

/// All that a spool hands out.
#[derive(Debug, Clone, PartialEq, Default)]
struct Seen {
    mails: BTreeMap<u128, Mail>,
    /// What became of the live ones, without their errors.
    states: BTreeMap<u128, MessageState>,
    events: BTreeMap<u64, Event>,
    keys: BTreeMap<String, Vec<MessageId>>,
    /// Messages that are there, and whose reading is refused.
    refused: BTreeSet<u128>,
    gaps: u64,
}

fn see(store: &Store, recovery: &Recovery) -> Seen {
    let mut seen = Seen::default();
    for recovered in &recovery.messages {
        let number = recovered.id.as_u128();
        match (store.load(recovered.id), store.body(recovered.id)) {
            (Ok(message), Ok(text)) => {
                assert_eq!(
                    (message.state.status, recovered.body_size),
                    (recovered.status, text.len() as u64)
                );
                seen.states.insert(number, message.state);
                let envelope = message.envelope.as_ref().clone();
                let archive = None;
                seen.mails.insert(
                    number,
                    Mail {
                        archive,
                        envelope,
                        text,
                    },
                );
            }
            _ => drop(seen.refused.insert(number)),
        }
    }
    for archive in Archive::ALL {
        for (id, _) in store.list_archive(archive, None, 100).unwrap() {
            let number = id.as_u128();
            match store.archived(archive, id) {
                Ok((archived, text)) => {
                    let envelope = archived.message.envelope.as_ref().clone();
                    let archive = Some(archive);
                    let mail = Mail {
                        archive,
                        envelope,
                        text,
                    };
                    let twice = seen.mails.insert(number, mail);
                    assert_eq!(twice, None, "{id} is in two places");
                }
                Err(_) => drop(seen.refused.insert(number)),
            }
        }
    }
    let mut cursor = EventCursor::new(0);
    loop {
        let page = store.events_after(&mut cursor, 100).unwrap();
        if page.is_empty() {
            break;
        }
        for event in page {
            if let EventKind::Gap(missing) = event.kind {
                seen.gaps += missing;
            } else {
                seen.events.insert(event.seq, event);
            }
        }
    }
    let keys = recovery.keys.iter();
    seen.keys
        .extend(keys.map(|known| (known.key.clone(), known.ids.clone())));
    seen
}

/// What a byte belongs to.
#[derive(Debug, Clone, Default)]
struct Owner {
    /// Messages that may be missed, refused, or as they were before.
    messages: BTreeSet<u128>,
    /// Events and names may be missed.
    logs: bool,
}

/// A frame of a segment, with the ids in it.
struct Framed {
    whole: Range<usize>,
    body: Range<usize>,
    kind: Kind,
    ids: BTreeSet<u128>,
}

fn frames(bytes: &[u8], seq: u32) -> Vec<Framed> {
    let mut all = Vec::new();
    let mut at = segment::HEADER;
    while bytes.get(at).is_some_and(|byte| *byte != 0) {
        let place = Place {
            seq: Seq::new(seq).unwrap(),
            offset: at as u32,
        };
        let header = Header::decode(bytes[at..].first_chunk().unwrap(), place, None).unwrap();
        let payload = &bytes[at + frame::HEADER..at + header.body_at() as usize];
        let ids: Vec<MessageId> = match record::decode(header, payload).unwrap() {
            Change::Add(add) | Change::Move(add) => add.messages.iter().map(|message| message.id).collect(),
            Change::Mark { id, .. }
            | Change::State { id, .. }
            | Change::Route { id, .. }
            | Change::Finish { id, .. } => vec![id],
            Change::Note { .. } => Vec::new(),
        };
        let ids = ids.iter().map(|id| id.as_u128()).collect();
        let end = at + header.frame_len() as usize;
        all.push(Framed {
            whole: at..end,
            body: at + header.body_at() as usize..end,
            kind: header.kind,
            ids,
        });
        at = end;
    }
    all
}

fn owner(file: &Path, bytes: &[u8], at: usize) -> Owner {
    let name = file.strip_prefix(DIR).unwrap().to_str().unwrap();
    let stem = file.file_stem().unwrap().to_str().unwrap();
    match name.split('/').next().unwrap() {
        "journal" if name.ends_with(".log") => {
            let mut all = frames(bytes, stem.parse().unwrap()).into_iter();
            let frame = all.find(|frame| frame.whole.contains(&at));
            let messages = frame.map(|frame| frame.ids).unwrap_or_default();
            Owner { messages, logs: true }
        }
        "removed" | "quarantine" => {
            let id: MessageId = stem.parse().unwrap();
            Owner {
                messages: [id.as_u128()].into(),
                logs: false,
            }
        }
        "events" | "keys" => Owner {
            logs: true,
            ..Owner::default()
        },
        _ => Owner::default(),
    }
}

/// Bytes that carry no meaning: spoiling them is not noticed, and changes nothing.
fn means_nothing(file: &Path, bytes: &[u8], at: usize, mask: u8) -> Option<&'static str> {
    let name = file.strip_prefix(DIR).unwrap().to_str().unwrap();
    let corrupt = bytes[at] ^ mask;
    if name == "lock" {
        return Some("the process id is for whoever finds the spool held, and every start writes its own");
    }
    if name == "FORMAT" && at + 2 == bytes.len() && matches!(corrupt, b'1' | b'2') {
        return Some("an older format: its frames say theirs, and it becomes this one");
    }
    if name == "FORMAT" && at + 1 == bytes.len() && corrupt.is_ascii_whitespace() | (corrupt == 0x0b) {
        return Some("the end of the line is not looked at");
    }
    if name.ends_with(".json") && corrupt.eq_ignore_ascii_case(&bytes[at]) {
        return Some("an id says the same in small letters");
    }
    if name.ends_with(".log") {
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let mut all = frames(bytes, stem.parse().unwrap()).into_iter();
        let frame = all.find(|frame| frame.body.contains(&at))?;
        let over = frame.ids.iter().all(|id| [2, 6, 7].contains(id));
        return (frame.kind == Kind::Add && over)
            .then_some("the text of a message that has ended or was copied forward is not read any more");
    }
    None
}

/// The sample, and what it hands out.
struct Whole {
    fs: SimFs,
    seen: Seen,
    /// As messages were at some time, or might be when something about them is missed.
    histories: BTreeMap<u128, Vec<Mail>>,
}

impl Whole {
    fn new() -> Self {
        let fs = sample::spool();
        let (store, recovery) = open(&fs.after_power_cut(crate::store::fs::Loss::Nothing));
        let seen = see(&store, &recovery);
        assert!(seen.refused.is_empty() && seen.gaps == 0, "{seen:?}");
        let mut histories: BTreeMap<u128, Vec<Mail>> = BTreeMap::new();
        for (id, mail) in &seen.mails {
            let live = Mail {
                archive: None,
                ..mail.clone()
            };
            histories.insert(*id, vec![mail.clone(), live]);
        }
        // Its end is a frame like others: when that is corrupt, it comes back as it was.
        let seven = Mail {
            archive: None,
            envelope: section(7).envelope,
            text: "seven\r\n".into(),
        };
        histories.insert(7, vec![seven]);
        Self { fs, seen, histories }
    }

    /// Corrupts one byte; `true` when it was noticed.
    fn corrupt(&self, file: &Path, bytes: &[u8], at: usize, mask: u8) {
        let context = format!("{} byte {at} ^ {mask:#x}", file.display());
        let fs = self.fs.after_power_cut(crate::store::fs::Loss::Nothing);
        let mut corrupt = bytes.to_vec();
        corrupt[at] ^= mask;
        fs.plant(file, &corrupt);
        let looked = fs.after_power_cut(crate::store::fs::Loss::Nothing);
        let found = checkup_on(
            Arc::new(looked),
            Path::new(DIR),
            Timestamp(10_000),
            false,
            &mut || {},
        );
        let (store, recovery) = match try_open(&fs) {
            Ok(opened) => opened,
            Err(OpenError::NotASpool(_) | OpenError::NoFormat(_) | OpenError::NewerFormat { .. }) => {
                assert!(file.ends_with("FORMAT") && found.is_err(), "{context}");
                assert_eq!(fs.read(file).unwrap(), corrupt, "{context}: left as it is");
                return;
            }
            Err(error) => panic!("{context}: {error}"),
        };
        let seen = see(&store, &recovery);
        let noticed = !found
            .unwrap_or_else(|error| panic!("{context}: {error}"))
            .findings
            .is_empty();
        if !noticed {
            assert_eq!(seen, self.seen, "{context}");
            assert!(
                recovery.damage.is_empty() && recovery.torn_bytes == 0,
                "{context}"
            );
            let reason = means_nothing(file, bytes, at, mask);
            assert!(reason.is_some(), "{context}: not noticed");
        }
        self.check(&seen, &owner(file, bytes, at), &context);
    }

    /// Nothing wrong is handed out, and what the byte does not belong to is as it was.
    fn check(&self, seen: &Seen, owner: &Owner, context: &str) {
        for (id, mail) in &seen.mails {
            let known = self.histories.get(id);
            assert!(
                known.is_some_and(|known| known.contains(mail)),
                "{context}: {id}: {mail:?}"
            );
        }
        let others = |ids: &BTreeMap<u128, Mail>| -> Vec<(u128, Mail)> {
            let all = ids.iter().filter(|(id, _)| !owner.messages.contains(id));
            all.map(|(id, mail)| (*id, mail.clone())).collect()
        };
        assert_eq!(others(&seen.mails), others(&self.seen.mails), "{context}");
        for (id, state) in &self.seen.states {
            if !owner.messages.contains(id) {
                assert_eq!(seen.states.get(id), Some(state), "{context}: {id}");
            }
        }
        for (seq, event) in &seen.events {
            let mut known = self.seen.events[seq].clone();
            if known.envelope.is_none() {
                // It is reported again, with the envelope of its message.
                known.envelope.clone_from(&event.envelope);
            }
            assert_eq!(event, &known, "{context}");
        }
        let told = seen.events.len() as u64 + seen.gaps;
        assert_eq!(
            told,
            self.seen.events.len() as u64,
            "{context}: what is missing is told"
        );
        for (name, ids) in &seen.keys {
            assert_eq!(self.seen.keys.get(name), Some(ids), "{context}");
        }
        if !owner.logs {
            assert_eq!(
                (&seen.events, &seen.keys),
                (&self.seen.events, &self.seen.keys),
                "{context}"
            );
        }
    }
}

#[test]
fn no_corrupt_byte_goes_unnoticed() {
    let set = std::env::var("SPOOL_STRIDE").ok();
    let stride: Option<usize> = set.map(|text| text.parse().expect("a number"));
    let whole = Whole::new();
    let all = files(&whole.fs);
    let named = |name: &str| {
        all.iter()
            .filter(|(file, _)| file.starts_with(path(name)))
            .count()
    };
    let there = [
        "FORMAT",
        "lock",
        "journal",
        "events",
        "keys",
        "removed",
        "quarantine",
    ]
    .map(named);
    assert_eq!(there, [1, 1, 4, 3, 2, 2, 2], "{all:?}");
    let mut corrupts = Vec::new();
    for (file, bytes) in &all {
        // Megabytes of zeros are all alike.
        let end = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        for (turn, mask) in MASKS.into_iter().enumerate() {
            let step = stride.unwrap_or(if bytes.len() < 100 { 1 } else { 23 });
            let written = (0..end).skip(turn * 7 % step).step_by(step);
            let zeros = (end..bytes.len()).step_by(stride.map_or(9973, |stride| 61 * stride));
            corrupts.extend(written.chain(zeros).map(|at| (file, bytes, at, mask)));
        }
    }
    let (next, cores) = (
        AtomicUsize::new(0),
        std::thread::available_parallelism().map_or(1, usize::from),
    );
    let work = || {
        while let Some((file, bytes, at, mask)) = corrupts.get(next.fetch_add(1, Ordering::Relaxed)) {
            whole.corrupt(file, bytes, *at, *mask);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(work);
        }
    });
    println!("{} bytes corrupt, in {} files", corrupts.len(), all.len());
}
