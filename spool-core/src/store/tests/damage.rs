//! Bytes that are not what was written: flipped, zeroed, forged, torn.

use super::*;
use std::collections::BTreeSet;

pub(super) fn segment_path(seq: u32) -> PathBuf {
    Path::new(DIR).join(format!("journal/{seq:010}.log"))
}

/// Where each frame of the first segment begins, as its lengths tell.
pub(super) fn frames(fs: &SimFs) -> Vec<(usize, usize)> {
    frames_of(fs, 1)
}

/// Where each frame of a segment begins, as its lengths tell.
pub(super) fn frames_of(fs: &SimFs, seq: u32) -> Vec<(usize, usize)> {
    let bytes = fs.read(&segment_path(seq)).unwrap();
    let mut at = segment::HEADER;
    let mut all = Vec::new();
    while bytes.get(at).is_some_and(|byte| *byte != 0) {
        let place = Place {
            seq: Seq::new(seq).unwrap(),
            offset: at as u32,
        };
        let header = Header::decode(bytes[at..].first_chunk().unwrap(), place, None).unwrap();
        let length = header.frame_len() as usize;
        all.push((at, length));
        at += length;
    }
    all
}

fn corrupt(fs: &SimFs, seq: u32, at: usize, change: impl FnOnce(&mut [u8])) {
    let path = segment_path(seq);
    let mut bytes = fs.read(&path).unwrap();
    change(&mut bytes[at..]);
    fs.plant(&path, &bytes);
}

fn three_adds() -> SimFs {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    for number in 1..4 {
        all_ok(&store.commit(&mut [add(&[number], text(number as u8, 700))]));
    }
    fs
}

fn ids(recovery: &Recovery) -> Vec<u128> {
    let ids: BTreeSet<_> = recovery.messages.iter().map(|m| m.id.as_u128()).collect();
    ids.into_iter().collect()
}

#[test]
fn damage_in_the_middle_is_covered_once_and_the_rest_is_kept() {
    // In the header, the record and the body of the second frame.
    for inside in [5, 60, 600] {
        let fs = three_adds();
        let (at, length) = frames(&fs)[1];
        corrupt(&fs, 1, at + inside, |bytes| bytes[0] ^= 0x10);
        let corrupt = fs.read(&segment_path(1)).unwrap()[at..at + length].to_vec();
        let (store, recovery) = open(&fs);
        assert_eq!(ids(&recovery), [1, 3]);
        let [damage] = recovery.damage.as_slice() else {
            panic!("{:?}", recovery.damage);
        };
        assert_eq!(damage.file, "journal/0000000001.log");
        assert_eq!((damage.offset, damage.length), (at as u64, length as u64));
        assert_eq!(damage.kept_as, format!("corrupt/0000000001-{at}.bin"));
        let kept = Path::new(DIR).join(&damage.kept_as);
        assert_eq!(fs.read(&kept), Some(corrupt.clone()));
        assert_eq!(store.body(id(3)).unwrap(), text(3, 700));
        drop(store);
        let (_, again) = open(&fs);
        assert_eq!(ids(&again), [1, 3]);
        assert!(again.damage.is_empty(), "{:?}", again.damage);
        assert_eq!(fs.read(&kept), Some(corrupt));
        let copies = fs
            .files()
            .into_iter()
            .filter(|path| path.starts_with("/spool/corrupt"));
        assert_eq!(copies.count(), 1);
    }
}

#[test]
fn reserved_space_makes_room_for_copies_on_a_full_disk() {
    let fs = three_adds();
    let (at, length) = frames(&fs)[1];
    corrupt(&fs, 1, at + 60, |bytes| bytes[0] ^= 0x10);
    let corrupt = fs.read(&segment_path(1)).unwrap()[at..at + length].to_vec();
    fs.set_capacity(Some(fs.used()));
    let (_store, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [1, 3]);
    let kept = Path::new(DIR).join(&recovery.damage[0].kept_as);
    assert_eq!(fs.read(&kept), Some(corrupt));
}

#[test]
fn a_damaged_header_of_a_segment_costs_no_message() {
    let fs = three_adds();
    corrupt(&fs, 1, 0, |bytes| bytes[..segment::HEADER].fill(0xee));
    let (_, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [1, 2, 3]);
    assert_eq!(recovery.damage.len(), 1);
    assert!(open(&fs).1.damage.is_empty());
}

#[test]
fn zeros_in_the_middle_hide_nothing_behind_them() {
    let fs = three_adds();
    let (at, length) = frames(&fs)[1];
    corrupt(&fs, 1, at, |bytes| bytes[..length].fill(0));
    let (_, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [1, 3]);
    assert_eq!(recovery.damage[0].length, length as u64);
}

#[test]
fn damage_in_an_older_segment_is_no_torn_tail() {
    let fs = three_adds();
    let (at, length) = frames(&fs)[2];
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[4], "x\r\n")]));
    drop(store);
    corrupt(&fs, 1, at + 2, |bytes| bytes[0] ^= 1);
    let (_, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [1, 2, 4]);
    assert_eq!(recovery.torn_bytes, 0);
    assert_eq!(recovery.damage[0].length, length as u64);
}

#[test]
fn a_corrupt_body_in_an_older_segment_is_found_on_reading() {
    let fs = three_adds();
    let (at, length) = frames(&fs)[1];
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[4], "x\r\n")]));
    drop(store);
    corrupt(&fs, 1, at + length - 1, |bytes| bytes[0] ^= 1);
    let (store, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [1, 2, 3, 4]);
    assert!(matches!(store.body(id(2)), Err(StoreError::Damaged { .. })));
    assert_eq!(store.load(id(2)).unwrap().body_size, 700);
}

