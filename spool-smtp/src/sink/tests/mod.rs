//! The sink over real sockets.

mod tls;

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn started(script: &str, ledger: Option<PathBuf>) -> (SocketAddr, watch::Sender<bool>) {
    started_with(SinkConfig {
        script: script.parse().unwrap(),
        ledger,
        ..SinkConfig::default()
    })
    .await
}

async fn started_with(config: SinkConfig) -> (SocketAddr, watch::Sender<bool>) {
    let sink = Sink::bind("127.0.0.1:0".parse().unwrap(), config).await.unwrap();
    let address = sink.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sink.run(stopped));
    (address, stop)
}

/// Sends all of `input` and reads to the end of the connection.
async fn talk(address: SocketAddr, input: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(input).await.unwrap();
    let mut said = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut said))
        .await
        .unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

fn codes(said: &str) -> Vec<&str> {
    said.lines()
        .filter(|line| line.as_bytes().get(3) != Some(&b'-'))
        .map(|line| &line[..3])
        .collect()
}

const MAIL: &str =
    "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nX-Spool-Load: t-1\r\n\r\n..dot\r\n.\r\nQUIT\r\n";

#[tokio::test]
async fn it_accepts_everything_and_writes_the_ledger_before_the_reply() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let (address, _stop) = started("", Some(ledger.clone())).await;
    assert_eq!(
        codes(&talk(address, MAIL.as_bytes()).await),
        ["220", "250", "250", "250", "354", "250", "221"]
    );
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&ledger).unwrap()).unwrap();
    let body = b"X-Spool-Load: t-1\r\n\r\n.dot\r\n";
    assert_eq!(
        (
            line["tag"].as_str(),
            line["from"].as_str(),
            line["to"][0].as_str()
        ),
        (Some("t-1"), Some("a@b"), Some("c@d"))
    );
    assert_eq!(line["size"], body.len());
    assert_eq!(
        line["hash"].as_str().unwrap(),
        format!("{:08x}", crc32c::crc32c(body))
    );
}

#[tokio::test]
async fn chunks_are_joined_and_refused_ones_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let (address, _stop) = started("ehlo offer CHUNKING", Some(ledger.clone())).await;
    let to = "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";
    let tag = "X-Spool-Load: t-2\r\n";
    let input = format!(
        "EHLO x\r\n{to}BDAT 4\r\nX-SpBDAT 15\r\n{}BDAT 9 last\r\n\r\n.\r\nab\r\nBDAT 6 LAST\r\nQUIT\r\n{to}BDAT 0 LAST\r\nBDAT x\r\nNOOP\r\n",
        &tag[4..]
    );
    let said = talk(address, input.as_bytes()).await;
    assert!(said.contains("250-CHUNKING\r\n"), "{said}");
    assert_eq!(
        codes(&said),
        [
            "220", "250", "250", "250", "250", "250", "250", "503", "250", "250", "250", "501"
        ]
    );
    let lines = std::fs::read_to_string(&ledger).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let body = format!("{tag}\r\n.\r\nab\r\n");
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (lines[0]["size"].as_u64(), lines[0]["tag"].as_str()),
        (Some(28), Some("t-2"))
    );
    assert_eq!(
        lines[0]["hash"],
        format!("{:08x}", crc32c::crc32c(body.as_bytes()))
    );
    assert_eq!(
        (lines[1]["size"].as_u64(), lines[1]["to"][0].as_str()),
        (Some(0), Some("c@d"))
    );
}

#[tokio::test]
async fn a_transaction_by_bdat_refuses_data_mail_and_rcpt() {
    let (address, _stop) = started("", None).await;
    let begin = "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\nx\r\n";
    for command in ["DATA", "MAIL FROM:<a@b>", "RCPT TO:<e@f>"] {
        let said = talk(
            address,
            format!("{begin}{command}\r\nBDAT 0 LAST\r\nQUIT\r\n").as_bytes(),
        )
        .await;
        assert_eq!(
            codes(&said),
            ["220", "250", "250", "250", "250", "503", "250", "221"],
            "{command}"
        );
        let said = talk(
            address,
            format!("{begin}RSET\r\nMAIL FROM:<a@b>\r\nQUIT\r\n").as_bytes(),
        )
        .await;
        assert_eq!(
            codes(&said),
            ["220", "250", "250", "250", "250", "250", "250", "221"]
        );
    }
}

