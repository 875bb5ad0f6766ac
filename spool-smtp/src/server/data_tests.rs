//! The decoder compared with a naive one, for all chunk borders, and in bounded memory.

use super::*;
use proptest::prelude::*;
use spool_core::Budget;

/// The decoded message or its refusal, and the unused input; `None` if the message did not end.
type Outcome = Option<(Result<Vec<u8>, ServerReply>, Vec<u8>)>;

fn decode(input: &[u8], sizes: &[usize], limit: usize, bare: BareNewline) -> Outcome {
    let held = Budget::new(1 << 20).hold(0).unwrap();
    let mut decoder = Decoder::new(Vec::new(), held, limit, bare, Ending::Dot);
    let mut sizes = sizes.iter().cycle();
    let mut left = input;
    while !left.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, left.len());
        let mut chunk = &left[..size];
        let ended = decoder.feed(&mut chunk);
        left = &left[size - chunk.len()..];
        if ended {
            return Some((decoder.finish().map(|(body, _)| body.to_vec()), left.to_vec()));
        }
        assert!(chunk.is_empty());
    }
    None
}

/// A naive decoder: finds the end, splits into lines, removes stuffed dots and checks the lines.
fn naive(input: &[u8], limit: usize, bare: BareNewline) -> Outcome {
    let find = |needle: &[u8], hay: &[u8]| hay.windows(needle.len()).position(|w| w == needle);
    let (text, left) = if let Some(left) = input.strip_prefix(b".\r\n") {
        (&[][..], left)
    } else {
        let end = find(b"\r\n.\r\n", input)?;
        (&input[..end + 2], &input[end + 5..])
    };
    let (mut out, mut lines) = (Vec::new(), text);
    let mut unclean = false;
    while let Some(end) = find(b"\r\n", lines) {
        let line = &lines[..end];
        lines = &lines[end + 2..];
        for &byte in line.strip_prefix(b".").unwrap_or(line) {
            match byte {
                0 => unclean = true,
                b'\r' | b'\n' if bare == BareNewline::Normalize => out.extend_from_slice(b"\r\n"),
                b'\r' | b'\n' => unclean = true,
                byte => out.push(byte),
            }
        }
        out.extend_from_slice(b"\r\n");
    }
    let result = match (unclean, out.len() > limit) {
        (true, _) => Err(reply::SMUGGLING),
        (false, true) => Err(reply::TOO_BIG),
        (false, false) => Ok(out),
    };
    Some((result, left.to_vec()))
}

#[test]
fn the_rest_of_a_too_big_message_is_read_up_to_a_bound() {
    let held = Budget::new(1 << 20).hold(0).unwrap();
    let mut decoder = Decoder::new(Vec::new(), held, 10, BareNewline::Reject, Ending::Dot);
    let piece = ["x".repeat(1022), "\r\n".to_owned()].concat().repeat(1024);
    let pieces = (1..=70).find(|_| decoder.feed(&mut piece.as_bytes()));
    assert_eq!(pieces, Some(65), "pieces of 1 MiB");
    assert_eq!(decoder.refusal, Some(reply::FAR_TOO_BIG));
}

#[test]
fn what_follows_a_message_without_memory_is_not_read_as_commands() {
    let budget = Budget::new(1 << 10);
    let (_other, held) = (budget.hold(1).unwrap(), budget.hold(0).unwrap());
    let mut decoder = Decoder::new(Vec::new(), held, usize::MAX, BareNewline::Reject, Ending::Dot);
    let piece = "QUIT\r\n".repeat(1 << 18);
    assert!((1..=70).any(|_| decoder.feed(&mut piece.as_bytes())));
    let refusal = decoder.refusal.unwrap();
    assert_eq!((refusal.line, refusal.closes), (reply::BUSY.line, true));
}

#[test]
fn dots_and_ends() {
    for (input, expected) in [
        (".\r\n", Some("")),
        ("\r\n.\r\n", Some("\r\n")),
        ("a\r\n.\r\n", Some("a\r\n")),
        ("..\r\n.\r\n", Some(".\r\n")),
        (".a\r\n.\r\n", Some("a\r\n")),
        ("a\r\n..b\r\n...\r\n.\r\n", Some("a\r\n.b\r\n..\r\n")),
        ("a.\r\n.\r\n", Some("a.\r\n")),
        ("\u{fc}\u{7f}\r\n.\r\n", Some("\u{fc}\u{7f}\r\n")),
        ("a\r\n.", None),
        ("a\r\n.\r", None),
        ("a.\r\n", None),
        ("", None),
    ] {
        let outcome = decode(input.as_bytes(), &[usize::MAX], 99, BareNewline::Reject);
        let body = outcome.map(|(body, left)| {
            assert_eq!(left, b"");
            String::from_utf8(body.unwrap()).unwrap()
        });
        assert_eq!(body.as_deref(), expected, "{input:?}");
    }
}

#[test]
fn a_first_line_of_white_space_continues_no_header() {
    for (input, expected) in [
        (" x\r\n.\r\n", "\r\n x\r\n"),
        ("\tx\r\n.\r\n", "\r\n\tx\r\n"),
        (". x\r\n.\r\n", "\r\n x\r\n"),
        ("a: b\r\n c\r\n.\r\n", "a: b\r\n c\r\n"),
        ("\r\n x\r\n.\r\n", "\r\n x\r\n"),
        (".\r\n", ""),
    ] {
        let held = Budget::new(1 << 20).hold(0).unwrap();
        let trace = b"Received: y\r\n".to_vec();
        let mut decoder = Decoder::new(trace, held, 10, BareNewline::Reject, Ending::Dot);
        for byte in input.as_bytes() {
            decoder.feed(&mut std::slice::from_ref(byte));
        }
        let (body, _) = decoder.finish().unwrap();
        assert_eq!(body, format!("Received: y\r\n{expected}"), "{input:?}");
    }
}

