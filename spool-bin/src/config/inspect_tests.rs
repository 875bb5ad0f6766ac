//! What is found in configurations, on files of their own.

use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file that only its owner may read.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path
    }

    /// What is found, with `DIR` for this bench's directory: `line gravity key: text`.
    fn found(&self, text: &str) -> Vec<String> {
        let dir = self.0.path().display().to_string();
        let text = text.replace("DIR", &dir);
        let text = match text.contains("spool_dir") {
            true => text,
            false => format!("spool_dir = \"{dir}/new\"\n{text}"),
        };
        let config = Config::parse(&text).unwrap();
        let line = |finding: Finding| {
            let line = finding.line.map_or("-".to_owned(), |line| line.to_string());
            format!("{line} {finding}").replace(&dir, "DIR")
        };
        inspect(&config).into_iter().map(line).collect()
    }

    #[track_caller]
    fn finds(&self, text: &str, begin: &str, part: &str) {
        let found = self.found(text);
        assert!(
            found.len() == 1 && found[0].starts_with(begin) && found[0].contains(part),
            "{text}\n{found:#?}"
        );
    }
}

const LOGIN: &str = "[[client.login]]\nnext_hop = \"mx.example.net:587\"\nuser = \"ada\"\n";

#[test]
fn the_defaults_are_well() {
    assert_eq!(Bench::new().found(""), [""; 0]);
}

#[test]
fn files_that_are_missing_empty_or_something_else_are_errors_with_their_lines() {
    let bench = Bench::new();
    bench.file("empty", "");
    bench.file("prose", "This is no PEM, and nothing else either.\n");
    bench.file(
        "pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    for (key, files) in [
        (
            "[client]\ntls_roots",
            &["missing", "empty", "prose", "pem", "."][..],
        ),
        ("[client]\ndnssec_anchors", &["missing", "empty", "prose", "."]),
        ("[admin]\ntoken_file", &["missing", "empty", "prose", "."]),
    ] {
        let (section, name) = key.split_once('\n').unwrap();
        let begin = format!("3 {}.{name}: DIR/", section.trim_matches(['[', ']']));
        for file in files {
            bench.finds(&format!("{key} = \"DIR/{file}\"\n"), &begin, file);
        }
    }
    for key in ["password_file", "token_file"] {
        for file in ["missing", "empty", "."] {
            let text = format!("{LOGIN}{LOGIN}{key} = \"DIR/{file}\"\n").replacen(
                LOGIN,
                &format!("{LOGIN}password_file = \"DIR/good\"\n").replace(":587", ":588"),
                1,
            );
            bench.file("good", "secret\n");
            bench.finds(&text, &format!("9 client.login.{key}: DIR/"), file);
        }
    }
}

#[test]
fn a_secret_that_others_may_read_is_a_warning() {
    let bench = Bench::new();
    let path = bench.file("token", "0123456789abcdef\n");
    let (admin, login) = (
        "[admin]\ntoken_file = \"DIR/token\"\n",
        format!("{LOGIN}token_file = \"DIR/token\"\n"),
    );
    assert_eq!(bench.found(admin), [""; 0]);
    assert_eq!(bench.found(&login), [""; 0]);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    bench.finds(admin, "3 warning: admin.token_file: DIR/token: ", "mode 0640");
    bench.finds(
        &login,
        "5 warning: client.login.token_file: DIR/token: ",
        "mode 0640",
    );
}

#[test]
fn a_token_of_an_api_that_is_off_is_not_read() {
    let text = "[listen]\nadmin = \"\"\n[admin]\ntoken_file = \"DIR/missing\"\n";
    assert_eq!(Bench::new().found(text), [""; 0]);
}

#[test]
fn a_spool_directory_that_cannot_be_one_is_an_error() {
    let bench = Bench::new();
    bench.file("file", "x");
    std::fs::create_dir(bench.0.path().join("other")).unwrap();
    bench.file("other/letter.txt", "x");
    std::os::unix::fs::symlink("nowhere", bench.0.path().join("link")).unwrap();
    for (dir, why) in [
        ("file", "is not a directory"),
        ("file/spool", "Not a directory"),
        ("missing/spool", "No such file"),
        ("link", "No such file"),
        ("other", "not a spool"),
    ] {
        bench.finds(&format!("spool_dir = \"DIR/{dir}\"\n"), "1 spool_dir: DIR/", why);
    }
    std::fs::create_dir(bench.0.path().join("empty")).unwrap();
    assert_eq!(bench.found("spool_dir = \"DIR/empty\"\n"), [""; 0]);
    assert!(!bench.0.path().join("new").exists(), "nothing is made");
}

