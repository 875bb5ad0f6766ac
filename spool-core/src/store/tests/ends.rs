//! A missing end of a complete segment is noticed by every reader and reported once, and nothing else is mistaken for it.

use super::*;
use crate::store::fs::Loss;
use crate::store::tests::damage::{frames_of, segment_path};

pub(super) fn mail(number: u128) -> Vec<u8> {
    text(number as u8, 12_000)
}

pub(super) fn plant(fs: &SimFs, seq: u32, bytes: &[u8]) {
    fs.plant(&segment_path(seq), bytes);
}

pub(super) fn end(fs: &SimFs, seq: u32) -> End {
    let bytes = fs.read(&segment_path(seq)).unwrap();
    let HeaderKind::Own { end, .. } =
        segment::decode_header(&bytes[..segment::HEADER], Seq::new(seq).unwrap())
    else {
        panic!("segment {seq} has no header");
    };
    end
}

/// Two segments that are over, with five messages each, and a head with two.
pub(super) fn sample() -> (SimFs, Store) {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..=12 {
        all_ok(&store.commit(&mut [add(&[number], mail(number))]));
        store.maintain();
    }
    (fs, store)
}

pub(super) fn ids(recovery: &Recovery) -> Vec<u128> {
    recovery.messages.iter().map(|m| m.id.as_u128()).collect()
}

fn pass(store: &Store) -> Vec<Finding> {
    let mut new = Vec::new();
    for _ in 0..1000 {
        let step = store.scrub(100_000);
        new.extend(step.new_findings);
        if step.pass_over {
            return new;
        }
    }
    panic!("a pass has no end");
}

pub(super) fn check(fs: &SimFs, repair: bool) -> Checkup {
    let fs = Arc::new(fs.clone());
    checkup_on(fs, Path::new(DIR), Timestamp(10), repair, &mut || {}).unwrap()
}

/// A way to lose the end of a file from a byte on.
type Lose = fn(&mut Vec<u8>, usize);

const WAYS: [(&str, Lose); 3] = [
    ("zeros", |bytes, at| bytes[at..].fill(0)),
    ("cut", |bytes, at| bytes.truncate(at)),
    ("cut, with zeros before", |bytes, at| {
        bytes[at..].fill(0);
        bytes.truncate(at + 20);
    }),
];

/// Every frame's edge of the two segments that are over: before the header and after it, too.
fn edges(fs: &SimFs) -> Vec<(u32, usize, Vec<u128>)> {
    let mut all = Vec::new();
    for (seq, first) in [(1, 1), (2, 6)] {
        let frames = frames_of(fs, seq);
        assert_eq!(frames.len(), 5);
        let lost = |nth: usize| (first + nth as u128..first + 5).collect::<Vec<_>>();
        all.push((seq, 0, lost(0)));
        all.extend(
            frames
                .iter()
                .enumerate()
                .map(|(nth, (at, _))| (seq, *at, lost(nth))),
        );
    }
    all
}

#[test]
fn a_segment_says_where_it_ends_once_nothing_more_comes() {
    let (fs, store) = sample();
    for seq in [1, 2] {
        let (at, length) = *frames_of(&fs, seq).last().unwrap();
        assert_eq!(end(&fs, seq), End::At((at + length) as u32));
        let size = fs.read(&segment_path(seq)).unwrap().len();
        assert_eq!(size, at + length);
    }
    assert_eq!(end(&fs, 3), End::Open);
    drop(store);
    // A start writes nothing more to what it finds.
    drop(open(&fs));
    let (at, length) = *frames_of(&fs, 3).last().unwrap();
    assert_eq!(end(&fs, 3), End::At((at + length) as u32));
    // Nor does one that has found nothing new write it once more.
    let bytes = fs.read(&segment_path(3)).unwrap();
    drop(open(&fs));
    assert_eq!(fs.read(&segment_path(3)).unwrap(), bytes);
}

