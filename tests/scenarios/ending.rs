//! How a service ends: by itself when it cannot do its work any more, and in good order when it is asked to.

use spool_core::store::count_from_disk;
use spool_tests::http;
use spool_tests::process::{Running, run, serve, signal, spool_binary, until};
use spool_tests::raw::RawClient;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A service that keeps what it takes, in small segments.
fn paused(spool: &Path) -> Running {
    let config = spool.with_file_name("spool.toml");
    std::fs::write(
        &config,
        "max_concurrent_jobs = 0\n[spool]\nsegment_size = \"64KiB\"\n",
    )
    .unwrap();
    let server = serve(spool, &["127.0.0.1:9"], &["--config", config.to_str().unwrap()]);
    // What is deleted while it is still being loaded ends the service for another reason.
    until("all is loaded", || {
        let (_, said) = http::ask(server.field("admin"), "GET", "/readyz", "");
        (!said.contains("load")).then_some(())
    });
    server
}

fn send(to: SocketAddr) -> std::io::Result<u16> {
    let mut client = RawClient::try_hello(to)?;
    for line in ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"] {
        client.send(format!("{line}\r\n").as_bytes())?;
        let code = client.reply()?.0;
        if code >= 400 {
            return Ok(code);
        }
    }
    client.send(format!("{}.\r\n", "y\r\n".repeat(500)).as_bytes())?;
    Ok(client.reply()?.0)
}

/// It notices within a moment, answers nothing with 250 from then on, says why, and ends with status 1.
fn ends_because_of(mut server: Running, why: &str) {
    let (smtp, admin) = (server.smtp(), server.field("admin").to_owned());
    let start = Instant::now();
    let health = until("healthz fails", || {
        let health = http::ask(&admin, "GET", "/healthz", "");
        (health.0 == 503).then_some(health)
    });
    let noticed = start.elapsed();
    println!("{why}: noticed after {noticed:?}");
    assert!(health.1.contains(why), "{}", health.1);
    assert_eq!(http::ask(&admin, "GET", "/readyz", "").0, 503);
    assert_eq!(send(smtp).unwrap(), 451);
    let submission = r#"{"from":"a@example.org","to":["b@example.net"],"body":"x"}"#;
    assert_eq!(http::ask(&admin, "POST", "/api/v1/messages", submission).0, 503);
    let status = until("it ends by itself", || server.exited());
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(
        log.lines()
            .any(|line| line.contains("ERROR") && line.contains(why)),
        "{log}"
    );
    assert!(
        log.lines()
            .any(|line| line.starts_with("spool: ") && line.contains(why)),
        "{log}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "within shutdown_timeout"
    );
}

#[test]
fn a_deleted_lock_file_lets_no_second_service_in_and_ends_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = paused(&spool);
    for _ in 0..10 {
        assert_eq!(send(server.smtp()).unwrap(), 250);
    }
    std::fs::remove_file(spool.join("lock")).unwrap();
    let args = [
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--next-hop",
        "127.0.0.1:9",
    ];
    let second = run(&[&args[..], &["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]].concat());
    assert_eq!(
        second.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&second.stderr)
    );
    ends_because_of(server, "lock was deleted");
    assert_eq!(count_from_disk(&spool).unwrap(), 10);
    assert!(
        run(&["fsck", "--spool", spool.to_str().unwrap()])
            .status
            .success()
    );
}

#[test]
fn deleted_segments_are_noticed_and_nothing_is_answered_into_them() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = paused(&spool);
    for _ in 0..10 {
        assert_eq!(send(server.smtp()).unwrap(), 250);
    }
    for entry in std::fs::read_dir(spool.join("journal")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    // At once, not only after a request.
    assert_eq!(send(server.smtp()).unwrap(), 451);
    ends_because_of(server, "was deleted");
}

#[test]
fn a_spool_directory_that_is_moved_or_removed_ends_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = paused(&spool);
    assert_eq!(send(server.smtp()).unwrap(), 250);
    std::fs::rename(&spool, dir.path().join("moved")).unwrap();
    ends_because_of(server, "was deleted or moved");
    let server = paused(&spool);
    std::fs::remove_dir_all(&spool).unwrap();
    ends_because_of(server, "was deleted");
}

