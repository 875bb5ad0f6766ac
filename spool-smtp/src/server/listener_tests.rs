//! The listener on real sockets: limits, turning away, shutdown.

use super::*;
use crate::server::testing::MemoryIntake;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream as Client;
use std::thread::JoinHandle;
use tokio::runtime::Builder;

/// A listener on a thread of its own, its sessions on another.
struct Server {
    address: SocketAddr,
    intake: Arc<MemoryIntake>,
    stop: watch::Sender<bool>,
    threads: [JoinHandle<()>; 2],
}

fn server(config: ServerConfig) -> Server {
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
            let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let place = move |start| placed.send(start).unwrap_or_else(|_| panic!("sessions ended"));
            listener.run(Arc::new(config), takes, place, stopped).await;
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
    // The place is free once the session's task has ended, shortly after the connection.
    let free = (0..1000).any(|_| line(&mut server.connect()).starts_with("220"));
    assert!(free);
    server.end();
}

#[test]
fn a_client_turned_out_in_the_middle_of_its_input_still_reads_why() {
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
