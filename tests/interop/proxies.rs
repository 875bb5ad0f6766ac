//! haproxy in front of the relay, by both versions of the PROXY protocol, and nginx and swaks that say XCLIENT. None needs root.

use super::Ends;
use spool_tests::authority::Authority;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, until};
use spool_tests::raw::RawClient;
use spool_tests::tls::{TlsClient, trusting};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

/// The address that haproxy connects from.
const PROXY: &str = "127.0.0.9";

/// Behind haproxy at two listeners, and one that takes XCLIENT from loopback.
fn relay(dir: &Path, authority: &Authority, capture: &Capture, proxies: &str, allow: &str) -> Running {
    let config = dir.join("spool.toml");
    let text = format!(
        "[listen]\nsmtp = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nsmtps = [\"127.0.0.3:0\"]\n\
         proxy_protocol = [\"127.0.0.2:0\", \"127.0.0.3:0\"]\n\
         [listen.tls]\ncertificate = {:?}\nkey = {:?}\n\
         [relay]\nallow_networks = [{allow:?}]\nproxies = [{proxies:?}]\n",
        authority.certificate, authority.key
    );
    std::fs::write(&config, text).unwrap();
    // Not by --listen: the file has three listeners.
    let (spool, next_hop) = (dir.join("spool"), capture.next_hop());
    let args = [
        "serve",
        "--config",
        config.to_str().unwrap(),
        "--spool",
        spool.to_str().unwrap(),
        "--admin",
        "127.0.0.1:0",
        "--next-hop",
        &next_hop,
    ];
    Running::start(&args)
}

/// A port for each of `servers`, which have options of their own.
fn haproxy(dir: &Path, servers: &[(SocketAddr, &str)]) -> Option<(Vec<SocketAddr>, Ends)> {
    let mut text = "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n".to_owned();
    let mut ports = Vec::new();
    for (number, (server, options)) in servers.iter().enumerate() {
        let port = super::port();
        text += &format!(
            "listen l{number}\n  bind 127.0.0.1:{port}\n  source {PROXY}\n  server s {server} {options}\n"
        );
        ports.push(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let config = dir.join("haproxy.cfg");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&config);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().ok()?;
    let mut stop = Command::new("kill");
    stop.arg(child.id().to_string());
    let ends = Ends { child, stop };
    until("haproxy", || TcpStream::connect(ports[0]).ok());
    Some((ports, ends))
}

#[test]
fn haproxy_names_the_clients_of_the_relay() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture, PROXY, "127.0.0.1");
    let plain: SocketAddr = relay.field("smtp").split(',').nth(1).unwrap().parse().unwrap();
    let smtps = relay.field("smtps").parse().unwrap();
    let servers = [
        (plain, "send-proxy"),
        (plain, "send-proxy-v2"),
        (
            plain,
            "send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 50ms fall 1",
        ),
        (smtps, "send-proxy-v2 proxy-v2-options crc32c"),
        (plain, ""),
    ];
    let Some((ports, _haproxy)) = haproxy(dir.path(), &servers) else {
        println!("skipped: there is no haproxy");
        return;
    };
    let trust = trusting(&authority);
    for port in &ports[..3] {
        let mut client = RawClient::hello(*port);
        let reply = client
            .transaction("a@source.example", &["b@c.example"], b"x\r\n")
            .unwrap();
        assert_eq!(reply.0, 250, "{}", reply.1);
        let mut client = TlsClient::starttls(*port, &trust).unwrap();
        assert_eq!(client.message("b@c.example", "x").0, 250);
    }
    let mut client = TlsClient::smtps(ports[3], &trust).unwrap();
    assert_eq!(client.message("b@c.example", "x").0, 250);
    for _ in 0..7 {
        let arrived = String::from_utf8(capture.message().body).unwrap();
        assert!(
            arrived.contains("([127.0.0.1])") && !arrived.contains(PROXY),
            "{arrived}"
        );
    }
    // Without the header nothing is said to it.
    let mut client = RawClient::connect_silently(ports[4]);
    let _ = client.send(b"EHLO client.example\r\n");
    assert!(client.reply().is_err());
    // Health checks have a header that names no client, and continue.
    let mut client = RawClient::hello(ports[2]);
    assert_eq!(client.command("NOOP").0, 250);
}

