//! The drop directory against those who mean harm: links, pipes, directories, swaps, floods.

use super::*;
use rustix::fs::{linkat, mknodat, symlinkat};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

const LIMITS: SubmissionLimits = SubmissionLimits {
    message_size: 1000,
    recipients: 1,
};

struct Bench {
    path: PathBuf,
    drop: DropDir,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drop");
        let drop = DropDir::open(&path, LIMITS).unwrap();
        Self {
            path,
            drop,
            _dir: dir,
        }
    }

    fn file(&self, name: &str, text: &[u8]) -> CString {
        fs::write(self.path.join(name), text).unwrap();
        CString::new(name).unwrap()
    }

    /// Claims what is there, and reads one of it.
    fn read(&self, name: &str) -> Result<Left<()>, NotTaken> {
        self.drop.look(false).unwrap();
        self.drop.read(&CString::new(name).unwrap(), |_| Some(()))
    }

    fn is_bad(&self, name: &str, part: &str) {
        match self.read(name) {
            Err(NotTaken::Bad(why)) => assert!(why.contains(part), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn everyone_may_leave_and_nobody_may_look() {
    let bench = Bench::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&bench.path), 0o3733);
    let private = ["taken", "refused"].map(|name| bench.path.join(name));
    assert_eq!(private.each_ref().map(|path| mode(path)), [0o700; 2]);
    // A mode that was changed is set right.
    for path in [&bench.path, &private[0], &private[1]] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
    }
    DropDir::open(&bench.path, LIMITS).unwrap();
    assert_eq!(mode(&bench.path), 0o3733);
    assert_eq!(private.each_ref().map(|path| mode(path)), [0o700; 2]);
    // A directory that a later version of the service makes inherits the bit for the group, and nothing else.
    fs::remove_dir(&private[0]).unwrap();
    DropDir::open(&bench.path, LIMITS).unwrap();
    assert_eq!(mode(&private[0]) & 0o777, 0o700);
}

#[test]
fn only_a_directory_of_the_service_is_a_drop_directory() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "x").unwrap();
    fs::create_dir(at("there")).unwrap();
    std::os::unix::fs::symlink(at("there"), at("link")).unwrap();
    for name in ["file", "link", "no/such"] {
        assert!(DropDir::open(&at(name), LIMITS).is_err(), "{name}");
    }
    // Somebody was there first.
    for name in ["refused", "taken"] {
        let there = at("there").join(name);
        let _ = fs::remove_dir(&there);
        std::os::unix::fs::symlink("/tmp", &there).unwrap();
        let why = DropDir::open(&at("there"), LIMITS).unwrap_err();
        assert!(why.starts_with(&format!("{name}/ ")), "{why}");
        fs::remove_file(&there).unwrap();
    }
    if nix::unistd::geteuid().is_root() {
        fs::create_dir_all(at("there/taken")).unwrap();
        std::os::unix::fs::chown(at("there/taken"), Some(12_345), None).unwrap();
        let why = DropDir::open(&at("there"), LIMITS).unwrap_err();
        assert!(why.starts_with("taken/ belongs to the user 12345"), "{why}");
    }
}

#[test]
fn a_file_is_read_with_its_owner_and_time() {
    let bench = Bench::new();
    let name = bench.file("a", b"text");
    let found = fs::metadata(bench.path.join("a")).unwrap();
    let left = bench.read("a").unwrap();
    assert_eq!(
        (left.bytes.as_slice(), left.user, left.inode),
        (&b"text"[..], found.uid(), found.ino())
    );
    assert_eq!(left.at.0 / 1000, found.mtime());
    assert_eq!(
        bench
            .drop
            .read(&name, |size| (size != 4).then_some(()))
            .unwrap_err(),
        NotTaken::Waits("the memory for arriving mail is in use".to_owned())
    );
    assert_eq!(bench.read("b").unwrap_err(), NotTaken::Gone);
    bench.drop.remove(&name).unwrap();
    assert_eq!(bench.drop.look(false).unwrap(), Look::default());
    bench.drop.remove(&name).unwrap();
}

