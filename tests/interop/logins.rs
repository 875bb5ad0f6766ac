//! curl, swaks, msmtp and Python's smtplib log in at the relay and send through it. None needs root.

use spool_tests::authority::Authority;
use spool_tests::capture::Capture;
use spool_tests::process::{Running, spool_binary};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const USER: &str = "ada";
pub(super) const PASSWORD: &str = "a secret of ada, with $ and \u{e4}";
/// Of eve: smtplib sends ASCII alone.
const ASCII: &str = "a secret of eve, with $";
const MAIL: &str = "From: ada@example.org\nTo: bob@else.example\nSubject: hello\n\n.a line with a dot\nend\n";

/// A relay that accepts mail only from its user, and completes the mail of `completed`, and the ports of its two listeners.
pub(super) fn relay(
    dir: &Path,
    authority: &Authority,
    capture: &Capture,
    completed: &str,
) -> (Running, [String; 2]) {
    let users = dir.join("users");
    for (name, password) in [(USER, PASSWORD), ("eve", ASCII)] {
        let mut passwd = Command::new(spool_binary())
            .args(["passwd", name, "--file", users.to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        passwd
            .stdin
            .take()
            .unwrap()
            .write_all(password.as_bytes())
            .unwrap();
        assert!(passwd.wait().unwrap().success());
    }
    let config = dir.join("spool.toml");
    let text = format!(
        "spool_dir = {:?}\n[listen]\nsmtp = [\"127.0.0.1:0\"]\nsmtps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
         [listen.tls]\ncertificate = {:?}\nkey = {:?}\n[relay]\nallow_networks = []\nusers_file = {users:?}\n\
         fix_submissions = {completed:?}\n[route]\nnext_hops = [{:?}]\n",
        dir.join("spool"),
        authority.certificate,
        authority.key,
        capture.next_hop(),
    );
    std::fs::write(&config, text).unwrap();
    let server = Running::start(&["serve", "--config", config.to_str().unwrap()]);
    let port = |field: &str| server.field(field).rsplit_once(':').unwrap().1.to_owned();
    let ports = [port("smtp"), port("smtps")];
    (server, ports)
}

/// Runs a client with the mail on standard input; `None`: it is not installed. Whether it says that it has sent, and what it
/// said.
fn run(program: &str, args: &[String]) -> Option<(bool, String)> {
    let child = Command::new(program)
        .args(args)
        .env("SPOOL_PASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.ok()?;
    let text = match program {
        // It sends line ends as it reads them.
        "curl" => MAIL.replace('\n', "\r\n"),
        _ => MAIL.to_owned(),
    };
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

const SMTPLIB: &str = "
import smtplib, ssl, sys
implicit, mechanism, port, roots, password = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
if implicit == 'implicit':
    client = smtplib.SMTP_SSL('127.0.0.1', int(port), context=context)
else:
    client = smtplib.SMTP('127.0.0.1', int(port))
    client.starttls(context=context)
client.ehlo()
client.user, client.password = 'eve', password
client.auth(mechanism, client.auth_plain if mechanism == 'PLAIN' else client.auth_login)
client.sendmail('ada@example.org', ['bob@else.example'], sys.stdin.read())
client.quit()
";

/// The arguments of a client for one way of sending.
fn arguments(
    program: &str,
    implicit: bool,
    login: bool,
    port: &str,
    roots: &str,
    password: &str,
) -> Vec<String> {
    let mechanism = if login { "LOGIN" } else { "PLAIN" };
    match program {
        "curl" => {
            let url = match implicit {
                true => format!("--url smtps://127.0.0.1:{port}"),
                false => format!("--ssl-reqd --url smtp://127.0.0.1:{port}"),
            };
            let mut args = words(&format!(
                "--silent --show-error {url} --cacert {roots} --login-options AUTH={mechanism} --upload-file - \
                 --mail-from ada@example.org --mail-rcpt bob@else.example --user"
            ));
            args.push(format!("{USER}:{password}"));
            args
        }
        "swaks" => {
            let tls = if implicit { "--tlsc" } else { "--tls" };
            let mut args = words(&format!(
                "--server 127.0.0.1 --port {port} {tls} --auth {mechanism} --auth-user {USER} --from ada@example.org \
                 --to bob@else.example --data - --auth-password"
            ));
            args.push(password.to_owned());
            args
        }
        "msmtp" => {
            let starttls = if implicit { "off" } else { "on" };
            let mut args = words(&format!(
                "--host=127.0.0.1 --port={port} --tls=on --tls-starttls={starttls} --tls-trust-file={roots} \
                 --auth={} --user={USER} --from=ada@example.org --file=/dev/null",
                mechanism.to_lowercase()
            ));
            let eval = match password == PASSWORD {
                true => "printenv SPOOL_PASSWORD".to_owned(),
                false => format!("echo {password}"),
            };
            args.push(format!("--passwordeval={eval}"));
            args.push("bob@else.example".to_owned());
            args
        }
        _ => {
            let how = if implicit { "implicit" } else { "starttls" };
            ["-c", SMTPLIB, how, mechanism, port, roots, password]
                .map(str::to_owned)
                .to_vec()
        }
    }
}

#[test]
fn clients_of_others_log_in_by_both_mechanisms_and_both_ways_to_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (capture, authority) = (Capture::start(), Authority::new(dir.path(), &["127.0.0.1"]));
    let (server, ports) = relay(dir.path(), &authority, &capture, "authenticated");
    let roots = authority.roots.to_str().unwrap();
    for (program, password) in [
        ("curl", PASSWORD),
        ("swaks", PASSWORD),
        ("msmtp", PASSWORD),
        ("python3", ASCII),
    ] {
        let mut sent = 0;
        for (implicit, login) in [(false, false), (false, true), (true, false), (true, true)] {
            let port = &ports[usize::from(implicit)];
            let args = arguments(program, implicit, login, port, roots, password);
            let Some((success, said)) = run(program, &args) else {
                break;
            };
            assert!(
                success,
                "{program} implicit={implicit} login={login}: {said}\n{}",
                server.log()
            );
            let arrived = capture.message();
            assert!(arrived.mail.contains("ada@example.org"), "{program}");
            assert!(
                String::from_utf8_lossy(&arrived.body).contains("ESMTPSA"),
                "{program}"
            );
            assert!(
                arrived
                    .body
                    .windows(22)
                    .any(|part| part == b"\r\n.a line with a dot\r\n"),
                "{program}"
            );
            sent += 1;
        }
        if sent == 0 {
            println!("skipped: there is no {program}");
            continue;
        }
        let (success, said) = run(
            program,
            &arguments(program, true, false, &ports[1], roots, "wrong"),
        )
        .unwrap();
        assert!(!success, "{program} with a wrong password: {said}");
        println!("{program}: {sent} messages after logins, and none with a wrong password");
    }
    assert!(capture.try_message().is_none());
}
