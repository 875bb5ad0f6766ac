//! Mail from programs of this machine: `sendmail` and its other names, over the Unix socket.

use crate::queue_commands::text;
use spool_core::store::count_from_disk;
use spool_tests::capture::{Capture, Captured};
use spool_tests::process::{Running, spool_binary, until};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A user of this machine that is neither root nor the service.
pub(crate) const USER: u32 = 12_345;
/// A user for the service.
pub(crate) const SERVICE: u32 = 65_534;

/// A machine: a configuration, a socket, a drop directory, and `sendmail` under its names.
pub(crate) struct Site {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) capture: Capture,
    /// Whom `sendmail` is run by, when not by us; and the service.
    pub(crate) users: Option<(u32, u32)>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With more lines of its configuration in front.
    pub(crate) fn with(more: &str) -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
            capture: Capture::start(),
            users: None,
        };
        let config = format!(
            "spool_dir = {:?}\nhostname = \"mx.example.org\"\n{more}\n[listen]\nsmtp = [\"unix:{}\"]\nadmin = \"127.0.0.1:0\"\n\
             [listen.limits]\nmessage_size = \"10MiB\"\n[relay]\ndrop_dir = {:?}\n[route]\nnext_hops = [{:?}]\n",
            site.at("spool"),
            site.at("socket").display(),
            site.at("drop"),
            site.capture.next_hop(),
        );
        fs::write(site.at("spool.toml"), config).unwrap();
        for name in ["sendmail", "mailq", "newaliases"] {
            symlink(spool_binary(), site.at(name)).unwrap();
        }
        site
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn serve(&self) -> Running {
        let mut command = Command::new(spool_binary());
        command.args(["serve", "--config"]).arg(self.at("spool.toml"));
        if let Some((_, service)) = self.users {
            command.uid(service).gid(service);
        }
        Running::spawn(&mut command)
    }

    /// A service that has been and gone: its directories are there.
    pub(crate) fn once_served(&self) {
        assert!(self.serve().terminate().success());
    }

    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.at(name));
        command.args(args).env("SPOOL_CONFIG", self.at("spool.toml"));
        if let Some((user, _)) = self.users {
            command.uid(user).gid(user);
        }
        command
    }

    pub(crate) fn run(&self, name: &str, args: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(name, args);
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // What refuses its command line reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    pub(crate) fn sendmail(&self, args: &[&str], input: &[u8]) -> (Option<i32>, String) {
        let output = self.run("sendmail", args, input);
        assert_eq!(
            text(&output.stdout),
            "",
            "sendmail says nothing on standard output"
        );
        (output.status.code(), text(&output.stderr))
    }

    pub(crate) fn sends(&self, args: &[&str], input: &[u8]) {
        let (status, said) = self.sendmail(args, input);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{args:?}");
    }

    /// The files that wait in the drop directory, those that were claimed included, those set aside apart.
    pub(crate) fn dropped(&self) -> Vec<String> {
        let mut names = Vec::new();
        for place in ["drop", "drop/taken"] {
            // Before the first start of the service there is no such directory within it.
            let Ok(entries) = fs::read_dir(self.at(place)) else {
                continue;
            };
            names.extend(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
        }
        names.retain(|name| name != "refused" && name != "taken");
        names
    }

    pub(crate) fn refused(&self) -> usize {
        fs::read_dir(self.at("drop/refused")).unwrap().count()
    }

    pub(crate) fn taken(&self) {
        until("the drop directory is empty", || {
            self.dropped().is_empty().then_some(())
        });
    }
}

pub(crate) fn body(message: &Captured) -> String {
    String::from_utf8(message.without_trace().to_vec()).unwrap()
}

pub(crate) fn trace(message: &Captured) -> String {
    let all = String::from_utf8_lossy(&message.body).into_owned();
    all[..message.body.len() - message.without_trace().len()].replace("\r\n\t", " ")
}

