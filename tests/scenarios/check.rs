//! `spool check`, and the same checks when the service starts and when it reads its configuration again.

use crate::queue_commands::text;
use spool_tests::process::{Running, run, serve, signal, spool_binary, until};
use spool_tests::raw::RawClient;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

fn check(config: &Path) -> (Option<i32>, String, String) {
    let output = run(&["check", "--config", config.to_str().unwrap()]);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn errors_are_told_with_their_lines_by_check_and_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    let spool = dir.path().join("spool");
    let written = format!(
        "spool_dir = {spool:?}\n[listen]\nsmtp = [\"127.0.0.1:0\", \"127.0.0.1:2599\", \"127.0.0.1:2599\"]\nadmin = \"127.0.0.1:0\"\n\
         [admin]\ntoken_file = \"/no/such/token\"\n[client]\ntls_roots = \"/no/such/roots.pem\"\n"
    );
    std::fs::write(&config, written).unwrap();
    let (status, out, said) = check(&config);
    assert_eq!((status, out.as_str()), (Some(2), ""), "{said}");
    let started = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(started.status.code(), Some(2));
    assert!(!spool.exists(), "nothing was made");
    for said in [said, text(&started.stderr)] {
        for (line, part) in [
            (3, "listen.smtp: 127.0.0.1:2599"),
            (6, "admin.token_file: /no/such/token: "),
            (8, "client.tls_roots: /no/such/roots.pem: "),
        ] {
            let begin = format!("{}:{line}: {part}", config.display());
            assert!(said.lines().any(|line| line.contains(&begin)), "{begin}\n{said}");
        }
    }
}

#[test]
fn warnings_are_told_and_stop_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (config, token) = (dir.path().join("spool.toml"), dir.path().join("token"));
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    let rules = "[[route.rule]]\ndomain = \"*.example\"\n[[route.rule]]\ndomain = \"a.example\"\n";
    std::fs::write(&config, format!("[admin]\ntoken_file = {token:?}\n{rules}")).unwrap();
    let (status, out, said) = check(&config);
    assert_eq!(status, Some(0), "{said}");
    assert!(out.ends_with("spool.toml: ok\n"), "{out}");
    let expected = [
        format!("{}:2: warning: admin.token_file: ", config.display()),
        format!("{}:6: warning: route.rule.domain: a.example", config.display()),
    ];
    for begin in &expected {
        assert!(said.lines().any(|line| line.starts_with(begin)), "{said}");
    }
    let mut command = Command::new(spool_binary());
    command.args([
        "serve",
        "--config",
        config.to_str().unwrap(),
        "--next-hop",
        "127.0.0.1:9",
    ]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--spool"]);
    let server = Running::spawn(command.arg(dir.path().join("spool")));
    for begin in &expected {
        // The level says what it is.
        let logged = format!("WARN {}", begin.replace("warning: ", ""));
        server.wait_for_log(&logged);
    }
    assert!(server.terminate().success());
}

#[test]
fn a_reload_with_a_file_that_cannot_be_used_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(&config, "max_concurrent_jobs = 7\n").unwrap();
    let spool = dir.path().join("spool");
    let server = serve(&spool, &["127.0.0.1:9"], &["--config", config.to_str().unwrap()]);
    std::fs::write(
        &config,
        "max_concurrent_jobs = 8\n[client]\ntls_roots = \"/no/such.pem\"\n",
    )
    .unwrap();
    signal(server.pid(), "HUP");
    until("the refusal", || {
        let log = server.log();
        (log.contains("the configuration was not changed") && log.contains("spool.toml:3: client.tls_roots"))
            .then_some(())
    });
    let url = format!("http://{}", server.field("admin"));
    let jobs = text(&run(&["jobs", "--admin", &url]).stdout);
    assert!(jobs.starts_with("at most 7,"), "{jobs}");
}

