//! Mail from programs of this machine: `sendmail` and its other names, the Unix socket, and the drop directory while the service is
//! down.

use crate::queue_commands::text;
use spool_core::store::count_from_disk;
use spool_tests::capture::{Capture, Captured};
use spool_tests::process::{Running, run, spool_binary, until};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A user of this machine that is neither root nor the service.
const USER: u32 = 12_345;
/// A user for the service.
const SERVICE: u32 = 65_534;

/// A machine: a configuration, a socket, a drop directory, and `sendmail` under its names.
struct Site {
    dir: tempfile::TempDir,
    capture: Capture,
    /// Whom `sendmail` is run by, when not by us; and the service.
    users: Option<(u32, u32)>,
}

impl Site {
    fn new() -> Self {
        Self::with("")
    }

    /// With more lines of its configuration in front.
    fn with(more: &str) -> Self {
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

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serve(&self) -> Running {
        let mut command = Command::new(spool_binary());
        command.args(["serve", "--config"]).arg(self.at("spool.toml"));
        if let Some((_, service)) = self.users {
            command.uid(service).gid(service);
        }
        Running::spawn(&mut command)
    }

    /// A service that has been and gone: its directories are there.
    fn once_served(&self) {
        assert!(self.serve().terminate().success());
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.at(name));
        command.args(args).env("SPOOL_CONFIG", self.at("spool.toml"));
        if let Some((user, _)) = self.users {
            command.uid(user).gid(user);
        }
        command
    }