#[test]
fn smuggling_sequences_end_nothing() {
    let sequences: [&[u8]; 17] = [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r.\r\n",
        b"\r\n.\r",
        b"\r.\n",
        b"\n.\r",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\n.\r\0\n",
        b"\r\0\n.\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
        b"\n\n.\r\n",
        b"\r\n\n.\n\r\n",
        b"\r\n.\n\r\n",
    ];
    for sequence in sequences {
        let input = [b"a", sequence, b"MAIL FROM:<x@y>\r\n.\r\nrest"].concat();
        for size in 1..=input.len() {
            let (body, left) = decode(&input, &[size], 999, BareNewline::Reject).unwrap();
            assert_eq!(body, Err(reply::SMUGGLING), "{sequence:?}");
            assert_eq!(left, b"rest", "{sequence:?}");
            let (body, left) = decode(&input, &[size], 999, BareNewline::Normalize).unwrap();
            assert_eq!(body.is_err(), sequence.contains(&0), "{sequence:?}");
            assert_eq!(left, b"rest", "{sequence:?}");
        }
    }
}

#[test]
fn a_message_that_fits_into_memory_is_accepted() {
    let budget = Budget::new(1 << 20);
    let _other = budget.hold(64 << 10).unwrap();
    let held = budget.hold(0).unwrap();
    let mut decoder = Decoder::new(Vec::new(), held, 35 << 20, BareNewline::Reject, Ending::Dot);
    let chunk = vec![b'x'; 64 << 10];
    for _ in 0..14 {
        assert!(!decoder.feed(&mut chunk.as_slice()));
    }
    assert!(budget.used() <= 1 << 20);
    assert!(decoder.feed(&mut b"\r\n.\r\n".as_slice()));
    assert_eq!(decoder.finish().unwrap().0.len(), (14 << 16) + 2);
}

#[test]
fn a_message_without_memory_is_read_to_its_end() {
    let budget = Budget::new(1 << 20);
    let other = budget.hold(512 << 10).unwrap();
    let before = budget.used();
    let mut decoder = Decoder::new(
        Vec::new(),
        budget.hold(0).unwrap(),
        35 << 20,
        BareNewline::Reject,
        Ending::Dot,
    );
    let chunk = vec![b'x'; 64 << 10];
    for _ in 0..20 {
        assert!(!decoder.feed(&mut chunk.as_slice()));
        assert!(decoder.body.capacity() as u64 <= 512 << 10);
    }
    assert_eq!(budget.used(), before);
    assert!(decoder.feed(&mut b"\r\n.\r\n".as_slice()));
    assert_eq!(decoder.finish().unwrap_err(), reply::BUSY);
    drop(other);
    // A single message is accepted whatever its size.
    let mut decoder = Decoder::new(
        Vec::new(),
        budget.hold(0).unwrap(),
        35 << 20,
        BareNewline::Reject,
        Ending::Dot,
    );
    for _ in 0..64 {
        assert!(!decoder.feed(&mut chunk.as_slice()));
    }
    assert!(decoder.feed(&mut b"\r\n.\r\n".as_slice()));
    assert_eq!(decoder.finish().unwrap().0.len(), (64 << 16) + 2);
}

#[test]
fn a_message_without_end_times_out() {
    let chunk = vec![b'x'; 1 << 20];
    let held = Budget::new(1 << 20).hold(0).unwrap();
    let mut decoder = Decoder::new(Vec::new(), held, 10, BareNewline::Reject, Ending::Dot);
    let rounds = (0..100).take_while(|_| !decoder.feed(&mut chunk.as_slice()));
    assert_eq!(rounds.count(), PATIENCE >> 20);
    assert_eq!(decoder.body.capacity(), 0);
}

proptest! {
    #[test]
    fn equals_the_naive_decoder(
        input in proptest::collection::vec(
            proptest::sample::select(vec!["\r\n", ".", "\r", "\n", "\0", "ab", "\r\n.\r\n", "\r\n.", "a long line"]), 0..24),
        sizes in proptest::collection::vec(1_usize..12, 1..6),
        limit in prop_oneof![0_usize..30, Just(999)],
        normalize in any::<bool>(),
    ) {
        let input = input.concat().into_bytes();
        let bare = if normalize { BareNewline::Normalize } else { BareNewline::Reject };
        prop_assert_eq!(decode(&input, &sizes, limit, bare), naive(&input, limit, bare));
    }

    #[test]
    fn clean_text_comes_back_as_it_was(lines in proptest::collection::vec("[.a-z ]{0,20}", 0..20),
                                       sizes in proptest::collection::vec(1_usize..64, 1..6)) {
        let body: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let stuffed: String = lines.iter()
            .map(|line| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") })
            .collect();
        let input = format!("{stuffed}.\r\nNOOP\r\n");
        let outcome = decode(input.as_bytes(), &sizes, 9999, BareNewline::Reject);
        prop_assert_eq!(outcome, Some((Ok(body.into_bytes()), b"NOOP\r\n".to_vec())));
    }
}