#[test]
fn addresses_that_are_used_twice_are_errors() {
    let bench = Bench::new();
    let listen = |smtp: &str, admin: &str| format!("[listen]\nsmtp = [{smtp}]\nadmin = \"{admin}\"\n");
    let admin = "127.0.0.1:8525";
    for smtp in [
        "\"127.0.0.1:25\", \"127.0.0.1:25\"",
        "\"127.0.0.1:25\", \"0.0.0.0:25\"",
        "\"[::]:25\", \"127.0.0.1:25\"",
        "\"[::1]:25\", \"[::]:25\"",
    ] {
        bench.finds(&listen(smtp, admin), "3 listen.smtp: ", ":25");
    }
    bench.finds(
        &listen("\"127.0.0.1:8525\"", admin),
        "4 listen.admin: ",
        "already",
    );
    bench.finds(&listen("\"0.0.0.0:8525\"", admin), "4 listen.admin: ", "both");
    bench.finds(
        "[listen]\nsmtp = [\"127.0.0.1:8525\"]\n",
        "3 listen.smtp: 127.0.0.1:8525 ",
        "listen.admin by default",
    );
    for smtp in [
        "\"127.0.0.1:0\", \"127.0.0.1:0\"",
        "\"127.0.0.1:25\", \"127.0.0.2:25\", \"[::1]:25\", \"127.0.0.1:26\"",
    ] {
        assert_eq!(bench.found(&listen(smtp, "127.0.0.1:0")), [""; 0], "{smtp}");
    }
}

#[test]
fn a_second_login_for_one_next_hop_is_a_warning() {
    let bench = Bench::new();
    bench.file("secret", "secret\n");
    let login = format!("{LOGIN}password_file = \"DIR/secret\"\n");
    bench.finds(
        &format!("{login}{login}"),
        "7 warning: client.login.next_hop: mx.example.net:587 ",
        "not used",
    );
    let other = login.replace(":587", ":588");
    assert_eq!(bench.found(&format!("{login}{other}")), [""; 0]);
}

#[test]
fn a_resolv_conf_that_is_no_file_is_a_warning_where_it_is_used() {
    let bench = Bench::new();
    let text = |name: &str| format!("[route]\nresolv_conf = \"DIR/{name}\"\n");
    for (name, why) in [("missing", "No such file"), (".", "not a regular file")] {
        bench.finds(&text(name), "3 warning: route.resolv_conf: DIR/", why);
        let unused = format!("{}dns_servers = [\"127.0.0.1:53\"]\n", text(name));
        assert_eq!(bench.found(&unused), [""; 0]);
    }
    bench.finds(
        "[route]\nresolv_conf = \"/dev/null\"\n",
        "3 warning: route.resolv_conf: /dev/null: ",
        "not a regular file",
    );
    bench.file("resolv.conf", "nameserver 127.0.0.1\n");
    assert_eq!(bench.found(&text("resolv.conf")), [""; 0]);
}

#[test]
fn a_delay_warning_after_the_end_is_a_warning() {
    let bench = Bench::new();
    let text = "[retry]\nexpire_after = \"4h\"\ndelay_warning_after = \"4h\"\n";
    bench.finds(text, "4 warning: retry.delay_warning_after: ", "expires before");
    assert_eq!(
        bench.found(&text.replace("= \"4h\"\ndelay", "= \"5h\"\ndelay")),
        Vec::<String>::new()
    );
}

#[test]
fn a_rule_hidden_by_one_above_is_a_warning() {
    let bench = Bench::new();
    let rules = |domains: &[&str]| {
        let rule = |domain: &&str| format!("[[route.rule]]\ndomain = \"{domain}\"\n");
        domains.iter().map(rule).collect::<String>()
    };
    bench.finds(
        &rules(&["*.a.example", "b.example", "X.a.example"]),
        "7 warning: route.rule.domain: x.a.example is never matched",
        "*.a.example above",
    );
    bench.finds(
        &rules(&["*.example", "*.a.example"]),
        "5 warning: route.rule.domain: ",
        "*.example above",
    );
    for well in [
        &["x.a.example", "*.a.example", "a.example"][..],
        &["*.a.example", "xa.example", "*.example"],
    ] {
        assert_eq!(bench.found(&rules(well)), [""; 0], "{well:?}");
    }
}
