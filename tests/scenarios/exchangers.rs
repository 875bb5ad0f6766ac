//! Mail without a smart host: the mail exchangers of each domain, asked for at a name server.

use spool_tests::capture::Capture;
use spool_tests::name_server::NameServer;
use spool_tests::process::{Running, run, serve, signal, until};
use spool_tests::raw::RawClient;
use std::net::TcpListener;
use std::path::Path;

/// Mail exchangers on 127.0.0.2, .. with the same port.
fn exchangers<const N: usize>() -> (u16, [Capture; N]) {
    // The port of the first may be taken elsewhere: a few tries.
    let all = || {
        let first = TcpListener::bind("127.0.0.2:0").ok()?;
        let port = first.local_addr().ok()?.port();
        let others = (3..)
            .take(N - 1)
            .map(|n| TcpListener::bind(format!("127.0.0.{n}:{port}")));
        let others: Vec<_> = others.collect::<Result<_, _>>().ok()?;
        Some((port, std::iter::once(first).chain(others).collect::<Vec<_>>()))
    };
    let (port, listeners) = (0..20).find_map(|_| all()).unwrap();
    let captures: Vec<_> = listeners.into_iter().map(Capture::listen).collect();
    (port, captures.try_into().unwrap())
}

/// Writes the configuration: mail exchangers on loopback, at this port, by this name server.
fn configure(dir: &Path, port: u16, names: &NameServer, more: &str) -> String {
    let file = dir.join("spool.toml");
    let route = format!(
        "[retry]\nintervals = [\"100ms\"]\n[route]\nmx_port = {port}\ndns_servers = [\"{}\"]\nignore_networks = []\n{more}",
        names.address
    );
    std::fs::write(&file, route).unwrap();
    file.to_str().unwrap().to_owned()
}

fn start(dir: &Path, config: &str) -> Running {
    serve(&dir.join("spool"), &[], &["--config", config])
}

/// One line of JSON for each message on the spool.
fn listed(server: &Running, more: &[&str]) -> String {
    let admin = format!("http://{}", server.field("admin"));
    let output = run(&[&["status", "--admin", &admin, "--format", "json"], more].concat());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_domain_goes_to_its_exchangers_in_one_transaction_and_what_has_none_is_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let (port, [one, two]) = exchangers();
    let names = NameServer::start(
        "xn--bcher-kva.example MX 10 dead.example
         xn--bcher-kva.example MX 20 one.example
         two.example           A 127.0.0.3
         dead.example          A 127.0.0.9
         one.example           A 127.0.0.2
         null.example          MX 0 .
         broken.example        SERVFAIL",
    );
    let server = start(dir.path(), &configure(dir.path(), port, &names, ""));
    let to = [
        "a@xn--bcher-kva.example",
        "b@two.example",
        "c@XN--BCHER-KVA.Example",
        "d@null.example",
        "e@gone.example",
        "f@broken.example",
    ];
    let (code, text) = RawClient::hello(server.smtp())
        // Without a sender to notify, failed mail is kept.
        .transaction("", &to, b"x\r\n")
        .unwrap();
    assert_eq!(code, 250, "{text}");
    let rcpt = |capture: &Capture| capture.message().rcpt.join(" ");
    assert_eq!(
        rcpt(&one),
        "RCPT TO:<a@xn--bcher-kva.example> RCPT TO:<c@XN--BCHER-KVA.Example>"
    );
    assert_eq!(rcpt(&two), "RCPT TO:<b@two.example>");
    until("two frozen messages", || {
        let frozen = listed(&server, &["--frozen"]);
        let both = frozen.contains("d@null.example") && frozen.contains("e@gone.example");
        (both && !frozen.contains("f@broken.example")).then_some(())
    });
    until("another attempt for the domain that nobody could ask for", || {
        (server.log().matches("4.4.3").count() > 1).then_some(())
    });
    for words in [
        "556 5.1.10 the domain null.example takes no mail",
        "550 5.1.2 the domain gone.example",
    ] {
        server.wait_for_log(words);
    }
    assert!(listed(&server, &[]).contains("f@broken.example"));
}

