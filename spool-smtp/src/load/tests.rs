//! The load generator against the sink.

use super::*;
use crate::client::TrustRoots;
use crate::sink::{Sink, SinkConfig, SinkTls, TlsMode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

async fn sink(config: SinkConfig) -> (SocketAddr, watch::Sender<bool>) {
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = sink.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sink.run(stopped));
    (address, stop)
}

#[tokio::test]
async fn what_is_sent_arrives_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = SinkConfig {
        ledger: Some(dir.path().join("sink")),
        ..SinkConfig::default()
    };
    let (address, _stop) = sink(config).await;
    for script in [true, false] {
        let load = dir.path().join(format!("load-{script}"));
        let mut plan = LoadPlan::new(address);
        (plan.messages, plan.connections, plan.recipients, plan.domains) = (200, 7, 3, 4);
        plan.ledger = Some(load.clone());
        plan.rate = script.then_some(5000.0);
        let report = run(plan, |_| {}).await.unwrap();
        assert_eq!(
            (report.accepted, report.unknown, report.refused.len()),
            (200, 0, 0),
            "{report:?}"
        );
        let found = verify(&load, &dir.path().join("sink")).unwrap();
        assert_eq!((found.arrived, found.lost, found.duplicated), (200, 0, 0));
        assert!(report.latency.quantile(0.5) > Duration::ZERO);
    }
}

#[tokio::test]
async fn refusals_and_broken_connections_are_counted() {
    let script = "rcpt to=*@d0.example reply 452 4.2.2 full\ndot to=* nth=2 close\nehlo hide PIPELINING\ndot nth=3 close\n";
    let config = SinkConfig {
        script: script.parse().unwrap(),
        ..SinkConfig::default()
    };
    let (address, _stop) = sink(config).await;
    let mut plan = LoadPlan::new(address);
    (plan.messages, plan.connections, plan.domains) = (10, 1, 2);
    let report = run(plan, |_| {}).await.unwrap();
    assert_eq!(report.refused.get(&452), Some(&5), "{report:?}");
    assert_eq!(report.accepted + report.unknown, 5);
    assert!(report.unknown >= 1);
}

