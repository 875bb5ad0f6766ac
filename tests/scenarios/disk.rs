//! The disk: full, and synced before every yes.

use spool_core::store::count_from_disk;
use spool_tests::capture::Capture;
use spool_tests::http;
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
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "none"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(_) | Err(_) => {
                println!(
                    "skipped: no right to mount a tmpfs here; the simulated disk covers it in spool-core"
                );
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
    std::fs::write(
        &config,
        "[spool]\nsegment_size = \"1MiB\"\nmin_free_space = \"1MiB\"\n",
    )
    .unwrap();
    serve(
        &dir.join("spool"),
        &[next_hop],
        &["--config", config.to_str().unwrap()],
    )
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
        let (code, text) = client
            .transaction("a@example.org", &["b@example.net"], body.as_bytes())
            .unwrap();
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
        let reply = client
            .transaction("a@example.org", &["b@example.net"], body.as_bytes())
            .unwrap();
        (reply.0 == 250).then_some(())
    });
    assert_eq!(capture.message().without_trace(), body.as_bytes());
}

/// One call of the trace.
#[derive(Debug)]
enum Call {
    /// A journal segment gets its name.
    Name,
    SyncFile,
    SyncDir,
    Write,
    Answer,
}

/// Reads `strace -f -y`: `pid name(fd<path>, ...) = result`.
fn calls(trace: &str, spool: &str) -> Vec<Call> {
    let segment = |line: &str| line.contains(&format!("<{spool}/journal/")) && line.contains(".log>");
    trace
        .lines()
        .filter_map(|line| {
            let call = line.split_once(' ')?.1.trim_start();
            match call.split('(').next()? {
                "rename" | "renameat" | "renameat2" if call.contains(".log\"") => Some(Call::Name),
                "fdatasync" | "fsync" if segment(line) => Some(Call::SyncFile),
                "fsync" if line.contains(&format!("<{spool}/journal>")) => Some(Call::SyncDir),
                "pwrite64" | "pwritev" | "write" | "writev" if segment(line) => Some(Call::Write),
                "write" | "sendto" | "sendmsg" | "writev" if call.contains("250 2.0.0 Queued") => {
                    Some(Call::Answer)
                }
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
    // Small segments, so that several are named under way; no deliveries, so that every write is an add.
    std::fs::write(
        &config,
        "max_concurrent_jobs = 0\n[spool]\nsegment_size = \"64KiB\"\n",
    )
    .unwrap();
    let mut command = Command::new("strace");
    let filter = "rename,renameat,renameat2,write,writev,pwrite64,pwritev,fsync,fdatasync,sendto,sendmsg";
    command.args([
        "-f",
        "-y",
        "-s",
        "64",
        "-e",
        &format!("trace={filter}"),
        "-o",
        trace.to_str().unwrap(),
    ]);
    command.arg(spool_binary()).args([
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--config",
        config.to_str().unwrap(),
    ]);
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--next-hop",
        "127.0.0.1:9",
    ]);
    let server = Running::spawn(&mut command);
    let mut client = RawClient::hello(server.smtp());
    const MESSAGES: usize = 60;
    let body = "y".repeat(4000) + "\r\n";
    for _ in 0..MESSAGES {
        assert_eq!(
            client
                .transaction("a@example.org", &["b@example.net"], body.as_bytes())
                .unwrap()
                .0,
            250
        );
    }
    drop(server);
    let (mut named, mut written, mut synced, mut answers, mut names) = (false, false, false, 0, 0);
    for call in calls(&std::fs::read_to_string(&trace).unwrap(), spool.to_str().unwrap()) {
        match call {
            Call::Name => (named, names) = (false, names + 1),
            Call::SyncDir => named = true,
            Call::Write => {
                assert!(named, "a segment was written to before its name was on disk");
                (written, synced) = (true, false);
            }
            Call::SyncFile => synced = written,
            // One client has one add under way at a time, and nothing but adds is written.
            Call::Answer => {
                answers += 1;
                assert!(
                    written && synced,
                    "answer {answers} came before its data was on disk"
                );
                written = false;
            }
        }
    }
    assert_eq!(answers, MESSAGES);
    assert!(names >= 3, "{names} segments were named");
}

#[test]
fn a_failing_sync_answers_451_and_never_250_again() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: strace is not installed; the simulated disk covers it in spool-core");
    }
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        "inject=fdatasync:error=EIO:when=12+",
    ]);
    command.arg(spool_binary()).args([
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--next-hop",
        "127.0.0.1:9",
    ]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let server = Running::spawn(&mut command);
    let mut codes = Vec::new();
    for _ in 0..40 {
        let mut client = RawClient::hello(server.smtp());
        codes.push(
            client
                .transaction("a@example.org", &["b@example.net"], b"x\r\n")
                .unwrap()
                .0,
        );
    }
    let first = codes.iter().position(|code| *code != 250).expect("a sync failed");
    assert!(codes[first..].iter().all(|code| *code == 451), "{codes:?}");
    let admin = server.field("admin");
    let (status, why) = http::ask(admin, "GET", "/readyz", "");
    assert_eq!(status, 503);
    assert!(why.contains("disk failed"), "{why}");
    let mail = r#"{"from":"a@example.org","to":["b@example.net"],"body":"x"}"#;
    assert_eq!(http::ask(admin, "POST", "/api/v1/messages", mail).0, 503);
    // It still answers, and reports that it is not healthy, so that it is restarted.
    let (status, why) = http::ask(admin, "GET", "/healthz", "");
    assert_eq!((status, why.contains("disk failed")), (503, true), "{why}");
    let listed = http::ask(admin, "GET", "/api/v1/count?all=true", "");
    assert_eq!(listed.0, 200, "{}", listed.1);
    assert_eq!(
        server
            .log()
            .matches("the spool takes no change until it is started again")
            .count(),
        1,
        "{}",
        server.log()
    );
    drop(server);
    let kept = count_from_disk(&spool).unwrap();
    assert!(kept >= u64::try_from(first).unwrap());
    // The next start has all of it, and serves.
    let server = serve(&spool, &["127.0.0.1:9"], &[]);
    spool_tests::process::until("the next start is ready", || {
        (http::ask(server.field("admin"), "GET", "/readyz", "").0 == 200).then_some(())
    });
    assert_eq!(count_from_disk(&spool).unwrap(), kept);
}
