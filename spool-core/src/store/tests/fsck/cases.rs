//! What can be wrong with a spool, on the sample that has everything in it.

use super::super::*;
use crate::store::tests::damage::{frames_of, segment_path};
use crate::store::tests::sample::path;

pub(super) fn pair(archive: Archive, number: u128, kind: &str) -> PathBuf {
    path(&format!("{}/{}.{kind}", archive.name(), id(number)))
}

fn corrupt(fs: &SimFs, path: &Path, needle: &[u8]) {
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
/// repairs it.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) corrupt: fn(&SimFs),
    pub(super) problem: ProblemKind,
    pub(super) file: &'static str,
    pub(super) repaired: bool,
    /// Live messages that it costs.
    pub(super) lost: &'static [u128],
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a damaged record",
        corrupt: |fs| corrupt(fs, &path("journal/0000000002.log"), b"r8@example.net"),
        problem: ProblemKind::Damaged,
        file: "journal/0000000002.log",
        repaired: true,
        lost: &[8],
    },
    Case {
        name: "a damaged body in an older segment",
        corrupt: |fs| corrupt(fs, &path("journal/0000000001.log"), b"Subject: one"),
        problem: ProblemKind::Damaged,
        file: "journal/0000000001.log",
        repaired: true,
        lost: &[1],
    },
    Case {
        name: "a damaged body of two messages",
        corrupt: |fs| corrupt(fs, &path("journal/0000000002.log"), b"by two"),
        problem: ProblemKind::Damaged,
        file: "journal/0000000002.log",
        repaired: true,
        lost: &[4, 5],
    },
    Case {
        name: "a torn end",
        corrupt: |fs| {
            let log = path("journal/0000000003.log");
            let mut bytes = fs.read(&log).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[end + 9] = 7;
            fs.plant(&log, &bytes);
        },
        problem: ProblemKind::Torn,
        file: "journal/0000000003.log",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "zeros in the place of the last frame of a segment that is over",
        corrupt: |fs| {
            let (at, _) = *frames_of(fs, 1).last().unwrap();
            lose(fs, 1, |bytes| bytes[at..].fill(0));
        },
        problem: ProblemKind::Damaged,
        file: "journal/0000000001.log",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a segment cut off behind its first frame",
        corrupt: |fs| {
            let (at, _) = frames_of(fs, 1)[1];
            lose(fs, 1, |bytes| bytes.truncate(at));
        },
        problem: ProblemKind::Damaged,
        file: "journal/0000000001.log",
        repaired: true,
        lost: &[3],
    },
    Case {
        name: "a segment cut off in the middle of a frame",
        corrupt: |fs| {
            let (at, _) = frames_of(fs, 1)[1];
            lose(fs, 1, |bytes| bytes.truncate(at + 50));
        },
        problem: ProblemKind::Damaged,
        file: "journal/0000000001.log",
        repaired: true,
        lost: &[3],
    },
    Case {
        name: "a segment of which nothing is left",
        corrupt: |fs| lose(fs, 1, Vec::clear),
        problem: ProblemKind::Damaged,
        file: "journal/0000000001.log",
        repaired: true,
        lost: &[1, 3],
    },
    Case {
        name: "a segment that is all zeros",
        corrupt: |fs| lose(fs, 1, |bytes| bytes.fill(0)),
        problem: ProblemKind::Damaged,
        file: "journal/0000000001.log",
        repaired: true,
        lost: &[1, 3],
    },
    Case {
        name: "bytes behind the end of a segment that is over",
        corrupt: |fs| lose(fs, 2, |bytes| bytes.extend_from_slice(b"nobody's")),
        problem: ProblemKind::Damaged,
        file: "journal/0000000002.log",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a spare that is not empty",
        corrupt: |fs| {
            let mut bytes = fs.read(&path("journal/spare")).unwrap();
            bytes[4000] = 1;
            fs.plant(&path("journal/spare"), &bytes);
        },
        problem: ProblemKind::Damaged,
        file: "journal/spare",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a segment under another name",
        corrupt: |fs| rename(fs, "journal/0000000001.log", "journal/0000000007.log"),
        problem: ProblemKind::Mismatched,
        file: "journal/0000000007.log",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a copy of a segment",
        corrupt: |fs| {
            let bytes = fs.read(&path("journal/0000000002.log")).unwrap();
            fs.plant(&path("journal/0000000009.log"), &bytes);
        },
        problem: ProblemKind::Mismatched,
        file: "journal/0000000009.log",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "the header of another segment before the frames of this one",
        corrupt: |fs| {
            let mut bytes = fs.read(&path("journal/0000000002.log")).unwrap();
            let other = fs.read(&path("journal/0000000001.log")).unwrap();
            bytes[..segment::HEADER].copy_from_slice(&other[..segment::HEADER]);
            fs.plant(&path("journal/0000000002.log"), &bytes);
        },
        problem: ProblemKind::Damaged,
        file: "journal/0000000002.log",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a file that is no segment",
        corrupt: |fs| fs.plant(&path("journal/notes"), b"?"),
        problem: ProblemKind::Orphaned,
        file: "journal/notes",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "a message on the journal and in an archive",
        corrupt: |fs| {
            let metadata = fs.read(&pair(Archive::Quarantine, 9, "json")).unwrap();
            fs.plant(&pair(Archive::Quarantine, 8, "json"), &metadata);
            fs.plant(&pair(Archive::Quarantine, 8, "eml"), b"eight\r\n");
        },
        problem: ProblemKind::Duplicated,
        file: "quarantine/00000000000000000000000008",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a message in both archives",
        corrupt: |fs| {
            for kind in ["eml", "json"] {
                let bytes = fs.read(&pair(Archive::Removed, 6, kind)).unwrap();
                fs.plant(&pair(Archive::Quarantine, 6, kind), &bytes);
            }
        },
        problem: ProblemKind::Duplicated,
        file: "quarantine/00000000000000000000000006.json",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "a text without metadata",
        corrupt: |fs| fs.plant(&pair(Archive::Removed, 50, "eml"), b"x\r\n"),
        problem: ProblemKind::Orphaned,
        file: "removed/0000000000000000000000001J.eml",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a pair half laid",
        corrupt: |fs| {
            fs.plant(&pair(Archive::Removed, 50, "eml"), b"x\r\n");
            fs.plant(&pair(Archive::Removed, 50, "json.draft"), b"{}");
        },
        problem: ProblemKind::Orphaned,
        file: "removed/0000000000000000000000001J.json.draft",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a file that is no message's",
        corrupt: |fs| fs.plant(&path("removed/notes.txt"), b"?"),
        problem: ProblemKind::Orphaned,
        file: "removed/notes.txt",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "metadata that cannot be read",
        corrupt: |fs| fs.plant(&pair(Archive::Removed, 6, "json"), b"{"),
        problem: ProblemKind::Unreadable,
        file: "removed/00000000000000000000000006.json",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "metadata without its text",
        corrupt: |fs| fs.unlink(&pair(Archive::Removed, 6, "eml")).unwrap(),
        problem: ProblemKind::Unreadable,
        file: "removed/00000000000000000000000006.json",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "a corrupt recipient in an archive",
        corrupt: |fs| corrupt(fs, &pair(Archive::Quarantine, 9, "json"), b"r4@example.net"),
        problem: ProblemKind::Mismatched,
        file: "quarantine/00000000000000000000000009.json",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "a corrupt text in an archive",
        corrupt: |fs| corrupt(fs, &pair(Archive::Quarantine, 9, "eml"), b"two"),
        problem: ProblemKind::Mismatched,
        file: "quarantine/00000000000000000000000009.json",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "a pair under another name",
        corrupt: |fs| {
            for kind in ["eml", "json"] {
                let from = pair(Archive::Removed, 6, kind);
                fs.rename(&from, &pair(Archive::Removed, 60, kind)).unwrap();
            }
        },
        problem: ProblemKind::Mismatched,
        file: "removed/0000000000000000000000001W.json",
        repaired: false,
        lost: &[],
    },
    Case {
        name: "a corrupt line in an older file of the event log",
        corrupt: |fs| corrupt(fs, &path("events/00000000000000000001.jsonl"), b"delayed"),
        problem: ProblemKind::Damaged,
        file: "events/00000000000000000001.jsonl",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a torn end of the key log",
        corrupt: |fs| {
            let newest = newest(fs, "keys");
            let mut bytes = fs.read(&newest).unwrap();
            bytes.truncate(bytes.len() - 5);
            fs.plant(&newest, &bytes);
        },
        problem: ProblemKind::Torn,
        file: "keys/",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a file of the event log under another name",
        corrupt: |fs| {
            let (from, to) = ("00000000000000000001", "00000000000000000003");
            rename(fs, &format!("events/{from}.jsonl"), &format!("events/{to}.jsonl"));
        },
        problem: ProblemKind::Mismatched,
        file: "events/00000000000000000003.jsonl",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a file of the key log partly written",
        corrupt: |fs| fs.plant(&path("keys/00000000000000000999.draft"), b"{"),
        problem: ProblemKind::Orphaned,
        file: "keys/00000000000000000999.draft",
        repaired: true,
        lost: &[],
    },
    Case {
        name: "a file that is none of the log",
        corrupt: |fs| fs.plant(&path("events/notes.draft"), b"?"),
        problem: ProblemKind::Orphaned,
        file: "events/notes.draft",
        repaired: false,
        lost: &[],
    },
];

/// The newest file of a log.
fn newest(fs: &SimFs, log: &str) -> PathBuf {
    let all = fs.files().into_iter().filter(|file| file.starts_with(path(log)));
    all.max().unwrap()
}
