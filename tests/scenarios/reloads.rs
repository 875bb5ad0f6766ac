//! What the log says of a reload: values that are back, files with other contents, and what waits for a restart.

use spool_tests::process::{Running, run, signal, spool_binary, until};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes the line of a user.
fn passwd(file: &Path, password: &str) {
    let mut command = Command::new(spool_binary());
    command.args(["passwd", "ada", "--file", file.to_str().unwrap()]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(password.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
}

/// Makes a signing key.
pub(crate) fn key(file: &Path) {
    let _ = std::fs::remove_file(file);
    let words = [
        "dkim",
        "new",
        "--domain",
        "example.org",
        "--selector",
        "s1",
        "--out",
    ];
    let made = run(&[&words[..], &[file.to_str().unwrap()]].concat());
    assert!(made.status.success(), "{made:?}");
}

/// Reloads; gives the lines of the log about the configuration and the contents of its files.
fn reload(server: &Running) -> Vec<String> {
    let before = server.log().len();
    signal(server.pid(), "HUP");
    until("the reload", || {
        let log = server.log().split_off(before);
        log.contains("configuration read again").then_some(())
    });
    let log = server.log().split_off(before);
    let lines = log.lines().filter_map(|line| line.split_once("Z "));
    let lines = lines.map(|(_, rest)| rest.to_owned());
    lines.filter(|line| line.starts_with("INFO con")).collect()
}

#[test]
fn a_reload_says_what_is_in_force_and_which_files_it_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let (users, signing) = (path("users"), path("s1.pem"));
    passwd(&users, "first\n");
    key(&signing);
    let first = format!(
        "spool_dir = {:?}\nhostname = \"mx.example.net\"\n[listen]\nsmtp = [\"127.0.0.1:0\"]\nadmin = \"\"\n\
         [relay]\nusers_file = {users:?}\n[route]\nnext_hops = [\"127.0.0.1:9\"]\n\
         [[dkim.key]]\ndomain = \"example.org\"\nselector = \"s1\"\nfile = {signing:?}\n",
        path("spool")
    );
    let config = path("spool.toml");
    std::fs::write(&config, &first).unwrap();
    let server = Running::start(&["serve", "--config", config.to_str().unwrap()]);
    // Where the key is said that calls for another address, and that it is a warning only once.
    let warning = format!(
        "WARN {}:11: retry.bounce_from: bounces come from",
        config.display()
    );
    until("the warning", || server.log().contains(&warning).then_some(()));

    let unchanged = "INFO configuration read again changed=0 need_restart=[]";
    assert_eq!(reload(&server), [unchanged]);
    // Keys that take a restart.
    let other = first
        .replace(
            "[\"127.0.0.1:0\"]",
            &format!("[\"127.0.0.1:0\", \"unix:{}\"]", path("socket").display()),
        )
        .replace("[relay]\n", &format!("[relay]\ndrop_dir = {:?}\n", path("drop")));
    std::fs::write(&config, &other).unwrap();
    let lines = reload(&server);
    for key in ["listen.smtp", "relay.drop_dir"] {
        let begin = format!("INFO configuration changed key={key} from=");
        let line = lines.iter().find(|line| line.starts_with(&begin));
        assert!(
            line.is_some_and(|line| line.ends_with(" takes_effect=restart")),
            "{lines:?}"
        );
    }
    let last = "INFO configuration read again changed=2 need_restart=[listen.smtp,relay.drop_dir]";
    assert_eq!(lines.last().unwrap(), last);
    // Back at what is in force.
    std::fs::write(&config, &first).unwrap();
    let lines = reload(&server);
    let changed = lines.iter().filter(|line| line.contains("configuration changed"));
    let now: Vec<bool> = changed.map(|line| line.ends_with(" takes_effect=now")).collect();
    assert_eq!(now, [true, true], "{lines:?}");
    assert_eq!(
        lines.last().unwrap(),
        "INFO configuration read again changed=2 need_restart=[]"
    );
    // The same names, and other contents.
    passwd(&users, "second\n");
    key(&signing);
    let told = |key: &str, file: &Path| {
        format!(
            "INFO contents of a file changed; it is read again key={key} file={}",
            file.display()
        )
    };
    assert_eq!(
        reload(&server),
        [
            told("dkim.key.file", &signing),
            told("relay.users_file", &users),
            unchanged.to_owned(),
        ]
    );
}
