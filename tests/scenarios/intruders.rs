//! What comes from outside and would like to be a path, and who else may read the spool.

use crate::queue_commands::text;
use spool_tests::http;
use spool_tests::process::{Running, run, spool_binary};
use spool_tests::raw::RawClient;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stands outside the spool, under names that an id could lead to.
const SECRET: &str = "the-secret-text";

fn serve_with_umask(umask: &str, spool: &Path) -> Running {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\"")])
        .arg(spool_binary());
    command.args([
        "serve",
        "--spool",
        spool.to_str().unwrap(),
        "--next-hop",
        "127.0.0.1:9",
    ]);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    Running::spawn(&mut command)
}

/// Every path below `dir`, with its mode and, for a file, its content.
fn walk(dir: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let found = std::fs::symlink_metadata(&path).unwrap();
        let content = if found.is_dir() {
            Vec::new()
        } else {
            std::fs::read(&path).unwrap()
        };
        if found.is_dir() {
            all.extend(walk(&path));
        }
        all.insert(path, (found.mode() & 0o7777, content));
    }
    all
}

fn mail(server: &Running) -> String {
    let mut client = RawClient::hello(server.smtp());
    let (code, reply) = client
        .transaction("a@example.org", &["b@example.net"], b"x\r\n")
        .unwrap();
    assert_eq!(code, 250, "{reply}");
    reply.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn everything_in_a_spool_is_its_owners_alone_whatever_the_umask() {
    for umask in ["000", "022", "077", "0277"] {
        let dir = tempfile::tempdir().unwrap();
        let spool = dir.path().join("spool");
        let server = serve_with_umask(umask, &spool);
        let admin = format!("http://{}", server.field("admin"));
        let id = mail(&server);
        for verb in ["freeze", "remove"] {
            let done = run(&[verb, &id, "--admin", &admin]);
            assert!(done.status.success(), "{umask}: {}", text(&done.stderr));
        }
        mail(&server);
        assert!(server.terminate().success());
        let all = walk(&spool);
        assert!(all.keys().any(|path| path.ends_with(format!("removed/{id}.eml"))));
        assert_eq!(
            std::fs::metadata(&spool).unwrap().mode() & 0o7777,
            0o700,
            "{umask}"
        );
        for (path, (mode, _)) in all {
            let expected = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, expected, "{umask}: {}: {mode:o}", path.display());
        }
    }
}

/// Texts that are no id, and lead somewhere when they are taken for a part of a path.
fn no_ids() -> Vec<String> {
    let id = "01M85T5PR00000000000000020";
    let steps = [
        "../",
        "..%2f",
        "%2e%2e/",
        "%2e%2e%2f",
        "..%5c",
        "..\\",
        "....//",
        "%252e%252e%252f",
        "..;/",
        "%c0%ae%c0%ae/",
    ];
    let targets = [
        "secret",
        "secret.eml",
        "outside/secret",
        "etc/passwd",
        "FORMAT",
        "lock",
        "journal/0000000001.log",
    ];
    let mut all: Vec<String> = Vec::new();
    for step in steps {
        for depth in 1..=3 {
            all.extend(targets.iter().map(|target| step.repeat(depth) + target));
        }
        all.push(format!("{id}/{step}secret"));
        all.push(format!("{step}{id}"));
        all.push(format!("removed/{step}secret"));
    }
    for odd in [
        "secret",
        ".",
        "..",
        "%00",
        "%2e",
        "-",
        "--all",
        "*",
        "?",
        "%0d%0aX:%20y",
        "%20",
        "%ff",
        "lock",
        "spare",
        "FORMAT",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "~",
        "$HOME",
        "`id`",
        "a;b",
        "a&b",
        "NUL",
        "con",
    ] {
        all.push(odd.to_owned());
        all.push(format!("{id}{odd}"));
    }
    // Other spellings of an id, and ids that are too short, too long or too great.
    all.extend([
        id.to_lowercase(),
        id.replace('0', "O"),
        id.replace('1', "I"),
        id[..25].to_owned(),
        format!("{id}0"),
        format!("{id}.eml"),
        format!("{id}.json"),
        format!("{id}%00"),
        format!("0{}", &id[..24]),
        "8ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned(),
        "1".repeat(10_000),
    ]);
    all
}

