//! What can be wrong with a spool, on the sample that has everything in it.

use super::super::*;
use crate::store::tests::damage::{frames_of, segment_path};
use crate::store::tests::sample::path;

pub(super) fn pair(shelf: Shelf, number: u128, kind: &str) -> PathBuf {
    path(&format!("{}/{}.{kind}", shelf.name(), id(number)))
}

fn spoil(fs: &SimFs, path: &Path, needle: &[u8]) {
    let mut bytes = fs.read(path).unwrap();
    let at = bytes.windows(needle.len()).position(|window| window == needle);
    bytes[at.unwrap()] ^= 1;
    fs.plant(path, &bytes);
}

fn lose(fs: &SimFs, seq: u32, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs.read(&segment_path(seq)).unwrap();
    how(&mut bytes);
    fs.plant(&segment_path(seq), &bytes);
}

pub(super) fn rename(fs: &SimFs, from: &str, to: &str) {
    fs.rename(&path(from), &path(to)).unwrap();
}

/// What is wrong with a sample: how it comes about, of which kind it is and where, what a repair takes away, and whether it
/// mends it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) spoil: fn(&SimFs),
    pub(super) ailment: Ailment,
    pub(super) file: &'static str,
    pub(super) mended: bool,
    /// Live messages that it costs.
    pub(super) lost: &'static [u128],
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a damaged record",
        spoil: |fs| spoil(fs, &path("journal/0000000002.log"), b"r8@example.net"),
        ailment: Ailment::Damaged,
        file: "journal/0000000002.log",
        mended: true,
        lost: &[8],
    },
    Case {
        name: "a damaged body in an older segment",
        spoil: |fs| spoil(fs, &path("journal/0000000001.log"), b"Subject: one"),
        ailment: Ailment::Damaged,
        file: "journal/0000000001.log",
        mended: true,
        lost: &[1],
    },
    Case {
        name: "a damaged body of two messages",
        spoil: |fs| spoil(fs, &path("journal/0000000002.log"), b"by two"),
        ailment: Ailment::Damaged,
        file: "journal/0000000002.log",
        mended: true,
        lost: &[4, 5],
    },
    Case {
        name: "a torn end",
        spoil: |fs| {
            let log = path("journal/0000000003.log");
            let mut bytes = fs.read(&log).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[end + 9] = 7;
            fs.plant(&log, &bytes);
        },
        ailment: Ailment::Torn,
        file: "journal/0000000003.log",
        mended: true,
        lost: &[],
    },
    Case {
        name: "zeros in the place of the last frame of a segment that is over",
        spoil: |fs| {
            let (at, _) = *frames_of(fs, 1).last().unwrap();
            lose(fs, 1, |bytes| bytes[at..].fill(0));
        },
        ailment: Ailment::Damaged,
        file: "journal/0000000001.log",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a segment cut off behind its first frame",
        spoil: |fs| {
            let (at, _) = frames_of(fs, 1)[1];
            lose(fs, 1, |bytes| bytes.truncate(at));
        },
        ailment: Ailment::Damaged,
        file: "journal/0000000001.log",
        mended: true,
        lost: &[3],
    },
    Case {
        name: "a segment cut off in the middle of a frame",
        spoil: |fs| {
            let (at, _) = frames_of(fs, 1)[1];
            lose(fs, 1, |bytes| bytes.truncate(at + 50));
        },
        ailment: Ailment::Damaged,
        file: "journal/0000000001.log",
        mended: true,
        lost: &[3],
    },
    Case {
        name: "a segment of which nothing is left",
        spoil: |fs| lose(fs, 1, Vec::clear),
        ailment: Ailment::Damaged,
        file: "journal/0000000001.log",
        mended: true,
        lost: &[1, 3],
    },
    Case {
        name: "a segment that is all zeros",
        spoil: |fs| lose(fs, 1, |bytes| bytes.fill(0)),
        ailment: Ailment::Damaged,
        file: "journal/0000000001.log",
        mended: true,
        lost: &[1, 3],
    },
    Case {
        name: "bytes behind the end of a segment that is over",
        spoil: |fs| lose(fs, 2, |bytes| bytes.extend_from_slice(b"nobody's")),
        ailment: Ailment::Damaged,
        file: "journal/0000000002.log",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a spare that is not empty",
        spoil: |fs| {
            let mut bytes = fs.read(&path("journal/spare")).unwrap();
            bytes[4000] = 1;
            fs.plant(&path("journal/spare"), &bytes);
        },
        ailment: Ailment::Damaged,
        file: "journal/spare",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a segment under another name",
        spoil: |fs| rename(fs, "journal/0000000001.log", "journal/0000000007.log"),
        ailment: Ailment::Mismatched,
        file: "journal/0000000007.log",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a copy of a segment",
        spoil: |fs| {
            let bytes = fs.read(&path("journal/0000000002.log")).unwrap();
            fs.plant(&path("journal/0000000009.log"), &bytes);
        },
        ailment: Ailment::Mismatched,
        file: "journal/0000000009.log",
        mended: true,
        lost: &[],
    },
    Case {
        name: "the header of another segment before the frames of this one",
        spoil: |fs| {
            let mut bytes = fs.read(&path("journal/0000000002.log")).unwrap();
            let other = fs.read(&path("journal/0000000001.log")).unwrap();
            bytes[..segment::HEADER].copy_from_slice(&other[..segment::HEADER]);
            fs.plant(&path("journal/0000000002.log"), &bytes);
        },
        ailment: Ailment::Damaged,
        file: "journal/0000000002.log",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a file that is no segment",
        spoil: |fs| fs.plant(&path("journal/notes"), b"?"),
        ailment: Ailment::Orphaned,
        file: "journal/notes",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a message on the journal and on a shelf",
        spoil: |fs| {
            let slip = fs.read(&pair(Shelf::Quarantine, 9, "json")).unwrap();
            fs.plant(&pair(Shelf::Quarantine, 8, "json"), &slip);
            fs.plant(&pair(Shelf::Quarantine, 8, "eml"), b"eight\r\n");
        },
        ailment: Ailment::Duplicated,
        file: "quarantine/00000000000000000000000008",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a message on both shelves",
        spoil: |fs| {
            for kind in ["eml", "json"] {
                let bytes = fs.read(&pair(Shelf::Removed, 6, kind)).unwrap();
                fs.plant(&pair(Shelf::Quarantine, 6, kind), &bytes);
            }
        },
        ailment: Ailment::Duplicated,
        file: "quarantine/00000000000000000000000006.json",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a text without a slip",
        spoil: |fs| fs.plant(&pair(Shelf::Removed, 50, "eml"), b"x\r\n"),
        ailment: Ailment::Orphaned,
        file: "removed/0000000000000000000000001J.eml",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a pair half laid",
        spoil: |fs| {
            fs.plant(&pair(Shelf::Removed, 50, "eml"), b"x\r\n");
            fs.plant(&pair(Shelf::Removed, 50, "json.draft"), b"{}");
        },
        ailment: Ailment::Orphaned,
        file: "removed/0000000000000000000000001J.json.draft",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a file that is no message's",
        spoil: |fs| fs.plant(&path("removed/notes.txt"), b"?"),
        ailment: Ailment::Orphaned,
        file: "removed/notes.txt",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a slip that cannot be read",
        spoil: |fs| fs.plant(&pair(Shelf::Removed, 6, "json"), b"{"),
        ailment: Ailment::Unreadable,
        file: "removed/00000000000000000000000006.json",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a slip without its text",
        spoil: |fs| fs.unlink(&pair(Shelf::Removed, 6, "eml")).unwrap(),
        ailment: Ailment::Unreadable,
        file: "removed/00000000000000000000000006.json",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a spoilt recipient on a shelf",
        spoil: |fs| spoil(fs, &pair(Shelf::Quarantine, 9, "json"), b"r4@example.net"),
        ailment: Ailment::Mismatched,
        file: "quarantine/00000000000000000000000009.json",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a spoilt text on a shelf",
        spoil: |fs| spoil(fs, &pair(Shelf::Quarantine, 9, "eml"), b"two"),
        ailment: Ailment::Mismatched,
        file: "quarantine/00000000000000000000000009.json",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a pair under another name",
        spoil: |fs| {
            for kind in ["eml", "json"] {
                let from = pair(Shelf::Removed, 6, kind);
                fs.rename(&from, &pair(Shelf::Removed, 60, kind)).unwrap();
            }
        },
        ailment: Ailment::Mismatched,
        file: "removed/0000000000000000000000001W.json",
        mended: false,
        lost: &[],
    },
    Case {
        name: "a spoilt line in an older file of the event log",
        spoil: |fs| spoil(fs, &path("events/00000000000000000001.jsonl"), b"delayed"),
        ailment: Ailment::Damaged,
        file: "events/00000000000000000001.jsonl",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a torn end of the key log",
        spoil: |fs| {
            let newest = newest(fs, "keys");
            let mut bytes = fs.read(&newest).unwrap();
            bytes.truncate(bytes.len() - 5);
            fs.plant(&newest, &bytes);
        },
        ailment: Ailment::Torn,
        file: "keys/",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a file of the event log under another name",
        spoil: |fs| {
            let (from, to) = ("00000000000000000001", "00000000000000000003");
            rename(fs, &format!("events/{from}.jsonl"), &format!("events/{to}.jsonl"));
        },
        ailment: Ailment::Mismatched,
        file: "events/00000000000000000003.jsonl",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a file of the key log half written",
        spoil: |fs| fs.plant(&path("keys/00000000000000000999.draft"), b"{"),
        ailment: Ailment::Orphaned,
        file: "keys/00000000000000000999.draft",
        mended: true,
        lost: &[],
    },
    Case {
        name: "a file that is none of the log",
        spoil: |fs| fs.plant(&path("events/notes.draft"), b"?"),
        ailment: Ailment::Orphaned,
        file: "events/notes.draft",
        mended: false,
        lost: &[],
    },
];

/// The newest file of a log.
fn newest(fs: &SimFs, log: &str) -> PathBuf {
    let all = fs.files().into_iter().filter(|file| file.starts_with(path(log)));
    all.max().unwrap()
}
