//! The listener on real sockets: limits, refusals, shutdown.

use super::*;
use crate::server::testing::MemoryIntake;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream as Client;
use std::thread::JoinHandle;
use tokio::runtime::Builder;

/// A listener on one thread and its sessions on another.
struct Server {
    address: SocketAddr,
    intake: Arc<MemoryIntake>,
    stop: watch::Sender<bool>,
    threads: [JoinHandle<()>; 2],
}

fn server(config: ServerConfig) -> Server {
    listening(config, false)
}

fn listening(config: ServerConfig, proxied: bool) -> Server {
    let (stop, stopped) = watch::channel(false);
    let intake = Arc::new(MemoryIntake::default());
    let (placed, mut starts) = tokio::sync::mpsc::unbounded_channel::<SessionStart>();
    let (tell, told) = std::sync::mpsc::channel();
    let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
    let sessions = std::thread::spawn(move || {
        runtime().block_on(async move {
            let mut running = Vec::new();
            while let Some(start) = starts.recv().await {
                running.push(tokio::spawn(start()));
            }
            for session in running {
                session.await.unwrap();
            }
        });
    });
    let takes: Arc<dyn Intake> = intake.clone();
    let accepting = std::thread::spawn(move || {
        runtime().block_on(async move {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            tell.send(socket.local_addr().unwrap()).unwrap();
            let mut listener = Listener::from_std(socket).unwrap();
            listener.proxied = proxied;
            let place = move |start| placed.send(start).unwrap_or_else(|_| panic!("sessions ended"));
            listener
                .run(watch::channel(Arc::new(config)).1, takes, place, stopped)
                .await;
        });
    });
    Server {
        address: told.recv().unwrap(),
        intake,
        stop,
        threads: [accepting, sessions],
    }
}

impl Server {
    fn connect(&self) -> BufReader<Client> {
        let stream = Client::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        BufReader::new(stream)
    }

