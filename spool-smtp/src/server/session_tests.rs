//! Whole ingress sessions over a stream in memory, on paused time.

use super::*;
use crate::server::testing::{MemoryIntake, RuntimeClock};
use crate::server::{Clients, Limits, Logins, Users};
use spool_core::AddError;
use std::net::SocketAddr;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;

struct Client {
    stream: DuplexStream,
    intake: Arc<MemoryIntake>,
    stop: watch::Sender<bool>,
    session: JoinHandle<()>,
}

fn connect_with(intake: MemoryIntake, pipe: usize) -> Client {
    let (stream, theirs) = tokio::io::duplex(pipe);
    let (stop, stopped) = watch::channel(false);
    let intake = Arc::new(intake);
    let config = Arc::new(ServerConfig::default());
    let client: SocketAddr = "127.0.0.1:4000".parse().unwrap();
    let session = tokio::spawn(serve(
        theirs,
        client.into(),
        Opening::Plain,
        config,
        intake.clone(),
        stopped,
    ));
    Client {
        stream,
        intake,
        stop,
        session,
    }
}

fn connect() -> Client {
    connect_with(MemoryIntake::default(), 1 << 16)
}

impl Client {
    async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until a line that begins with `last`.
    async fn expect(&mut self, last: &str) -> String {
        let mut seen = String::new();
        let mut line = Vec::new();
        loop {
            let byte = self
                .stream
                .read_u8()
                .await
                .unwrap_or_else(|_| panic!("no {last} in {seen:?}"));
            line.push(byte);
            if byte == b'\n' {
                let text = String::from_utf8(std::mem::take(&mut line)).unwrap();
                seen.push_str(&text);
                if text.starts_with(last) {
                    return seen;
                }
            }
        }
    }

    async fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).await.unwrap();
        rest
    }
}

const OPEN: &str = "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\n";

#[tokio::test(start_paused = true)]
async fn a_dialogue() {
    let mut client = connect();
    client.expect("220 localhost").await;
    client.send("EHLO c\r\n").await;
    client.expect("250 ENHANCEDSTATUSCODES").await;
    client.send("MAIL FROM:<a@b.org>\r\n").await;
    client.expect("250 2.1.0").await;
    client.send("RCPT TO:<c@d.org>\r\n").await;
    client.expect("250 2.1.5").await;
    client.send("DATA\r\n").await;
    client.expect("354").await;
    client.send("hello\r\n.\r\n").await;
    client.expect("250 2.0.0 Queued as 0").await;
    client.send("QUIT\r\n").await;
    client.expect("221").await;
    assert_eq!(client.rest().await, "");
    client.session.await.unwrap();
    assert!(client.intake.mails()[0].body.ends_with(b"\r\nhello\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_drip_does_not_move_the_deadline_of_a_command() {
    let mut client = connect();
    let start = Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(70)).await;
        client.send("N").await;
    }
    client.expect("421 4.4.2").await;
    assert_eq!(start.elapsed().as_secs(), 300);
    assert_eq!(client.rest().await, "");
}