#[test]
fn swaks_names_clients_by_xclient() {
    if Command::new("swaks").arg("--version").output().is_err() {
        println!("skipped: there is no swaks");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture, "127.0.0.1", "192.0.2.0/24");
    let swaks = |more: &[&str]| {
        let to = relay.smtp().to_string();
        let mut command = Command::new("swaks");
        command.args([
            "--server",
            &to,
            "--from",
            "a@source.example",
            "--to",
            "b@c.example",
        ]);
        let output = command.args(more).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    for (more, client) in [
        (&["--xclient-addr", "192.0.2.7"][..], "([192.0.2.7])"),
        (
            &[
                "--xclient-addr",
                "192.0.2.7",
                "--xclient-delim",
                "--xclient-name",
                "x.example",
                "-tls",
            ],
            "([192.0.2.7])",
        ),
        (
            &[
                "--xclient-addr",
                "IPV6:2001:db8::7",
                "--xclient-login",
                "ada@source.example",
            ],
            "([IPv6:2001:db8::7])",
        ),
    ] {
        let (sent, said) = swaks(more);
        assert!(sent, "{said}");
        let arrived = String::from_utf8(capture.message().body).unwrap();
        assert!(arrived.contains(client), "{arrived}");
    }
    for more in [
        &[][..],
        &["--xclient-addr", "203.0.113.7"],
        &["--xclient-addr", "[UNAVAILABLE]"],
    ] {
        let (sent, said) = swaks(more);
        assert!(!sent && said.contains("550 5.7.1"), "{said}");
    }
    assert_eq!(capture.try_message(), None);
}

/// What nginx asks about each client; every client may go to `relay`.
fn everybody(relay: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream);
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer = format!(
                "HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: {}\r\nAuth-Port: {}\r\n\r\n",
                relay.ip(),
                relay.port()
            );
            let _ = lines.get_mut().write_all(answer.as_bytes());
        }
    });
    address
}

fn nginx(dir: &Path, relay: SocketAddr) -> Option<(SocketAddr, Ends)> {
    let module = "/usr/lib/nginx/modules/ngx_mail_module.so";
    let port = super::port();
    let text = format!(
        "load_module {module};\ndaemon off;\nmaster_process off;\npid {pid:?};\nerror_log {log:?} info;\nevents {{}}\n\
         mail {{\n  server_name proxy.example;\n  auth_http {auth}/;\n  xclient on;\n\
         \n  server {{ listen 127.0.0.1:{port}; protocol smtp; smtp_auth none plain; }}\n}}\n",
        pid = dir.join("nginx.pid"),
        log = dir.join("nginx.log"),
        auth = everybody(relay),
    );
    let config = dir.join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    if !Path::new(module).exists() {
        return None;
    }
    let mut command = Command::new("nginx");
    command
        .arg("-e")
        .arg(dir.join("nginx.log"))
        .arg("-c")
        .arg(&config);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stop = Command::new("kill");
    stop.arg(child.id().to_string());
    let ends = Ends { child, stop };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until("nginx", || TcpStream::connect(address).ok());
    Some((address, ends))
}

#[test]
fn nginx_names_clients_and_users_and_its_clients_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), &["127.0.0.1"]);
    let capture = Capture::start();
    let relay = relay(dir.path(), &authority, &capture, "127.0.0.1", "192.0.2.0/24");
    let Some((nginx, _ends)) = nginx(dir.path(), relay.smtp()) else {
        println!("skipped: there is no nginx with its mail module");
        return;
    };
    // Its client is at 127.0.0.1 and may not relay, although nginx itself connects from there, and is listed.
    let mut stranger = RawClient::hello(nginx);
    assert_eq!(stranger.command("MAIL FROM:<a@source.example>").0, 250);
    let (code, text) = stranger.command("RCPT TO:<b@c.example>");
    assert!(code == 550 && text.contains("5.7.1"), "{text}");
    // Now nginx passes on what it says, and that is no proxy's word any more.
    for line in [
        "XCLIENT ADDR=192.0.2.1",
        "RSET",
        "XCLIENT ADDR=192.0.2.1 LOGIN=ada",
        "EHLO x",
    ] {
        let (code, text) = stranger.command(line);
        assert!(!line.starts_with("XCLIENT") || code >= 500, "{line}: {text}");
    }
    assert_eq!(stranger.command("MAIL FROM:<a@source.example>").0, 250);
    assert_eq!(stranger.command("RCPT TO:<b@c.example>").0, 550);

    let mut user = RawClient::hello(nginx);
    assert_eq!(user.command("AUTH PLAIN AGFkYQBzZWNyZXQ=").0, 235);
    let reply = user
        .transaction("a@source.example", &["b@c.example"], b"x\r\n")
        .unwrap();
    assert_eq!(reply.0, 250, "{}", reply.1);
    let arrived = String::from_utf8(capture.message().body).unwrap();
    assert!(arrived.contains("([127.0.0.1])"), "{arrived}");
    assert_eq!(user.command("XCLIENT ADDR=192.0.2.1").0 / 100, 5);
}
