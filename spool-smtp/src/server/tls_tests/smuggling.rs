//! Bare newlines are refused under TLS as in plaintext.

use super::*;

/// Sends `text` under TLS; it must be refused as smuggling, and the connection must be closed.
async fn assert_refused(text: &str) {
    let pki = pki();
    let (mut stream, session) = under_tls(pki, connect(pki, Opening::Plain)).await;
    send(&mut stream, text).await;
    expect(&mut stream, "554 5.6.0").await;
    assert_eq!(rest(&mut stream).await, b"");
    session.task.await.unwrap();
    assert!(session.intake.mails().is_empty(), "{text:?}");
}

#[tokio::test(start_paused = true)]
async fn smuggling_is_refused_under_tls_as_in_plaintext() {
    let sequences = [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\r\n\0.\r\n",
        "\n\r.\r\n",
        "\r\r\n.\r\n",
    ];
    for sequence in sequences {
        assert_refused(&format!(
            "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\na{sequence}\
             MAIL FROM:<evil@x.org>\r\nRCPT TO:<v@x.org>\r\nDATA\r\nhidden\r\n.\r\n"
        ))
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn smuggling_is_refused_in_chunks_under_tls() {
    for sequence in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r"] {
        let body = format!("a{sequence}MAIL FROM:<evil@x.org>\r\n");
        assert_refused(&format!(
            "EHLO c\r\nMAIL FROM:<a@b.org> REQUIRETLS\r\nRCPT TO:<c@d.org>\r\nBDAT {} LAST\r\n{body}",
            body.len()
        ))
        .await;
    }
}
