//! `spool check`, and the same checks when the service starts and when it reads its configuration again.

use crate::queue_commands::text;
use spool_tests::process::{Running, run, serve, signal, spool_binary, until};
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
        assert!(server.log().contains(begin), "{}", server.log());
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
