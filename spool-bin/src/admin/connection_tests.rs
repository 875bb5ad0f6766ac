//! The deadlines of connections, on real sockets and the virtual clock, and who gives way.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A connection to a peer that does what the test does.
async fn connected() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (io, _) = listener.accept().await.unwrap();
    (Stream::accept(io, &Arc::new(Connections::new(8))).unwrap(), peer)
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
    let connection = stream.connection();
    connection.begins();
    tokio::time::sleep(Duration::from_secs(100)).await;
    peer.write_all(b"x").await.unwrap();
    assert_eq!(
        stream.read_u8().await.unwrap(),
        b'x',
        "a request may take its time"
    );
    connection.ends();
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
    let (mut stream, mut peer) = connected().await;
    stream.connection().begins();
    stream.connection().closes();
    let send = async {
        while peer.write_all(&[b'x'; 1024]).await.is_ok() {
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
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_loses_its_answer() {
    let (mut stream, peer) = connected().await;
    stream.connection().begins();
    let begun = Instant::now();
    let error = stream.write_all(&vec![b'x'; 64 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let allowed = 30..30 + slowest(64 << 20).as_secs();
    assert!(allowed.contains(&seconds(begun)), "{}", seconds(begun));
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_gives_way_ends_at_once() {
    let (mut stream, _peer) = connected().await;
    let connection = stream.connection();
    let end = async {
        tokio::task::yield_now().await;
        connection.give_up();
    };
    let (read, ()) = tokio::join!(stream.read_u8(), end);
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn only_the_time_that_a_peer_takes_nothing_counts() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut timing = WriteTiming::default();
    assert_eq!(timing.blocked(at(0)), at(30));
    assert_eq!(timing.blocked(at(20)), at(30), "it waits since then");
    timing.took(0, at(20));
    assert_eq!(timing.blocked(at(500)), at(510), "10 s are left");
    timing.took(LEAST_RATE * 5, at(500));
    assert_eq!(timing.blocked(at(600)), at(615), "what it took bought it time");
}

#[test]
fn the_connection_that_waited_longest_for_a_head_gives_way() {
    let (connections, start) = (Connections::new(3), Instant::now());
    let add = |seconds| connections.add(start + Duration::from_secs(seconds));
    let [first, second, third] = [1, 2, 3].map(|at| add(at).unwrap());
    first.begins();
    let fourth = add(4).unwrap();
    assert!(second.state().given_up && !first.state().given_up && !third.state().given_up);
    third.begins();
    fourth.begins();
    assert!(add(5).is_none(), "all are being answered");
    first.ends();
    assert!(add(6).is_some() && first.state().given_up);
    connections.remove(&third);
    assert_eq!(connections.open().len(), 2);
}
