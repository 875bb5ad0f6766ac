//! `spool load` under TLS, against the service: by STARTTLS and before the greeting, and certificates that it refuses.

use crate::queue_commands::text;
use serde_json::Value;
use spool_tests::authority::Authority;
use spool_tests::process::{Running, run, serve};
use std::path::{Path, PathBuf};
use std::process::Output;

fn sub(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

/// A relay with a certificate for 127.0.0.1 and a port of each kind, in front of `sink`.
fn relay(dir: &Path, authority: &Authority, sink: &Running, roots: &Path) -> Running {
    let config = dir.join("spool.toml");
    let text = format!(
        "[listen]\nsmtps = [\"127.0.0.1:0\"]\n[listen.tls]\ncertificate = {:?}\nkey = {:?}\n\
         [client]\ntls = \"verify\"\ntls_roots = {roots:?}\n",
        authority.certificate, authority.key
    );
    std::fs::write(&config, text).unwrap();
    let hop = format!("localhost:{}", sink.smtp().port());
    serve(
        &dir.join("spool"),
        &[&hop],
        &["--config", config.to_str().unwrap()],
    )
}

fn load(to: &str, more: &[&str]) -> Output {
    let args = [
        "load",
        "--to",
        to,
        "--messages",
        "30",
        "--connections",
        "3",
        "--format",
        "json",
    ];
    run(&[&args[..], more].concat())
}

#[test]
fn load_runs_under_tls_to_a_sink_that_requires_it_and_refuses_unknown_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let authority = Authority::new(dir, &["127.0.0.1"]);
    let other = Authority::new(&sub(dir, "other"), &["127.0.0.1"]);
    std::fs::write(dir.join("script"), "mail tls=no reply 530 5.7.0 TLS first\n").unwrap();
    let (roots, ledger, script) = (path("sink-roots.pem"), path("sink.jsonl"), path("script"));
    let mut args = vec!["sink", "--listen", "127.0.0.1:0", "--quiet", "--tls", "starttls"];
    args.extend(["--tls-roots", &roots, "--ledger", &ledger, "--script", &script]);
    let sink = Running::start(&args);
    let relay = relay(dir, &authority, &sink, Path::new(&roots));
    let ca = authority.roots.to_str().unwrap();
    let (smtp, smtps) = (relay.field("smtp"), relay.field("smtps"));

    for (way, to) in [("starttls", smtp), ("implicit", smtps)] {
        let sent = path(way);
        let more = [
            "--tls", way, "--tls-ca", ca, "--ledger", &sent, "--verify", &ledger,
        ];
        let output = load(to, &more);
        assert!(output.status.success(), "{way}: {}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&report["accepted"], &report["verification"]["lost"]),
            (&30.into(), &0.into()),
            "{report}"
        );
        let handshakes = report["handshakes"].as_object().unwrap();
        assert_eq!(handshakes.values().filter_map(Value::as_u64).sum::<u64>(), 3);
        assert!(handshakes.keys().all(|suite| suite.starts_with("TLSv1.3 ")));
    }

    // The relay is not of this authority, then not of this name; neither a message nor a minute is spent on it.
    let stranger = other.roots.to_str().unwrap();
    for (more, error) in [
        (
            &["--tls-ca", stranger][..],
            "not one message was accepted: TLS with 127.0.0.1: invalid peer certificate: ",
        ),
        (
            &["--tls-ca", ca, "--tls-name", "relay.example"],
            "TLS with relay.example: invalid peer certificate: certificate not valid for name \"relay.example\"",
        ),
    ] {
        let output = load(smtp, &[&["--tls", "starttls"], more].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(error), "{told}");
    }
    let trusting = load(smtp, &["--tls", "starttls", "--tls-insecure"]);
    assert!(trusting.status.success(), "{}", text(&trusting.stderr));

    std::fs::write(dir.join("none.pem"), "none\n").unwrap();
    for (more, error) in [
        (
            &["--tls", "starttls", "--tls-ca", &path("none.pem")][..],
            "none.pem: there is no certificate in it",
        ),
        (&["--tls-insecure"], "--tls <WHEN>"),
    ] {
        let output = load(smtp, more);
        assert_eq!(output.status.code(), Some(2));
        let told = text(&output.stderr);
        assert!(told.contains(error), "{told}");
    }
}
