//! Programs of others that hand mail in: nodemailer and Postfix over TLS after a login, mutt and mailx through `spool sendmail`.
//!
//! Postfix needs root; the others need their packages alone. What is missing is skipped, and said.

use super::logins::{PASSWORD, USER, relay};
use super::{port, postfix, prepared, run_text, until};
use spool_tests::authority::Authority;
use spool_tests::capture::{Capture, Captured};
use spool_tests::mails::own;
use spool_tests::process::{Running, spool_binary};
use spool_tests::raw::RawClient;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Sends three messages over one pool of connections, and says what became of them.
const NODEMAILER: &str = "
const [implicit, mechanism, port, roots, user, pass] = process.argv.slice(1);
const transport = require('nodemailer').createTransport({
    host: '127.0.0.1', port: Number(port), secure: implicit === 'true', requireTLS: true, pool: true, maxConnections: 2,
    auth: { user, pass }, authMethod: mechanism, tls: { ca: require('fs').readFileSync(roots) },
});
const mail = (n) => transport.sendMail({
    from: 'Ada <ada@example.org>', to: ['bob@else.example', 'eve@else.example'], bcc: 'hidden@else.example',
    subject: `Gr\u{fc}\u{df}e ${n}`, text: `.a line with a dot\\n..\\nGr\u{fc}\u{df}e ${n}\\n`,
    attachments: [{ filename: 'bytes.bin', content: Buffer.alloc(100000, n) }],
});
Promise.all([1, 2, 3].map(mail)).then(
    (sent) => { console.log(sent.map((info) => info.response).join('\\n')); transport.close(); },
    (error) => { console.log(`${error.code} ${error.response}`); transport.close(); process.exitCode = 1; },
);
";

/// Node.js with a script that may require what `prepare.sh` has installed.
fn node(script: &str, args: &[&str]) -> Option<Output> {
    let mut command = Command::new("node");
    command.arg("-e").arg(script).args(args);
    if let Some(dir) = std::env::var_os("SPOOL_INTEROP") {
        command.env("NODE_PATH", PathBuf::from(dir).join("node_modules"));
    }
    command.output().ok()
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn nodemailer_logs_in_by_both_mechanisms_and_both_ways_to_tls() {
    let version = "console.log(require('nodemailer/package.json').version, process.version)";
    let version = match node(version, &[]) {
        Some(output) if output.status.success() => said(&output),
        _ => return println!("skipped: there is no nodemailer"),
    };
    let dir = tempfile::tempdir().unwrap();
    let (capture, authority) = (Capture::start(), Authority::new(dir.path(), &["127.0.0.1"]));
    let (server, ports) = relay(dir.path(), &authority, &capture, "authenticated");
    let roots = authority.roots.to_str().unwrap();
    for (implicit, mechanism) in [
        (false, "PLAIN"),
        (false, "LOGIN"),
        (true, "PLAIN"),
        (true, "LOGIN"),
    ] {
        let (how, port) = (implicit.to_string(), &ports[usize::from(implicit)]);
        let output = node(NODEMAILER, &[&how, mechanism, port, roots, USER, PASSWORD]).unwrap();
        let answers = said(&output);
        assert!(
            output.status.success() && answers.lines().count() == 3,
            "implicit={implicit} {mechanism}: {answers}\n{}",
            server.log()
        );
        assert!(
            answers.lines().all(|line| line.starts_with("250 2.0.0 Queued")),
            "{answers}"
        );
        for _ in 0..3 {
            let arrived = capture.message();
            let text = String::from_utf8_lossy(&arrived.body).into_owned();
            assert!(
                arrived.mail.contains("<ada@example.org>") && arrived.rcpt.len() == 3,
                "{text}"
            );
            assert!(
                text.contains("ESMTPSA") && text.contains("\r\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe"),
                "{text}"
            );
            assert!(
                text.contains("\r\n.a line with a dot\r\n") && !text.contains("hidden@"),
                "{text}"
            );
        }
    }
    let output = node(NODEMAILER, &["true", "PLAIN", &ports[1], roots, USER, "wrong"]).unwrap();
    assert!(said(&output).starts_with("EAUTH 535 5.7.8"), "{}", said(&output));
    assert!(capture.try_message().is_none());
    println!(
        "nodemailer {}: 12 messages after logins, and none with a wrong password",
        version.trim()
    );
}

/// Postfix as it relays to `localhost`, to one port by STARTTLS and to one by implicit TLS, and where it listens.
fn relaying(dir: &Path, ports: &[String; 2], roots: &Path) -> Result<(postfix::Running, u16), &'static str> {
    let listens = port();
    let at = dir.join("postfix");
    let hops = [
        format!("[localhost]:{}", ports[0]),
        format!("[localhost]:{}", ports[1]),
    ];
    let main = format!(
        "mynetworks = 127.0.0.0/8
relay_domains =
smtp_host_lookup = native
smtp_tls_security_level = verify
smtp_tls_CAfile = {}
smtp_tls_loglevel = 1
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:{at}/passwords
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = plain, login
smtp_line_length_limit = 0
relayhost = {}
transport_maps = inline:{{ {{ implicit.example = implicit:{} }} }}
",
        roots.display(),
        hops[0],
        hops[1],
        at = at.display(),
    );
    let master = format!(
        "127.0.0.1:{listens} inet  n - n - - smtpd\nsmtp unix - - n - - smtp\n\
         implicit unix - - n - - smtp -o smtp_tls_wrappermode=yes\n"
    );
    let passwords = hops.map(|hop| format!("{hop} {USER}:{PASSWORD}\n")).concat();
    let running = postfix::run(dir, &main, &master, |at| {
        std::fs::write(at.join("passwords"), &passwords).unwrap();
    })?;
    until("Postfix", || {
        std::net::TcpStream::connect(("127.0.0.1", listens)).is_ok()
    });
    Ok((running, listens))
}

