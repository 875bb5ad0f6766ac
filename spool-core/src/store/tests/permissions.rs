//! Whose the directory is, what stands in it that is no file of ours, and who else could get at it. On the disk of this machine.

use super::*;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::mpsc;

const INNER: [&str; 6] = ["journal", "corrupt", "events", "keys", "removed", "quarantine"];

/// A spool with something in each of its directories.
fn used() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    let (store, _) = Store::open(&dir, &options()).unwrap();
    let mut named = add(&[1, 2], "x\r\n");
    if let Change::Add(addition) = &mut named {
        addition.key = Some(AddKey::new("once"));
    }
    all_ok(&store.commit(&mut [named]));
    for (archive, number) in Archive::ALL.into_iter().zip([1, 2]) {
        let archived = Archived {
            message: store.load(id(number)).unwrap(),
            at: Timestamp(5),
            reason: None,
        };
        let body = store.body(id(number)).unwrap();
        all_ok(&store.archive(archive, &[(archived, body)]));
    }
    all_ok(&store.commit(&mut [finish(1), finish(2), add(&[3], "y\r\n")]));
    store.maintain();
    drop(store);
    (temp, dir)
}

/// Nothing hangs: what is asked is answered soon.
fn soon<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(ask()));
    told.recv_timeout(Duration::from_secs(20)).expect("an answer")
}

fn start(dir: &Path) -> Result<Recovery, String> {
    let dir = dir.to_owned();
    soon(move || Store::open(&dir, &options()).map(|(_, recovery)| recovery))
        .map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_link_in_place_of_a_directory_is_refused() {
    for name in INNER {
        let (temp, dir) = used();
        let elsewhere = temp.path().join("elsewhere");
        std::fs::rename(dir.join(name), &elsewhere).unwrap();
        std::fs::set_permissions(&elsewhere, Permissions::from_mode(0o755)).unwrap();
        symlink(&elsewhere, dir.join(name)).unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(&elsewhere)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            names.sort();
            names
        };
        let before = names();
        let refused = start(&dir).unwrap_err();
        assert!(refused.contains(&format!("/{name}: cannot use")), "{refused}");
        assert!(count_from_disk(&dir).is_err(), "{name}");
        assert!(checkup(&dir, Timestamp(1), true, &mut || {}).is_err(), "{name}");
        assert_eq!((names(), mode(&elsewhere)), (before, 0o755), "{name}");
    }
}

#[test]
fn the_spool_itself_may_stand_behind_a_link() {
    let (temp, dir) = used();
    let link = temp.path().join("link");
    symlink(&dir, &link).unwrap();
    std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(start(&link).unwrap().messages.len(), 1);
    assert_eq!(mode(&dir), 0o700);
}

#[test]
fn a_directory_that_others_can_enter_is_closed_to_them() {
    for wide in [0o755, 0o770, 0o777, 0o701] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("spool");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(wide)).unwrap();
        start(&dir).unwrap();
        assert_eq!(mode(&dir), 0o700, "{wide:o}");

        let (_temp, dir) = used();
        for name in INNER {
            std::fs::set_permissions(dir.join(name), Permissions::from_mode(wide)).unwrap();
        }
        start(&dir).unwrap();
        for name in INNER {
            assert_eq!(mode(&dir.join(name)), 0o700, "{name} {wide:o}");
        }
    }
    // What is no spool is none of our business.
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("letter"), "dear").unwrap();
    std::fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    start(temp.path()).unwrap_err();
    assert_eq!(mode(temp.path()), 0o755);
}

/// Puts a pipe in the place of a file.
fn pipe(path: &Path) {
    let _ = std::fs::remove_file(path);
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, path, fifo, mode, 0).unwrap();
}

#[test]
fn a_pipe_or_a_directory_in_place_of_a_file_is_refused() {
    let put: [fn(&Path); 2] = [pipe, |path| {
        let _ = std::fs::remove_file(path);
        std::fs::create_dir(path).unwrap();
    }];
    for make in put {
        for name in ["FORMAT", "lock", "journal/0000000001.log"] {
            let (_temp, dir) = used();
            make(&dir.join(name));
            let refused = start(&dir).unwrap_err();
            assert!(
                refused.contains(name) && refused.contains("cannot open"),
                "{refused}"
            );
            let outside = dir.clone();
            let counted = soon(move || count_from_disk(&outside));
            assert_eq!(counted.is_ok(), name == "lock", "{name}: {counted:?}");
        }
        for logs in ["events", "keys"] {
            let (_temp, dir) = used();
            let file = std::fs::read_dir(dir.join(logs))
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .path();
            make(&file);
            let refused = start(&dir).unwrap_err();
            assert!(refused.contains(logs) || refused.contains("log of"), "{refused}");
        }
    }
    // The next segment is made anew.
    let (_temp, dir) = used();
    pipe(&dir.join("journal/spare"));
    assert_eq!(start(&dir).unwrap().messages.len(), 1);
    assert!(
        std::fs::symlink_metadata(dir.join("journal/spare"))
            .unwrap()
            .is_file()
    );
}

#[test]
fn a_pipe_or_a_link_in_an_archive_affects_one_pair() {
    let (temp, dir) = used();
    let secret = temp.path().join("secret");
    std::fs::write(&secret, "{}").unwrap();
    for (archive, number) in Archive::ALL.into_iter().zip([1, 2]) {
        for kind in ["eml", "json"] {
            let path = dir.join(format!("{}/{}.{kind}", archive.name(), id(number)));
            let whole = std::fs::read(&path).unwrap();
            for linked in [false, true] {
                if linked {
                    std::fs::remove_file(&path).unwrap();
                    symlink(&secret, &path).unwrap();
                } else {
                    pipe(&path);
                }
                let from = dir.clone();
                soon(move || {
                    let (store, _) = Store::open(&from, &options()).unwrap();
                    let read = store.archived(archive, id(number));
                    assert!(matches!(read, Err(StoreError::Damaged { .. })), "{read:?}");
                    assert!(store.list_archive(archive, None, 9).unwrap()[0].1.is_err());
                    let other = if archive == Archive::Removed {
                        (Archive::Quarantine, 2)
                    } else {
                        (Archive::Removed, 1)
                    };
                    assert!(store.archived(other.0, id(other.1)).is_ok());
                    assert_eq!(store.body(id(3)).unwrap(), "y\r\n");
                });
            }
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, whole).unwrap();
        }
    }
}

#[test]
fn a_lock_file_with_a_second_link_is_not_written() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("spool");
    let letter = temp.path().join("letter");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(&letter, "dear").unwrap();
    std::fs::hard_link(&letter, dir.join("lock")).unwrap();
    let refused = start(&dir).unwrap_err();
    assert!(
        refused.contains("lock: cannot write") && refused.contains("second hard link"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&letter).unwrap(), b"dear");
}

#[test]
fn a_directory_of_another_owner_is_refused() {
    let (_temp, dir) = used();
    let given = std::os::unix::fs::chown(dir.join("journal"), Some(12_345), None);
    if given.is_err() {
        return println!("skipped: only root can give a directory away");
    }
    match Store::open(&dir, &options()) {
        Err(OpenError::ForeignOwner { dir, owner: 12_345 }) => assert!(dir.ends_with("journal")),
        other => panic!("{other:?}"),
    }
}