#[test]
fn nothing_that_is_no_id_reaches_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = serve_with_umask("022", &spool);
    let admin = server.field("admin").to_owned();
    let url = format!("http://{admin}");
    assert!(run(&["jobs", "0", "--admin", &url]).status.success());
    mail(&server);
    std::fs::create_dir(dir.path().join("outside")).unwrap();
    for name in [
        "secret",
        "secret.eml",
        "secret.json",
        "outside/secret",
        "outside/secret.eml",
    ] {
        std::fs::write(dir.path().join(name), SECRET).unwrap();
    }
    // What the spool writes by itself meanwhile.
    let events = |path: &Path| {
        path.components()
            .any(|part| part.as_os_str() == "events" || part.as_os_str() == "spare")
    };
    let files = || -> BTreeMap<_, _> {
        walk(dir.path())
            .into_iter()
            .filter(|(path, _)| !events(path))
            .collect()
    };
    let before = files();
    let mut asked = 0;
    for text in no_ids() {
        let escaped = text.replace(' ', "%20").replace('\\', "%5c").replace('?', "%3f");
        let mut answers = Vec::new();
        for after in ["", "/body", "/explain"] {
            answers.push(http::ask(
                &admin,
                "GET",
                &format!("/api/v1/messages/{escaped}{after}"),
                "",
            ));
        }
        for list in ["status", "count"] {
            answers.push(http::ask(
                &admin,
                "GET",
                &format!("/api/v1/{list}?id={escaped}&queue=removed"),
                "",
            ));
        }
        for verb in ["freeze", "send", "remove", "recover", "purge"] {
            let ids = serde_json::json!({ "ids": [text], "from": "removed" }).to_string();
            answers.push(http::ask(&admin, "POST", &format!("/api/v1/{verb}"), &ids));
        }
        for (status, body) in answers {
            assert!((400..500).contains(&status), "{text:?}: {status} {body}");
            assert!(!body.contains(SECRET), "{text:?}");
            asked += 1;
        }
    }
    println!("{asked} requests, none led anywhere");
    assert!(asked > 500);
    assert_eq!(files(), before, "nothing has changed");
    assert_eq!(
        http::ask(&admin, "GET", "/api/v1/count?all=true", "").1.trim(),
        "{\"count\":1}"
    );
}

#[test]
fn nothing_that_is_no_id_reaches_a_file_from_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = serve_with_umask("022", &spool);
    let url = format!("http://{}", server.field("admin"));
    assert!(run(&["jobs", "0", "--admin", &url]).status.success());
    mail(&server);
    for name in ["secret", "secret.eml", "secret.json"] {
        std::fs::write(dir.path().join(name), SECRET).unwrap();
    }
    let copies = dir.path().join("copies");
    let (at, to) = (spool.to_str().unwrap(), copies.to_str().unwrap());
    // Every eighth: each is a process.
    for text in no_ids()
        .into_iter()
        .step_by(8)
        .filter(|text| !text.starts_with('-'))
    {
        for args in [
            vec!["show", &text, "--admin", &url],
            vec!["show", &text, "--body", "--spool", at],
            vec!["explain", &text, "--admin", &url],
            vec!["freeze", &text, "--admin", &url],
            vec!["recover", &text, "--from", "removed", "--admin", &url],
            vec!["status", &text, "--spool", at],
            vec!["export", &text, "--spool", at, "--to", to],
        ] {
            let output = run(&args);
            assert!(
                [Some(2), Some(4)].contains(&output.status.code()),
                "{args:?}: {output:?}"
            );
            let said = [output.stdout, output.stderr].concat();
            assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{args:?}");
        }
    }
    assert!(!copies.exists() || walk(&copies).is_empty());
    assert!(!spool.join("removed").exists());
}
