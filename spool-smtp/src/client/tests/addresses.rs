//! Hosts with several addresses, on real sockets: which addresses are tried, and when the next one is.

use super::code;
use super::exchangers::{TAKES, agent, delivered, mx, peer_of, port};
use super::peer::{Act, Act::Body, Act::Close, Act::Say, EHLO, GO, HELLO, OK, peer_at};
use crate::client::resolve::tests::Names;
use spool_core::{AttemptReport, NextHop};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[tokio::test]
async fn the_next_address_of_a_host_is_tried_when_one_takes_the_connection_and_has_no_session() {
    for refusal in [Say(b"421 4.3.2 busy\r\n"), Say(b"554 no service\r\n"), Close] {
        let port = port().await;
        let sick = peer_at(("127.0.0.2", port), &[&[refusal]]).await;
        let well = peer_at(("127.0.0.3", port), &[&TAKES]).await;
        let names = Names::default()
            .mx("d.example", &[(1, "host.example")])
            .host("host.example", &["127.0.0.2", "127.0.0.3"]);
        let report = delivered(&agent(names), &[mx(port)]).await;
        assert_eq!(code(&report.result), 250, "{}", report.result);
        assert_eq!(sick.from.lock().unwrap().len(), 1);
        assert_eq!(well.bodies(), 1);
    }
}

/// The result of a delivery to a host whose first address follows this script and whose second one accepts everything, and the number of
/// connections of the second.
async fn at_two_addresses(script: &[Act], by_mx: bool) -> (AttemptReport, usize) {
    let port = port().await;
    let _sick = peer_at(("127.0.0.2", port), &[script]).await;
    let well = peer_at(("127.0.0.3", port), &[&TAKES]).await;
    let names = Names::default()
        .mx("d.example", &[(1, "host.example")])
        .host("host.example", &["127.0.0.2", "127.0.0.3"]);
    let smart = format!("host.example:{port}").parse().unwrap();
    let hop = if by_mx { mx(port) } else { smart };
    let report = delivered(&agent(names), &[hop]).await;
    let connections = well.from.lock().unwrap().len();
    (report, connections)
}

#[tokio::test]
async fn the_next_address_of_a_host_is_tried_after_a_temporary_refusal() {
    let later = || Say(b"452 4.3.1 no space\r\n");
    let bye = || Say(b"421 4.3.2 shutting down\r\n");
    let scripts: [&[Act]; 7] = [
        &[HELLO, EHLO, later(), OK, OK],
        &[HELLO, EHLO, bye()],
        &[HELLO, EHLO, Close],
        &[HELLO, EHLO, OK, bye()],
        &[HELLO, EHLO, OK, OK, later()],
        &[HELLO, EHLO, OK, OK, Close],
        &[HELLO, EHLO, OK, OK, GO, Body(b"451 4.3.0 later\r\n")],
    ];
    for (n, script) in scripts.into_iter().enumerate() {
        for by_mx in [true, false] {
            let (report, connections) = at_two_addresses(script, by_mx).await;
            assert_eq!(code(&report.result), 250, "{n}: {}", report.result);
            assert_eq!(connections, 1, "{n}");
            let [before] = report.before.as_slice() else {
                panic!("{n}: {:?}", report.before);
            };
            assert_eq!(before.report.address, Some([127, 0, 0, 2].into()), "{n}");
            assert_eq!(before.report.peer, report.peer, "{n}");
        }
    }
}

#[tokio::test]
async fn no_other_address_is_tried_after_a_permanent_refusal_a_rate_refused_recipients_or_doubt() {
    let scripts: [(&[Act], &str); 5] = [
        (&[HELLO, EHLO, Say(b"550 5.7.1 no\r\n"), OK, OK], "550"),
        (&[HELLO, EHLO, Say(b"450 4.7.28 slow down\r\n"), OK, OK], "4.7.28"),
        (
            &[HELLO, EHLO, OK, Say(b"450 4.7.1 greylisted\r\n"), OK],
            "all recipients refused",
        ),
        (&[HELLO, EHLO, OK, OK, Say(b"554 5.7.1 no\r\n")], "554"),
        (&[HELLO, EHLO, OK, OK, GO, Body(b"")], "final reply"),
    ];
    for (script, expected) in scripts {
        let (report, connections) = at_two_addresses(script, true).await;
        let told = report.result.to_string();
        assert!(told.contains(expected), "{expected}: {told}");
        assert_eq!((connections, report.before.len()), (0, 0), "{expected}");
    }
}

#[tokio::test]
async fn at_most_three_addresses_of_a_host_are_tried_for_a_message() {
    let port = port().await;
    let mut peers = Vec::new();
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    let full = [HELLO, EHLO, Say(b"452 4.3.1 no space\r\n"), OK, OK];
    for address in addresses {
        peers.push(peer_at((address, port), &[&full]).await);
    }
    let names = Names::default()
        .mx("d.example", &[(1, "many.example")])
        .host("many.example", &addresses);
    let report = delivered(&agent(names), &[mx(port)]).await;
    assert_eq!(code(&report.result), 452, "{}", report.result);
    let asked = peers
        .iter()
        .filter(|seen| !seen.from.lock().unwrap().is_empty())
        .count();
    assert_eq!((asked, report.before.len()), (3, 2));
}

/// A port of 127.0.0.2 that neither accepts nor refuses connections, because its queue is full.
async fn blackhole() -> (u16, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while waiting.len() < 100 {
        match tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (address.port(), listener, waiting),
        }
    }
    panic!("a queue of one took {} connections", waiting.len());
}

#[tokio::test]
async fn an_address_that_does_not_answer_causes_a_short_delay() {
    let (port, _listener, _waiting) = blackhole().await;
    let _ = peer_at(("127.0.0.3", port), &[&TAKES]).await;
    let names = Names::default()
        .mx("d.example", &[(1, "host.example")])
        .host("host.example", &["127.0.0.2", "127.0.0.3"]);
    let start = Instant::now();
    let report = delivered(&agent(names), &[mx(port)]).await;
    assert_eq!(
        (code(&report.result), peer_of(&report)),
        (250, format!("host.example:{port}"))
    );
    // Much less than the connect timeout of ten seconds.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn three_addresses_of_a_host_may_refuse_the_session() {
    let port = port().await;
    let mut peers = Vec::new();
    let addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
    for address in addresses {
        peers.push(peer_at((address, port), &[&[Say(b"421 4.3.2 busy\r\n"), Close]]).await);
    }
    let names = Names::default().host("many.example", &addresses);
    let hop: NextHop = format!("many.example:{port}").parse().unwrap();
    let report = delivered(&agent(names), &[hop]).await;
    assert_eq!(code(&report.result), 421, "{}", report.result);
    let asked = peers
        .iter()
        .filter(|seen| !seen.from.lock().unwrap().is_empty())
        .count();
    assert_eq!(asked, 3);
}
