//! The key log: names outlive restarts, in bounded number.

use super::*;

const MAX: usize = 100;

fn few() -> StoreOptions {
    StoreOptions {
        max_keys: MAX,
        ..options()
    }
}

fn reopened(fs: &SimFs) -> (Store, Vec<String>) {
    let (store, recovery) = Store::open_on(Arc::new(fs.clone()), Path::new(DIR), &few()).unwrap();
    (store, recovery.keys.into_iter().map(|key| key.key).collect())
}

#[test]
fn keys_beyond_the_limit_take_bounded_room() {
    let fs = SimFs::new();
    let (store, _) = reopened(&fs);
    for number in 0..10 * MAX as u128 {
        let mut change = add(&[number + 1], "x\r\n");
        if let Change::Add(addition) = &mut change {
            addition.key = Some(AddKey {
                key: number.to_string(),
                fingerprint: Some(Fingerprint::of(&[], b"x")),
            });
        }
        all_ok(&store.commit(&mut [change, finish(number + 1)]));
        store.maintain();
    }
    drop(store);
    let lines = |fs: &SimFs| -> usize {
        let keys = Path::new(DIR).join("keys");
        let files = fs.files().into_iter().filter(|path| path.starts_with(&keys));
        let count = |bytes: Vec<u8>| bytes.iter().filter(|byte| **byte == b'\n').count();
        files.map(|path| count(fs.read(&path).unwrap())).sum()
    };
    assert!(lines(&fs) <= MAX + MAX.div_ceil(4) + 1, "{}", lines(&fs));
    for _ in 0..3 {
        let (_store, names) = reopened(&fs);
        let newest: Vec<String> = (9 * MAX..10 * MAX).map(|number| number.to_string()).collect();
        assert_eq!(names[names.len() - MAX..], newest);
    }
}