#[tokio::test]
async fn each_transfer_delivers_what_it_sends() {
    for (transfer, script) in [
        (Transfer::InTurn, "bdat reply 500 5.5.1 no BDAT here\n"),
        (Transfer::Pipelined, "bdat reply 500 5.5.1 no BDAT here\n"),
        (
            Transfer::Chunked,
            "ehlo offer CHUNKING\ndata reply 500 5.5.1 no DATA here\n",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = SinkConfig {
            script: format!("rcpt to=*@d0.example reply 452 4.2.2 full\n{script}")
                .parse()
                .unwrap(),
            ledger: Some(dir.path().join("sink")),
            ..SinkConfig::default()
        };
        let (address, _stop) = sink(config).await;
        let mut plan = LoadPlan::new(address);
        (plan.messages, plan.connections, plan.domains) = (40, 2, 2);
        plan.transfer = transfer;
        plan.ledger = Some(dir.path().join("load"));
        let report = run(plan, |_| {}).await.unwrap();
        assert_eq!(
            (report.accepted, report.unknown),
            (20, 0),
            "{transfer:?}: {report:?}"
        );
        assert_eq!(report.refused.get(&452), Some(&20), "{transfer:?}: {report:?}");
        let found = verify(&dir.path().join("load"), &dir.path().join("sink")).unwrap();
        assert_eq!(
            (found.arrived, found.lost, found.duplicated),
            (20, 0, 0),
            "{transfer:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_chunking_is_named_as_the_reason() {
    for script in ["", "ehlo raw 250-sink\\r\\n250 CHUNKING\\r\\n"] {
        let config = SinkConfig {
            script: script.parse().unwrap(),
            ..SinkConfig::default()
        };
        let (address, _stop) = sink(config).await;
        let mut plan = LoadPlan::new(address);
        (plan.messages, plan.connections) = (4, 1);
        plan.transfer = Transfer::Chunked;
        let report = run(plan, |_| {}).await.unwrap();
        let errors: Vec<_> = report.errors.keys().collect();
        assert!(
            matches!(errors[..], [text] if text.contains("does not offer CHUNKING and PIPELINING")),
            "{errors:?}"
        );
        assert_eq!((report.accepted, report.unknown), (0, 0));
    }
}

/// A server that offers PIPELINING and CHUNKING, and answers one message. Returns how many lines each read had that came before the
/// message.
async fn reads_before_the_message(transfer: Transfer) -> Vec<usize> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut plan = LoadPlan::new(listener.local_addr().unwrap());
    (plan.messages, plan.connections) = (1, 1);
    plan.transfer = transfer;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 here\r\n").await.unwrap();
        let (mut reads, mut seen) = (Vec::new(), String::new());
        loop {
            let mut piece = [0; 64 * 1024];
            let read = stream.read(&mut piece).await.unwrap();
            if read == 0 {
                return reads;
            }
            let text = String::from_utf8_lossy(&piece[..read]).into_owned();
            let commands = ["EHLO", "MAIL", "RCPT", "DATA", "BDAT", "QUIT"];
            let lines = text
                .lines()
                .filter(|line| commands.iter().any(|verb| line.starts_with(verb)));
            let mut answers = String::new();
            for line in lines.clone() {
                answers += match &line[..4] {
                    "EHLO" => "250-here\r\n250-PIPELINING\r\n250 CHUNKING\r\n",
                    "DATA" => "354 go on\r\n",
                    _ => "250 ok\r\n",
                };
            }
            seen += &text;
            if seen.ends_with("\r\n.\r\n") && !seen.contains("BDAT") && lines.clone().count() == 0 {
                answers += "250 ok\r\n";
            } else {
                reads.push(lines.count());
            }
            stream.write_all(answers.as_bytes()).await.unwrap();
        }
    };
    let (report, reads) = tokio::join!(run(plan, |_| {}), server);
    assert_eq!(report.unwrap().accepted, 1, "{transfer:?}");
    reads
}

#[tokio::test]
async fn commands_go_out_in_turn_pipelined_or_with_the_message() {
    // EHLO, then the commands of the message, then QUIT.
    assert_eq!(reads_before_the_message(Transfer::InTurn).await, [1, 1, 1, 1, 1]);
    assert_eq!(reads_before_the_message(Transfer::Pipelined).await, [1, 3, 1]);
    assert_eq!(reads_before_the_message(Transfer::Chunked).await, [1, 3, 1]);
}

#[tokio::test]
async fn a_chunk_that_is_accepted_counts_although_a_recipient_was_refused() {
    for (script, refused, accepted) in [
        ("rcpt to=r0@* reply 452 4.2.2 full", None, 3),
        ("mail reply 550 5.7.1 no", Some(550), 0),
        ("rcpt reply-close 421 4.3.2 not now", Some(421), 0),
    ] {
        let config = SinkConfig {
            script: format!("ehlo offer CHUNKING\n{script}\n").parse().unwrap(),
            ..SinkConfig::default()
        };
        let (address, _stop) = sink(config).await;
        let mut plan = LoadPlan::new(address);
        (plan.messages, plan.connections, plan.recipients) = (3, 1, 2);
        plan.transfer = Transfer::Chunked;
        let report = run(plan, |_| {}).await.unwrap();
        assert_eq!(
            (report.accepted, report.unknown),
            (accepted, 0),
            "{script}: {report:?}"
        );
        let codes: Vec<_> = report.refused.into_iter().collect();
        assert_eq!(codes, Vec::from_iter(refused.map(|code| (code, 3))), "{script}");
    }
}

fn certified(mode: TlsMode) -> (SinkConfig, TrustRoots) {
    let tls = SinkTls::generated(mode, &["127.0.0.1".to_owned()]).unwrap();
    let roots = TrustRoots::from_pem(tls.authority().as_bytes()).unwrap();
    let config = SinkConfig {
        script: "mail tls=no reply 530 5.7.0 TLS first\n".parse().unwrap(),
        tls: Some(tls),
        ..SinkConfig::default()
    };
    (config, roots)
}

#[tokio::test]
async fn messages_go_under_tls_with_one_handshake_a_connection() {
    for mode in [TlsMode::StartTls, TlsMode::Implicit] {
        let (config, roots) = certified(mode);
        let (address, _stop) = sink(config).await;
        let mut plan = LoadPlan::new(address);
        (plan.messages, plan.connections, plan.size) = (60, 3, 70_000);
        let mut tls = LoadTls::new(mode);
        tls.roots = Some(roots);
        plan.tls = Some(tls);
        let report = run(plan, |_| {}).await.unwrap();
        assert_eq!((report.accepted, report.errors.len()), (60, 0), "{report:?}");
        let suites: Vec<_> = report.handshakes.iter().collect();
        assert!(
            matches!(suites[..], [(suite, 3)] if suite.starts_with("TLSv1.3 TLS_")),
            "{suites:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_certificate_ends_the_connection() {
    let (config, roots) = certified(TlsMode::StartTls);
    let (address, _stop) = sink(config).await;
    let mut plan = LoadPlan::new(address);
    (plan.messages, plan.connections) = (40, 2);
    let (_, stranger) = certified(TlsMode::StartTls);
    let mut tls = LoadTls::new(TlsMode::StartTls);
    for (trusted, name, error) in [
        (stranger, None, "TLS with 127.0.0.1: invalid peer certificate: "),
        (
            roots,
            Some("other.example"),
            "not valid for name \"other.example\"",
        ),
    ] {
        (tls.roots, tls.name) = (Some(trusted), name.map(str::to_owned));
        plan.tls = Some(tls.clone());
        let report = run(plan.clone(), |_| {}).await.unwrap();
        let errors: Vec<_> = report.errors.iter().collect();
        assert!(
            matches!(errors[..], [(text, 2)] if text.contains(error)),
            "{errors:?}"
        );
        assert_eq!((report.accepted, report.handshakes.len()), (0, 0));
    }
    tls.roots = None;
    plan.tls = Some(tls);
    assert_eq!(run(plan, |_| {}).await.unwrap().accepted, 40);
}

#[tokio::test]
async fn a_server_without_starttls_gets_no_plaintext_mail() {
    let (address, _stop) = sink(SinkConfig::default()).await;
    let mut plan = LoadPlan::new(address);
    (plan.messages, plan.connections) = (40, 1);
    plan.tls = Some(LoadTls::new(TlsMode::StartTls));
    let report = run(plan, |_| {}).await.unwrap();
    assert_eq!(report.accepted, 0);
    let errors: Vec<_> = report.errors.iter().collect();
    assert!(
        matches!(errors[..], [(text, 1)] if text == "the server does not offer STARTTLS"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn plaintext_after_the_reply_to_starttls_is_refused() {
    let (mut config, roots) = certified(TlsMode::StartTls);
    config.script = "starttls raw 220 go ahead\\r\\n250 2.0.0 injected\\r\\n\n"
        .parse()
        .unwrap();
    let (address, _stop) = sink(config).await;
    let mut plan = LoadPlan::new(address);
    (plan.messages, plan.connections) = (5, 1);
    let mut tls = LoadTls::new(TlsMode::StartTls);
    tls.roots = Some(roots);
    plan.tls = Some(tls);
    let report = run(plan, |_| {}).await.unwrap();
    let errors: Vec<_> = report.errors.iter().collect();
    assert!(
        matches!(errors[..], [(text, 1)] if text.contains("spoke in plaintext")),
        "{errors:?}"
    );
}