    fn end(self) {
        self.stop.send(true).unwrap();
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}

fn line(client: &mut BufReader<Client>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

const MAIL: &str = "MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n";

#[test]
fn a_pipelined_burst_is_answered_in_order() {
    let server = server(ServerConfig::default());
    let mut client = server.connect();
    let mut burst = String::from("HELO c\r\n");
    for number in 0..200 {
        burst.push_str(&format!("{MAIL}{number}\r\n.\r\n"));
    }
    burst.push_str("QUIT\r\n");
    client.get_mut().write_all(burst.as_bytes()).unwrap();
    let mut replies = String::new();
    client.read_to_string(&mut replies).unwrap();
    let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
    let mut expected = vec!["220", "250"];
    for _ in 0..200 {
        expected.extend(["250", "250", "354", "250"]);
    }
    expected.push("221");
    assert_eq!(codes, expected);
    for (number, mail) in server.intake.mails().iter().enumerate() {
        assert!(mail.body.ends_with(format!("\r\n{number}\r\n").as_bytes()));
    }
    server.end();
}

#[test]
fn ten_megabytes_pass_unchanged() {
    let server = server(ServerConfig::default());
    let mut client = server.connect();
    let text: String = (0..180_000)
        .map(|n| format!("{n:06} {}\r\n", "x".repeat(50)))
        .collect();
    assert!(text.len() > 10_000_000);
    client
        .get_mut()
        .write_all(format!("HELO c\r\n{MAIL}").as_bytes())
        .unwrap();
    while !line(&mut client).starts_with("354") {}
    client.get_mut().write_all(text.as_bytes()).unwrap();
    client.get_mut().write_all(b".\r\n").unwrap();
    assert!(line(&mut client).starts_with("250 2.0.0 Queued"));
    let mails = server.intake.mails();
    assert!(mails[0].body.ends_with(text.as_bytes()));
    server.end();
}

#[test]
fn too_many_connections_hear_so_and_places_come_back() {
    let server = server(ServerConfig {
        connections_per_client: 2,
        ..ServerConfig::default()
    });
    let (mut first, mut second) = (server.connect(), server.connect());
    assert!(line(&mut first).starts_with("220") && line(&mut second).starts_with("220"));
    let mut third = server.connect();
    let mut heard = String::new();
    third.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, format!("{}\r\n", reply::TOO_MANY_CONNECTIONS.line));
    first.get_mut().write_all(b"QUIT\r\n").unwrap();
    assert!(line(&mut first).starts_with("221"));
    drop(first);
    // The slot is free when the task of the session has ended, shortly after the connection.
    let free = (0..1000).any(|_| line(&mut server.connect()).starts_with("220"));
    assert!(free);
    server.end();
}

#[test]
fn connections_are_limited_over_all_listeners() {
    let config = ServerConfig {
        connections: 3,
        connections_per_client: 2,
        ..ServerConfig::default()
    };
    let (one, other) = (server(config.clone()), server(config));
    let (mut first, mut second) = (one.connect(), other.connect());
    assert!(line(&mut first).starts_with("220") && line(&mut second).starts_with("220"));
    for server in [&one, &other] {
        assert!(line(&mut server.connect()).starts_with("421 4.7.0 Too many connections,"));
    }
    drop(first);
    let free = (0..1000).any(|_| line(&mut other.connect()).starts_with("220"));
    assert!(free);
    // Each listener waits for its own sessions only.
    one.end();
    second.get_mut().write_all(b"NOOP\r\n").unwrap();
    assert!(line(&mut second).starts_with("250"));
    other.end();
}

#[test]
fn a_client_closed_during_its_input_reads_the_reason() {
    let server = server(ServerConfig::default());
    let mut client = server.connect();
    let rest = "MAIL FROM:<x@y.org>\r\n".repeat(5000);
    let input = format!("HELO c\r\n{MAIL}a\n.\nb\r\n.\r\n{rest}");
    client.get_mut().write_all(input.as_bytes()).unwrap();
    let mut replies = String::new();
    client.read_to_string(&mut replies).unwrap();
    assert!(
        replies.ends_with(&format!("{}\r\n", reply::SMUGGLING.line)),
        "{replies}"
    );
    assert!(server.intake.mails().is_empty());
    drop(client);
    server.end();
}

#[test]
fn a_shutdown_closes_the_port_and_the_sessions() {
    let server = server(ServerConfig::default());
    let mut client = server.connect();
    assert!(line(&mut client).starts_with("220"));
    let address = server.address;
    server.end();
    assert!(line(&mut client).starts_with("421 4.3.2"));
    assert!(Client::connect(address).is_err());
}

#[test]
fn only_errors_of_one_connection_are_passed_over() {
    assert!(is_of_one_connection(&io::ErrorKind::ConnectionAborted.into()));
    for code in [23, 24, 105, 12] {
        assert!(
            !is_of_one_connection(&io::Error::from_raw_os_error(code)),
            "{code}"
        );
    }
}

/// A listener behind a proxy on loopback; mail may come from 10.0.0.0/8 and from loopback.
fn behind_a_proxy(proxies: &str, per_client: usize) -> Server {
    let mut config = ServerConfig {
        proxies: vec![proxies.parse().unwrap()],
        connections_per_client: per_client,
        ..ServerConfig::default()
    };
    config.relay.allow_networks.push("10.0.0.0/8".parse().unwrap());
    listening(config, true)
}

/// The last reply to these bytes, then the end of the connection.
fn said(server: &Server, input: &[u8]) -> String {
    let mut client = server.connect();
    let _ = client.get_mut().write_all(input);
    let mut replies = String::new();
    let _ = client.read_to_string(&mut replies);
    replies
}

const RCPT: &str = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nQUIT\r\n";

#[test]
fn the_client_that_a_proxy_names_decides_what_is_allowed() {
    let server = behind_a_proxy("127.0.0.1", 100);
    for (header, may_relay) in [
        (&b"PROXY TCP4 10.1.2.3 192.0.2.1 4711 25\r\n"[..], true),
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 25\r\n", false),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n", false),
        // The proxy itself may relay, because of its address; a client that it does not name may not.
        (b"PROXY UNKNOWN\r\n", false),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", false),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x7f\0\0\x01\0\x01\0\x19",
            true,
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\0\x01\0\x19",
            false,
        ),
    ] {
        let replies = said(&server, &[header, RCPT.as_bytes()].concat());
        let expected = if may_relay {
            "\r\n250 2.1.5"
        } else {
            "\r\n550 5.7.1"
        };
        assert!(
            replies.starts_with("220 ") && replies.contains(expected),
            "{header:?}: {replies}"
        );
        assert!(replies.ends_with("221 2.0.0 Bye\r\n"));
    }
    server.end();
}

