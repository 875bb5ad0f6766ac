//! Files that are removed from under an open store.

use super::*;
use std::path::PathBuf;
use std::sync::Mutex as StdMutex;

struct Taken {
    _dir: tempfile::TempDir,
    spool: PathBuf,
    store: Arc<Store>,
    told: Arc<StdMutex<Vec<Failure>>>,
}

impl Taken {
    /// A store with two sealed segments and a head.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let (store, _) = Store::open(&spool, &options()).unwrap();
        let told: Arc<StdMutex<Vec<Failure>>> = Arc::default();
        let tell = Arc::clone(&told);
        store.on_failure(move |failure| tell.lock().unwrap().push(failure.clone()));
        let taken = Self {
            _dir: dir,
            spool,
            store: Arc::new(store),
            told,
        };
        for id in 1..=60 {
            assert_eq!(taken.add(id), Ok(()));
            taken.store.maintain();
        }
        assert!(taken.store.stats().segments > 2);
        assert_eq!(taken.store.check_files(), Ok(()));
        taken
    }

    fn add(&self, id: u128) -> Result<(), StoreError> {
        let body = "y".repeat(70) + "\r\n";
        let change = add(&[id], body.repeat(50));
        self.store.commit(&mut [change]).pop().unwrap()
    }

    /// It was noticed, and nothing is taken any more.
    fn noticed(&self, what: &str) {
        let checked = self.store.check_files();
        assert!(
            matches!(checked, Err(StoreError::Failed(_))),
            "{what}: {checked:?}"
        );
        let told = self.told.lock().unwrap().clone();
        let [Failure::FilesTaken(why)] = told.as_slice() else {
            panic!("{what}: {told:?}");
        };
        assert!(why.contains(what), "{why}");
        assert!(self.add(1000).is_err());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.spool.join(name)
    }
}

#[test]
fn a_deleted_lock_file_is_noticed_and_opens_no_door() {
    let taken = Taken::new();
    std::fs::remove_file(taken.path("lock")).unwrap();
    let second = Store::open(&taken.spool, &StoreOptions::default());
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    assert!(!taken.path("lock").exists(), "nothing was changed");
    taken.noticed("lock was deleted or moved");
}

#[test]
fn a_replaced_lock_file_is_noticed() {
    let taken = Taken::new();
    std::fs::write(taken.path("new"), "").unwrap();
    std::fs::rename(taken.path("new"), taken.path("lock")).unwrap();
    taken.noticed("lock was replaced");
}

#[test]
fn deleted_and_replaced_segments_are_noticed() {
    for name in [
        "journal/0000000001.log",
        "journal/0000000002.log",
        "journal/spare",
    ] {
        let taken = Taken::new();
        std::fs::remove_file(taken.path(name)).unwrap();
        taken.noticed(name);
        let taken = Taken::new();
        std::fs::copy(taken.path(name), taken.path("new")).unwrap();
        std::fs::rename(taken.path("new"), taken.path(name)).unwrap();
        taken.noticed(name);
    }
}

#[test]
fn a_commit_into_a_deleted_segment_is_never_answered_ok() {
    let taken = Taken::new();
    for entry in std::fs::read_dir(taken.path("journal")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    // Nobody has looked since: the commit itself does.
    let refused = taken.add(900);
    assert!(
        matches!(&refused, Err(StoreError::Failed(why)) if why.contains("deleted")),
        "{refused:?}"
    );
    taken.noticed("journal/");
}

#[test]
fn a_truncated_segment_is_noticed() {
    let cut = |taken: &Taken| {
        let segments = std::fs::read_dir(taken.path("journal")).unwrap();
        let segments = segments.map(|entry| entry.unwrap().path());
        let head = segments.filter(|path| path.extension().is_some()).max().unwrap();
        std::fs::File::options()
            .write(true)
            .open(head)
            .unwrap()
            .set_len(0)
            .unwrap();
    };
    let taken = Taken::new();
    cut(&taken);
    let refused = taken.add(900);
    assert!(
        matches!(&refused, Err(StoreError::Failed(why)) if why.contains("cut short")),
        "{refused:?}"
    );
    let taken = Taken::new();
    cut(&taken);
    taken.noticed("was cut short");
}

#[test]
fn a_deleted_format_is_noticed() {
    let taken = Taken::new();
    std::fs::remove_file(taken.path("FORMAT")).unwrap();
    taken.noticed("FORMAT was deleted or moved");
    let Taken {
        _dir, spool, store, ..
    } = taken;
    drop(store);
    let again = Store::open(&spool, &StoreOptions::default());
    let Err(error @ OpenError::NoFormat(_)) = again else {
        panic!("{again:?}");
    };
    assert!(error.to_string().contains("may hold mail"), "{error}");
}

#[test]
fn a_directory_that_is_moved_removed_or_replaced_is_noticed() {
    let taken = Taken::new();
    let moved = taken.spool.with_file_name("moved");
    std::fs::rename(&taken.spool, &moved).unwrap();
    taken.noticed("the directory");
    let taken = Taken::new();
    std::fs::remove_dir_all(&taken.spool).unwrap();
    taken.noticed("the directory");
    let taken = Taken::new();
    std::fs::rename(taken.path("journal"), taken.path("elsewhere")).unwrap();
    std::fs::create_dir(taken.path("journal")).unwrap();
    taken.noticed("the directory journal");
}

#[test]
fn a_read_only_file_system_is_noticed_without_a_change() {
    let fs = SimFs::new();
    let (store, _) = Store::open_on(
        Arc::new(fs.clone()),
        Path::new("/spool"),
        &StoreOptions::default(),
    )
    .unwrap();
    assert_eq!(store.check_files(), Ok(()));
    fs.set_read_only(true);
    let checked = store.check_files();
    assert!(
        matches!(&checked, Err(StoreError::Failed(why)) if why.contains("read-only")),
        "{checked:?}"
    );
}

#[test]
fn segments_that_the_store_gives_back_itself_are_not_missed() {
    let taken = Taken::new();
    let store = Arc::clone(&taken.store);
    let looking = std::thread::spawn(move || {
        let mut looks = 0;
        while looks < 2000 && store.stats().messages > 0 {
            store.check_files().unwrap();
            looks += 1;
        }
    });
    for id in 1..=60 {
        let done = taken.store.commit(&mut [finish(id)]).pop().unwrap();
        assert_eq!(done, Ok(()));
        taken.store.maintain();
    }
    looking.join().unwrap();
    assert_eq!(taken.store.check_files(), Ok(()));
}

#[test]
fn a_closed_store_gives_its_directory_free() {
    let taken = Taken::new();
    taken.store.close();
    assert!(taken.add(900).is_err());
    let (second, recovery) = Store::open(&taken.spool, &StoreOptions::default()).unwrap();
    assert_eq!(recovery.messages.len(), 60);
    drop(second);
}
