//! TLS at the ingress of the program: certificates that are replaced, clients from other hands, plaintext that is injected,
//! relays that are probed, and what idle sessions cost.

use spool_core::store::count_from_disk;
use spool_tests::authority::Authority;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, run, serve, signal, until};
use spool_tests::raw::RawClient;
use spool_tests::tls::{TlsClient, trusting};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A new directory below `dir`.
fn sub(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// A relay with the certificate of `authority` and a port of each kind.
fn relay(dir: &Path, authority: &Authority, next_hop: &str, more: &str) -> Running {
    let config = dir.join("spool.toml");
    let text = format!(
        "[listen]\nsmtps = [\"127.0.0.1:0\"]\n[listen.tls]\ncertificate = {:?}\nkey = {:?}\n{more}",
        authority.certificate, authority.key
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    serve(&dir.join("spool"), &[next_hop], &["--config", config])
}

fn smtps(relay: &Running) -> SocketAddr {
    relay.field("smtps").parse().unwrap()
}

#[test]
fn a_certificate_is_replaced_and_a_bad_one_is_not_while_sessions_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::new(dir.path(), &["127.0.0.1"]);
    let second = Authority::new(&sub(dir.path(), "second"), &["127.0.0.1"]);
    let old = trusting(&first);
    let capture = Capture::start();
    let relay = relay(dir.path(), &first, &capture.next_hop(), "");
    let mut session = TlsClient::smtps(smtps(&relay), &old).unwrap();
    assert!(TlsClient::starttls(relay.smtp(), &old).is_ok());

    std::fs::copy(&second.certificate, &first.certificate).unwrap();
    std::fs::copy(&second.key, &first.key).unwrap();
    signal(relay.pid(), "HUP");
    until("the new certificate", || {
        relay.log().contains("certificate replaced").then_some(())
    });
    let new = trusting(&second);
    assert!(TlsClient::smtps(smtps(&relay), &new).is_ok());
    assert!(TlsClient::starttls(relay.smtp(), &new).is_ok());
    // Without what the client remembers: a session that it resumes shows no certificate.
    assert!(TlsClient::smtps(smtps(&relay), &trusting(&first)).is_err());
    assert_eq!(session.message("b@c.example", "before").0, 250);
    assert!(capture.message().body.ends_with(b"before\r\n"));

    // The key of another certificate: the reload is refused with its place, and nothing changes.
    let third = Authority::new(&sub(dir.path(), "third"), &["127.0.0.1"]);
    std::fs::copy(&third.key, &first.key).unwrap();
    signal(relay.pid(), "HUP");
    until("the refusal", || {
        let log = relay.log();
        let line = log
            .lines()
            .find(|line| line.contains("the key is not that of the certificate"))?;
        assert!(
            line.contains("ERROR") && line.contains("listen.tls.key") && line.contains("key.pem"),
            "{line}"
        );
        Some(())
    });
    assert!(TlsClient::smtps(smtps(&relay), &new).is_ok());
    assert_eq!(session.message("b@c.example", "after").0, 250);
    let spool = dir.path().join("spool.toml");
    let checked = run(&["check", "--config", spool.to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(2));
}

#[test]
fn a_message_says_by_which_tls_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let trust = trusting(&authority);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture.next_hop(), "");
    assert!(
        relay
            .ready
            .trim_end()
            .ends_with(&format!(" smtps={}", smtps(&relay))),
        "{}",
        relay.ready
    );
    let clients = [
        TlsClient::smtps(smtps(&relay), &trust).unwrap(),
        TlsClient::starttls(relay.smtp(), &trust).unwrap(),
    ];
    for mut client in clients {
        assert_eq!(client.message("b@c.example", "x").0, 250);
        let arrived = String::from_utf8(capture.message().body).unwrap();
        for part in ["with ESMTPS", "tls TLS_AES_256_GCM_SHA384", "(TLSv1.3);"] {
            assert!(arrived.contains(part), "{part}: {arrived}");
        }
    }
}

/// Sends a message by STARTTLS and one by implicit TLS, and checks the certificate.
const SMTPLIB: &str = r#"
import smtplib, ssl, sys
roots, smtp, smtps = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
message = b"Subject: x\r\n\r\n.dot\r\nend\r\n"
with smtplib.SMTP("127.0.0.1", int(smtp)) as client:
    client.starttls(context=context)
    client.ehlo()
    assert "starttls" not in client.esmtp_features and client.has_extn("requiretls"), client.esmtp_features
    assert client.esmtp_features["limits"] == "RCPTMAX=1000", client.esmtp_features
    client.sendmail("a@source.example", ["b@c.example", "d@e.example"], message, ["BODY=8BITMIME"])
with smtplib.SMTP_SSL("127.0.0.1", int(smtps), context=context) as client:
    client.sendmail("a@source.example", ["b@c.example"], message)
"#;