#[test]
fn a_missing_end_is_reported_by_every_reader() {
    let (whole, store) = sample();
    drop(store);
    for (seq, at, lost) in edges(&whole) {
        for (name, lose) in WAYS {
            let context = format!("{name}, segment {seq} from {at} on");
            let fs = whole.after_power_cut(Loss::Nothing);
            let mut bytes = fs.read(&segment_path(seq)).unwrap();
            let size = bytes.len();
            // The scrub is of a store that runs meanwhile.
            let (store, recovery) = open(&fs);
            assert!(recovery.damage.is_empty(), "{context}");
            lose(&mut bytes, at);
            plant(&fs, seq, &bytes);
            let file = format!("journal/{seq:010}.log");
            let new = pass(&store);
            assert_eq!(new.len(), 1, "{context}: {new:?}");
            assert_eq!((new[0].problem, &new[0].file), (ProblemKind::Damaged, &file));
            assert!(
                lost.iter()
                    .all(|number| new[0].what.contains(&id(*number).to_string()))
            );
            assert!(pass(&store).is_empty(), "{context}: it is known now");
            drop(store);

            let outside = mail_from_disk_on(Arc::new(fs.clone()), &mut |_, _| {});
            assert_eq!(outside, 1, "{context}");

            let found = check(&fs, false);
            assert_eq!(found.findings.len(), 1, "{context}: {found:?}");
            let finding = &found.findings[0];
            assert_eq!(
                (finding.problem, &finding.file),
                (ProblemKind::Damaged, &file),
                "{context}"
            );
            assert!(finding.repairable, "{context}");

            let repaired = fs.after_power_cut(Loss::Nothing);
            assert_eq!(check(&repaired, true).repairs.len(), 1, "{context}");
            assert!(check(&repaired, false).findings.is_empty(), "{context}");
            for (fs, damaged) in [(&repaired, 0), (&fs, 1), (&fs, 0)] {
                let (store, recovery) = open(fs);
                assert_eq!(recovery.damage.len(), damaged, "{context}: {:?}", recovery.damage);
                assert_eq!(recovery.torn_bytes, 0, "{context}");
                for damage in &recovery.damage {
                    assert_eq!((&damage.file, damage.offset), (&file, at as u64), "{context}");
                    if at > 0 {
                        assert_eq!(damage.length, (size - at) as u64, "{context}");
                    }
                }
                let left: Vec<u128> = (1..=12).filter(|number| !lost.contains(number)).collect();
                assert_eq!(ids(&recovery), left, "{context}");
                for number in left {
                    assert_eq!(store.body(id(number)).unwrap(), mail(number), "{context}");
                }
            }
            assert!(check(&fs, false).findings.is_empty(), "{context}");
        }
    }
}