#[test]
fn a_claimed_file_waits_over_a_restart_under_its_name() {
    let bench = Bench::new();
    let name = bench.file("a", b"first");
    let first = bench.read("a").unwrap();
    // Another file by that name waits in the directory, and is not written over the first.
    bench.file("a", b"second");
    let drop = DropDir::open(&bench.path, LIMITS).unwrap();
    assert_eq!(drop.look(false).unwrap().names, std::slice::from_ref(&name));
    assert_eq!(drop.read(&name, |_| Some(())).unwrap().bytes, b"first");
    assert_eq!(drop.read(&name, |_| Some(())).unwrap().inode, first.inode);
    drop.remove(&name).unwrap();
    assert_eq!(drop.look(false).unwrap().names, std::slice::from_ref(&name));
    assert_eq!(drop.read(&name, |_| Some(())).unwrap().bytes, b"second");
    assert!(!bench.path.join("a").exists());
}

#[test]
fn what_cannot_be_claimed_stays_and_is_told_of() {
    let bench = Bench::new();
    bench.file("a", b"text");
    fs::remove_dir(bench.path.join("taken")).unwrap();
    let look = bench.drop.look(false).unwrap();
    let why = look.unclaimed.unwrap();
    assert!(why.starts_with("a cannot be claimed: No such file"), "{why}");
    assert!(look.names.is_empty() && bench.path.join("a").exists());
}

#[test]
fn a_time_out_of_range_is_a_time_all_the_same() {
    assert_eq!(modified(i64::MIN, 0), Timestamp(0));
    assert_eq!(
        modified(i64::MAX, 999_999_999).rfc5322(),
        "Fri, 31 Dec 9999 23:59:59 +0000"
    );
}

#[test]
fn what_is_no_plain_file_of_one_name_is_not_read() {
    let bench = Bench::new();
    let secret = bench.path.with_file_name("secret");
    fs::write(&secret, "secret").unwrap();
    symlinkat(&secret, &bench.drop.dir, "link").unwrap();
    bench.is_bad("link", "symbolic link");
    linkat(CWD, &secret, &bench.drop.dir, "hard", AtFlags::empty()).unwrap();
    bench.is_bad("hard", "more than one name");
    mknodat(&bench.drop.dir, "pipe", FileType::Fifo, Mode::RWXU, 0).unwrap();
    bench.is_bad("pipe", "regular file");
    let _socket = std::os::unix::net::UnixListener::bind(bench.path.join("socket")).unwrap();
    bench.is_bad("socket", "regular file");
    bench.file(
        "large",
        &vec![b'x'; usize::try_from(format::max_file(LIMITS)).unwrap() + 1],
    );
    bench.is_bad("large", "larger");
    // A directory that took the place of a file while it was claimed.
    fs::create_dir_all(bench.path.join("taken/directory/inner")).unwrap();
    bench.is_bad("directory", "regular file");
    // All of them are set aside as they are, and what they point to stays.
    for name in ["link", "hard", "pipe", "socket", "large", "directory"] {
        bench.drop.refuse(&CString::new(name).unwrap()).unwrap();
    }
    assert_eq!(bench.drop.look(false).unwrap(), Look::default());
    assert_eq!(fs::read_dir(bench.path.join("refused")).unwrap().count(), 6);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}

