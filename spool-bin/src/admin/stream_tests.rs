//! The deadlines of connections, on real sockets and the virtual clock, and who gives way.

use super::super::write_timing::slowest;
use super::*;
use spool_core::Budget;
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A connection to a peer that does what the test does.
async fn connected() -> (Stream, TcpStream) {
    connected_with(&Budget::new(1 << 20)).await
}

async fn connected_with(memory: &Budget) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, _) = listener.accept().await.unwrap();
    (
        Stream::accept(io, &Arc::new(Connections::new(8, memory.clone()))).unwrap(),
        peer,
    )
}

fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_ends_the_connection() {
    let (mut stream, mut peer) = connected().await;
    peer.write_all(b"GET /healthz HTTP/1.1\r\nX: ").await.unwrap();
    let begun = Instant::now();
    let mut all = Vec::new();
    let error = stream.read_to_end(&mut all).await.unwrap_err();
    assert_eq!((error.kind(), seconds(begun)), (io::ErrorKind::TimedOut, 10));
    assert!(all.starts_with(b"GET"));
}

#[tokio::test(start_paused = true)]
async fn a_head_behind_an_answer_has_its_own_time() {
    let (mut stream, mut peer) = connected().await;
    let connection = Arc::clone(&stream.connection);
    connection.begins(true);
    tokio::time::sleep(Duration::from_secs(100)).await;
    peer.write_all(b"x").await.unwrap();
    assert_eq!(
        stream.read_u8().await.unwrap(),
        b'x',
        "a request may take its time"
    );
    connection.ends();
    stream.flush().await.unwrap();
    let begun = Instant::now();
    peer.write_all(b"y").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'y');
    assert_eq!(
        stream.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    assert_eq!(seconds(begun), 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_refused_is_read_for_a_moment_only() {
    for piece in [1024, 256 * 1024] {
        let (mut stream, mut peer) = connected().await;
        stream.connection.begins(false);
        stream.connection.closes();
        let send = async {
            while peer.write_all(&vec![b'x'; piece]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let begun = Instant::now();
        let mut all = Vec::new();
        tokio::select! {
            read = stream.read_to_end(&mut all) => drop(read.unwrap()),
            () = send => {}
        }
        assert_eq!(seconds(begun), 1);
        assert!(all.len() < Connection::DROPPED + 256 * 1024, "{}", all.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_loses_its_answer() {
    let (mut stream, peer) = connected().await;
    stream.connection.begins(false);
    let begun = Instant::now();
    let error = stream.write_all(&vec![b'x'; 64 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let allowed = 30..30 + slowest(64 << 20).as_secs();
    assert!(allowed.contains(&seconds(begun)), "{}", seconds(begun));
    drop(peer);
}

/// What is passed on until nothing more comes for a second.
async fn read_now(stream: &mut Stream) -> Vec<u8> {
    let (mut all, mut piece) = (Vec::new(), [0; 64 * 1024]);
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut piece)).await {
        all.extend_from_slice(&piece[..read.unwrap()]);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn one_request_is_passed_on_at_a_time_after_the_answer_before_is_sent() {
    let (mut stream, mut peer) = connected().await;
    let connection = Arc::clone(&stream.connection);
    let requests = [&b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"PUT /2 HTTP/1.1\n\n"];
    let body = vec![b'x'; 64 * 1024];
    peer.write_all(&[requests[0], requests[1], &body].concat())
        .await
        .unwrap();
    let mut first = [0; 1024];
    let count = stream.read(&mut first).await.unwrap();
    assert_eq!(&first[..count], requests[0]);
    connection.begins(false);
    assert_eq!(read_now(&mut stream).await, b"", "it is being answered");
    connection.ends();
    assert_eq!(read_now(&mut stream).await, b"", "the answer is not sent");
    stream.flush().await.unwrap();
    let mut second = [0; 1024];
    let count = stream.read(&mut second).await.unwrap();
    assert_eq!(&second[..count], requests[1]);
    connection.begins(true);
    let mut read = vec![0; body.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, body);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_until_the_answer_before_it_is_sent() {
    let (mut stream, _peer) = connected().await;
    let connection = Arc::clone(&stream.connection);
    connection.begins(false);
    connection.ends();
    let mut next = std::pin::pin!(poll_fn(|cx| connection.poll_sent(cx)));
    let waits = tokio::time::timeout(Duration::from_secs(1), next.as_mut());
    assert!(waits.await.is_err());
    let sent = async {
        tokio::task::yield_now().await;
        stream.flush().await.unwrap();
    };
    tokio::join!(next, sent);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_peer_is_noticed_while_its_request_is_answered() {
    let (mut stream, mut peer) = connected().await;
    peer.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 18]).await.unwrap();
    stream.connection.begins(false);
    drop(peer);
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_head_is_charged_and_one_that_is_too_long_ends_the_connection() {
    let (mut stream, mut peer) = connected().await;
    let memory = stream.connections.memory.clone();
    let head = b"GET / HTTP/1.1\r\nX: y\r\n".repeat(500);
    peer.write_all(&[&head, &b"\r\n"[..]].concat()).await.unwrap();
    stream.read_exact(&mut vec![0; head.len()]).await.unwrap();
    assert_eq!(memory.used(), Connection::HEAD_CHARGE);
    stream.connection.begins(false);
    stream.connection.ends();
    assert_eq!(memory.used(), 0);
    let others = memory.hold(1 << 20).unwrap();
    let send = async |peer: &mut TcpStream| {
        let _ = peer.write_all(&vec![b'x'; 2 * Connection::LONGEST_HEAD]).await;
    };
    for (most, others) in [
        (Connection::UNCHARGED_HEAD, Some(others)),
        (Connection::LONGEST_HEAD, None),
    ] {
        let (mut stream, mut peer) = connected_with(&memory).await;
        let mut all = Vec::new();
        let (read, ()) = tokio::join!(stream.read_to_end(&mut all), send(&mut peer));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::Other);
        assert!(all.len() <= most + PIECE, "{} of {most}", all.len());
        drop(others);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_gives_way_ends_at_once() {
    let (mut stream, _peer) = connected().await;
    let connection = Arc::clone(&stream.connection);
    let end = async {
        tokio::task::yield_now().await;
        connection.give_up();
    };
    let (read, ()) = tokio::join!(stream.read_u8(), end);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn the_connection_that_waited_longest_for_a_head_gives_way() {
    let (connections, start) = (Connections::new(3, Budget::new(0)), Instant::now());
    let add = |seconds| connections.add(start + Duration::from_secs(seconds));
    let [first, second, third] = [1, 2, 3].map(|at| add(at).unwrap());
    first.begins(false);
    let fourth = add(4).unwrap();
    assert!(second.was_given_up() && !first.was_given_up() && !third.was_given_up());
    third.begins(false);
    fourth.begins(false);
    assert!(add(5).is_none(), "all are being answered");
    first.ends();
    assert!(add(6).is_some() && first.was_given_up());
    connections.remove(&third);
    assert_eq!(connections.open().len(), 2);
}
