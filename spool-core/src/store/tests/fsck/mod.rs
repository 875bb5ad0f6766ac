//! The checkup finds each kind of thing that can be wrong, repairs what can be repaired, and says what it did.

mod cases;

use super::*;
use crate::store::fs::{Loss, OpKind};
use crate::store::tests::sample::{files, path};
use cases::{CASES, pair, rename};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// Nothing has waited too long yet.
const NOW: Timestamp = Timestamp(10_000);

fn look_at(fs: &SimFs, now: Timestamp, repair: bool) -> Result<Checkup, OpenError> {
    checkup_on(Arc::new(fs.clone()), Path::new(DIR), now, repair, &mut || {})
}

fn look(fs: &SimFs, repair: bool) -> Checkup {
    look_at(fs, NOW, repair).unwrap()
}

/// Bodies of the live messages that can be read.
fn bodies(fs: &SimFs) -> BTreeMap<u128, Bytes> {
    let (store, recovery) = open(&fs.after_power_cut(Loss::Nothing));
    let read = |message: &Recovered| Some((message.id.as_u128(), store.body(message.id).ok()?));
    recovery.messages.iter().filter_map(read).collect()
}

#[test]
fn each_ailment_is_found_and_a_look_changes_nothing() {
    for case in CASES {
        let fs = sample::spool();
        (case.corrupt)(&fs);
        let before = files(&fs);
        let found = look(&fs, false);
        assert!(!found.findings.is_empty(), "{}", case.name);
        for finding in &found.findings {
            assert_eq!(finding.problem, case.problem, "{}: {finding:?}", case.name);
            assert!(finding.file.starts_with(case.file), "{}: {finding:?}", case.name);
            assert_eq!(finding.repairable, case.repaired, "{}: {finding:?}", case.name);
        }
        assert_eq!(files(&fs), before, "{}", case.name);
        assert!(found.repairs.is_empty());
    }
}

#[test]
fn a_repair_keeps_messages_and_bytes_and_is_complete() {
    for case in CASES {
        let fs = sample::spool();
        let intact = bodies(&fs);
        (case.corrupt)(&fs);
        let (corrupt, wrong) = (files(&fs), look(&fs, false).findings);
        let found = look(&fs, true);
        assert_eq!(found.findings, wrong, "{}", case.name);
        assert_eq!(
            found.repairs.len(),
            wrong.iter().filter(|finding| finding.repairable).count(),
            "{}",
            case.name
        );
        for repair in &found.repairs {
            assert_eq!((repair.at, repair.problem), (NOW, case.problem), "{}", case.name);
            let Some(kept) = &repair.kept_as else { continue };
            let kept = fs.read(&path(kept)).unwrap();
            let (_, source) = corrupt
                .iter()
                .find(|(file, _)| *file == path(&repair.file))
                .unwrap();
            let there = source.windows(kept.len()).any(|window| window == kept);
            assert!(!kept.is_empty() && there, "{}: {repair:?}", case.name);
        }
        let report = fs.read(&path("corrupt/repairs.jsonl")).unwrap_or_default();
        let written: Vec<Repair> = report
            .split(|byte| *byte == b'\n')
            .filter_map(crate::store::logs::lines::unseal)
            .collect();
        assert_eq!(written, found.repairs, "{}", case.name);
        let mut kept = intact.clone();
        kept.retain(|id, _| !case.lost.contains(id));
        assert_eq!(bodies(&fs), kept, "{}", case.name);

        let again = look(&fs, false);
        if case.repaired {
            assert!(again.findings.is_empty(), "{}: {again:?}", case.name);
        } else {
            assert_eq!(again.findings, wrong, "{}", case.name);
        }
        let before = files(&fs);
        assert!(look(&fs, true).repairs.is_empty(), "{}", case.name);
        assert_eq!(files(&fs), before, "{}", case.name);
    }
}

#[test]
fn a_clean_spool_is_clean_and_stays_as_it_is() {
    let fs = sample::spool();
    let before = files(&fs);
    let mut told = 0;
    for repair in [false, true] {
        let progress = &mut || told += 1;
        let found = checkup_on(Arc::new(fs.clone()), Path::new(DIR), NOW, repair, progress).unwrap();
        let counts = (found.whole, found.archived, found.findings.as_slice());
        assert_eq!(counts, (6, 2, &[][..]));
    }
    assert_eq!(told, 2 * 6);
    assert_eq!(files(&fs), before);
    let (_store, _) = open(&fs);
    let held = look_at(&fs, NOW, false);
    assert!(matches!(held, Err(OpenError::Locked { .. })), "{held:?}");
}

