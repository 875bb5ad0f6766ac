//! The sink over real sockets.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn started(script: &str, ledger: Option<PathBuf>) -> (SocketAddr, watch::Sender<bool>) {
    let config = SinkConfig {
        script: script.parse().unwrap(),
        ledger,
        ..SinkConfig::default()
    };
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
async fn it_takes_everything_and_notes_it_before_it_says_so() {
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
async fn it_does_what_its_script_says() {
    let cases: [(&str, &[&str]); 10] = [
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
            "mail delay 1ms",
            &["220", "250", "250", "250", "354", "250", "221"],
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