/// The number of damaged places.
fn mail_from_disk_on(fs: Arc<SimFs>, each: &mut dyn FnMut(Message, ReadBody<'_>)) -> usize {
    crate::store::tests::offline::mail_from_disk_on(fs, Path::new(DIR), each).unwrap()
}

#[test]
fn what_is_left_of_a_last_frame_is_kept() {
    let (fs, store) = sample();
    drop(store);
    let (at, length) = *frames_of(&fs, 1).last().unwrap();
    let bytes = fs.read(&segment_path(1)).unwrap();
    // A cut in its text, and zeros from its record on: in an older segment a text is not looked at before it is read.
    for (left, zeros) in [(5000, false), (frame::HEADER + 3, true)] {
        let fs = fs.after_power_cut(Loss::Nothing);
        let mut corrupt = bytes[..at + left].to_vec();
        if zeros {
            corrupt.resize(bytes.len(), 0);
        }
        plant(&fs, 1, &corrupt);
        let (_store, recovery) = open(&fs);
        let [damage] = recovery.damage.as_slice() else {
            panic!("{:?}", recovery.damage);
        };
        assert_eq!((damage.offset, damage.length), (at as u64, length as u64));
        let kept = fs.read(&Path::new(DIR).join(&damage.kept_as)).unwrap();
        assert_eq!(kept, &bytes[at..at + left]);
        assert_eq!(ids(&recovery), [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]);
    }
}

#[test]
fn bytes_behind_the_end_are_damage_and_nobodys_write() {
    let (fs, store) = sample();
    drop(store);
    drop(open(&fs));
    for seq in 1..=3 {
        let fs = fs.after_power_cut(Loss::Nothing);
        let mut bytes = fs.read(&segment_path(seq)).unwrap();
        let size = bytes.len();
        bytes.extend_from_slice(b"what nobody wrote");
        plant(&fs, seq, &bytes);
        let (_, recovery) = open(&fs);
        let [damage] = recovery.damage.as_slice() else {
            panic!("{:?}", recovery.damage);
        };
        assert_eq!((damage.offset, damage.length), (size as u64, 17));
        assert_eq!((recovery.torn_bytes, recovery.messages.len()), (0, 12));
        assert_eq!(fs.read(&segment_path(seq)).unwrap().len(), size);
        assert!(check(&fs, false).findings.is_empty());
    }
}

#[test]
fn the_end_is_known_when_later_segments_are_lost() {
    let (fs, store) = sample();
    // All of the second segment was delivered.
    all_ok(&store.commit(&mut (6..=10).map(finish).collect::<Vec<_>>()));
    store.maintain();
    assert_eq!(fs.read(&segment_path(2)), None);
    drop(store);
    let (at, _) = *frames_of(&fs, 1).last().unwrap();
    for damaged in [false, true] {
        let fs = fs.after_power_cut(Loss::Nothing);
        let mut bytes = fs.read(&segment_path(1)).unwrap();
        bytes[at..].fill(0);
        plant(&fs, 1, &bytes);
        if damaged {
            let mut bytes = fs.read(&segment_path(3)).unwrap();
            bytes[..segment::HEADER].fill(0xee);
            plant(&fs, 3, &bytes);
        }
        let (_store, recovery) = open(&fs);
        assert_eq!(ids(&recovery), [1, 2, 3, 4, 11, 12]);
        assert_eq!(recovery.damage.len(), 1 + usize::from(damaged));
    }
}

#[test]
fn the_end_belongs_to_the_file_when_its_name_is_wrong() {
    let (fs, store) = sample();
    drop(store);
    let (at, _) = *frames_of(&fs, 1).last().unwrap();
    let mut bytes = fs.read(&segment_path(1)).unwrap();
    bytes.truncate(at);
    plant(&fs, 1, &bytes);
    fs.rename(&segment_path(1), &segment_path(9)).unwrap();
    let repaired = check(&fs, true);
    let kinds: Vec<_> = repaired.repairs.iter().map(|repair| repair.problem).collect();
    assert_eq!(kinds, [ProblemKind::Mismatched, ProblemKind::Damaged]);
    assert!(check(&fs, false).findings.is_empty());
    assert_eq!(ids(&open(&fs).1), [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn segments_that_an_older_program_wrote_are_read_as_before() {
    let (whole, store) = sample();
    drop(store);
    for seq in 1..=3 {
        let mut bytes = whole.read(&segment_path(seq)).unwrap();
        let number = Seq::new(seq).unwrap();
        let HeaderKind::Own { salt, .. } = segment::decode_header(&bytes[..segment::HEADER], number) else {
            panic!("no header");
        };
        bytes[..segment::HEADER].copy_from_slice(&segment::encode_header(number, salt, End::Unknown));
        plant(&whole, seq, &bytes);
    }
    for (seq, at, lost) in edges(&whole) {
        for (name, lose) in WAYS {
            let fs = whole.after_power_cut(Loss::Nothing);
            let mut bytes = fs.read(&segment_path(seq)).unwrap();
            lose(&mut bytes, at);
            plant(&fs, seq, &bytes);
            assert!(check(&fs, false).findings.is_empty(), "{name}, {seq} at {at}");
            let (store, recovery) = open(&fs);
            assert!(recovery.damage.is_empty(), "{name}, {seq} at {at}: {recovery:?}");
            assert_eq!(recovery.messages.len(), 12 - lost.len());
            all_ok(&store.commit(&mut [add(&[99], "x\r\n")]));
            drop(store);
            assert!(open(&fs).1.damage.is_empty());
            // What is written from now on tells its end.
            assert_eq!((end(&fs, 3 - seq), end(&fs, 3)), (End::Unknown, End::Unknown));
            assert!(matches!(end(&fs, 4), End::At(_)));
        }
    }
}
