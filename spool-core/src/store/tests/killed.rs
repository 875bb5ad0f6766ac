//! A process is killed between a write and its sync, the next one builds on what it finds, and then the power goes.

use super::*;
use crate::store::fs::{Loss, OpKind};

fn after_power_cut(fs: &SimFs) -> SimFs {
    fs.after_power_cut(Loss::Everything)
}

/// Does `work`, and kills the process just before its last operation of `kind`.
fn killed_before_last(fs: &SimFs, kind: OpKind, work: impl Fn(&Store)) {
    let trial = fs.after_power_cut(Loss::Nothing);
    let (store, _) = open(&trial);
    let before = trial.operations().len();
    work(&store);
    let operations = trial.operations();
    let last = operations[before..]
        .iter()
        .rposition(|done| *done == kind)
        .unwrap();
    let (store, _) = open(fs);
    assert_eq!(fs.operations().len(), before);
    fs.cut_after(before + last);
    work(&store);
    drop(store);
    fs.cut_after(usize::MAX);
}

/// One message on the journal, as an earlier life left it.
fn one_message() -> SimFs {
    let fs = SimFs::new();
    fs.plant(Path::new("/elsewhere"), b"");
    let (store, _) = open(&fs);
    all_ok(&store.commit(&mut [add(&[1], "body 1\r\n"), freeze(1)]));
    store.maintain();
    drop(store);
    fs.after_power_cut(Loss::Nothing)
}

fn pair(store: &Store, number: u128) -> (Archived, Bytes) {
    let message = store.load(id(number)).unwrap();
    let (at, reason) = (Timestamp(5000), None);
    (Archived { message, at, reason }, "body 1\r\n".into())
}

fn remove(store: &Store) {
    let laid = store.archive(Archive::Removed, &[pair(store, 1)]);
    if laid[0].is_ok() {
        store.commit(&mut [finish(1)]);
    }
}

#[test]
fn an_interrupted_creation_is_continued_after_a_power_cut() {
    let whole = SimFs::new();
    whole.plant(Path::new("/elsewhere"), b"");
    open(&whole);
    for cut in 0..whole.operations().len() {
        let fs = SimFs::new();
        fs.plant(Path::new("/elsewhere"), b"");
        fs.cut_after(cut);
        drop(try_open(&fs));
        fs.cut_after(usize::MAX);
        let (store, _) = open(&fs);
        all_ok(&store.commit(&mut [add(&[1], "x\r\n")]));
        drop(store);
        let (store, _) = open(&after_power_cut(&fs));
        assert_eq!(store.body(id(1)).unwrap(), "x\r\n", "cut after {cut}");
    }
}

#[test]
fn what_a_start_shows_is_durable() {
    // In a segment among others, and in one of just its size, which has no rest to be cut.
    for size in [3000, 100_000] {
        let fs = one_message();
        killed_before_last(&fs, OpKind::Sync, |store| {
            let mut named = add(&[2], text(2, size));
            if let Change::Add(addition) = &mut named {
                addition.key = Some(AddKey::new("once"));
            }
            store.commit(&mut [named]);
        });
        let (store, recovery) = open(&fs);
        assert_eq!((recovery.messages.len(), recovery.keys.len()), (2, 1), "{size}");
        drop(store);
        let (store, again) = open(&after_power_cut(&fs));
        assert_eq!(again.keys, recovery.keys, "{size}");
        assert_eq!(store.body(id(2)).unwrap(), text(2, size));
        assert!(again.damage.is_empty(), "{again:?}");
    }
}

#[test]
fn a_pair_that_a_start_shows_is_durable() {
    let fs = one_message();
    let lay = |store: &Store| {
        let (mut archived, body) = pair(store, 1);
        archived.message.id = id(9);
        store.archive(Archive::Quarantine, &[(archived, body)]);
    };
    killed_before_last(&fs, OpKind::SyncDir, lay);
    let (store, _) = open(&fs);
    assert!(store.archived(Archive::Quarantine, id(9)).is_ok());
    drop(store);
    let (store, _) = open(&after_power_cut(&fs));
    assert!(store.archived(Archive::Quarantine, id(9)).is_ok());
}

#[test]
fn an_archive_that_was_not_synced_is_synced_before_use() {
    let fs = one_message();
    let (store, _) = open(&fs);
    fs.fail(OpKind::SyncDir, 0, std::io::ErrorKind::Other);
    let laid = store.archive(Archive::Removed, &[pair(&store, 1)]);
    assert!(laid[0].is_err(), "{laid:?}");
    remove(&store);
    drop(store);
    let (store, recovery) = open(&after_power_cut(&fs));
    assert!(recovery.messages.is_empty());
    assert!(store.archived(Archive::Removed, id(1)).is_ok());
}

#[test]
fn nothing_is_left_of_an_interrupted_pair() {
    let fs = one_message();
    let (store, _) = open(&fs);
    remove(&store);
    let (mut quarantined, body) = store.archived(Archive::Removed, id(1)).unwrap();
    quarantined.message.id = id(9);
    drop(store);
    let before = fs.after_power_cut(Loss::Nothing);
    let work = |store: &Store| {
        let _ = store.discard(Archive::Removed, &[id(1)]);
        store.archive(Archive::Quarantine, &[(quarantined.clone(), body.clone())]);
    };
    let whole = before.after_power_cut(Loss::Nothing);
    work(&open(&whole).0);
    for cut in 0..whole.operations().len() {
        let fs = before.after_power_cut(Loss::Nothing);
        fs.cut_after(cut);
        if let Ok((store, _)) = try_open(&fs) {
            work(&store);
        }
        fs.cut_after(usize::MAX);
        let (store, _) = open(&fs);
        for archive in Archive::ALL {
            let dir = Path::new(DIR).join(archive.name());
            let names = fs.list(&dir).unwrap_or_default();
            let listed = store.list_archive(archive, None, 9).unwrap();
            assert!(
                listed.iter().all(|(_, pair)| pair.is_ok()),
                "cut {cut}: {listed:?}"
            );
            assert_eq!(names.len(), 2 * listed.len(), "cut {cut}: {names:?}");
        }
    }
}

#[test]
fn a_pair_left_by_a_recovery_is_deleted_by_the_next_removal() {
    let fs = one_message();
    let (store, _) = open(&fs);
    let in_archive = pair(&store, 1);
    all_ok(&store.archive(Archive::Quarantine, &[in_archive]));
    // As if it had just been recovered from there, and its files stayed.
    remove(&store);
    assert!(store.archived(Archive::Removed, id(1)).is_ok());
    assert_eq!(
        store.archived(Archive::Quarantine, id(1)),
        Err(StoreError::NoSuchMessage(id(1)))
    );
}