#[tokio::test(start_paused = true)]
async fn commands_that_arrive_whole_keep_a_session() {
    let mut client = connect();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_secs(200)).await;
        client.send("NOOP\r\n").await;
        client.expect("250 2.0.0").await;
    }
    let start = Instant::now();
    client.expect("421 4.4.2").await;
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_message_has_one_deadline() {
    let mut client = connect();
    client.send(OPEN).await;
    client.expect("354").await;
    let start = Instant::now();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_secs(95)).await;
        client.send("line\r\n").await;
    }
    client.expect("421 4.4.2").await;
    assert_eq!(start.elapsed().as_secs(), 600);
    assert!(client.intake.mails().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_pipelined_message_in_chunks_has_its_own_deadline() {
    for end in ["BDAT 1 LAST\r\nx", "RSET\r\n"] {
        let mut client = connect();
        let begin = "MAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nBDAT 1\r\nx";
        client.send(&format!("EHLO c\r\n{begin}")).await;
        client.expect("250 2.0.0 Chunk").await;
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(250)).await;
            // The end of each message arrives together with the start of the next.
            client.send(&format!("{end}{begin}")).await;
            client.expect("250 2.0.0 Chunk").await;
        }
        let begun = Instant::now();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(250)).await;
            client.send("BDAT 1\r\nx").await;
            client.expect("250 2.0.0 Chunk").await;
        }
        client.expect("421 4.4.2").await;
        assert_eq!(begun.elapsed().as_secs(), 600, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    let client = connect_with(MemoryIntake::default(), 8);
    let start = Instant::now();
    client.session.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_breaks_off_leaves_nothing() {
    for part in ["", "EHLO c\r\n", "MAIL", "line\r\n", "line\r\n.", "line\r\n.\r"] {
        let mut client = connect();
        client.send(&format!("{OPEN}{part}")).await;
        client.expect("354").await;
        drop(client.stream);
        client.session.await.unwrap();
        assert!(client.intake.mails().is_empty(), "{part:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_in_hand_is_waited_for() {
    let slow = MemoryIntake {
        delay: Duration::from_secs(3600),
        ..MemoryIntake::default()
    };
    let mut client = connect_with(slow, 1 << 16);
    client.send(&format!("{OPEN}.\r\n")).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    client.stop.send(true).unwrap();
    let seen = client.expect("421 4.3.2").await;
    assert!(seen.contains("250 2.0.0 Queued"), "{seen}");
    assert_eq!(client.intake.mails().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_the_reply_undoes_nothing() {
    let slow = MemoryIntake {
        delay: Duration::from_secs(5),
        ..MemoryIntake::default()
    };
    let mut client = connect_with(slow, 1 << 16);
    client.expect("220").await;
    client.send(&format!("{OPEN}.\r\n")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(client.stream);
    client.session.await.unwrap();
    assert_eq!(client.intake.mails().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_idle_sessions_and_waits_for_messages() {
    let (mut idle, mut busy) = (connect(), connect());
    idle.expect("220").await;
    busy.send(OPEN).await;
    busy.expect("354").await;
    let start = Instant::now();
    idle.stop.send(true).unwrap();
    busy.stop.send(true).unwrap();
    idle.expect("421 4.3.2").await;
    assert_eq!(idle.rest().await, "");
    tokio::time::sleep(Duration::from_secs(30)).await;
    busy.send("text\r\n.\r\n").await;
    assert!(busy.expect("421 4.3.2").await.contains("Queued"));
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(busy.intake.mails().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_answer_but_the_intake_s_makes_a_250() {
    let disk = || Some(AddError::Disk("EIO".into()));
    let mut client = connect_with(
        MemoryIntake {
            admits: disk(),
            ..MemoryIntake::default()
        },
        1 << 16,
    );
    client.send("EHLO c\r\nMAIL FROM:<>\r\n").await;
    client.expect("451 4.3.0").await;
    let mut client = connect_with(
        MemoryIntake {
            accepts: disk(),
            ..MemoryIntake::default()
        },
        1 << 16,
    );
    client.send(&format!("{OPEN}.\r\nQUIT\r\n")).await;
    let seen = client.expect("221").await;
    assert!(
        seen.contains("\r\n451 4.3.0") && !seen.contains("Queued"),
        "{seen}"
    );
}

#[tokio::test(start_paused = true)]
async fn input_after_the_last_reply_is_read_up_to_a_bound() {
    let mut client = connect();
    // The session of a client with too many errors is closed.
    let errors = "X\r\n".repeat(100);
    client.send(&errors).await;
    client.expect("421").await;
    let (mut sent, piece) = (0, [b'x'; 1024]);
    while let Ok(count) = client.stream.write(&piece).await {
        sent += count;
    }
    // The input in the pipe was not read.
    assert!((1 << 20..(1 << 20) + (2 << 16)).contains(&sent), "{sent} bytes");
    client.session.await.unwrap();

    let mut silent = connect();
    let begun = Instant::now();
    silent.send(&errors).await;
    silent.expect("421").await;
    silent.session.await.unwrap();
    assert_eq!(begun.elapsed(), LINGER_TIME);
}

/// The hash of "pleaseletmein".
const HASH: &str =
    "$argon2id$v=19$m=256,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$Bn19f/rnxRNuF2Eo0rm4NcahjjjvV6uMJ5oMeXPK16k";

/// Logins with one failure, so that the client has to wait for 1 s.
async fn delayed_logins() -> Arc<ServerConfig> {
    let logins = Logins::new(Clients::new(Limits::default(), Arc::new(RuntimeClock::new())));
    logins.set_users(Users::parse(&format!("ada:{HASH}\n")).ok());
    let wrong = LoginAttempt::of_test("ada", "wrong");
    let verdict = logins.check("127.0.0.1".parse().unwrap(), wrong).await;
    assert_eq!(verdict, LoginResult::Refused);
    Arc::new(ServerConfig {
        logins,
        ..ServerConfig::default()
    })
}

/// A session with a running login, and its client.
fn at_login(config: &Arc<ServerConfig>) -> (Driver<DuplexStream>, DuplexStream) {
    let (stream, theirs) = tokio::io::duplex(1 << 16);
    let client: SocketAddr = "127.0.0.1:4000".parse().unwrap();
    let driver = Driver {
        machine: Machine::new(Arc::clone(config), client.ip(), FlowId::random()),
        deadline: Deadline::after(config.command_timeout),
        config: Arc::clone(config),
        stream: Stream::Plain(theirs),
        peer: client.into(),
        message_end: None,
    };
    (driver, stream)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_frees_its_turn_to_log_in() {
    let config = delayed_logins().await;
    let start = Instant::now();
    for nth in 0..20 {
        let (mut driver, stream) = at_login(&config);
        let mut buffer = Buffer::new(config.memory.clone());
        drop(stream);
        let guess = LoginAttempt::of_test("ada", &format!("guess {nth}"));
        let never = pin!(std::future::pending());
        let ended = driver.authenticate(guess, &mut buffer, never).await;
        assert!(matches!(ended, Err(End::Gone)), "{ended:?}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    let right = LoginAttempt::of_test("ada", "pleaseletmein");
    let verdict = config.logins.check("127.0.0.1".parse().unwrap(), right).await;
    assert!(matches!(verdict, LoginResult::Accepted(_)), "{verdict:?}");
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn input_during_a_login_is_buffered_and_bounded() {
    for (sent, kept) in [(6, 13), (1 << 14, 4096)] {
        let config = delayed_logins().await;
        let (mut driver, mut stream) = at_login(&config);
        let mut buffer = Buffer::new(config.memory.clone());
        buffer.space(false).extend_from_slice(b"used before");
        buffer.keep(7);
        stream.write_all(&vec![b'x'; sent]).await.unwrap();
        let right = LoginAttempt::of_test("ada", "pleaseletmein");
        let never = pin!(std::future::pending());
        driver.authenticate(right, &mut buffer, never).await.unwrap();
        let unread = buffer.unread();
        assert_eq!(unread.len(), kept);
        assert!(unread.starts_with(b" beforexxxxxx"));
    }
}
