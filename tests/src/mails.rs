//! Mail of every kind: at least forty messages of our own, and the files of a folder when one is given.

use std::path::PathBuf;

/// A named message, as raw bytes.
pub type Named = (String, Vec<u8>);

const HEAD: &str =
    "From: Ada <ada@example.org>\r\nTo: Bob <bob@example.net>\r\nDate: Tue, 24 Nov 2026 03:39:12 +0000\r\n";

fn with(subject: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let mut mail = format!("{HEAD}Subject: {subject}\r\n{more}\r\n").into_bytes();
    mail.extend_from_slice(body);
    mail
}

fn mime(kind: &str, body: &str) -> Vec<u8> {
    with(
        kind,
        &format!("MIME-Version: 1.0\r\nContent-Type: {kind}\r\n"),
        body.as_bytes(),
    )
}

/// Every message consists of whole CRLF lines, except those whose name says otherwise.
#[must_use]
pub fn own() -> Vec<Named> {
    let mut all = Vec::new();
    let mut add = |name: &str, mail: Vec<u8>| all.push((name.to_owned(), mail));
    shapes(&mut add);
    dots(&mut add);
    encodings(&mut add);
    structures(&mut add);
    sizes(&mut add);
    assert!(all.len() >= 40, "{} messages", all.len());
    all
}

fn shapes(add: &mut impl FnMut(&str, Vec<u8>)) {
    add("nothing at all", Vec::new());
    add("one empty line", b"\r\n".to_vec());
    add("many empty lines", b"\r\n".repeat(200));
    add("no header", b"\r\njust a body\r\n".to_vec());
    add("no body", HEAD.as_bytes().to_vec());
    add("empty body", with("empty", "", b""));
    add(
        "plain text",
        with("plain", "", b"Hello Bob,\r\n\r\nall is well.\r\n"),
    );
    add("no final newline", with("cut", "", b"the last line has no end"));
    add("header without body or newline", b"Subject: cut".to_vec());
    add("not a mail", b"this is no mail\r\nat all\r\n".to_vec());
    add(
        "spaces before line ends",
        with("spaces", "", b"trailing   \r\n\t\r\n   \r\nend \t\r\n"),
    );
    add(
        "folded headers",
        with(
            "folded\r\n over\r\n\tmany lines",
            "X-Long: a\r\n b\r\n c\r\n",
            b"x\r\n",
        ),
    );
    add(
        "repeated headers",
        with("twice", "Subject: again\r\nTo: x@example.com\r\n", b"x\r\n"),
    );
    add(
        "a header of 3,000 bytes",
        with("long", &format!("X-Long: {}\r\n", "h".repeat(3000)), b"x\r\n"),
    );
    add(
        "forty trace headers",
        with(
            "loop",
            &"Received: from a by b; Tue, 24 Nov 2026 03:39:12 +0000\r\n".repeat(40),
            b"x\r\n",
        ),
    );
    add(
        "mbox From line",
        b"From ada@example.org Tue Nov 24 03:39:12 2026\r\nSubject: x\r\n\r\nFrom here on\r\n>From there\r\n"
            .to_vec(),
    );
}

fn dots(add: &mut impl FnMut(&str, Vec<u8>)) {
    add("one dot", b".\r\n".to_vec());
    add("two dots", b"..\r\n".to_vec());
    add("dot first, without header", b".first\r\n\r\nx\r\n".to_vec());
    add(
        "dots at line starts",
        with("dots", "", b".\r\n..\r\n...\r\n.a\r\n..b\r\n a.\r\n.\r\n"),
    );
    add("dot at the very end", with("dots", "", b"text\r\n.\r\n"));
    add(
        "dots at 4 KiB borders",
        with(
            "dots",
            "",
            &[vec![b'x'; 4090], b"\r\n.\r\n.x\r\n".to_vec()].concat().repeat(8),
        ),
    );
    add(
        "commands in the body",
        with(
            "commands",
            "",
            b"QUIT\r\nRSET\r\nMAIL FROM:<x@y>\r\nDATA\r\n.hidden\r\n250 OK\r\n",
        ),
    );
}

