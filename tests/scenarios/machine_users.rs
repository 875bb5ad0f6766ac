//! Users of the machine are known by their ids, limited, and kept apart; none can act for another.

use crate::queue_commands::text;
use crate::sendmail::{SERVICE, Site, USER, body, trace, us};
use spool_tests::process::{Running, run, spool_binary, until};
use spool_tests::raw::{FALSE_END_WITH_NUL, FALSE_ENDS};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn smuggled_commands_are_text_over_the_socket_and_through_the_drop_directory() {
    let ends = [&FALSE_ENDS[..], &["\r\n.\r\n", FALSE_END_WITH_NUL]].concat();
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
        for end in &ends {
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
