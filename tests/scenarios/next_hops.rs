//! Next hops that are dead, slow or hanging.

use spool_smtp::sink::{Sink, SinkConfig};
use spool_tests::capture::Capture;
use spool_tests::http;
use spool_tests::process::{dead_address as dead, run, serve, until};
use spool_tests::raw::RawClient;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn config(dir: &std::path::Path, text: &str) -> [String; 2] {
    let file = dir.join("spool.toml");
    std::fs::write(&file, text).unwrap();
    ["--config".to_owned(), file.to_str().unwrap().to_owned()]
}

#[test]
fn a_hanging_next_hop_does_not_hold_up_another_one() {
    let dir = tempfile::tempdir().unwrap();
    // Accepts connections (the kernel does) and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let capture = Capture::start();
    let rule = format!(
        "max_concurrent_jobs = 4\n[[route.rule]]\ndomain = \"hanging.example\"\nnext_hops = [\"{}\"]\n",
        hanging.local_addr().unwrap()
    );
    let config = config(dir.path(), &rule);
    let server = serve(
        &dir.path().join("spool"),
        &[&capture.next_hop()],
        &[&config[0], &config[1]],
    );
    let mut client = RawClient::hello(server.smtp());
    for n in 0..50 {
        client
            .transaction("a@example.org", &[&format!("{n}@hanging.example")], b"x\r\n")
            .unwrap();
    }
    for n in 0..50 {
        client
            .transaction("a@example.org", &[&format!("{n}@good.example")], b"x\r\n")
            .unwrap();
    }
    for _ in 0..50 {
        assert!(capture.message().rcpt[0].contains("@good.example"));
    }
}

#[test]
fn a_dead_next_hop_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let capture = Capture::start();
    let server = serve(&dir.path().join("spool"), &[&dead(), &capture.next_hop()], &[]);
    RawClient::hello(server.smtp())
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap();
    assert_eq!(capture.message().without_trace(), b"x\r\n");
}

#[test]
fn a_next_hop_that_refuses_for_now_is_followed_by_the_next_one_and_stands_in_the_record() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = |script: &str| {
        let mut config = SinkConfig::default();
        config.script = script.parse().unwrap();
        let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), config);
        let sink = runtime.block_on(sink).unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (address, counts) = (sink.local_addr().unwrap().to_string(), sink.counts());
        runtime.spawn(sink.run(stopped));
        (address, counts, stop)
    };
    let sick = sink("mail reply 452 4.3.1 no space");
    let well = sink("rcpt to=later* reply 451 4.7.1 greylisted");
    let server = serve(&dir.path().join("spool"), &[&sick.0, &well.0], &[]);
    let mut client = RawClient::hello(server.smtp());
    let mut send = |to: &str| {
        let (code, reply) = client.transaction("a@example.org", &[to], b"x\r\n").unwrap();
        assert_eq!(code, 250, "{reply}");
        reply.split_whitespace().last().unwrap().to_owned()
    };
    send("ok@example.net");
    let later = send("later@example.net");
    until("the message that is taken", || {
        (well.1.messages.load(Ordering::Relaxed) == 1).then_some(())
    });
    let attempts = until("an attempt", || {
        let (_, page) = http::ask(
            server.field("admin"),
            "GET",
            &format!("/api/v1/messages/{later}"),
            "",
        );
        let page: serde_json::Value = serde_json::from_str(&page).ok()?;
        let attempts = page["attempts"].as_array()?.clone();
        (!attempts.is_empty()).then_some(attempts)
    });
    let told: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (
                attempt["peer"].as_str().unwrap(),
                attempt["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [(sick.0.as_str(), "refused"), (well.0.as_str(), "all_refused")]
    );
    assert_eq!(
        (&attempts[0]["code"], &attempts[1]["refused"][0]["code"]),
        (&452.into(), &451.into())
    );
}

#[test]
fn mail_waits_for_a_dead_next_hop_and_goes_out_when_it_lives() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let dead = dead();
    let config = config(dir.path(), "[retry]\nintervals = [\"100ms\"]\n");
    let server = serve(&spool, &[&dead], &[&config[0], &config[1]]);
    let mut client = RawClient::hello(server.smtp());
    for _ in 0..20 {
        assert_eq!(
            client
                .transaction("a@example.org", &["b@example.net"], b"x\r\n")
                .unwrap()
                .0,
            250
        );
    }
    until("attempts in the log", || {
        server.log().contains("no connection").then_some(())
    });
    let count = |more: &[&str]| {
        let output = run(&[&["count"], more].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let admin = format!("http://{}", server.field("admin"));
    assert_eq!(count(&["--spool", spool.to_str().unwrap()]), "20");
    assert_eq!(count(&["--admin", &admin]), "20");
    let table = run(&["status", "--admin", &admin]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("a@example.org") && table.contains(&dead),
        "{table}"
    );
    // The next hop comes to life on the very port.
    let listener = TcpListener::bind(&dead).unwrap();
    let capture = Capture::listen(listener);
    for _ in 0..20 {
        assert_eq!(capture.message().without_trace(), b"x\r\n");
    }
    until("an empty spool", || {
        (count(&["--admin", &admin]) == "0").then_some(())
    });
}

#[test]
fn a_permanent_refusal_freezes_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let capture = Capture::refusing("550 5.1.1 nobody here");
    let server = serve(&spool, &[&capture.next_hop()], &[]);
    RawClient::hello(server.smtp())
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap();
    until("frozen", || {
        let output = run(&["status", "--spool", spool.to_str().unwrap(), "--format", "exim"]);
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("*** frozen ***")
            .then_some(())
    });
    assert_eq!(capture.try_message(), None);
}