#[test]
fn no_reply_goes_to_an_unlisted_or_headerless_proxy() {
    let header = "PROXY TCP4 10.1.2.3 192.0.2.1 4711 25\r\n";
    let strict = behind_a_proxy("192.0.2.1", 100);
    assert_eq!(said(&strict, format!("{header}{RCPT}").as_bytes()), "");
    assert_eq!(said(&strict, RCPT.as_bytes()), "");
    strict.end();
    let server = behind_a_proxy("127.0.0.1", 100);
    for input in [
        RCPT.to_owned(),
        format!("PROXY TCP4 10.1.2.3\r\n{RCPT}"),
        format!("{}{RCPT}", "PROXY TCP4 ".repeat(20)),
        format!("\r\n\r\n\0\r\nQUIT\n\x21\x11\u{7f}\u{7f}{RCPT}"),
    ] {
        assert_eq!(said(&server, input.as_bytes()), "", "{input:?}");
    }
    server.end();
    // An unexpected header is an unknown command, and so is a second one.
    let plain = listening(
        ServerConfig {
            proxies: vec!["127.0.0.1".parse().unwrap()],
            ..ServerConfig::default()
        },
        false,
    );
    assert!(said(&plain, format!("{header}{RCPT}").as_bytes()).contains("500 5.5.2 Unknown command"));
    plain.end();
    let server = behind_a_proxy("127.0.0.1", 100);
    let twice = said(&server, format!("PROXY UNKNOWN\r\n{header}{RCPT}").as_bytes());
    assert!(
        twice.contains("500 5.5.2 Unknown command") && twice.contains("550 5.7.1"),
        "{twice}"
    );
    server.end();
}

#[test]
fn connections_through_a_proxy_count_for_their_clients() {
    let server = behind_a_proxy("127.0.0.1", 2);
    let through = |client: &str| {
        let mut stream = server.connect();
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 25\r\n");
        stream.get_mut().write_all(header.as_bytes()).unwrap();
        let greeting = line(&mut stream);
        (stream, greeting)
    };
    let held: Vec<_> = ["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"]
        .map(through)
        .into();
    let codes: Vec<_> = held.iter().map(|(_, greeting)| &greeting[..3]).collect();
    assert_eq!(codes, ["220", "220", "421", "220"]);
    drop(held);
    server.end();
}

#[tokio::test(start_paused = true)]
async fn a_header_has_five_seconds() {
    let unnamed = async |mut ours: tokio::io::DuplexStream, stopped| {
        let peer = Peer::from("192.0.2.1:4711".parse::<SocketAddr>().unwrap());
        let config = ServerConfig::default();
        let client = named(&mut ours, peer, Opening::Plain, &config, stopped).await;
        client.is_none()
    };
    for drips in [false, true] {
        let (mut theirs, ours) = tokio::io::duplex(1024);
        let (_stop, stopped) = watch::channel(false);
        let begun = tokio::time::Instant::now();
        let drip = async {
            for byte in b"PROXY TCP4 10.1.2.3 192.0.2.1 4711 25" {
                if !drips || theirs.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let (is_unnamed, ()) = tokio::join!(unnamed(ours, stopped), drip);
        assert!(is_unnamed);
        assert!(
            (5..=6).contains(&begun.elapsed().as_secs()),
            "{:?}",
            begun.elapsed()
        );
    }
    let (_theirs, ours) = tokio::io::duplex(1024);
    let (stop, stopped) = watch::channel(false);
    let begun = tokio::time::Instant::now();
    let (is_unnamed, sent) = tokio::join!(unnamed(ours, stopped), async { stop.send(true) });
    sent.unwrap();
    assert!(is_unnamed && begun.elapsed() < Duration::from_secs(1));
}
