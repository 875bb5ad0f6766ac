//! The disk: full, and synced before every yes.

use spool_core::store::count_from_disk;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, run, serve, spool_binary};
use spool_tests::raw::RawClient;
use std::path::Path;
use std::process::Command;

/// A file system of 8 MiB in memory, gone with the value.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None` where this process may not mount.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "none"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(_) | Err(_) => {
                println!("skipped: no right to mount a tmpfs here; the simulated disk covers it in spool-core");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn small_spool(dir: &Path, next_hop: &str) -> Running {
    let config = dir.join("spool.toml");
    std::fs::write(&config, "[spool]\nsegment_size = \"1MiB\"\nmin_free_space = \"1MiB\"\n").unwrap();
    serve(&dir.join("spool"), &[next_hop], &["--config", config.to_str().unwrap()])
}

#[test]
fn a_full_disk_answers_452_loses_nothing_and_recovers() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let capture = Capture::start();
    let server = small_spool(tmpfs.0.path(), &capture.next_hop());
    let admin = format!("http://{}", server.field("admin"));
    assert!(run(&["jobs", "0", "--admin", &admin]).status.success());
    let body = "x".repeat(76) + "\r\n";
    let body = body.repeat(1000);
    let mut client = RawClient::hello(server.smtp());
    let mut answered = 0;
    let refusal = loop {
        let (code, text) = client.transaction("a@example.org", &["b@example.net"], body.as_bytes()).unwrap();
        if code != 250 {
            break (code, text);
        }
        answered += 1;
        assert!(answered < 200, "8 MiB never filled up");
    };
    assert_eq!(refusal.0, 452, "{}", refusal.1);
    assert!(answered > 10);
    // Deliveries go on, and give the space back; then so does service.
    assert!(run(&["jobs", "10", "--admin", &admin]).status.success());
    for _ in 0..answered {
        assert_eq!(capture.message().without_trace(), body.as_bytes());
    }
    spool_tests::process::until("service comes back", || {
        let mut client = RawClient::hello(server.smtp());
        let reply = client.transaction("a@example.org", &["b@example.net"], body.as_bytes()).unwrap();
        (reply.0 == 250).then_some(())
    });
    assert_eq!(capture.message().without_trace(), body.as_bytes());
}

/// One call of the trace.
#[derive(Debug)]
enum Call {
    Create,
    SyncFile,
    SyncDir,
    Write,
    Answer,
}

/// Reads `strace -f -y`: `pid name(fd<path>, ...) = result`.
fn calls(trace: &str, spool: &str) -> Vec<Call> {
    let ours = |line: &str| line.contains(&format!("<{spool}"));
    trace
        .lines()
        .filter_map(|line| {
            let call = line.split_once(' ')?.1.trim_start();
            let journal = ours(line) && line.contains(".log>");
            match call.split('(').next()? {
                "openat" if call.contains("O_CREAT") && call.contains(spool) && call.contains("journal") => Some(Call::Create),
                "fdatasync" | "fsync" if journal => Some(Call::SyncFile),
                "fsync" if ours(line) => Some(Call::SyncDir),
                "pwrite64" | "pwritev" | "write" | "writev" if journal => Some(Call::Write),
                "write" | "sendto" | "sendmsg" | "writev" if call.contains("250 2.0.0 ") => Some(Call::Answer),
                _ => None,
            }
        })
        .collect()
}

#[test]
fn data_and_names_are_synced_before_every_250() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: strace is not installed; the simulated disk covers it in spool-core");
    }
    let dir = tempfile::tempdir().unwrap();
    let (spool, trace) = (dir.path().join("spool"), dir.path().join("trace"));
    let config = dir.path().join("spool.toml");
    // Small segments, so that some are created under way.
    std::fs::write(&config, "[spool]\nsegment_size = \"64KiB\"\n").unwrap();
    let mut command = Command::new("strace");
    let filter = "openat,write,writev,pwrite64,pwritev,fsync,fdatasync,sendto,sendmsg";
    command.args(["-f", "-y", "-s", "64", "-e", &format!("trace={filter}"), "-o", trace.to_str().unwrap()]);
    command.arg(spool_binary()).args(["serve", "--spool", spool.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--next-hop", "127.0.0.1:9"]);
    let server = Running::spawn(&mut command);
    let mut client = RawClient::hello(server.smtp());
    const MESSAGES: usize = 60;
    let body = "y".repeat(4000) + "\r\n";
    for _ in 0..MESSAGES {
        assert_eq!(client.transaction("a@example.org", &["b@example.net"], body.as_bytes()).unwrap().0, 250);
    }
    drop(server);
    let calls = calls(&std::fs::read_to_string(&trace).unwrap(), spool.to_str().unwrap());
    let (mut unnamed, mut answers, mut created) = (false, 0, 0);
    for call in &calls {
        match call {
            Call::Create => (unnamed, created) = (true, created + 1),
            Call::SyncDir => unnamed = false,
            Call::Write | Call::SyncFile => {}
            Call::Answer => {
                answers += 1;
                assert!(!unnamed, "answer {answers} came before the directory was synced");
            }
        }
    }
    assert_eq!(answers, MESSAGES);
    assert!(created >= 3, "{created} segments created");
    assert!(synced_between(&calls), "a sync between each write and its answer");
}

/// Between any two answers lie a write and, after it, a sync: one client has one add under way at a time.
fn synced_between(calls: &[Call]) -> bool {
    let (mut wrote, mut synced) = (false, false);
    calls.iter().all(|call| match call {
        Call::Write => {
            wrote = true;
            true
        }
        Call::SyncFile => {
            synced |= wrote;
            true
        }
        Call::Answer => std::mem::take(&mut wrote) & std::mem::take(&mut synced),
        Call::Create | Call::SyncDir => true,
    })
}

#[test]
fn a_failing_sync_answers_451_and_never_250_again() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: strace is not installed; the simulated disk covers it in spool-core");
    }
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=12+"]);
    command.arg(spool_binary()).args(["serve", "--spool", spool.to_str().unwrap(), "--next-hop", "127.0.0.1:9"]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let server = Running::spawn(&mut command);
    let mut codes = Vec::new();
    for _ in 0..40 {
        let mut client = RawClient::hello(server.smtp());
        codes.push(client.transaction("a@example.org", &["b@example.net"], b"x\r\n").unwrap().0);
    }
    let first = codes.iter().position(|code| *code != 250).expect("a sync failed");
    assert!(codes[first..].iter().all(|code| *code == 451), "{codes:?}");
    drop(server);
    assert!(count_from_disk(&spool).unwrap() >= u64::try_from(first).unwrap());
}
