//! `spool sink` as a program: a next hop that wants verified TLS and a login, both given to the relay by its configuration.

use spool_tests::process::{Running, run, serve, until};
use spool_tests::raw::RawClient;
use std::path::Path;

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// Sends one message by way of `sink` through a relay that trusts `roots`, and waits for the sink's ledger.
fn relayed(dir: &Path, sink: &Running, roots: &str, more: &str) {
    let (port, ledger) = (sink.smtp().port(), dir.join("ledger"));
    std::fs::write(dir.join("secret"), "secret\n").unwrap();
    let config = format!(
        "[route]\nnext_hops = [\"localhost:{port}\"]\n[client]\ntls = \"verify\"\ntls_roots = \"{roots}\"\n{more}\n\
         [[client.login]]\nnext_hop = \"localhost:{port}\"\nuser = \"ada\"\npassword_file = \"{}\"\n",
        path(dir, "secret")
    );
    std::fs::write(dir.join("spool.toml"), config).unwrap();
    let check = run(&["check", "--config", &path(dir, "spool.toml")]);
    assert!(check.status.success(), "{check:?}");
    let server = serve(&dir.join("spool"), &[], &["--config", &path(dir, "spool.toml")]);
    let (code, reply) = RawClient::hello(server.smtp())
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap();
    assert_eq!(code, 250, "{reply}");
    let line = until("a line in the ledger", || {
        std::fs::read_to_string(&ledger)
            .ok()
            .filter(|text| text.ends_with('\n'))
    });
    assert!(line.contains("b@example.net"), "{line}");
}

const ARGS: [&str; 7] = [
    "sink",
    "--listen",
    "127.0.0.1:0",
    "--quiet",
    "--login",
    "ada:secret",
    "--ledger",
];

#[test]
fn a_relay_trusts_the_certificate_that_a_sink_makes_and_logs_in() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(
        dir.join("script"),
        "mail tls=no reply 550 5.7.0 in the clear\nehlo tls=no hide AUTH\n",
    )
    .unwrap();
    let (ledger, roots, script) = (path(dir, "ledger"), path(dir, "roots.pem"), path(dir, "script"));
    let more = [
        ledger.as_str(),
        "--tls",
        "starttls",
        "--tls-roots",
        &roots,
        "--script",
        &script,
    ];
    let sink = Running::start(&[&ARGS[..], &more].concat());
    relayed(dir, &sink, &roots, "");
    assert!(sink.terminate().success());
}

#[test]
fn a_sink_shows_a_certificate_from_a_file_before_its_greeting() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let (ledger, cert, key) = (path(dir, "ledger"), path(dir, "cert.pem"), path(dir, "key.pem"));
    let more = [
        ledger.as_str(),
        "--tls",
        "implicit",
        "--certificate",
        &cert,
        "--key",
        &key,
    ];
    let args = [&ARGS[..], &more].concat();
    let sink = Running::start(&args);
    let implicit = format!("implicit_tls_ports = [{}]", sink.smtp().port());
    relayed(dir, &sink, &cert, &implicit);
    // A file that is not a key is named in the error, and the sink does not start.
    std::fs::write(dir.join("key.pem"), "none\n").unwrap();
    let output = run(&args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("key.pem: the key cannot be used"), "{error}");
}