pub(crate) fn us() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

pub(crate) const MESSAGE: &[u8] = b"From: Ada <ada@example.org>\nTo: Bob <bob@example.net>\nBcc: eve@example.net\nSubject: hi\n\nhello\n.\n..\nend\n";

#[test]
fn a_message_goes_over_the_socket_and_says_whose_it_is() {
    let site = Site::new();
    let _server = site.serve();
    site.sends(&["-t", "-i", "root"], MESSAGE);
    let arrived = site.capture.message();
    assert_eq!(
        arrived.rcpt,
        [
            "RCPT TO:<root@mx.example.org>",
            "RCPT TO:<bob@example.net>",
            "RCPT TO:<eve@example.net>"
        ]
    );
    let trace = trace(&arrived);
    assert!(
        trace.starts_with(&format!(
            "Received: from mx.example.org (uid {}) by mx.example.org with ESMTP",
            us()
        )),
        "{trace}"
    );
    let body = body(&arrived);
    let (head, text) = body.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("From: Ada <ada@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: hi\r\nDate: "),
        "{head}"
    );
    assert!(
        head.contains("\r\nMessage-ID: <") && !head.contains("eve"),
        "{head}"
    );
    assert_eq!(text, "hello\r\n.\r\n..\r\nend\r\n");
    assert!(site.dropped().is_empty());
}

#[test]
fn what_other_programs_give_is_sent() {
    let site = Site::new();
    let _server = site.serve();
    // cron; the end of the message is a lone dot, and what follows is not read.
    site.sends(
        &[
            "-FCronDaemon",
            "-odi",
            "-oem",
            "-B8BITMIME",
            "-fcron",
            "ada@example.org",
        ],
        "Subject: Cron\n\nna\u{ef}ve\n.\nnot this\n".as_bytes(),
    );
    let arrived = site.capture.message();
    assert_eq!(arrived.mail.split(' ').nth(1), Some("FROM:<cron@mx.example.org>"));
    assert!(arrived.mail.contains("BODY=8BITMIME"), "{}", arrived.mail);
    let sent = body(&arrived);
    assert!(
        sent.contains("\r\nFrom: CronDaemon <cron@mx.example.org>\r\n"),
        "{sent}"
    );
    assert!(sent.ends_with("\r\n\r\nna\u{ef}ve\r\n"), "{sent}");
    // A text alone; the null sender; the verb of the program.
    let mut command = Command::new(spool_binary());
    command.args(["sendmail", "-C"]).arg(site.at("spool.toml"));
    let mut child = command
        .args(["-f", "", "--", "bob@example.net"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"only text").unwrap();
    assert!(child.wait().unwrap().success());
    let arrived = site.capture.message();
    assert!(arrived.mail.starts_with("MAIL FROM:<>"), "{}", arrived.mail);
    let sent = body(&arrived);
    assert!(
        sent.starts_with("From: ") && sent.ends_with("\r\n\r\nonly text\r\n"),
        "{sent}"
    );
}

#[test]
fn the_other_names_list_the_queue_and_have_no_aliases() {
    let site = Site::with("max_concurrent_jobs = 0");
    let server = site.serve();
    site.sends(
        &["-f", "ada@example.org", "bob@example.net"],
        b"Subject: x\n\nx\n",
    );
    let admin = format!("http://{}", server.field("admin"));
    for (name, args) in [("mailq", &[][..]), ("sendmail", &["-bp"])] {
        let output = site
            .command(name, args)
            .env("SPOOL_ADMIN", &admin)
            .output()
            .unwrap();
        let listed = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            listed.contains("ada@example.org") && listed.contains("bob@example.net"),
            "{listed}"
        );
    }
    let json = site
        .command("mailq", &["--format", "id"])
        .env("SPOOL_ADMIN", &admin)
        .output()
        .unwrap();
    assert_eq!(text(&json.stdout).trim().len(), 26);
    for (name, args) in [
        ("newaliases", &[][..]),
        ("sendmail", &["-bi"]),
        ("sendmail", &["-I"]),
    ] {
        let output = site.run(name, args, b"");
        assert!(output.status.success());
        assert!(text(&output.stderr).contains("there are no aliases to rebuild"));
    }
    drop(server);
    let output = site
        .command("mailq", &[])
        .env("SPOOL_ADMIN", &admin)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(69));
}