#[test]
fn smtplib_sends_by_starttls_and_by_implicit_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture.next_hop(), "");
    let ports = [relay.smtp(), smtps(&relay)].map(|address| address.port().to_string());
    let mut python = Command::new("python3");
    python.args(["-c", SMTPLIB]).arg(&authority.roots).args(&ports);
    let Ok(output) = python.stdin(Stdio::null()).output() else {
        println!("skipped: there is no python3");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut recipients = Vec::new();
    for _ in 0..2 {
        let arrived = capture.message();
        assert_eq!(arrived.without_trace(), b"Subject: x\r\n\r\n.dot\r\nend\r\n");
        recipients.push(arrived.rcpt.len());
    }
    recipients.sort_unstable();
    assert_eq!(recipients, [1, 2]);
}

#[test]
fn curl_sends_by_starttls_and_by_implicit_tls() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture.next_hop(), "");
    let mail = dir.path().join("mail");
    std::fs::write(&mail, b"Subject: x\r\n\r\n.dot\r\nend\r\n").unwrap();
    for url in [
        format!("smtp://{}/client.example", relay.smtp()),
        format!("smtps://{}/client.example", smtps(&relay)),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--ssl-reqd", "--max-time", "30"]);
        curl.args(["--mail-from", "a@source.example", "--mail-rcpt", "b@c.example"]);
        curl.arg("--cacert").arg(&authority.roots);
        curl.arg("--upload-file").arg(&mail).arg(&url);
        let Ok(output) = curl.stdin(Stdio::null()).output() else {
            println!("skipped: there is no curl");
            return;
        };
        assert!(
            output.status.success(),
            "{url}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let arrived = capture.message();
        assert_eq!(arrived.without_trace(), b"Subject: x\r\n\r\n.dot\r\nend\r\n");
    }
}

/// Of powers of two and their neighbours; the unit tests have every length.
#[test]
fn nothing_injected_behind_starttls_is_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture.next_hop(), "");
    let evil =
        "RSET\r\nMAIL FROM:<evil@x.example>\r\nRCPT TO:<v@x.example>\r\nDATA\r\nx\r\n.\r\n".repeat(300);
    let lengths = (0..=14).flat_map(|power| {
        let length = 1_usize << power;
        [length - 1, length, length + 1]
    });
    let mut tried = 0;
    for length in lengths.filter(|length| (1..=16 << 10).contains(length)) {
        let mut client = RawClient::hello(relay.smtp());
        let injected = format!("STARTTLS\r\n{}", &evil[..length]);
        client.send(injected.as_bytes()).unwrap();
        // Either all was read at once, or the handshake finds what is none.
        let (code, text) = client.reply().unwrap();
        let mut stream = client.into_stream();
        let mut rest = Vec::new();
        let _ = stream.write_all(b"NOOP\r\n");
        let _ = stream.read_to_end(&mut rest);
        match code {
            554 => assert!(text.contains("STARTTLS") && rest.is_empty(), "{text}"),
            220 => assert!(!rest.windows(3).any(|code| code == b"250"), "{rest:?}"),
            _ => panic!("{length}: {text}"),
        }
        tried += 1;
    }
    assert!(tried > 38);
    assert_eq!(count_from_disk(&dir.path().join("spool")).unwrap(), 0);
    assert_eq!(capture.try_message(), None);
}

#[test]
fn no_probe_gets_a_stranger_through() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let more = "[relay]\nallow_networks = [\"192.0.2.0/24\"]\nallow_domains = [\"ours.example\"]\nproxies = [\"192.0.2.0/24\"]\n";
    let relay = relay(dir.path(), &authority, &capture.next_hop(), more);
    let trust = trusting(&authority);
    let rcpt = [
        "v@theirs.example",
        "@ours.example:v@theirs.example",
        "v%theirs.example@theirs.example",
        "\"v@ours.example\"@theirs.example",
        "ours.example!v@theirs.example",
        "v@[192.0.2.1]",
        "v@ours.example.theirs.example",
        "v@xours.example",
    ];
    let before = [
        "NOOP",
        "XCLIENT ADDR=192.0.2.1",
        "XCLIENT ADDR=192.0.2.1 LOGIN=ada",
        "XCLIENT LOGIN=ada",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711 25",
        "PROXY UNKNOWN",
        "XFORWARD ADDR=192.0.2.1",
        "AUTH PLAIN AGFkYQBhZGE=",
    ];
    let froms = ["a@source.example", "a@ours.example", "postmaster@localhost", ""];
    let mut probes = 0;
    for (number, first) in before.iter().enumerate() {
        let mut plain = RawClient::hello(relay.smtp());
        let mut tls = match number % 2 {
            0 => TlsClient::smtps(smtps(&relay), &trust).unwrap(),
            _ => TlsClient::starttls(relay.smtp(), &trust).unwrap(),
        };
        let mut both = |line: &str| [plain.command(line).0, tls.command(line).0];
        let greeted = both(first);
        assert!(
            greeted.iter().all(|code| *first == "NOOP" || *code >= 500),
            "{first}: {greeted:?}"
        );
        for from in froms {
            assert_eq!(both(&format!("MAIL FROM:<{from}>")), [250, 250]);
            // So few that a session is not closed for its errors.
            for to in rcpt.iter().skip(number % 4).step_by(4) {
                let codes = both(&format!("RCPT TO:<{to}>"));
                assert!(
                    codes.iter().all(|code| *code >= 500),
                    "{first}, {from}, {to}: {codes:?}"
                );
                probes += codes.len();
            }
            assert_eq!(both("RSET"), [250, 250]);
        }
    }
    assert!(probes >= 128, "{probes}");
    // A header where none is expected, before the greeting is read.
    let mut client = RawClient::connect_silently(relay.smtp());
    client
        .send(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\nEHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<v@theirs.example>\r\n")
        .unwrap();
    let codes: Vec<u16> = (0..5).map(|_| client.reply().unwrap().0).collect();
    assert_eq!(codes, [220, 500, 250, 250, 550]);
    assert_eq!(count_from_disk(&dir.path().join("spool")).unwrap(), 0);
}