#[test]
fn a_scan_is_bounded_and_skips_directories_and_unfinished_files() {
    let bench = Bench::new();
    for number in 0..NAMES + 10 {
        bench.file(&format!("f{number}"), b"");
    }
    bench.file(".begun", b"");
    fs::create_dir(bench.path.join("empty")).unwrap();
    fs::create_dir_all(bench.path.join("full/inner")).unwrap();
    let look = bench.drop.look(true).unwrap();
    assert_eq!((look.names.len(), look.more, look.stuck), (NAMES, true, 1));
    assert_eq!(look.unclaimed, None);
    // Those that were claimed and wait are looked at again, and count.
    assert_eq!(bench.drop.look(true).unwrap(), look);
    let taken = || fs::read_dir(bench.path.join("taken")).unwrap().count();
    assert_eq!(taken(), NAMES);
    for name in &look.names {
        bench.drop.remove(name).unwrap();
    }
    let rest = bench.drop.look(true).unwrap();
    assert_eq!((rest.names.len(), rest.more, taken()), (10, false, 10));
    assert!(!bench.path.join("empty").exists());
    assert!(bench.path.join(".begun").exists());
    // Two days later.
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let begun = fs::File::options()
        .write(true)
        .open(bench.path.join(".begun"))
        .unwrap();
    begun.set_modified(old).unwrap();
    bench.drop.look(false).unwrap();
    assert!(bench.path.join(".begun").exists());
    bench.drop.look(true).unwrap();
    assert!(!bench.path.join(".begun").exists());
}

#[test]
fn a_link_to_the_file_of_another_user_cannot_be_withdrawn() {
    let bench = Bench::new();
    let secret = bench.path.with_file_name("secret");
    fs::write(&secret, "secret").unwrap();
    fs::hard_link(&secret, bench.path.join("hard")).unwrap();
    assert_eq!(bench.drop.look(false).unwrap().names.len(), 1);
    // Between the claim and the read, and between two looks.
    assert!(fs::remove_file(bench.path.join("hard")).is_err());
    bench.is_bad("hard", "more than one name");
    assert!(fs::rename(bench.path.join("hard"), bench.path.join("away")).is_err());
    bench.is_bad("hard", "more than one name");
    assert_eq!(fs::metadata(&secret).unwrap().nlink(), 2);
}

/// Exchanges the file `x` all the time: for one of its own, a symbolic link and a hard link to `secret`, which it takes away again.
fn exchange(dir: &Path, secret: &Path, number: usize, stop: &AtomicBool) {
    let at = |name: &str| dir.join(format!("{name}{number}"));
    let (x, good, link, hard) = (dir.join("x"), at(".good"), at(".link"), at(".hard"));
    while !stop.load(Ordering::Relaxed) {
        fs::write(&good, "good").unwrap();
        let _ = fs::rename(&good, &x);
        std::thread::yield_now();
        std::os::unix::fs::symlink(secret, &link).unwrap();
        let _ = fs::rename(&link, &x);
        std::thread::yield_now();
        fs::hard_link(secret, &hard).unwrap();
        let _ = fs::rename(&hard, &x);
        std::thread::yield_now();
        let _ = fs::remove_file(&x);
        // Two names of one file are not exchanged.
        let _ = fs::remove_file(&hard);
        std::thread::yield_now();
    }
}

/// Ends the attackers, also when the test has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_name_that_is_exchanged_never_leads_out_of_the_directory() {
    let bench = Bench::new();
    let secret = bench.path.with_file_name("secret");
    fs::write(&secret, "secret").unwrap();
    let stop = AtomicBool::new(false);
    let (mut read, mut links, mut wrong) = (0, 0, None);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (path, secret, stop) = (&bench.path, &secret, &stop);
            scope.spawn(move || exchange(path, secret, number, stop));
        }
        let _stop = Stop(&stop);
        let began = std::time::Instant::now();
        // On a machine that is busy the attackers may leave this thread little time.
        let patience = |least| Duration::from_secs(if least == 0 { 120 } else { 10 });
        while wrong.is_none() && read.min(links) < 200 && began.elapsed() < patience(read.min(links)) {
            let look = bench.drop.look(false).unwrap();
            wrong = look.unclaimed;
            for name in look.names {
                std::thread::yield_now();
                match bench.drop.read(&name, |_| Some(())) {
                    Ok(left) if left.bytes == b"good" => read += 1,
                    Err(NotTaken::Bad(_)) => links += 1,
                    other => wrong = Some(format!("{other:?}")),
                }
                // Not set aside: so that the secret has one name again whenever no attacker has one for it.
                bench.drop.remove(&name).unwrap();
            }
        }
    });
    assert_eq!(wrong, None);
    assert!(read > 0 && links > 0, "{read} read, {links} refused");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}
