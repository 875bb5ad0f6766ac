//! Bytes that no program wrote are refused by every decoder, and none panics.

use super::format::place;
use super::golden::rich_add;
use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

/// A segment with one frame of each kind, and its length without the zeros behind.
static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let fs = SimFs::new();
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [
        rich_add(),
        begin(1, 5),
        defer(1, 9),
        finish(1),
        add(&[5], text(1, 100)),
    ]));
    let mut bytes = fs.read(&Path::new(DIR).join("journal/0000000001.log")).unwrap();
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    bytes
});

fn scan_all(bytes: &[u8], bodies: bool) -> usize {
    let fs = SimFs::new();
    fs.plant(Path::new("/s"), bytes);
    let file = fs.open(Path::new("/s"), crate::store::fs::Mode::Read).unwrap();
    let mut scan = Scan::new(file, Seq::MIN, bodies).unwrap();
    let mut frames = 0;
    while let Ok(Some(item)) = scan.next() {
        frames += usize::from(matches!(item, Item::Frame { .. }));
    }
    frames
}

proptest! {
    #[test]
    fn a_header_is_read_as_it_was_written(
        payload in any::<Vec<u8>>(), body in any::<Vec<u8>>(), salt in any::<u64>(), offset in any::<u32>(), other in any::<u32>(),
    ) {
        let header = Header::of(Kind::State, &payload, &body, salt).unwrap();
        let bytes = header.encode(place(offset));
        prop_assert_eq!(Header::decode(&bytes, place(offset), Some(salt)), Ok(header));
        prop_assert_eq!(Header::decode(&bytes, place(other), None).is_ok(), other == offset);
        prop_assert!(Header::decode(&bytes, place(offset), Some(!salt)).is_err());
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for (kind, version) in Kind::ALL.into_iter().flat_map(|kind| (1..=frame::VERSION).map(move |version| (kind, version))) {
            let header = Header { version, ..Header::of(kind, &bytes, &[], 0).unwrap() };
            let _ = record::decode(header, &bytes);
        }
        let _ = segment::decode_header(&bytes, Seq::MIN);
        if let Some(bytes) = bytes.first_chunk::<{ frame::HEADER }>() {
            prop_assert!(Header::decode(bytes, place(0), None).is_err());
        }
        prop_assert_eq!(scan_all(&bytes, true), 0);
    }

    #[test]
    fn no_corrupt_segment_makes_a_scan_panic(
        corrupts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(), bodies in any::<bool>(),
    ) {
        let mut bytes = SAMPLE.clone();
        for (at, value) in corrupts {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        prop_assert!(scan_all(&bytes, bodies) <= 5);
    }

    #[test]
    fn a_corrupt_record_never_panics(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let (_, mut payload) = record_of(&rich_add());
        let at = at.index(payload.len());
        payload[at] = value;
        let header = Header::of(Kind::Add, &payload, &[], 0).unwrap();
        let _ = record::decode(header, &payload);
    }
}