#[test]
fn expired_messages_are_reported_unless_frozen() {
    let fs = sample::spool();
    let expired = Timestamp(999).after(Duration::from_secs(4 * 86_400 + 7500));
    for repair in [false, true] {
        let found = look_at(&fs, expired, repair).unwrap();
        let late: Vec<u128> = found
            .findings
            .iter()
            .map(|finding| {
                assert_eq!(
                    (finding.problem, finding.repairable),
                    (ProblemKind::TooOld, false)
                );
                assert!(finding.what.contains("2h 5m"), "{finding:?}");
                finding.id.unwrap().as_u128()
            })
            .collect();
        // 2 and 5 are frozen; what lies in an archive waits for a person as well.
        assert_eq!(late, [1, 3, 4, 8]);
        assert_eq!((found.whole, found.repairs.len()), (6, 0));
    }
    assert!(look(&fs, false).findings.is_empty());
}

#[test]
fn several_problems_are_repaired_at_once() {
    let fs = sample::spool();
    for case in CASES.iter().filter(|case| case.repaired).take(5) {
        (case.corrupt)(&fs);
    }
    let first = look(&fs, true).repairs;
    assert!(first.len() >= 5, "{first:?}");
    assert!(look(&fs, false).findings.is_empty());
    // A report whose last line was cut off is gone on with.
    let report = path("corrupt/repairs.jsonl");
    let mut bytes = fs.read(&report).unwrap();
    bytes.extend_from_slice(b"{\"at\":");
    fs.plant(&report, &bytes);
    fs.plant(&pair(Archive::Removed, 50, "eml"), b"x\r\n");
    assert_eq!(look(&fs, true).repairs.len(), 1);
    let bytes = fs.read(&report).unwrap();
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(crate::store::logs::lines::unseal::<Repair>);
    assert_eq!(lines.count(), first.len() + 1);
}

#[test]
fn a_repair_that_cannot_copy_or_report_changes_nothing() {
    let mut stopped = 0;
    for case in CASES.iter().filter(|case| case.repaired) {
        for (kind, nth) in [
            (OpKind::Create, 0),
            (OpKind::Create, 1),
            (OpKind::Write, 1),
            (OpKind::Write, 2),
            (OpKind::Sync, 0),
            (OpKind::Sync, 1),
            (OpKind::Rename, 0),
            (OpKind::SyncDir, 1),
        ] {
            let fs = sample::spool();
            (case.corrupt)(&fs);
            let outside = |fs: &SimFs| {
                let mut all = files(fs);
                all.retain(|(file, _)| !file.starts_with(path("corrupt")));
                all
            };
            let (before, wrong) = (outside(&fs), look(&fs, false).findings);
            fs.fail(kind, nth, ErrorKind::StorageFull);
            let repaired = look_at(&fs, NOW, true);
            fs.fail(kind, usize::MAX, ErrorKind::StorageFull);
            match repaired {
                // There were not that many operations of the kind.
                Ok(_) => {}
                Err(OpenError::Io { path, .. }) if path.starts_with("/spool/corrupt") => {
                    assert_eq!(outside(&fs), before, "{}: {kind:?} {nth}", case.name);
                    assert_eq!(look(&fs, false).findings, wrong, "{}", case.name);
                    stopped += 1;
                }
                // Later on, or before it looked at anything: the next repair goes on.
                Err(OpenError::Io { .. }) => {}
                Err(other) => panic!("{}: {other}", case.name),
            }
            look(&fs, true);
            assert!(
                look(&fs, false).findings.is_empty(),
                "{}: {kind:?} {nth}",
                case.name
            );
        }
    }
    assert!(stopped > 50, "{stopped}");
}

#[test]
fn a_repair_that_a_power_cut_ends_is_done_by_the_next_one() {
    let mut states = 0;
    for case in CASES.iter().filter(|case| case.repaired) {
        let corrupt = sample::spool();
        (case.corrupt)(&corrupt);
        let whole = corrupt.after_power_cut(Loss::Nothing);
        look(&whole, true);
        let mut kept = bodies(&sample::spool());
        kept.retain(|id, _| !case.lost.contains(id));
        for cut in 0..whole.operations().len() {
            let fs = corrupt.after_power_cut(Loss::Nothing);
            fs.cut_after(cut);
            assert!(look_at(&fs, NOW, true).is_err());
            for loss in [Loss::Everything, Loss::Nothing, Loss::Torn(cut as u64)] {
                let fs = fs.after_power_cut(loss);
                look(&fs, true);
                let context = format!("{}, cut after {cut}, {loss:?}", case.name);
                assert!(look(&fs, false).findings.is_empty(), "{context}");
                assert_eq!(bodies(&fs), kept, "{context}");
                states += 1;
            }
        }
    }
    assert!(states > 300, "{states}");
}

