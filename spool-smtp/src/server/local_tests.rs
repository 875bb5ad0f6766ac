//! The Unix socket: permissions, users, and ownership of its file.

use super::*;
use crate::server::clients::{ClientKey, Clients, Kind, Limits};
use crate::server::config::ServerConfig;
use crate::server::listener::{Listener, SessionStart};
use crate::server::testing::MemoryIntake;
use spool_core::{Admission, Intake, Source, SystemClock};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as Client};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::watch;

struct Server {
    path: PathBuf,
    intake: Arc<MemoryIntake>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn server(config: ServerConfig) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = Listener::local(&path).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let intake = Arc::new(MemoryIntake::default());
    let takes: Arc<dyn Intake> = intake.clone();
    let place = |start: SessionStart| drop(tokio::spawn(start()));
    let running = tokio::spawn(listener.run(watch::channel(Arc::new(config)).1, takes, place, stopped));
    Server {
        path,
        intake,
        stop,
        running,
        _dir: dir,
    }
}

/// The reply to `text`.
async fn say(path: &Path, text: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_local_program_is_known_by_its_user_and_may_relay() {
    let mut config = ServerConfig::default();
    config.relay.allow_networks.clear();
    config.proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let server = server(config).await;
    let answer = say(
        &server.path,
        "EHLO here.example\r\nMAIL FROM:<a@b.example> REQUIRETLS\r\nRCPT TO:<c@d.example>\r\nDATA\r\n\
         Subject: x\r\n\r\nhi\r\n.\r\nQUIT\r\n",
    )
    .await;
    assert!(answer.contains("250 2.0.0 Queued"), "{answer}");
    // Neither STARTTLS nor XCLIENT is offered.
    assert!(
        !answer.contains("XCLIENT") && !answer.contains("STARTTLS"),
        "{answer}"
    );
    let mails = server.intake.mails();
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let body = String::from_utf8(mails[0].body.to_vec()).unwrap();
    let trace = format!("Received: from here.example (uid {uid}) by localhost with ESMTP\r\n\tid ");
    assert!(body.starts_with(&trace), "{body}");
    let source = Source {
        admission: Admission::Network,
        client: None,
        uid: Some(uid),
        tls: None,
    };
    assert_eq!(mails[0].source, source);
    assert!(mails[0].envelope.parameters.requiretls);
    server.stop.send(true).unwrap();
    server.running.await.unwrap();
    assert!(!server.path.exists(), "the file goes with the listener");
}

#[tokio::test]
async fn each_user_has_a_limit_of_connections() {
    let config = ServerConfig {
        connections_per_client: 2,
        ..ServerConfig::default()
    };
    let server = server(config).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = BufReader::new(UnixStream::connect(&server.path).await.unwrap());
        let mut line = String::new();
        client.read_line(&mut line).await.unwrap();
        assert!(line.starts_with("220 "), "{line}");
        held.push(client);
    }
    let answer = say(&server.path, "").await;
    assert!(answer.starts_with("421 4.7.0 "), "{answer}");
}

#[tokio::test]
async fn each_local_user_has_the_rates_of_a_client() {
    let rate = |most| spool_core::Rate::new(most, Duration::from_secs(3600)).ok();
    let limits = Limits {
        connections_per_client: rate(2),
        messages_per_client: rate(1),
        ..Limits::default()
    };
    let clients = Clients::new(limits, Arc::new(SystemClock));
    // Other clients are counted separately: a local address, and another user.
    let address = ClientKey::address(Ipv4Addr::LOCALHOST.into());
    let uid = fs::metadata("/proc/self").unwrap().uid();
    for other in [address, ClientKey::Local(uid + 1)] {
        clients.take(&other, Kind::Messages).unwrap();
        clients.take(&other, Kind::Connections).unwrap();
    }
    let config = ServerConfig {
        clients: clients.clone(),
        ..ServerConfig::default()
    };
    let server = server(config).await;
    let mail = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\nhi\r\n.\r\n";
    let answer = say(&server.path, &format!("EHLO here.example\r\n{mail}QUIT\r\n")).await;
    assert!(answer.contains("250 2.0.0 Queued"), "{answer}");
    let answer = say(
        &server.path,
        "EHLO here.example\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n",
    )
    .await;
    assert!(answer.contains("\r\n450 4.7.1 "), "{answer}");
    let answer = say(&server.path, "").await;
    assert!(
        answer.starts_with("421 4.7.0 ") && answer.ends_with(" s\r\n"),
        "{answer}"
    );
    let states = clients.states();
    let state = states
        .iter()
        .find(|state| state.client == format!("uid:{uid}"))
        .unwrap();
    assert_eq!(
        (state.user, state.messages.count, state.recipients.count),
        (false, 1, 1)
    );
    assert_eq!((state.new_connections.count, state.limited.len()), (2, 2));
    assert!(clients.lift(&format!("uid:{uid}")));
    let answer = say(&server.path, &format!("EHLO here.example\r\n{mail}QUIT\r\n")).await;
    assert!(answer.contains("250 2.0.0 Queued"), "{answer}");
}

#[tokio::test]
async fn the_file_is_open_to_all_users() {
    let server = server(ServerConfig::default()).await;
    assert_eq!(fs::metadata(&server.path).unwrap().mode() & 0o7777, 0o666);
}

#[tokio::test]
async fn only_a_socket_without_a_listener_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let other = StdListener::bind(&path).unwrap();
    let refused = LocalSocket::bind(&path).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    Client::connect(&path).unwrap();
    // The process has ended and left the file.
    drop(other);
    let ours = LocalSocket::bind(&path).await.unwrap();
    Client::connect(&path).unwrap();
    // A file that another process has replaced is not removed.
    fs::remove_file(&path).unwrap();
    let _theirs = StdListener::bind(&path).unwrap();
    drop(ours);
    Client::connect(&path).unwrap();

    let file = dir.path().join("file");
    fs::write(&file, "keep").unwrap();
    let refused = LocalSocket::bind(&file).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "keep");
}

#[test]
fn a_message_from_a_file_gets_its_own_trace_header() {
    let with = |message: &str, most| left_by(7, message.as_bytes(), "mx.example", "1", "now", most);
    let text = |message| String::from_utf8(with(message, 2).unwrap()).unwrap();
    assert_eq!(
        text("Subject: x\r\n\r\n"),
        "Received: by mx.example (from uid 7) id 1; now\r\nSubject: x\r\n\r\n"
    );
    assert_eq!(
        text("\tx\r\n"),
        "Received: by mx.example (from uid 7) id 1; now\r\n\r\n\tx\r\n"
    );
    let looped = "Received: a\r\n".repeat(3);
    assert!(with(&looped, 2).unwrap_err().starts_with("554 5.4.6 "));
    assert!(with(&looped, 3).is_ok());
}