#[test]
fn a_reload_gives_a_domain_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let (port, [one, two]) = exchangers();
    let names = NameServer::start("d.example MX 10 one.example\none.example A 127.0.0.2");
    let config = configure(dir.path(), port, &names, "");
    let server = start(dir.path(), &config);
    let send = |body: &[u8]| {
        let mut client = RawClient::hello(server.smtp());
        assert_eq!(
            client
                .transaction("a@example.org", &["b@d.example"], body)
                .unwrap()
                .0,
            250
        );
    };
    send(b"1\r\n");
    assert_eq!(one.message().without_trace(), b"1\r\n");
    let reloads = || server.log().matches("configuration").count();
    // A contradiction changes nothing, and is reported.
    let rule = format!("[[route.rule]]\ndomain = \"d.example\"\nnext_hops = [\"127.0.0.3:{port}\"]\n");
    configure(dir.path(), port, &names, &format!("{rule}{rule}"));
    signal(server.pid(), "HUP");
    until("a refusal in the log", || {
        server.log().contains("same domain").then_some(())
    });
    send(b"2\r\n");
    assert_eq!(one.message().without_trace(), b"2\r\n");
    let before = reloads();
    configure(dir.path(), port, &names, &rule);
    signal(server.pid(), "HUP");
    until("a reload in the log", || (reloads() > before).then_some(()));
    send(b"3\r\n");
    assert_eq!(two.message().without_trace(), b"3\r\n");
}

/// Mail to twenty domains, one each, of the mail exchanger at 127.0.0.2.
fn send_to_domains(server: &Running) {
    for n in 0..20 {
        let mut client = RawClient::hello(server.smtp());
        let to = format!("b@d{n}.example");
        let (code, text) = client.transaction("a@example.org", &[&to], b"x\r\n").unwrap();
        assert_eq!(code, 250, "{text}");
    }
}

fn domains() -> NameServer {
    let zone = (0..20).map(|n| format!("d{n}.example MX 1 one.example\n"));
    NameServer::start(&format!("{}one.example A 127.0.0.2", zone.collect::<String>()))
}

#[test]
fn a_name_server_that_is_not_needed_fails_no_mail() {
    let knows = domains();
    for second in ["", "* SERVFAIL", "* REFUSED", "* NOTIMP", "* FORMERR"] {
        let dir = tempfile::tempdir().unwrap();
        let (port, [one]) = exchangers();
        let second = NameServer::start(second);
        let text = format!(
            "[retry]\nintervals = [\"1h\"]\n[route]\nmx_port = {port}\ndns_servers = [\"{}\", \"{}\"]\nignore_networks = []\n",
            knows.address, second.address
        );
        let file = dir.path().join("spool.toml");
        std::fs::write(&file, text).unwrap();
        let server = start(dir.path(), file.to_str().unwrap());
        send_to_domains(&server);
        (0..20).for_each(|_| drop(one.message()));
        assert_eq!(second.asked(), [""; 0]);
    }
}

#[test]
fn another_resolv_conf_is_followed_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (port, [one]) = exchangers();
    let (knows, fails) = (domains(), NameServer::start("* SERVFAIL"));
    let resolv_conf = dir.path().join("resolv.conf");
    let text = format!(
        "[retry]\nintervals = [\"100ms\"]\n[route]\nmx_port = {port}\nresolv_conf = {resolv_conf:?}\nignore_networks = []\n"
    );
    let file = dir.path().join("spool.toml");
    std::fs::write(&file, text).unwrap();
    let entry = |server: &NameServer| format!("nameserver [127.0.0.1]:{}\n", server.address.port());
    std::fs::write(&resolv_conf, entry(&fails)).unwrap();
    let server = start(dir.path(), file.to_str().unwrap());
    send_to_domains(&server);
    until("a deferred message", || {
        server.log().contains("4.4.3").then_some(())
    });
    std::fs::write(&resolv_conf, format!("search a..b\n{}", entry(&knows))).unwrap();
    (0..20).for_each(|_| drop(one.message()));
}