    fn run(&self, name: &str, args: &[&str], input: &[u8]) -> Output {
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

    fn sendmail(&self, args: &[&str], input: &[u8]) -> (Option<i32>, String) {
        let output = self.run("sendmail", args, input);
        assert_eq!(
            text(&output.stdout),
            "",
            "sendmail says nothing on standard output"
        );
        (output.status.code(), text(&output.stderr))
    }

    fn sends(&self, args: &[&str], input: &[u8]) {
        let (status, said) = self.sendmail(args, input);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{args:?}");
    }

    /// The files that wait in the drop directory, those that were claimed included, those set aside apart.
    fn dropped(&self) -> Vec<String> {
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

    fn refused(&self) -> usize {
        fs::read_dir(self.at("drop/refused")).unwrap().count()
    }

    fn taken(&self) {
        until("the drop directory is empty", || {
            self.dropped().is_empty().then_some(())
        });
    }
}

fn body(message: &Captured) -> String {
    String::from_utf8(message.without_trace().to_vec()).unwrap()
}

fn trace(message: &Captured) -> String {
    let all = String::from_utf8_lossy(&message.body).into_owned();
    all[..message.body.len() - message.without_trace().len()].replace("\r\n\t", " ")
}

fn us() -> u32 {
    fs::metadata("/proc/self").unwrap().uid()
}

const MESSAGE: &[u8] = b"From: Ada <ada@example.org>\nTo: Bob <bob@example.net>\nBcc: eve@example.net\nSubject: hi\n\nhello\n.\n..\nend\n";

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
fn smuggled_commands_are_text_over_the_socket_and_through_the_drop_directory() {
    let ends = [
        "\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r.\r\n",
        "\r\n.\n",
        "\r\n.\r",
        "\r\n.\r\n",
        "\n\r.\r\n",
        "\r\r\n.\r\n",
        "\r\n\0.\r\n",
    ];
    let site = Site::new();
    let attack = |end: &str| {
        format!(
            "Subject: outer\r\n\r\nouter{end}MAIL FROM:<admin@d.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhidden\r\n.\r\nQUIT\r\n"
        )
    };
    let mut server = Some(site.serve());
    for down in [false, true] {
        if down {
            assert!(server.take().unwrap().terminate().success());
        }
        for end in ends {
            let (status, said) = site.sendmail(&["-i", "bob@example.net"], attack(end).as_bytes());
            let expected = if end.contains('\0') { 65 } else { 0 };
            assert_eq!(status, Some(expected), "{end:?}: {said}");
        }
        let _server = down.then(|| site.serve());
        for end in &ends[..ends.len() - 1] {
            let arrived = site.capture.message();
            assert_eq!(arrived.rcpt, ["RCPT TO:<bob@example.net>"], "{end:?}");
            let body = body(&arrived);
            assert!(
                body.contains("\r\nRCPT TO:<c@d.example>\r\nDATA\r\nhidden\r\n.\r\nQUIT\r\n"),
                "{body}"
            );
            assert!(!body.replace("\r\n", "").contains(['\r', '\n']));
        }
        assert_eq!(site.capture.try_message(), None);
        // A line of 8 MiB.
        let mut long = b"Subject: long\n\n".to_vec();
        long.resize(8 << 20, b'x');
        site.sends(&["bob@example.net"], &long);
        assert!(site.capture.message().body.ends_with(b"xxx\r\n"));
    }
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

#[test]
fn mail_left_while_the_service_is_down_is_delivered_once() {
    let site = Site::new();
    let (status, said) = site.sendmail(&["bob@example.net"], b"x");
    assert_eq!(status, Some(75), "nowhere to leave it: {said}");
    assert!(said.contains("socket") && said.contains("drop"), "{said}");
    site.once_served();
    site.sends(&["-t", "-i", "-f", "ada@example.org"], MESSAGE);
    let left = site.dropped();
    assert_eq!(left.len(), 1);
    let found = fs::metadata(site.at("drop").join(&left[0])).unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o640);
    let server = site.serve();
    let arrived = site.capture.message();
    let trace = trace(&arrived);
    assert!(
        trace.starts_with(&format!(
            "Received: by mx.example.org (from uid {}) id {};",
            us(),
            left[0]
        )),
        "{trace}"
    );
    assert!(body(&arrived).starts_with("From: Ada <ada@example.org>\r\nTo: Bob"));
    site.taken();
    until("the log", || {
        let log = server.log();
        log.contains(&format!(" via=drop uid={} ", us())).then_some(())
    });
    // What comes while the service runs is taken as well.
    let file = "{\"spool_drop\":1,\"from\":\"\",\"to\":[\"c@d.example\"]}\nSubject: by hand\r\n\r\nx\r\n";
    fs::write(site.at("drop/01M8Q0X0C24FBQB4WSXN0N64JG"), file).unwrap();
    assert_eq!(body(&site.capture.message()), "Subject: by hand\r\n\r\nx\r\n");
    site.taken();
    assert!(server.terminate().success());
    let server = site.serve();
    assert_eq!(site.capture.try_message(), None);
    assert_eq!(site.refused(), 0);
    drop(server);
}

#[test]
fn a_user_beyond_a_limit_tries_again_and_beyond_one_of_connections_leaves_a_file() {
    let site = Site::new();
    let config = fs::read_to_string(site.at("spool.toml")).unwrap();
    let limits = "[listen.limits]\nmessages_per_client = \"1/1h\"\nconnections_per_client_rate = \"2/1h\"\n";
    fs::write(site.at("spool.toml"), config.replace("[listen.limits]\n", limits)).unwrap();
    let _server = site.serve();
    site.sends(&["bob@example.net"], b"Subject: first\n\nx\n");
    assert!(body(&site.capture.message()).contains("Subject: first\r\n"));
    let (status, said) = site.sendmail(&["bob@example.net"], b"Subject: second\n\nx\n");
    assert_eq!(status, Some(75), "{said}");
    assert!(said.contains("450 4.7.1 ") && site.dropped().is_empty(), "{said}");
    site.sends(&["bob@example.net"], b"Subject: third\n\nx\n");
    assert!(body(&site.capture.message()).contains("Subject: third\r\n"));
    site.taken();
    assert_eq!(site.capture.try_message(), None);
}

/// A file as sendmail leaves it, its sender with this number.
fn file(number: usize) -> (String, String) {
    let head = format!("{{\"spool_drop\":1,\"from\":\"t{number}@example.org\",\"to\":[\"c@d.example\"]}}\n");
    (format!("{number:026}"), head + "Subject: x\r\n\r\nx\r\n")
}

#[test]
fn a_kill_between_the_spool_and_the_file_brings_no_second_copy() {
    const FILES: usize = 1500;
    let site = Site::with("max_concurrent_jobs = 0");
    site.once_served();
    for number in 0..FILES {
        let (name, text) = file(number);
        fs::write(site.at("drop").join(name), text).unwrap();
    }
    let mut kills = 0;
    let mut within = 0;
    loop {
        let before = site.dropped().len();
        if before == 0 {
            break;
        }
        let server = site.serve();
        std::thread::park_timeout(Duration::from_micros(1500 * (kills % 17)));
        server.kill();
        kills += 1;
        let on_spool = usize::try_from(count_from_disk(&site.at("spool")).unwrap()).unwrap();
        // On the spool, and still a file.
        within += usize::from(on_spool + site.dropped().len() > FILES);
        if kills >= 40 {
            let _server = site.serve();
            site.taken();
        }
    }
    let dir = site.at("spool");
    let listed = run(&["status", "--spool", dir.to_str().unwrap(), "--format", "json"]);
    let mut senders = std::collections::HashMap::<String, usize>::new();
    for line in text(&listed.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        *senders
            .entry(message["sender"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(senders.len(), FILES, "none is lost");
    assert!(senders.values().all(|count| *count == 1), "none is there twice");
    println!("{kills} kills, {within} of them between the spool and the file");
    assert!(kills > 1 && within > 0, "{kills} kills, {within} within");
    assert_eq!(site.refused(), 0);
}

#[test]
fn what_is_no_mail_is_set_aside_and_stops_nothing() {
    let site = Site::new();
    site.once_served();
    let drop = site.at("drop");
    let id = |number: usize| drop.join(file(number).0);
    let secret = site.at("secret");
    fs::write(&secret, file(1).1).unwrap();
    symlink(&secret, id(1)).unwrap();
    fs::hard_link(&secret, id(2)).unwrap();
    assert!(Command::new("mkfifo").arg(id(3)).status().unwrap().success());
    fs::write(id(4), "{\"spool_drop\":1}\n").unwrap();
    fs::write(id(5), file(5).1.replace("\r\n", "\n")).unwrap();
    fs::write(id(6), "x".repeat(1 << 20)).unwrap();
    fs::write(drop.join("a\u{1b}[31m name\n"), file(7).1).unwrap();
    fs::write(
        id(8),
        format!("{}{}", file(8).1.split_once('\n').unwrap().0, "\n") + &"Received: x\r\n".repeat(51),
    )
    .unwrap();
    fs::write(id(9), "").unwrap();
    fs::create_dir_all(drop.join("directory/inner")).unwrap();
    // A flood of names, and one message.
    for number in 0..5_000 {
        fs::write(drop.join(format!("junk-{number}")), "").unwrap();
    }
    let (name, text) = file(10);
    fs::write(drop.join(name), text).unwrap();
    let server = site.serve();
    // Others are served meanwhile.
    let began = Instant::now();
    let mut client = BufReader::new(UnixStream::connect(site.at("socket")).unwrap());
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    assert!(line.starts_with("220 "), "{line}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(
        site.capture.message().mail.split(' ').nth(1),
        Some("FROM:<t10@example.org>")
    );
    until("all but a directory is gone", || {
        (site.dropped() == ["directory"]).then_some(())
    });
    assert_eq!(site.refused(), 5_009);
    for part in [
        "not mail: set aside",
        "more files were set aside",
        "cannot be removed",
    ] {
        until(part, || server.log().contains(part).then_some(()));
    }
    let log = server.log();
    assert!(
        !log.contains('\u{1b}') && log.lines().count() < 1000,
        "{} lines",
        log.lines().count()
    );
    assert_eq!(fs::read_to_string(&secret).unwrap(), file(1).1);
    assert_eq!(site.capture.try_message(), None);
}

#[test]
fn users_of_the_machine_are_told_apart_and_see_nothing_of_each_other() {
    if us() != 0 {
        println!("skipped: only root can run programs as others");
        return;
    }
    let mut site = Site::new();
    // The program itself may lie where others have no way.
    for name in ["sendmail", "mailq", "newaliases"] {
        fs::remove_file(site.at(name)).unwrap();
    }
    fs::copy(spool_binary(), site.at("sendmail")).unwrap();
    fs::set_permissions(site.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(site.dir.path(), Some(SERVICE), Some(SERVICE)).unwrap();
    site.users = Some((USER, SERVICE));
    let serve = || {
        let mut command = Command::new(site.at("sendmail"));
        // Under another name it is the service.
        command
            .arg0("spool")
            .args(["serve", "--config"])
            .arg(site.at("spool.toml"));
        Running::spawn(command.uid(SERVICE).gid(SERVICE))
    };
    let server = serve();
    site.sends(&["-i", "bob@example.net"], b"Subject: x\n\nx\n");
    let arrived = site.capture.message();
    assert!(
        trace(&arrived).contains(&format!("(uid {USER})")),
        "{}",
        trace(&arrived)
    );
    let admin = format!("http://{}", server.field("admin"));
    let listed = text(&run(&["clients", "--format", "json", "--admin", &admin]).stdout);
    let client: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(client["client"], format!("uid:{USER}"), "{listed}");
    assert_eq!(
        (&client["user"], &client["messages"]["count"]),
        (&false.into(), &1.into())
    );
    // It has no name on this machine.
    assert!(
        body(&arrived).contains(&format!("From: uid-{USER}@mx.example.org")),
        "{}",
        body(&arrived)
    );
    until("the log", || {
        server
            .log()
            .contains(&format!(" via=local uid={USER} "))
            .then_some(())
    });
    assert!(server.terminate().success());
    site.sends(&["-i", "bob@example.net"], b"Subject: x\n\nx\n");
    let left = site.at("drop").join(&site.dropped()[0]);
    let found = fs::metadata(&left).unwrap();
    assert_eq!(
        (found.uid(), found.gid()),
        (USER, SERVICE),
        "the service's group may read it"
    );
    let other = |program: &str, path: &Path| {
        let mut command = Command::new(program);
        command
            .arg(path)
            .uid(USER + 1)
            .gid(USER + 1)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().unwrap().success()
    };
    assert!(!other("ls", &site.at("drop")) && !other("cat", &left) && !other("rm", &left));
    let server = serve();
    assert!(trace(&site.capture.message()).contains(&format!("(from uid {USER})")));
    site.taken();
    until("the log", || {
        server
            .log()
            .contains(&format!(" via=drop uid={USER} "))
            .then_some(())
    });
}