#[test]
fn a_repair_without_room_for_a_copy_changes_nothing() {
    let case = &CASES[0];
    for full in [true, false] {
        let fs = sample::spool();
        (case.corrupt)(&fs);
        if full {
            fs.set_capacity(Some(fs.used()));
        } else {
            // Something else stands where the copy is to be made.
            fs.make_dir(&path("corrupt/draft")).unwrap();
        }
        let before = files(&fs);
        let repair = look_at(&fs, NOW, true).unwrap_err().to_string();
        assert!(repair.starts_with("/spool/corrupt/"), "{repair}");
        assert_eq!(files(&fs), before);
        if full {
            // A start first gives back what the last one had reserved, and has room for the copy.
            let (_store, recovery) = try_open(&fs).unwrap();
            let copies: Vec<_> = recovery
                .damage
                .iter()
                .map(|damage| path(&damage.kept_as))
                .collect();
            assert!(!copies.is_empty() && copies.iter().all(|copy| fs.read(copy).is_some()));
        } else {
            let start = try_open(&fs).unwrap_err().to_string();
            assert!(start.starts_with("/spool/corrupt/"), "{start}");
            let damaged = path("journal/0000000002.log");
            let there = before.iter().find(|(name, _)| Path::new(name) == damaged);
            assert_eq!(fs.read(&damaged).as_ref(), there.map(|(_, bytes)| bytes));
        }
    }
}

#[test]
fn a_log_and_a_spare_that_cannot_be_read_hide_nothing_else() {
    for name in [
        "events/00000000000000000001.jsonl",
        "keys/00000000000000000999.jsonl",
        "journal/spare",
    ] {
        let fs = sample::spool();
        (CASES[0].corrupt)(&fs);
        if name == "journal/spare" {
            fs.unlink(&path(name)).unwrap();
            fs.make_dir(&path(name)).unwrap();
        } else {
            let length = fs.read(&path(name)).unwrap().len() as u64;
            fs.make_unreadable(&path(name), 0..length);
        }
        let found = look(&fs, false);
        let kinds: Vec<_> = found
            .findings
            .iter()
            .map(|finding| (finding.file.as_str(), finding.repairable))
            .collect();
        assert_eq!(kinds, [("journal/0000000002.log", true), (name, false)]);
        assert_eq!((found.whole, found.archived), (5, 2), "{name}");
    }
}

#[test]
fn a_log_file_with_several_corrupt_lines_is_rewritten_once() {
    let fs = sample::spool();
    let log = path("events/00000000000000000001.jsonl");
    let mut bytes = fs.read(&log).unwrap();
    let whole: Vec<Vec<u8>> = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(Vec::from)
        .collect();
    bytes[5] ^= 1;
    bytes[whole[0].len() + whole[1].len() + 5] ^= 1;
    fs.plant(&log, &bytes);
    let renames = || {
        fs.operations()
            .iter()
            .filter(|kind| **kind == OpKind::Rename)
            .count()
    };
    let before = renames();
    assert_eq!(look(&fs, true).repairs.len(), 2);
    assert_eq!(renames() - before, 2 + 1, "two copies, one new file");
    let kept = [whole[1].as_slice(), &whole[3..].concat()].concat();
    assert_eq!(fs.read(&log).unwrap(), kept);
}

#[test]
fn unknown_files_are_never_deleted() {
    let fs = sample::spool();
    let notes = path("events/notes.draft");
    fs.plant(&notes, b"?");
    drop(open(&fs));
    let found = look(&fs, true);
    assert_eq!((found.findings.len(), found.repairs.len()), (1, 0));
    assert_eq!(fs.read(&notes).unwrap(), b"?");
}

#[test]
fn swapped_names_of_segments_are_not_repaired() {
    let fs = sample::spool();
    rename(&fs, "journal/0000000001.log", "journal/0000000005.log");
    rename(&fs, "journal/0000000002.log", "journal/0000000001.log");
    rename(&fs, "journal/0000000005.log", "journal/0000000002.log");
    let before = files(&fs);
    let found = look(&fs, true);
    let kinds: Vec<_> = found.findings.iter().map(|f| (f.problem, f.repairable)).collect();
    assert_eq!(kinds, [(ProblemKind::Mismatched, false); 2]);
    assert_eq!(files(&fs), before);
}

#[test]
fn what_is_no_spool_does_not_become_one() {
    let fs = SimFs::new();
    fs.plant(Path::new("/spool/mail.txt"), b"x");
    assert!(look_at(&fs, NOW, true).is_err());
    assert_eq!(fs.files().len(), 1);
}