#[tokio::test]
async fn it_follows_its_script() {
    let cases: [(&str, &[&str]); 14] = [
        ("connect reply-close 554 no", &["554"]),
        (
            "ehlo reply 502 no",
            &["220", "502", "250", "250", "354", "250", "221"],
        ),
        ("mail reply-close 421 bye", &["220", "250", "421"]),
        (
            "rcpt reply 550 5.1.1 no",
            &[
                "220", "250", "250", "550", "554", "500", "500", "500", "500", "221",
            ],
        ),
        ("data close", &["220", "250", "250", "250"]),
        ("dot close", &["220", "250", "250", "250", "354"]),
        (
            "dot reply 451 later\ndot reply 250 never",
            &["220", "250", "250", "250", "354", "451", "221"],
        ),
        (
            "dot raw 250\\r\\n",
            &["220", "250", "250", "250", "354", "250", "221"],
        ),
        (
            "dot drip 1ms 250 slowly",
            &["220", "250", "250", "250", "354", "250", "221"],
        ),
        (
            "mail delay 1ms\nrcpt drip 1ms 250 slowly\ndata delay 1ms",
            &["220", "250", "250", "250", "354", "250", "221"],
        ),
        (
            "ehlo lines 300 250 SIZE\nbody slow 1ms",
            &["220", "250", "250", "250", "354", "250", "221"],
        ),
        (
            "body reply-close 421 enough",
            &["220", "250", "250", "250", "354", "421"],
        ),
        ("body reset", &["220", "250", "250", "250", "354"]),
        (
            "body reply 451 what\ndot reply 550 never",
            &["220", "250", "250", "250", "354", "451", "550", "221"],
        ),
    ];
    for (script, expected) in cases {
        let (address, _stop) = started(script, None).await;
        assert_eq!(codes(&talk(address, MAIL.as_bytes()).await), expected, "{script}");
    }
}

#[tokio::test]
async fn extensions_can_be_hidden() {
    let (address, _stop) = started("ehlo hide PIPELINING SIZE", None).await;
    let said = talk(address, b"EHLO x\r\nQUIT\r\n").await;
    assert!(
        !said.contains("PIPELINING") && !said.contains("SIZE") && said.contains("8BITMIME"),
        "{said}"
    );
}

#[tokio::test]
async fn the_ledger_has_every_accepted_message() {
    for (script, taken) in [
        ("dot reply-close 250 taken", 1),
        ("dot drip 1ms 250 taken", 1),
        ("rcpt delay 1ms\ndot delay 1ms", 1),
        ("rcpt drip 1ms 250 taken", 1),
        ("dot close", 0),
        ("dot drip 1ms 451 not taken", 0),
        ("rcpt drip 1ms 550 not taken", 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger");
        let (address, _stop) = started(script, Some(ledger.clone())).await;
        talk(address, MAIL.as_bytes()).await;
        let lines = std::fs::read_to_string(&ledger).unwrap();
        assert_eq!(lines.lines().count(), taken, "{script}");
    }
}

#[tokio::test]
async fn endless_replies_end_with_the_client() {
    for script in ["connect endless 220-x\\r\\n", "connect endless x"] {
        let (address, _stop) = started(script, None).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut said = vec![0; 10_000_000];
        stream.read_exact(&mut said).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_left() {
    let (address, _stop) = started("connect endless x", None).await;
    let stream = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(2 * SinkConfig::default().idle_timeout).await;
    // The replies that were pending, and then the end.
    let (mut said, most) = (Vec::new(), 64 << 20);
    let _ = stream.take(most).read_to_end(&mut said).await;
    assert!(!said.is_empty() && (said.len() as u64) < most, "{}", said.len());
}