#[test]
fn a_segment_with_a_later_name_is_not_a_torn_end() {
    let fs = three_adds();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[4], "four\r\n"), add(&[5], "five\r\n")]));
    drop(store);
    // The newest segment has a torn end; the one before it lies under a later name.
    let mut bytes = fs.read(&segment_path(2)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end] ^= 1;
    fs.plant(&segment_path(2), &bytes);
    let moved = fs.read(&segment_path(1)).unwrap();
    fs.rename(&segment_path(1), &segment_path(7)).unwrap();
    let (_store, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [4]);
    assert!(recovery.torn_bytes > 0);
    let [damage] = recovery.damage.as_slice() else {
        panic!("{:?}", recovery.damage);
    };
    assert_eq!(damage.file, "journal/0000000007.log");
    let kept = fs.read(&Path::new(DIR).join(&damage.kept_as)).unwrap();
    assert!(moved.starts_with(&kept) && moved[kept.len()..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_torn_end_is_cut_and_never_comes_back() {
    let fs = three_adds();
    let (at, length) = frames(&fs)[2];
    let whole = fs.read(&segment_path(1)).unwrap();
    for kept in 1..length {
        let copy = fs.after_power_cut(crate::store::fs::Loss::Nothing);
        corrupt(&copy, 1, at + kept, |bytes| bytes[..length - kept].fill(0));
        let (store, recovery) = open(&copy);
        assert_eq!(ids(&recovery), [1, 2]);
        // What is kept may itself end in zeros.
        assert!((1..=kept as u64).contains(&recovery.torn_bytes), "{kept}");
        assert!(recovery.damage.is_empty());
        // It may be a last frame that was corrupt: what is cut is kept.
        let torn = usize::try_from(recovery.torn_bytes).unwrap();
        let kept_as = Path::new(DIR).join(format!("corrupt/0000000001-{at}.bin"));
        assert_eq!(copy.read(&kept_as).unwrap(), whole[at..at + torn]);
        drop(store);
        let (_, again) = open(&copy);
        assert_eq!((ids(&again), again.torn_bytes), (vec![1, 2], 0));
    }
    assert_eq!(fs.read(&segment_path(1)).unwrap(), whole);
}

#[test]
fn a_mail_that_looks_like_a_frame_stays_a_mail() {
    let carrier = |body: Vec<u8>| add(&[1], body);
    let (_, payload) = record_of(&carrier(Vec::new()));
    let at = segment::HEADER + frame::HEADER + payload.len();
    let place = Place {
        seq: Seq::MIN,
        offset: at as u32,
    };
    // Right in everything but the salt, which its sender cannot know.
    let (kind, forged) = record_of(&add(&[666], "evil\r\n"));
    let header = Header::of(kind, &forged, b"evil\r\n", 0x1234)
        .unwrap()
        .encode(place);
    let body = [&header[..], &forged, b"evil\r\n"].concat();
    assert!(Header::decode(&header, place, None).is_ok());
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [carrier(body), add(&[2], "good\r\n")]));
    drop(store);
    corrupt(&fs, 1, segment::HEADER + 1, |bytes| bytes[0] ^= 1);
    let (_, recovery) = open(&fs);
    assert_eq!(ids(&recovery), [2]);
}

#[test]
fn no_flipped_byte_makes_a_panic_or_a_wrong_message() {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1, 2], text(1, 90))]));
    all_ok(&store.commit(&mut [begin(1, 5), defer(1, 7000), freeze(2)]));
    all_ok(&store.commit(&mut [add(&[3], text(3, 70)), finish(2), freeze(1)]));
    drop(store);
    let end: usize = frames(&fs).last().map(|(at, length)| at + length).unwrap();
    let bodies = |number: u128| if number == 3 { text(3, 70) } else { text(1, 90) };
    for older in [false, true] {
        for at in 0..end + 40 {
            let copy = fs.after_power_cut(crate::store::fs::Loss::Nothing);
            if older {
                let (store, _) = open(&copy);
                all_ok(&store.commit(&mut [add(&[9], "x\r\n"), finish(9)]));
            }
            if copy.read(&segment_path(1)).is_none_or(|bytes| bytes.len() <= at) {
                continue;
            }
            corrupt(&copy, 1, at, |bytes| bytes[0] ^= 0x41);
            for _ in 0..2 {
                let (store, recovery) = match try_open(&copy) {
                    Ok(opened) => opened,
                    Err(error) => panic!("byte {at}: {error}"),
                };
                for number in ids(&recovery) {
                    assert!(number <= 3, "byte {at}: {number}");
                    let message = store.load(id(number)).unwrap();
                    assert_eq!(message.envelope.as_ref(), &section(number).envelope);
                    match store.body(id(number)) {
                        Ok(body) => assert_eq!(body, bodies(number), "byte {at}"),
                        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
                    }
                }
            }
        }
    }
}

#[test]
fn a_damaged_format_file_is_an_error_and_changes_nothing() {
    for at in 0.."spool 1\n".len() {
        let fs = three_adds();
        let path = Path::new(DIR).join("FORMAT");
        let mut bytes = fs.read(&path).unwrap();
        // No byte becomes one of a format that is read.
        bytes[at] ^= 4;
        fs.plant(&path, &bytes);
        match try_open(&fs) {
            Err(OpenError::NotASpool(_) | OpenError::NoFormat(_) | OpenError::NewerFormat { .. }) => {}
            // The line end is not looked at.
            Ok(_) if at == 7 => {}
            other => panic!("byte {at}: {other:?}"),
        }
    }
}
