//! Disks that fail for real: an ext4 on a loop device whose own disk fills up, so that its writes are lost after they
//! were taken; and one that turned read-only.

use spool_core::store::count_from_disk;
use spool_tests::http;
use spool_tests::process::{Running, run, serve, spool_binary};
use spool_tests::raw::RawClient;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file system on a loop device; what it needs is gone with the value.
struct Ext4 {
    dir: tempfile::TempDir,
    backing: bool,
    mounted: bool,
}

fn does(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

impl Ext4 {
    /// 64 MiB, of which `room` really can be written. `None` where this process may not do that.
    fn mount(room: &str) -> Option<Self> {
        let mut disk = Self {
            dir: tempfile::tempdir().unwrap(),
            backing: false,
            mounted: false,
        };
        match disk.make(room) {
            Ok(()) => Some(disk),
            Err(error) => {
                println!("skipped: no loop device or no right to mount one: {}", error);
                None
            }
        }
    }

    fn make(&mut self, room: &str) -> Result<(), String> {
        for name in ["backing", "disk"] {
            std::fs::create_dir(self.dir.path().join(name)).unwrap();
        }
        let size = format!("size={room}");
        does(
            "mount",
            &["-t", "tmpfs", "-o", &size, "none", &self.path("backing")],
        )?;
        self.backing = true;
        let image = std::fs::File::create(self.path("backing/image")).unwrap();
        image.set_len(64 << 20).unwrap();
        does(
            "mkfs.ext4",
            &["-q", "-E", "nodiscard", &self.path("backing/image")],
        )?;
        self.attach()
    }

    fn attach(&mut self) -> Result<(), String> {
        does(
            "mount",
            &["-o", "loop", &self.path("backing/image"), &self.path("disk")],
        )?;
        self.mounted = true;
        Ok(())
    }

    fn detach(&mut self) {
        does("umount", &[&self.path("disk")]).unwrap();
        self.mounted = false;
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn spool(&self) -> PathBuf {
        self.dir.path().join("disk/spool")
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        for (there, name) in [(self.mounted, "disk"), (self.backing, "backing")] {
            if there {
                let _ = Command::new("umount").args(["-l", &self.path(name)]).status();
            }
        }
    }
}

/// A service that keeps what it takes.
fn paused(spool: &Path) -> Running {
    let config = spool.parent().unwrap().parent().unwrap().join("spool.toml");
    let limits = "max_concurrent_jobs = 0\n[spool]\nsegment_size = \"16MiB\"\nmin_free_space = \"1MiB\"\n";
    std::fs::write(&config, limits).unwrap();
    serve(spool, &["127.0.0.1:9"], &["--config", config.to_str().unwrap()])
}

/// Sends mails until one is refused; gives how many were answered 250, and the refusals of `more` after it.
fn fill(server: &Running, more: usize) -> (usize, Vec<u16>) {
    let body = ("x".repeat(76) + "\r\n").repeat(3000);
    let send = || {
        let mut client = RawClient::hello(server.smtp());
        let sent = client.transaction("a@example.org", &["b@example.net"], body.as_bytes());
        sent.unwrap().0
    };
    let mut answered = 0;
    let first = loop {
        match send() {
            250 => answered += 1,
            code => break code,
        }
        assert!(answered < 1000, "the disk never fails");
    };
    (
        answered,
        [first].into_iter().chain((0..more).map(|_| send())).collect(),
    )
}

fn refused_start(spool: &Path) -> Output {
    let output = Command::new(spool_binary())
        .args([
            "serve",
            "--spool",
            spool.to_str().unwrap(),
            "--next-hop",
            "127.0.0.1:9",
        ])
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .output();
    output.unwrap()
}

fn all_whole(spool: &Path, answered: usize) {
    let there = count_from_disk(spool).unwrap();
    assert!(there >= u64::try_from(answered).unwrap(), "{there} of {answered}");
    let checked = run(&["fsck", "--spool", spool.to_str().unwrap()]);
    // An unanswered message at the torn end may be left.
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(!said.contains("damaged"), "{said}");
}

#[test]
fn a_disk_that_loses_what_it_took_answers_451_and_keeps_what_was_answered() {
    let Some(mut disk) = Ext4::mount("12m") else {
        return;
    };
    let server = paused(&disk.spool());
    let (answered, refusals) = fill(&server, 10);
    println!("{answered} answered before the disk failed");
    assert!(answered > 10);
    assert_eq!(refusals, [451; 11], "{}", server.log());
    let (status, why) = http::ask(server.field("admin"), "GET", "/readyz", "");
    assert_eq!((status, why.contains("disk failed")), (503, true), "{why}");
    drop(server);
    // The disk has room again; the machine has been restarted.
    let (backing, larger) = (disk.path("backing"), "remount,size=80m");
    does("mount", &["-o", larger, &backing]).unwrap();
    disk.detach();
    disk.attach().unwrap();
    all_whole(&disk.spool(), answered);
    let server = paused(&disk.spool());
    let mut client = RawClient::hello(server.smtp());
    let again = client
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap();
    assert_eq!(again.0, 250);
    drop(server);
    all_whole(&disk.spool(), answered + 1);
}

#[test]
fn a_file_system_that_turned_read_only_answers_451_and_can_be_looked_at() {
    let Some(mut disk) = Ext4::mount("80m") else {
        return;
    };
    let server = paused(&disk.spool());
    let mut client = RawClient::hello(server.smtp());
    let mut send = || {
        client
            .transaction("a@example.org", &["b@example.net"], b"x\r\n")
            .unwrap()
            .0
    };
    for _ in 0..20 {
        assert_eq!(send(), 250);
    }
    // What ext4 does by itself when its journal fails.
    does("mount", &["-o", "remount,abort", &disk.path("disk")]).unwrap();
    for _ in 0..10 {
        assert_eq!(send(), 451);
    }
    assert_eq!(http::ask(server.field("admin"), "GET", "/readyz", "").0, 503);
    drop((client, server));
    let refused = refused_start(&disk.spool());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(count_from_disk(&disk.spool()).unwrap(), 20);
    disk.detach();
    disk.attach().unwrap();
    all_whole(&disk.spool(), 20);
    let server = paused(&disk.spool());
    let mut client = RawClient::hello(server.smtp());
    let again = client
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap();
    assert_eq!(again.0, 250);
    drop((client, server));
    disk.detach();
}
