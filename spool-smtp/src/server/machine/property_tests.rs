//! Properties: chunk borders change nothing, and any bytes get well-formed replies.

use super::*;

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = proptest::sample::select(vec![
        "EHLO a\r\n",
        "MAIL FROM:<a@b.org>\r\n",
        "RCPT TO:<c@d.org>\r\n",
        "DATA\r\n",
        "BDAT 3\r\n",
        "BDAT 2 LAST\r\n",
        "BDAT 0\r\n",
        "text\r\n..\r\n",
        "\r\n.\r\n",
        "RSET\r\n",
        "\r",
        "\n",
        "\0",
        "x",
        "QUIT\r\n",
    ]);
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn chunking_changes_nothing(tail in pieces(), open in any::<bool>(), size in 1_usize..20, normalize in any::<bool>()) {
        let bare_newline = if normalize { BareNewline::Normalize } else { BareNewline::Reject };
        let config = ServerConfig { bare_newline, ..config() };
        let input = [if open { OPEN.as_bytes() } else { b"" }, &tail].concat();
        let answers = Answers::default();
        let whole = play_chunks(config.clone(), "::1", &answers, [input.as_slice()]);
        let parts = play_chunks(config, "::1", &answers, input.chunks(size));
        prop_assert_eq!(&whole.replies, &parts.replies);
        prop_assert_eq!(whole.closed, parts.closed);
        let bodies = |played: &Played| -> Vec<_> {
            // The flow in the trace header is random.
            played.mails.iter().map(|mail| (mail.envelope.clone(), mail.body.slice(110..))).collect()
        };
        prop_assert_eq!(bodies(&whole), bodies(&parts));
    }

    #[test]
    fn any_bytes_get_well_formed_replies(
        input in prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), pieces()],
        size in 1_usize..50,
    ) {
        let played = play_chunks(config(), "::1", &Answers::default(), input.chunks(size));
        prop_assert!(played.replies.ends_with("\r\n"));
        for line in played.replies.trim_end().split("\r\n") {
            let (code, text) = line.split_at(3);
            prop_assert!(code.bytes().all(|b| b.is_ascii_digit()) && text.starts_with([' ', '-']), "{line:?}");
            prop_assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')), "{line:?}");
        }
    }
}
