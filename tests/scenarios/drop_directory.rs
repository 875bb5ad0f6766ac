//! The drop directory: mail that `sendmail` leaves there while the service is down is sent once.

use crate::queue_commands::text;
use crate::sendmail::{MESSAGE, Site, body, trace, us};
use spool_core::store::count_from_disk;
use spool_tests::process::{run, until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

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