#[test]
fn postfix_relays_through_it_after_a_login_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (capture, authority) = (Capture::start(), Authority::new(dir.path(), &["localhost"]));
    let (server, ports) = relay(dir.path(), &authority, &capture, "never");
    let started = prepared().and_then(|_| relaying(dir.path(), &ports, &authority.roots));
    let (postfix, listens) = match started {
        Ok(started) => started,
        Err(why) => return println!("skipped: Postfix as a client: {why}"),
    };
    let mut client = RawClient::hello(([127, 0, 0, 1], listens).into());
    let mut expected = BTreeMap::new();
    for (n, (name, mail)) in own().into_iter().enumerate() {
        for domain in ["else.example", "implicit.example"] {
            let to = format!("m{n}@{domain}");
            let (code, text) = client.transaction("ada@example.org", &[&to], &mail).unwrap();
            assert_eq!(code, 250, "{name}: {text}");
            let mut mail = mail.clone();
            if !mail.is_empty() && !mail.ends_with(b"\r\n") {
                mail.extend_from_slice(b"\r\n");
            }
            expected.insert(to, (name.clone(), mail));
        }
    }
    let all = expected.len();
    let log = || std::fs::read_to_string(dir.path().join("postfix/log")).unwrap();
    let mut arrived = Vec::new();
    until("all mail", || {
        arrived.extend(capture.try_message());
        let log = log();
        let failed: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("status=deferred") || line.contains("status=bounced"))
            .collect();
        assert!(failed.is_empty(), "{failed:#?}\n{}", server.log());
        arrived.len() == all && log.matches("status=sent (250 2.0.0 Queued").count() == all
    });
    for arrived in arrived {
        let to = arrived.rcpt[0].split(['<', '>']).nth(1).unwrap().to_owned();
        let (name, mail) = expected
            .remove(&to)
            .unwrap_or_else(|| panic!("{to}: twice, or never sent"));
        let text = String::from_utf8_lossy(&arrived.body).into_owned();
        assert!(
            arrived.body.ends_with(&mail) && text.contains("ESMTPSA"),
            "{name}: {text}"
        );
    }
    let verified = log()
        .matches("Verified TLS connection established to localhost")
        .count();
    assert!(verified > 1 && !log().contains("warning: TLS"), "{}", log());
    println!(
        "{} as a client: {all} messages after logins, {verified} verified TLS sessions",
        postfix.version
    );
}

/// A machine whose `sendmail` is ours, with a Unix socket and a drop directory.
struct Machine {
    dir: tempfile::TempDir,
    capture: Capture,
}

impl Machine {
    fn new() -> Self {
        let this = Self {
            dir: tempfile::tempdir().unwrap(),
            capture: Capture::start(),
        };
        let at = |name: &str| this.dir.path().join(name);
        let sendmail = at("sendmail");
        let config = format!(
            "spool_dir = {:?}\nhostname = \"mx.example.org\"\n[listen]\nsmtp = [\"unix:{}\"]\nadmin = \"127.0.0.1:0\"\n\
             [relay]\ndrop_dir = {:?}\n[route]\nnext_hops = [{:?}]\n",
            at("spool"),
            at("socket").display(),
            at("drop"),
            this.capture.next_hop(),
        );
        std::fs::write(at("spool.toml"), config).unwrap();
        symlink(spool_binary(), &sendmail).unwrap();
        let mutt = format!(
            "set sendmail=\"{} -oem -oi\"\nset use_envelope_from=yes\nset from=\"ada@example.org\"\nset realname=\"Ada \u{d6}\"\n\
             set record=\"\"\nset charset=utf-8\nset send_charset=utf-8\nset use_8bitmime=yes\nset allow_8bit=yes\n",
            sendmail.display()
        );
        std::fs::write(at("muttrc"), mutt).unwrap();
        let mailx = format!("set sendmail={}\nset sendwait\n", sendmail.display());
        std::fs::write(at("mailrc"), mailx).unwrap();
        std::fs::write(at("file.bin"), [0, 13, 10, 255].repeat(1000)).unwrap();
        this
    }

