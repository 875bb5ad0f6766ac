//! Bare newlines are refused under TLS as in plaintext.

use super::*;

#[tokio::test(start_paused = true)]
async fn smuggling_is_refused_under_tls_as_in_plaintext() {
    let pki = pki();
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
        let (mut stream, session) = under_tls(pki, connect(pki, Opening::Plain)).await;
        let text = format!(
            "EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<c@d.org>\r\nDATA\r\na{sequence}\
             MAIL FROM:<evil@x.org>\r\nRCPT TO:<v@x.org>\r\nDATA\r\nhidden\r\n.\r\n"
        );
        send(&mut stream, &text).await;
        expect(&mut stream, "554 5.6.0").await;
        assert_eq!(rest(&mut stream).await, b"");
        session.task.await.unwrap();
        assert!(session.intake.mails().is_empty(), "{sequence:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn smuggling_is_refused_in_chunks_under_tls() {
    let pki = pki();
    for sequence in ["\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r"] {
        let (mut stream, session) = under_tls(pki, connect(pki, Opening::Plain)).await;
        let body = format!("a{sequence}MAIL FROM:<evil@x.org>\r\n");
        let text = format!(
            "EHLO c\r\nMAIL FROM:<a@b.org> REQUIRETLS\r\nRCPT TO:<c@d.org>\r\nBDAT {} LAST\r\n{body}",
            body.len()
        );
        send(&mut stream, &text).await;
        expect(&mut stream, "554 5.6.0").await;
        session.task.await.unwrap();
        assert!(session.intake.mails().is_empty(), "{sequence:?}");
    }
}