#[test]
fn a_listener_behind_a_proxy_serves_only_what_comes_through_it() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let config = dir.path().join("spool.toml");
    let text = format!(
        "[listen]\nsmtp = [\"127.0.0.1:0\"]\nsmtps = [\"127.0.0.2:0\"]\nproxy_protocol = [\"127.0.0.2:0\"]\n\
         [listen.tls]\ncertificate = {:?}\nkey = {:?}\n\
         [relay]\nallow_networks = [\"192.0.2.0/24\", \"127.0.0.0/8\"]\nproxies = [\"127.0.0.1\"]\n",
        authority.certificate, authority.key
    );
    std::fs::write(&config, text).unwrap();
    let relay = serve(
        &dir.path().join("spool"),
        &[&capture.next_hop()],
        &["--config", config.to_str().unwrap()],
    );
    let trust = trusting(&authority);
    let through = |header: &str| {
        let mut stream = std::net::TcpStream::connect(smtps(&relay)).unwrap();
        stream.write_all(header.as_bytes()).unwrap();
        let mut client = TlsClient::over(stream, &trust).unwrap();
        assert_eq!(client.reply().unwrap().0, 220);
        assert_eq!(client.command("EHLO client.example").0, 250);
        client
    };
    let mut inside = through("PROXY TCP4 192.0.2.1 198.51.100.1 4711 465\r\n");
    assert_eq!(inside.message("b@c.example", "x").0, 250);
    let arrived = String::from_utf8(capture.message().body).unwrap();
    assert!(arrived.contains("from client.example ([192.0.2.1])"), "{arrived}");
    for header in [
        "PROXY TCP4 203.0.113.1 198.51.100.1 4711 465\r\n",
        "PROXY UNKNOWN\r\n",
    ] {
        let mut outside = through(header);
        assert_eq!(outside.command("MAIL FROM:<a@b.example>").0, 250);
        assert_eq!(outside.command("RCPT TO:<c@d.example>").0, 550, "{header:?}");
    }
    assert!(TlsClient::smtps(smtps(&relay), &trust).is_err(), "no header");
    // The other listener expects none.
    assert_eq!(RawClient::hello(relay.smtp()).command("NOOP").0, 250);
}

/// As a campaign with a thousand: SPOOL_MEMORY_SCALE=4.
#[test]
fn an_idle_session_under_tls_costs_less_than_40_kib_whatever_it_has_carried() {
    let scale = std::env::var("SPOOL_MEMORY_SCALE").map_or(1, |scale| scale.parse().unwrap());
    let connections = 250 * scale;
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let more = "[listen.limits]\nconnections = 20000\nconnections_per_client = 20000\n";
    let relay = relay(dir.path(), &authority, "127.0.0.1:9", more);
    let trust = trusting(&authority);
    let open = |number: usize| match number % 2 {
        0 => TlsClient::smtps(smtps(&relay), &trust).unwrap(),
        _ => TlsClient::starttls(relay.smtp(), &trust).unwrap(),
    };
    // So that what the first handshakes cost is not counted.
    drop((0..20).map(open).collect::<Vec<_>>());
    let before = relay.resident_kib();
    let mut clients: Vec<_> = (0..connections).map(open).collect();
    let text = format!("BDAT 65536 LAST\r\n{}", "x".repeat(64 << 10));
    for client in &mut clients {
        // What they carried before does not matter. Nothing of this stays.
        client.send(text.as_bytes()).unwrap();
        assert_eq!(client.reply().unwrap().0, 503);
    }
    let idle = relay.resident_kib().saturating_sub(before);
    let each = idle * 1024 / connections as u64;
    println!("{connections} sessions: {each} bytes each, {idle} KiB in all");
    assert!(each < 40 << 10, "{each} bytes each, {idle} KiB in all");
    drop(clients);
}
