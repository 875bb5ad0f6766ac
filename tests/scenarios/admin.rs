//! The admin API over real sockets: probes, refusals, invalid requests, what is printed of them, and a start.

use crate::queue_commands::text;
use spool_tests::http;
use spool_tests::process::{PATIENCE, Running, run, serve, spool_binary, until};
use spool_tests::raw::RawClient;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Sends `request` as it is; gives everything until the peer closes.
pub(crate) fn exchange(admin: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A service that is ready, and on which nothing is delivered.
pub(crate) fn paused(spool: &Path, more: &[&str]) -> Running {
    let server = serve(spool, &["127.0.0.1:9"], more);
    until("the service is ready", || {
        (http::ask(server.field("admin"), "GET", "/readyz", "").0 == 200).then_some(())
    });
    let (status, answer) = http::ask(server.field("admin"), "PUT", "/api/v1/jobs", r#"{"max":0}"#);
    assert_eq!(status, 200, "{answer}");
    server
}

#[test]
fn head_is_answered_as_get_without_a_body() {
    let dir = tempfile::tempdir().unwrap();
    let server = paused(&dir.path().join("spool"), &[]);
    let admin = server.field("admin");
    let ask = |method: &str, path: &str| {
        let close = "Connection: close\r\n\r\n";
        exchange(
            admin,
            &format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\n{close}"),
        )
    };
    for path in [
        "/healthz",
        "/readyz",
        "/api/v1/count",
        "/api/v1/status",
        "/api/v1/jobs",
        "/api/v1/destinations",
        "/api/v1/connections",
        "/api/v1/events",
    ] {
        let head = ask("HEAD", path);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
        assert!(head.ends_with("\r\n\r\n"), "{path}: no body: {head}");
    }
    let lines = |answer: String| -> Vec<String> {
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        head.lines()
            .filter(|line| !line.starts_with("date:"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lines(ask("HEAD", "/healthz")), lines(ask("GET", "/healthz")));
    assert!(ask("HEAD", "/no/such").starts_with("HTTP/1.1 404"));
}

#[test]
fn probes_of_http_1_0_need_no_host() {
    let dir = tempfile::tempdir().unwrap();
    let server = paused(&dir.path().join("spool"), &[]);
    let admin = server.field("admin");
    for path in ["/healthz", "/readyz"] {
        for method in ["GET", "HEAD"] {
            let answer = exchange(admin, &format!("{method} {path} HTTP/1.0\r\n\r\n"));
            assert!(answer.contains(" 200 OK\r\n"), "{method} {path}: {answer}");
        }
    }
    let answer = exchange(admin, "GET /api/v1/count HTTP/1.0\r\n\r\n");
    assert!(answer.contains(" 403 "), "{answer}");
}

#[test]
fn answers_of_unknown_length_are_not_chunked_for_http_1_0() {
    let dir = tempfile::tempdir().unwrap();
    let server = paused(&dir.path().join("spool"), &[]);
    let sent = RawClient::hello(server.smtp()).transaction("a@example.org", &["b@example.net"], b"x\r\n");
    assert_eq!(sent.unwrap().0, 250);
    let admin = server.field("admin");
    let answer = exchange(
        admin,
        &format!("GET /api/v1/status HTTP/1.0\r\nHost: {admin}\r\n\r\n"),
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    let message: serde_json::Value = serde_json::from_str(body.trim()).expect(body);
    assert_eq!(message["queue"], "active");
}

#[test]
fn a_refused_request_ends_its_connection_however_much_it_sends() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token) = (dir.path().join("spool.toml"), dir.path().join("token"));
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    std::fs::write(&config, format!("[admin]\ntoken_file = {token:?}\n")).unwrap();
    let spool = dir.path().join("spool");
    let server = serve(&spool, &["127.0.0.1:9"], &["--config", config.to_str().unwrap()]);
    let admin = server.field("admin");
    for kind in ["Transfer-Encoding: chunked", "Content-Length: 1000000000000"] {
        for (host, status) in [(admin, "401"), ("evil.example", "403")] {
            let mut stream = TcpStream::connect(admin).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let head = format!(
                "POST /api/v1/messages HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{kind}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
            let start = Instant::now();
            // The connection is reset once it is closed and more comes.
            while stream.write_all(chunk.as_bytes()).is_ok() {
                assert!(start.elapsed() < PATIENCE, "{kind} {status}: it goes on for ever");
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
    let answer = exchange(
        admin,
        &format!("GET /api/v1/count HTTP/1.1\r\nHost: {admin}\r\n\r\n"),
    );
    assert!(
        answer.starts_with("HTTP/1.1 401") && answer.to_lowercase().contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn what_is_no_http_is_counted_and_no_error_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let server = paused(&dir.path().join("spool"), &[]);
    let admin = server.field("admin");
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    for garbage in [
        "\u{16}\u{3}\u{1}\0\u{2}hello\r\n\r\n",
        "EHLO client.example\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\r\n\r\n",
        &long,
    ] {
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(garbage.as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let counted = until("the count of what is no HTTP", || {
        let (status, answer) = http::ask(admin, "GET", "/api/v1/connections", "");
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["http"]["invalid"].as_u64().filter(|count| *count >= 4)
    });
    println!("{counted} of 5 counted");
    let log = server.log();
    assert!(!log.contains("ERROR") && !log.contains("WARN"), "{log}");
}

#[test]
fn nothing_hidden_is_printed_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = paused(&dir.path().join("spool"), &[]);
    let url = format!("http://{}", server.field("admin"));
    let hidden = "\u{1b}[31m\u{61c}\u{2060}\u{202e}\u{e0041}\u{7f}\u{9b}";
    let to = format!("{hidden}x");
    let config = format!("/no/such/{hidden}");
    for args in [
        &["submit", "--admin", &url, "--from", "a@example.org", "--to", &to][..],
        &["status", "--admin", &url, "--sender", &format!("({hidden}")],
        &["show", "--admin", &url, hidden],
        &["check", "--config", &config],
        &["count", "--spool", &config],
        &["count", "--admin", hidden],
        &[
            "submit",
            "--from",
            "a@example.org",
            "--to",
            "b@example.net",
            &config,
        ],
        &[hidden],
        &["status", &format!("--{hidden}")],
        &["status", "--format", hidden],
        &["jobs", hidden],
        &["serve", "--next-hop", hidden],
        &["sink", "--script", &config],
    ] {
        let output = run(args);
        assert!(!output.status.success(), "{args:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(
            !said.chars().any(|c| c != '\n' && spool_core::is_hidden(c)),
            "{args:?}: {said:?}"
        );
        // Of control sequences clap leaves nothing at all.
        assert!(said.contains("\\u061c"), "{args:?}: {said}");
    }
}

#[test]
fn a_start_is_not_ready_and_counts_nothing_before_the_queue_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = paused(&spool, &[]);
    let mail = r#"{"from":"a@example.org","to":["b@example.net"],"body":"x","frozen":true}"#;
    for _ in 0..61 {
        assert_eq!(
            http::ask(server.field("admin"), "POST", "/api/v1/messages", mail).0,
            201
        );
    }
    assert!(server.terminate().success());
    for start in 0..12 {
        let server = serve(&spool, &["127.0.0.1:9"], &[]);
        let admin = server.field("admin");
        let begun = Instant::now();
        let mut ready = 0;
        while ready < 5 {
            let (status, said) = http::ask(admin, "GET", "/readyz", "");
            match status {
                200 => {
                    ready += 1;
                    let (status, count) = http::ask(admin, "GET", "/api/v1/count", "");
                    assert_eq!((status, count.trim()), (200, "{\"count\":61}"), "start {start}");
                }
                503 => assert!(said.starts_with("loading "), "{said}"),
                other => panic!("{other}: {said}"),
            }
            let (status, count) = http::ask(admin, "GET", "/api/v1/count?frozen=true", "");
            assert!(
                status == 503 || count.trim() == "{\"count\":61}",
                "start {start}: {status} {count}"
            );
            assert!(begun.elapsed() < PATIENCE, "never ready");
        }
        let url = format!("http://{admin}");
        assert_eq!(text(&run(&["count", "--admin", &url]).stdout), "61\n");
        assert!(server.terminate().success());
    }
}

#[test]
fn a_reload_from_a_pipe_or_a_device_is_refused_and_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "hostname = \"mx.example.net\"\n").unwrap();
    let spool = dir.path().join("spool");
    let server = serve(&spool, &["127.0.0.1:9"], &["--config", config.to_str().unwrap()]);
    for (round, what) in (1..).zip(["pipe", "device", "directory"]) {
        std::fs::remove_file(&config).unwrap();
        match what {
            "pipe" => {
                let made = std::process::Command::new("mkfifo").arg(&config).status();
                assert!(made.unwrap().success());
            }
            "device" => std::os::unix::fs::symlink("/dev/zero", &config).unwrap(),
            _ => std::os::unix::fs::symlink(dir.path(), &config).unwrap(),
        }
        spool_tests::process::signal(server.pid(), "HUP");
        until("the refusal", || {
            let log = server.log();
            (log.matches("the configuration was not changed").count() == round && log.contains(what))
                .then_some(())
        });
        assert_eq!(http::ask(server.field("admin"), "GET", "/healthz", "").0, 200);
        let mut client = spool_tests::raw::RawClient::hello(server.smtp());
        let reply = client.transaction("a@example.org", &["b@example.net"], b"x\r\n");
        assert_eq!(
            reply.unwrap().0,
            250,
            "mail is taken with a {what} as the configuration"
        );
        // At a start as well, and at once.
        let check = run(&["check", "--config", config.to_str().unwrap()]);
        assert_eq!(check.status.code(), Some(2));
        assert!(text(&check.stderr).contains(what), "{}", text(&check.stderr));
    }
    assert!(server.terminate().success());
}

#[test]
fn the_commands_of_this_machine_find_its_token_and_who_may_not_read_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (config, token) = (path("spool.toml"), path("token"));
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let text = format!(
        "spool_dir = {:?}\n[listen]\nsmtp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:{port}\"\n[admin]\ntoken_file = {token:?}\n",
        path("spool")
    );
    std::fs::write(&config, text).unwrap();
    for (name, mode) in [(dir.path(), 0o755), (&config, 0o644), (&token, 0o640)] {
        std::fs::set_permissions(name, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut server = Running::start(&["serve", "--config", config.to_str().unwrap()]);
    let url = format!("http://127.0.0.1:{port}");
    let command = |words: &[&str]| {
        let mut command = Command::new(spool_binary());
        command
            .args(words)
            .env("SPOOL_CONFIG", &config)
            .env_remove("SPOOL_ADMIN");
        command
    };
    let tells = |command: &mut Command, status: i32, word: &str| {
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(
            output.status.code() == Some(status) && told.contains(word),
            "{told}"
        );
    };
    tells(&mut command(&["count", "--admin", &url]), 0, "0");
    tells(command(&["count"]).env("SPOOL_ADMIN", &url), 0, "0");
    tells(
        Command::new(spool_binary())
            .arg0("mailq")
            .env("SPOOL_CONFIG", &config),
        0,
        "",
    );
    // The token of another configuration is for another service.
    let other = path("other.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&other, text.replace(&port.to_string(), "1")).unwrap();
    tells(
        command(&["count", "--admin", &url]).env("SPOOL_CONFIG", &other),
        1,
        "HTTP 401",
    );
    // Somebody who may not read it.
    let root = std::fs::metadata(&token).unwrap().uid() == 0;
    let mut anyone = command(&["count", "--admin", &url]);
    let mut mailq = Command::new(spool_binary());
    mailq.arg0("mailq").env("SPOOL_CONFIG", &config);
    match root {
        true => {
            for command in [&mut anyone, &mut mailq] {
                command.uid(65534).gid(65534);
            }
        }
        false => std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o000)).unwrap(),
    }
    tells(&mut anyone, 1, "as root (sudo)");
    tells(&mut mailq, 69, "as root (sudo)");
    assert!(server.exited().is_none());
    assert!(!server.log().contains("admin.token_file"), "{}", server.log());
}

#[test]
fn the_token_of_this_machine_is_not_given_to_the_program_of_another_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("token"), "0123456789abcdef\n").unwrap();
    if std::fs::metadata(path("token")).unwrap().uid() != 0 {
        println!("skipped: only root can be two users");
        return;
    }
    std::fs::set_permissions(path("token"), std::fs::Permissions::from_mode(0o640)).unwrap();
    // The service is down, and another program has its port.
    let mut other = Command::new(spool_binary());
    other.args(["sink", "--listen", "127.0.0.1:0"]).current_dir("/");
    let sink = Running::spawn(other.uid(65534).gid(65534));
    let address = sink.field("smtp").to_owned();
    let text = format!(
        "[listen]\nadmin = {address:?}\n[admin]\ntoken_file = {:?}\n",
        path("token")
    );
    std::fs::write(path("spool.toml"), text).unwrap();
    let mut command = Command::new(spool_binary());
    command.args(["count", "--admin", &format!("http://{address}")]);
    let output = command.env("SPOOL_CONFIG", path("spool.toml")).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("was not sent: a program of a user who may not read it"),
        "{told}"
    );
}