#[test]
fn each_failure_has_its_status_and_sends_nothing() {
    let site = Site::new();
    let _server = site.serve();
    let to = "bob@example.net";
    for (args, input, status, part) in [
        (&["-Z", to][..], &b"x"[..], 64, "-Z: unknown option"),
        (&["-i"], b"x", 64, "no recipient"),
        (&["a b"], b"x", 64, "a b: "),
        (&["-f", "a,b", to], b"x", 64, "one address"),
        (&["-t"], b"Subject: x\n\nx\n", 65, "names a recipient"),
        (&["-t"], b"To: <broken\n\nx\n", 65, "to: <broken: "),
        (&[to], b"a\n\0\n", 65, "line 2 of the message holds a NUL"),
        (
            &["-O", "requiretls=yes", "-C", "/no/such.toml", to],
            b"x",
            78,
            "/no/such.toml",
        ),
    ] {
        let (found, said) = site.sendmail(args, input);
        assert_eq!(found, Some(status), "{args:?}: {said}");
        assert!(
            said.starts_with("sendmail: ") && said.contains(part),
            "{args:?}: {said}"
        );
    }
    let (status, said) = site.sendmail(&[to], &vec![b'x'; 11 << 20]);
    assert_eq!(status, Some(65), "{said}");
    let many: Vec<String> = (0..1001).map(|number| format!("r{number}@example.net")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (status, said) = site.sendmail(&many, b"x");
    assert_eq!(status, Some(65), "{said}");
    assert_eq!(site.capture.try_message(), None);
    assert!(site.dropped().is_empty());
    assert_eq!(count_from_disk(&site.at("spool")).unwrap(), 0);
}

#[test]
fn the_network_is_used_where_there_is_no_socket() {
    let site = Site::new();
    let spool = site.at("spool");
    let server = spool_tests::process::serve(&spool, &[&site.capture.next_hop()], &[]);
    let config = |networks: &str| {
        let text = format!(
            "[listen]\nsmtp = [\"{}\"]\n[relay]\nallow_networks = [{networks}]\n",
            server.smtp()
        );
        fs::write(site.at("spool.toml"), text).unwrap();
    };
    config("");
    site.sends(&["bob@example.net"], b"Subject: x\n\nx\n");
    let trace = trace(&site.capture.message());
    assert!(trace.contains("([127.0.0.1])"), "{trace}");
    drop(server);
    let (status, said) = site.sendmail(&["bob@example.net"], b"x");
    assert_eq!(status, Some(75), "no drop directory: {said}");
}

#[test]
fn a_session_on_standard_input_is_the_services_own() {
    let site = Site::new();
    let server = site.serve();
    let session = b"EHLO here\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n";
    let output = site.run("sendmail", &["-bs"], session);
    let said = text(&output.stdout);
    assert!(
        output.status.success() && said.starts_with("220 ") && said.contains("\r\n221 "),
        "{said}"
    );
    assert!(trace(&site.capture.message()).contains(&format!("(uid {})", us())));
    // Its end without QUIT is the end of the session.
    let output = site.run("sendmail", &["-bs"], b"NOOP\r\n");
    assert!(text(&output.stdout).contains("250 2.0.0 Ok"));
    drop(server);
    let output = site.run("sendmail", &["-bs"], session);
    assert_eq!(output.status.code(), Some(75));
    assert!(text(&output.stdout).starts_with("421 4.3.2 "));
}