    fn serve(&self) -> Running {
        let config = self.dir.path().join("spool.toml");
        Running::start(&["serve", "--config", config.to_str().unwrap()])
    }

    /// Runs a program with this text as its input; gives whether it has sent, and what it said.
    fn run(&self, program: &str, args: &[&str], text: &str) -> Option<(bool, String)> {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("SPOOL_CONFIG", at("spool.toml"))
            .env("MAILRC", at("mailrc"))
            .env("HOME", self.dir.path())
            .env("LC_ALL", "C.UTF-8");
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().ok()?;
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        let output = child.wait_with_output().unwrap();
        Some((output.status.success(), said(&output)))
    }

    /// One message by `program`; `None`: it is not installed.
    fn send(&self, program: &str) -> Option<(bool, String)> {
        let (mutt, text) = (
            "-F muttrc -s Gr\u{fc}\u{df}e -a file.bin -c eve@else.example -b hidden@else.example --",
            TEXT,
        );
        let mut args: Vec<&str> = match program {
            "mutt" => mutt.split(' ').collect(),
            _ => vec![
                "-s",
                "hello there",
                "-c",
                "eve@else.example",
                "-b",
                "hidden@else.example",
            ],
        };
        args.push("bob@else.example");
        self.run(program, &args, text)
    }
}

const TEXT: &str = "Dear Bob,\n\n.a line with a dot\n.\nFrom here on\nGr\u{fc}\u{df}e\n";

fn check(program: &str, arrived: &Captured) {
    let text = String::from_utf8_lossy(&arrived.body).into_owned();
    assert_eq!(arrived.rcpt.len(), 3, "{program}: {text}");
    let header = text.split("\r\n\r\n").next().unwrap();
    assert!(
        !header.contains("hidden@") && header.contains("Cc: eve@else.example"),
        "{program}: {text}"
    );
    assert!(
        header.contains("\r\nDate: ") && header.contains("\r\nMessage-ID: "),
        "{program}: {text}"
    );
    // mutt quotes what could be taken for a separator, as it says in its header.
    let whole = match text.contains("quoted-printable") {
        true => text
            .replace("=46rom", "From")
            .replace("=2E", ".")
            .replace("=C3=BC=C3=9F", "\u{fc}\u{df}"),
        false => text.clone(),
    };
    assert!(whole.contains(&TEXT.replace('\n', "\r\n")), "{program}: {text}");
    match program {
        "mutt" => {
            assert!(arrived.mail.contains("<ada@example.org>"), "{}", arrived.mail);
            assert!(
                header.contains("Subject: =?utf-8?") && text.contains("filename=\"file.bin\""),
                "{text}"
            );
        }
        _ => assert!(header.contains("\r\nSubject: hello there\r\n"), "{text}"),
    }
}

#[test]
fn mail_programs_send_through_spool_sendmail_whether_or_not_it_runs() {
    for (program, version) in [("mutt", &["-v"][..]), ("bsd-mailx", &[])] {
        let machine = Machine::new();
        // Nothing there that could take it, and the program says so.
        let Some((success, said)) = machine.send(program) else {
            println!("skipped: there is no {program}");
            continue;
        };
        assert!(!success, "{program}: {said}");
        let server = machine.serve();
        let (success, said) = machine.send(program).unwrap();
        assert!(success, "{program}: {said}\n{}", server.log());
        check(program, &machine.capture.message());
        assert!(server.terminate().success());
        // Into the drop directory.
        let (success, said) = machine.send(program).unwrap();
        assert!(success, "{program}: {said}");
        assert_eq!(machine.capture.try_message().map(|mail| mail.mail), None);
        let server = machine.serve();
        check(program, &machine.capture.message());
        assert!(server.terminate().success());
        assert_eq!(machine.capture.try_message().map(|mail| mail.mail), None);
        let version = run_text(program, version);
        let version = version.lines().next().unwrap_or(program);
        println!("{version}: two messages, one of them through the drop directory; a failure is told");
    }
}