#[test]
fn a_reload_says_which_keys_changed_and_which_need_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    let (spool, key) = (dir.path().join("spool"), dir.path().join("key"));
    std::fs::write(
        &config,
        "threads = 1\n[relay]\nallow_networks = [\"127.0.0.0/8\"]\n",
    )
    .unwrap();
    let server = serve(&spool, &["127.0.0.1:9"], &["--config", config.to_str().unwrap()]);
    let rcpt = || {
        let mut client = RawClient::hello(server.smtp());
        assert_eq!(client.command("MAIL FROM:<a@example.org>").0, 250);
        client.command("RCPT TO:<b@example.net>").0
    };
    assert_eq!(rcpt(), 250);
    std::fs::write(&key, "0123456789abcdef0123456789abcdef\n").unwrap();
    let written = format!(
        "threads = 2\nmax_concurrent_jobs = 9\n[relay]\nallow_networks = []\n[log]\nredact = true\nredact_key_file = {key:?}\n"
    );
    std::fs::write(&config, &written).unwrap();
    signal(server.pid(), "HUP");
    let reloads = |count: usize| {
        until("the reload", || {
            (server.log().matches("configuration read again").count() == count).then_some(())
        });
    };
    reloads(1);
    let log = server.log();
    for line in [
        "configuration changed key=threads from=1 to=2 takes_effect=restart",
        "configuration changed key=max_concurrent_jobs from=200 to=9 takes_effect=now",
        "configuration changed key=relay.allow_networks from=\"[\\\"127.0.0.0/8\\\"]\" to=\"[]\" takes_effect=now",
        "configuration changed key=log.redact from=false to=true takes_effect=now",
        "configuration read again changed=5 need_restart=[threads]",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
    assert!(!log.contains("0123456789abcdef"), "no secret: {log}");
    assert_eq!(rcpt(), 550, "who may relay is reloaded");
    // A change that still needs a restart is reported again; what did not change is not.
    std::fs::write(&config, written.replace("jobs = 9", "jobs = 8")).unwrap();
    signal(server.pid(), "HUP");
    reloads(2);
    assert!(
        server
            .log()
            .contains("configuration read again changed=1 need_restart=[threads]"),
        "{}",
        server.log()
    );
}

#[test]
fn the_configuration_is_printed_with_the_source_of_each_value() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("spool.toml");
    std::fs::write(
        &config,
        "threads = 1\n[admin]\ntoken_file = \"/etc/spool/token\"\n",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let printed = |args: &[&str]| {
        let output = run(&[&["config", "--config", config], args].concat());
        assert!(output.status.success(), "{output:?}");
        text(&output.stdout)
    };
    let all = printed(&["--listen", "127.0.0.1:2626"]);
    for (value, source) in [
        ("threads = 1", format!("# {config}:1")),
        ("token_file = \"/etc/spool/token\"", format!("# {config}:3")),
        ("smtp = [\"127.0.0.1:2626\"]", "# command line".to_owned()),
        ("mx_port = 25", "# default".to_owned()),
    ] {
        let line = all.lines().find(|line| line.starts_with(value));
        assert!(line.is_some_and(|line| line.ends_with(&source)), "{value}\n{all}");
    }
    let again = dir.path().join("again.toml");
    std::fs::write(&again, &all).unwrap();
    assert_eq!(
        check(&again).0,
        Some(2),
        "the token is missing, and nothing else: {:?}",
        check(&again)
    );
    assert!(
        check(&again)
            .2
            .lines()
            .all(|line| line.contains("admin.token_file")),
        "{:?}",
        check(&again)
    );
    let changed = printed(&["--changed"]);
    let set = changed.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(set, 3, "two of the file, and the name of the machine: {changed}");
    for line in printed(&["--format", "json"]).lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            entry["key"].is_string() && entry["takes_effect"].is_string(),
            "{entry}"
        );
    }
}

#[test]
fn a_name_that_is_left_to_the_machine_is_named_in_a_finding() {
    let dir = tempfile::tempdir().unwrap();
    let (config, key) = (dir.path().join("spool.toml"), dir.path().join("s1.pem"));
    crate::reloads::key(&key);
    let spool = dir.path().join("spool");
    let text = format!(
        "spool_dir = {spool:?}\n[[dkim.key]]\ndomain = \"example.org\"\nselector = \"s1\"\nfile = {key:?}\n"
    );
    std::fs::write(&config, text).unwrap();
    let (status, _, told) = check(&config);
    assert_eq!(status, Some(0), "{told}");
    let begin = format!(
        "{}:3: warning: retry.bounce_from: bounces come from ",
        config.display()
    );
    let name = told.strip_prefix(&begin).and_then(|rest| rest.split(',').next());
    assert!(name.is_some_and(|name| !name.is_empty()), "{told}");
}
