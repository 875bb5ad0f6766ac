//! The drop directory against those who mean harm: links, pipes, directories, swaps, floods.

use super::*;
use rustix::fs::{linkat, mknodat, symlinkat};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};

const LIMITS: Limits = Limits {
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

    fn read(&self, name: &str) -> Result<Left, Unread> {
        self.drop.read(&CString::new(name).unwrap(), |_| true)
    }

    fn is_bad(&self, name: &str, part: &str) {
        match self.read(name) {
            Err(Unread::Bad(why)) => assert!(why.contains(part), "{name}: {why}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn everyone_may_leave_and_nobody_may_look() {
    let bench = Bench::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&bench.path), 0o3733);
    assert_eq!(mode(&bench.path.join("refused")), 0o700);
    // A mode that was changed is set right.
    fs::set_permissions(&bench.path, PermissionsExt::from_mode(0o777)).unwrap();
    DropDir::open(&bench.path, LIMITS).unwrap();
    assert_eq!(mode(&bench.path), 0o3733);
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
    std::os::unix::fs::symlink("/tmp", at("there").join("refused")).unwrap();
    let why = DropDir::open(&at("there"), LIMITS).unwrap_err();
    assert!(why.contains("refused/"), "{why}");
}

#[test]
fn a_file_is_read_with_its_owner_and_time() {
    let bench = Bench::new();
    let name = bench.file("a", b"text");
    let left = bench.read("a").unwrap();
    let found = fs::metadata(bench.path.join("a")).unwrap();
    assert_eq!(
        (left.bytes.as_slice(), left.user, left.inode),
        (&b"text"[..], found.uid(), found.ino())
    );
    assert_eq!(left.at.0 / 1000, found.mtime());
    assert_eq!(
        bench.drop.read(&name, |size| size != 4).unwrap_err(),
        Unread::NoRoom
    );
    assert_eq!(bench.read("b").unwrap_err(), Unread::Gone);
    bench.drop.remove(&name, left.inode + 1).unwrap();
    assert!(bench.path.join("a").exists(), "another file by that name stays");
    bench.drop.remove(&name, left.inode).unwrap();
    assert!(!bench.path.join("a").exists());
    bench.drop.remove(&name, left.inode).unwrap();
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
    bench.file("large", &vec![b'x'; usize::try_from(LIMITS.file()).unwrap() + 1]);
    bench.is_bad("large", "larger");
    // All of them are set aside as they are, and what they point to stays.
    for name in ["link", "hard", "pipe", "socket", "large"] {
        bench.drop.refuse(&CString::new(name).unwrap()).unwrap();
    }
    assert_eq!(bench.drop.look(false).unwrap(), Look::default());
    assert_eq!(fs::read_dir(bench.path.join("refused")).unwrap().count(), 5);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}

#[test]
fn a_look_is_bounded_and_passes_over_directories_and_unfinished_files() {
    let bench = Bench::new();
    for number in 0..NAMES + 10 {
        bench.file(&format!("f{number}"), b"");
    }
    bench.file(".begun", b"");
    fs::create_dir(bench.path.join("empty")).unwrap();
    fs::create_dir_all(bench.path.join("full/inner")).unwrap();
    let look = bench.drop.look(true).unwrap();
    assert_eq!((look.names.len(), look.more, look.stuck), (NAMES, true, 1));
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
fn a_name_that_is_exchanged_all_the_time_never_leads_out_of_the_directory() {
    let bench = Bench::new();
    let secret = bench.path.with_file_name("secret");
    fs::write(&secret, "secret").unwrap();
    let stop = AtomicBool::new(false);
    let (mut read, mut links) = (0, 0);
    let mut wrong = None;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let at = |name: &str| bench.path.join(name);
            while !stop.load(Ordering::Relaxed) {
                fs::write(at(".good"), "good").unwrap();
                let _ = fs::rename(at(".good"), at("x"));
                std::os::unix::fs::symlink(&secret, at(".link")).unwrap();
                let _ = fs::rename(at(".link"), at("x"));
                fs::hard_link(&secret, at(".hard")).unwrap();
                let _ = fs::rename(at(".hard"), at("x"));
                // Two names of one file are not exchanged.
                let _ = fs::remove_file(at(".hard"));
            }
        });
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            match bench.read("x") {
                Ok(left) if left.bytes == b"secret" => wrong = Some(format!("{left:?}")),
                Ok(_) => read += 1,
                Err(Unread::Bad(_)) => links += 1,
                Err(Unread::Gone) => {}
                Err(other) => wrong = Some(format!("{other:?}")),
            }
            if wrong.is_some() || (read > 500 && links > 500) {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(wrong, None);
    assert!(read > 0 && links > 0, "{read} read, {links} refused");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
}