#[test]
fn a_message_in_data_when_the_service_is_told_to_end_is_still_taken() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let mut server = paused(&spool);
    let mut client = RawClient::hello(server.smtp());
    for line in ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"] {
        assert!(client.command(line).0 < 400);
    }
    client.send(b"Subject: half\r\n").unwrap();
    signal(server.pid(), "TERM");
    until("it listens no more", || TcpStream::connect(server.smtp()).err());
    let ready = http::ask(server.field("admin"), "GET", "/readyz", "");
    assert_eq!(ready.0, 503, "{}", ready.1);
    client.send(b"\r\nof it\r\n.\r\n").unwrap();
    assert_eq!(client.reply().unwrap().0, 250);
    assert_eq!(client.reply().unwrap().0, 421);
    let status = until("it ends", || server.exited());
    assert!(status.success(), "{}", server.log());
    assert_eq!(count_from_disk(&spool).unwrap(), 1);
}

#[test]
fn every_message_that_an_ending_service_has_taken_was_answered_250() {
    for round in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let mut server = paused(&spool);
        let (smtp, answered) = (server.smtp(), AtomicUsize::new(0));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        match send(smtp) {
                            Ok(250) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                            Ok(_) => {}
                            Err(_) => break,
                        }
                    }
                });
            }
            until("mail flows", || {
                (answered.load(Ordering::Relaxed) > 20).then_some(())
            });
            signal(server.pid(), "TERM");
            let status = until("it ends", || server.exited());
            over.store(true, Ordering::Relaxed);
            assert!(status.success(), "{}", server.log());
        });
        let there = usize::try_from(count_from_disk(&spool).unwrap()).unwrap();
        assert_eq!(there, answered.load(Ordering::Relaxed), "round {round}");
    }
}

#[test]
fn a_panic_in_any_part_of_a_running_service_is_answered_and_ends_it_with_status_1() {
    if !cfg!(debug_assertions) {
        println!("skipped: no part of a release build can be told to panic");
        return;
    }
    for part in [
        "the spool actor",
        "the throttle",
        "the event hub",
        "the writer thread",
        "a blocking job",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let mut command = Command::new(spool_binary());
        command.args(["serve", "--next-hop", "127.0.0.1:9", "--listen", "127.0.0.1:0"]);
        command.args(["--admin", "127.0.0.1:0", "--spool", spool.to_str().unwrap()]);
        let server = Running::spawn(command.env("SPOOL_TEST_PANIC_IN", part));
        let smtp = server.smtp();
        // Without one the event hub has nothing to do.
        let mut follower = TcpStream::connect(server.field("admin")).unwrap();
        let host = server.field("admin");
        write!(follower, "GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        assert!(follower.read(&mut [0; 64]).unwrap() > 0);
        // Whatever is sent meanwhile is answered, by what it finds.
        let taken = (0..3).filter(|_| send(smtp).unwrap() == 250).count();
        ends_because_of(server, &format!("{part} panicked"));
        let there = usize::try_from(count_from_disk(&spool).unwrap()).unwrap();
        assert!(there >= taken, "{part}: {there} of {taken}");
    }
}

/// A next hop that takes its time for each message, and reports every MAIL and every message that it accepted.
#[derive(Clone, Default)]
struct Slow {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    mails: Arc<Mutex<Vec<Instant>>>,
    pause: Arc<Mutex<Duration>>,
}

impl Slow {
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let slow = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let slow = slow.clone();
                // A service that ends breaks its sessions.
                std::thread::spawn(move || slow.session(stream));
            }
        });
        address
    }

    fn session(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut out = stream.try_clone()?;
        out.write_all(b"220 slow\r\n")?;
        let (mut data, mut tag) = (false, String::new());
        for line in BufReader::new(stream).lines() {
            let line = line?;
            if data {
                if let Some(found) = line.strip_prefix("X-Tag: ") {
                    tag = found.to_owned();
                }
                if line == "." {
                    data = false;
                    std::thread::park_timeout(*self.pause.lock().unwrap());
                    *self
                        .taken
                        .lock()
                        .unwrap()
                        .entry(std::mem::take(&mut tag))
                        .or_default() += 1;
                    out.write_all(b"250 2.0.0 taken\r\n")?;
                }
                continue;
            }
            let reply: &[u8] = match line.get(..4).unwrap_or_default() {
                "DATA" => {
                    data = true;
                    b"354 go on\r\n"
                }
                "MAIL" => {
                    self.mails.lock().unwrap().push(Instant::now());
                    b"250 2.1.0 ok\r\n"
                }
                _ => b"250 2.0.0 ok\r\n",
            };
            out.write_all(reply)?;
        }
        Ok(())
    }
}

