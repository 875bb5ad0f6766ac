//! The service under a service manager: what the service reports to it, and the sockets that it passes. The tests play the manager.

use spool_tests::process::{PATIENCE, Running, signal, spool_binary, until};
use spool_tests::raw::RawClient;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The manager's end of the notifications.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut datagram = [0; 4096];
        let length = self.0.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..length].to_vec()).unwrap()
    }

    /// The next notification with `word`, past those of the watchdog.
    fn expect(&self, word: &str) -> String {
        loop {
            let told = self.next();
            if told.lines().any(|line| line.starts_with(word)) {
                return told;
            }
            assert!(
                told == "WATCHDOG=1\n" || told.contains("EXTEND_TIMEOUT_USEC"),
                "{told} while waiting for {word}"
            );
        }
    }
}

fn service(dir: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(spool_binary());
    let spool = dir.join("spool");
    command.args([
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
    ]);
    command.args(more);
    command
}

#[test]
fn the_manager_is_told_of_each_change_and_that_the_service_is_alive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = Manager::at(&path);
    let mut command = service(
        dir.path(),
        &["--listen", "127.0.0.1:0", "--next-hop", "127.0.0.1:9"],
    );
    let server = Running::spawn(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000"));
    let ready = manager.expect("READY=1");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    for _ in 0..4 {
        manager.expect("WATCHDOG=1");
    }
    signal(server.pid(), "HUP");
    let reloading = manager.expect("RELOADING=1");
    let at = reloading
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(at.is_some_and(|at| at.parse::<u64>().unwrap() > 0), "{reloading}");
    manager.expect("READY=1");
    let ended = std::thread::spawn(move || server.terminate());
    let stopping = manager.expect("STOPPING=1");
    // shutdown_timeout and what closing takes.
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=40000000"), "{stopping}");
    assert!(ended.join().unwrap().success());
}

/// Starts the service with its sockets as descriptors 3 and 4, as a manager passes them.
fn passed(dir: &Path, names: &str, smtp: TcpListener, admin: TcpListener) -> Child {
    let script =
        "exec 3<&0 4<&2 0</dev/null 2>\"$LOG\"; export LISTEN_PID=$$ LISTEN_FDS=2; exec \"$0\" \"$@\"";
    let service = service(dir, &["--next-hop", "127.0.0.1:9"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script])
        .arg(service.get_program())
        .args(service.get_args());
    shell.env("LOG", dir.join("log")).env("LISTEN_FDNAMES", names);
    shell.stdin(Stdio::from(OwnedFd::from(smtp)));
    shell.stderr(Stdio::from(OwnedFd::from(admin)));
    shell.stdout(Stdio::piped()).spawn().unwrap()
}

#[test]
fn sockets_of_the_manager_are_used_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let [smtp, admin] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let [at, api] = [&smtp, &admin].map(|listener| listener.local_addr().unwrap());
    let mut child = passed(dir.path(), "smtp:admin", smtp, admin);
    let mut ready = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut ready)
        .unwrap();
    assert!(
        ready.starts_with(&format!("ready smtp={at} admin={api} ")),
        "{ready}"
    );
    assert_eq!(RawClient::hello(at).command("MAIL FROM:<a@example.org>").0, 250);
    assert_eq!(
        spool_tests::http::ask(&api.to_string(), "GET", "/healthz", "").0,
        200
    );
    signal(child.id(), "TERM");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_socket_without_a_known_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [smtp, admin] = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut child = passed(dir.path(), "smtp:http", smtp, admin);
    let status = until("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(2));
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(
        log.contains("\"http\": its name must be smtp, smtps or admin"),
        "{log}"
    );
}