fn encodings(add: &mut impl FnMut(&str, Vec<u8>)) {
    let all: Vec<u8> = (1..=255).filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    add(
        "every byte but NUL, CR, LF",
        with("bytes", "", &[&all[..], b"\r\n"].concat()),
    );
    add(
        "controls",
        with(
            "controls",
            "",
            b"\x01\x02\x07\x08\x0b\x0c\x1b[31mred\x1b[0m\x7f\r\n",
        ),
    );
    add("latin-1", with("latin", "", b"Gr\xfc\xdfe aus K\xf6ln\r\n"));
    add("utf-8 body", with("utf", "", "Grüße 你好 🙂\r\n".as_bytes()));
    add("utf-8 header", with("Grüße 你好", "", b"x\r\n"));
    add(
        "byte order mark",
        ["\u{feff}".as_bytes(), &with("bom", "", b"x\r\n")].concat(),
    );
    add(
        "invalid utf-8",
        with("bad", "", b"\xc3\x28 \xf0\x9f \xff\xfe\r\n"),
    );
    add(
        "quoted-printable",
        with(
            "qp",
            "Content-Transfer-Encoding: quoted-printable\r\n",
            b"a=3D=\r\nb=20=\r\n=2E\r\n",
        ),
    );
    add(
        "base64",
        with(
            "b64",
            "Content-Transfer-Encoding: base64\r\n",
            b"SGVsbG8gQm9iCg==\r\n",
        ),
    );
    add(
        "uuencode",
        with("uu", "", b"begin 644 x\r\n#86)C\r\n`\r\nend\r\n"),
    );
    add(
        "iso-2022-jp",
        with(
            "jp",
            "Content-Type: text/plain; charset=iso-2022-jp\r\n",
            b"\x1b$B$3$s$K$A$O\x1b(B\r\n",
        ),
    );
}

fn structures(add: &mut impl FnMut(&str, Vec<u8>)) {
    let parts = "--b\r\nContent-Type: text/plain\r\n\r\none\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>two\r\n--b--\r\n";
    add(
        "multipart/alternative",
        mime("multipart/alternative; boundary=b", parts),
    );
    add(
        "multipart without end",
        mime("multipart/mixed; boundary=b", "--b\r\n\r\nnever ended\r\n"),
    );
    add("nested multiparts", {
        let inner = (0..50).fold(String::new(), |s, n| {
            s + &format!(
                "--n{n}\r\nContent-Type: multipart/mixed; boundary=n{}\r\n\r\n",
                n + 1
            )
        });
        mime("multipart/mixed; boundary=n0", &inner)
    });
    add(
        "message/rfc822",
        mime(
            "message/rfc822",
            "From: x@example.org\r\nSubject: inner\r\n\r\ninner body\r\n",
        ),
    );
    add(
        "delivery status",
        mime(
            "message/delivery-status",
            "Reporting-MTA: dns; a\r\n\r\nFinal-Recipient: rfc822; b@c\r\nAction: failed\r\n",
        ),
    );
    add(
        "signed",
        mime(
            "multipart/signed; boundary=b; protocol=\"application/pgp-signature\"",
            "--b\r\n\r\ntext \r\n--b\r\n\r\nsig\r\n--b--\r\n",
        ),
    );
    add(
        "calendar",
        mime(
            "text/calendar; method=REQUEST",
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n",
        ),
    );
    add("binary attachment in base64", {
        let lines =
            "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAx\r\n".repeat(3000);
        mime("application/octet-stream", &lines)
    });
}

fn sizes(add: &mut impl FnMut(&str, Vec<u8>)) {
    add(
        "a line of 998 bytes",
        with("long", "", &[vec![b'x'; 998], b"\r\n".to_vec()].concat()),
    );
    add(
        "a line of 100,000 bytes",
        with("longer", "", &[vec![b'y'; 100_000], b"\r\n".to_vec()].concat()),
    );
    add("10,000 short lines", with("short", "", &b"a\r\n".repeat(10_000)));
    for size in [4095, 4096, 16_383, 16_384, 65_535, 65_536] {
        let mut mail = with("size", "", b"");
        while mail.len() + 80 < size {
            mail.extend_from_slice(&[b'z'; 70]);
            mail.extend_from_slice(b"\r\n");
        }
        mail.resize(size - 2, b'e');
        mail.extend_from_slice(b"\r\n");
        add(&format!("{size} bytes exactly"), mail);
    }
    add(
        "10 MB",
        with(
            "big",
            "",
            &[&[b'M'; 76][..], b"\r\n"].concat().repeat(10 * 1024 * 1024 / 78),
        ),
    );
}

/// The files of the folder in `SPOOL_TEST_CORPUS`; none when it is not set.
#[must_use]
pub fn folder() -> Vec<Named> {
    let Some(folder) = std::env::var_os("SPOOL_TEST_CORPUS") else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mails: Vec<Named> = files
        .into_iter()
        .filter(|file| file.is_file())
        .map(|file| {
            (
                file.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&file).unwrap(),
            )
        })
        .collect();
    assert!(!mails.is_empty(), "SPOOL_TEST_CORPUS has no files");
    mails
}