#[test]
fn a_rule_may_give_its_destination_more_connections_than_others_have() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sink = || {
        let mut config = SinkConfig::default();
        config.script = "dot delay 300ms".parse().unwrap();
        let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), config);
        let sink = runtime.block_on(sink).unwrap();
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (address, counts) = (sink.local_addr().unwrap(), sink.counts());
        runtime.spawn(sink.run(stopped));
        (address, counts, stop)
    };
    let (ruled, other) = (sink(), sink());
    let text = format!(
        "[client]\nconnections_per_destination = 2\n[[route.rule]]\ndomain = \"ruled.example\"\nnext_hops = [\"{}\"]\nmax_connections = 8\n",
        ruled.0
    );
    let config = config(dir.path(), &text);
    let server = serve(
        &dir.path().join("spool"),
        &[&other.0.to_string()],
        &[&config[0], &config[1]],
    );
    let mut client = RawClient::hello(server.smtp());
    for n in 0..40 {
        let domain = if n % 2 == 0 { "ruled" } else { "other" };
        client
            .transaction("a@example.org", &[&format!("{n}@{domain}.example")], b"x\r\n")
            .unwrap();
    }
    // Each message takes 300 ms, so the sessions to a destination begin together, and are used again.
    for (counts, most) in [(&ruled.1, 8), (&other.1, 2)] {
        until("20 messages", || {
            (counts.messages.load(Ordering::Relaxed) == 20).then_some(())
        });
        let connections = counts.connections.load(Ordering::Relaxed);
        assert!(
            (most / 2..=most).contains(&connections),
            "{connections} of {most}"
        );
    }
}

/// Says yes to everything, reads the first byte of the body, and then no more.
fn begin_to_read(stream: TcpStream, begun: &AtomicUsize) -> Option<TcpStream> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut line = "EHLO".to_owned();
    (&stream).write_all(b"220 slow\r\n").ok()?;
    while !line.starts_with("DATA") {
        line.clear();
        lines.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let reply = if line.starts_with("DATA") {
            "354 go\r\n"
        } else {
            "250 ok\r\n"
        };
        (&stream).write_all(reply.as_bytes()).ok()?;
    }
    lines.read_exact(&mut [0]).ok()?;
    begun.fetch_add(1, Ordering::SeqCst);
    Some(stream)
}

#[test]
fn a_large_mail_for_many_that_do_not_read_it_is_in_memory_once() {
    const DESTINATIONS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    std::thread::spawn(move || {
        let kept: Vec<_> = listener
            .incoming()
            .take(DESTINATIONS)
            .map(|stream| begin_to_read(stream.unwrap(), &count))
            .collect();
        std::thread::park();
        drop(kept);
    });
    let rule =
        |n| format!("[[route.rule]]\ndomain = \"d{n}.example\"\nnext_hops = [\"127.0.1.{n}:{port}\"]\n");
    let rules: String = (1..=DESTINATIONS).map(rule).collect();
    let config = config(dir.path(), &rules);
    let server = serve(&dir.path().join("spool"), &[], &[&config[0], &config[1]]);
    let to: Vec<_> = (1..=DESTINATIONS).map(|n| format!("b@d{n}.example")).collect();
    let to: Vec<_> = to.iter().map(String::as_str).collect();
    let body = "a line of the text, thirty bytes\r\n".repeat(250_000);
    let before = server.peak_kib();
    let mut client = RawClient::hello(server.smtp());
    client.transaction("a@example.org", &to, body.as_bytes()).unwrap();
    until("all of them have begun to read", || {
        (begun.load(Ordering::SeqCst) == DESTINATIONS).then_some(())
    });
    let grown = server.peak_kib() - before;
    let body = u64::try_from(body.len()).unwrap() / 1024;
    println!("{DESTINATIONS} sessions with a body of {body} KiB: the service grew by {grown} KiB");
    // On its way in and to the disk it is copied as well.
    assert!(grown < 8 * body, "{grown} KiB");
}