/// Lets every sync of a running process fail from now on. `None` where it cannot be traced.
fn fail_syncs(pid: u32) -> Option<std::process::Child> {
    let mut child = Command::new("strace")
        .args(["-f", "-p", &pid.to_string(), "-o", "/dev/null"])
        .args([
            "-e",
            "trace=fdatasync,fsync",
            "-e",
            "inject=fdatasync,fsync:error=EIO",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| println!("skipped: no strace here: {error}"))
        .ok()?;
    let mut said = String::new();
    BufReader::new(child.stderr.take()?).read_line(&mut said).ok()?;
    if said.contains("attached") {
        return Some(child);
    }
    println!("skipped: strace may not attach here: {said}");
    let _ = child.wait();
    None
}

#[test]
fn after_a_failed_sync_of_a_running_service_only_open_sessions_are_repeated() {
    const MESSAGES: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let (spool, slow) = (dir.path().join("spool"), Slow::default());
    *slow.pause.lock().unwrap() = Duration::from_millis(400);
    let mut config = "max_concurrent_jobs = 20\nshutdown_timeout = \"10s\"\n".to_owned();
    for n in 0..5 {
        let hop = slow.start();
        config += &format!("[[route.rule]]\ndomain = \"d{n}.example\"\nnext_hops = [\"{hop}\"]\n");
    }
    let path = dir.path().join("spool.toml");
    std::fs::write(&path, config).unwrap();
    let start = || serve(&spool, &[], &["--config", path.to_str().unwrap()]);
    let mut server = start();
    let mut client = RawClient::hello(server.smtp());
    for n in 0..MESSAGES {
        let (to, body) = (
            format!("b@d{}.example", n % 5),
            format!("X-Tag: {n}\r\n\r\nx\r\n"),
        );
        let sent = client
            .transaction("a@example.org", &[&to], body.as_bytes())
            .unwrap();
        assert_eq!(sent.0, 250);
    }
    until("deliveries", || {
        (slow.taken.lock().unwrap().len() > 20).then_some(())
    });
    let Some(mut tracer) = fail_syncs(server.pid()) else {
        return;
    };
    let known = until("the failure is known", || {
        (http::ask(server.field("admin"), "GET", "/healthz", "").0 == 503).then(Instant::now)
    });
    let status = until("it ends by itself", || server.exited());
    let _ = tracer.wait();
    assert_eq!(status.code(), Some(1), "{}", server.log());
    let late = slow
        .mails
        .lock()
        .unwrap()
        .iter()
        .filter(|at| **at > known)
        .count();
    assert_eq!(late, 0, "MAIL after the failure was known");
    *slow.pause.lock().unwrap() = Duration::ZERO;
    let server = start();
    let count = |wanted: usize| {
        until("all of it", || {
            (slow.taken.lock().unwrap().len() >= wanted).then_some(())
        });
    };
    count(MESSAGES);
    until("the spool is empty", || {
        (count_from_disk(&spool).unwrap() == 0).then_some(())
    });
    assert!(server.terminate().success());
    let taken = slow.taken.lock().unwrap();
    let repeated = taken.values().filter(|times| **times > 1).count();
    println!("{repeated} of {MESSAGES} repeated, at most 20 sessions were open");
    assert!(
        taken.values().all(|times| *times <= 2) && repeated <= 20,
        "{repeated} repeated"
    );
}
