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
        // Bounces that no key signs have a test of their own.
        let text = match text.contains("dkim.key") && !text.contains("[retry]") {
            true => format!("{text}\n[retry]\nbounce_from = \"bounces@example.org\"\n"),
            false => text,
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
    // The group of those who run commands.
    assert_eq!(bench.found(admin), [""; 0]);
    bench.finds(
        &login,
        "5 warning: client.login.token_file: DIR/token: ",
        "mode 0640",
    );
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    bench.finds(admin, "3 warning: admin.token_file: DIR/token: ", "mode 0644");
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
        "\"0.0.0.0:25\", \"[::]:25\"",
    ] {
        assert_eq!(bench.found(&listen(smtp, "127.0.0.1:0")), [""; 0], "{smtp}");
    }
}

#[test]
fn sockets_of_the_service_manager_are_bound_already_and_clash_with_nothing() {
    let bench = Bench::new();
    let text = format!(
        "spool_dir = \"{}/new\"\n[listen]\nsmtp = [\"[::]:25\", \"127.0.0.1:25\"]\n",
        bench.0.path().display()
    );
    let mut config = Config::parse(&text).unwrap();
    assert_eq!(inspect(&config).len(), 1);
    config.inherited.smtp = true;
    assert_eq!(inspect(&config), []);
}

#[test]
fn a_certificate_and_its_key_are_read_and_its_end_is_warned_of() {
    let bench = Bench::new();
    let made = |year: i32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["mx.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let ((good, key), (expired, its_key), (_, other)) = (made(4000), made(2001), made(4000));
    for (name, text) in [
        ("good", &good),
        ("key", &key),
        ("expired", &expired),
        ("its-key", &its_key),
        ("other", &other),
    ] {
        bench.file(name, text);
    }
    let tls = |certificate: &str, key: &str| {
        format!("[listen.tls]\ncertificate = \"DIR/{certificate}\"\nkey = \"DIR/{key}\"\n")
    };
    assert_eq!(bench.found(&tls("good", "key")), [""; 0]);
    bench.finds(
        &tls("expired", "its-key"),
        "3 warning: listen.tls.certificate: DIR/expired: ",
        "expired at 2001-01-01",
    );
    bench.finds(
        &tls("good", "other"),
        "4 listen.tls.key: DIR/other: ",
        "not that of",
    );
    bench.finds(
        &tls("good", "missing"),
        "4 listen.tls.key: DIR/missing: ",
        "No such file",
    );
    bench.finds(
        &tls("missing", "key"),
        "3 listen.tls.certificate: ",
        "No such file",
    );
    bench.finds(
        &tls("key", "key"),
        "3 listen.tls.certificate: ",
        "no certificate in it",
    );
}

#[test]
fn unix_sockets_can_be_made_and_replace_nothing_else() {
    let bench = Bench::new();
    let listen = |paths: &str| format!("[listen]\nsmtp = [{paths}]\n");
    assert_eq!(bench.found(&listen("\"unix:DIR/new.sock\"")), [""; 0]);
    bench.file("taken", "text");
    bench.finds(
        &listen("\"unix:DIR/taken\""),
        "3 listen.smtp: DIR/taken: ",
        "something else than a socket",
    );
    bench.finds(
        &listen("\"unix:DIR/no/such.sock\""),
        "3 listen.smtp: DIR/no: ",
        "No such file",
    );
    bench.finds(
        &listen("\"unix:DIR/a.sock\", \"unix:DIR/a.sock\""),
        "3 listen.smtp: DIR/a.sock: ",
        "already",
    );
    for wrong in [
        "unix:a.sock".to_owned(),
        "unix:".to_owned(),
        format!("unix:/{}", "a".repeat(107)),
    ] {
        assert!(Config::parse(&listen(&format!("{wrong:?}"))).is_err(), "{wrong}");
    }
}

#[test]
fn the_drop_directory_can_be_made_and_entered() {
    let bench = Bench::new();
    let drop = |path: &str| format!("spool_dir = \"DIR/spool\"\n[relay]\ndrop_dir = \"{path}\"\n");
    assert_eq!(bench.found(&drop("DIR/drop")), [""; 0]);
    bench.file("file", "text");
    bench.finds(
        &drop("DIR/file"),
        "3 relay.drop_dir: DIR/file: ",
        "not a directory",
    );
    bench.finds(&drop("DIR/no/drop"), "3 relay.drop_dir: DIR/no: ", "No such file");
    bench.finds(
        &drop("DIR/spool/drop"),
        "3 relay.drop_dir: DIR/spool/drop: ",
        "spool_dir",
    );
    assert!(Config::parse("[relay]\ndrop_dir = \"drop\"\n").is_err());
}

#[test]
fn listeners_behind_a_proxy_are_listeners_and_have_a_proxy() {
    let bench = Bench::new();
    let listen = |address: &str, proxies: &str| {
        format!("[listen]\nproxy_protocol = [\"{address}\"]\n[relay]\nproxies = [{proxies}]\n")
    };
    assert_eq!(bench.found(&listen("127.0.0.1:2525", "\"::1\"")), [""; 0]);
    bench.finds(
        &listen("127.0.0.1:2526", "\"::1\""),
        "3 listen.proxy_protocol: 127.0.0.1:2526 ",
        "neither",
    );
    bench.finds(
        &listen("127.0.0.1:2525", ""),
        "3 listen.proxy_protocol: ",
        "relay.proxies",
    );
}

#[test]
fn proxies_that_may_be_clients_are_a_warning() {
    let bench = Bench::new();
    let relay =
        |proxies: &str| format!("[relay]\nallow_networks = [\"10.0.0.0/8\"]\nproxies = [\"{proxies}\"]\n");
    for proxies in ["10.1.0.0/16", "10.0.0.0/7", "0.0.0.0/0", "::/0"] {
        bench.finds(
            &relay(proxies),
            &format!("4 warning: relay.proxies: {proxies}: "),
            "XCLIENT",
        );
    }
    for proxies in ["10.1.2.3", "192.0.2.0/24", "2001:db8::/64"] {
        assert_eq!(bench.found(&relay(proxies)), [""; 0], "{proxies}");
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

#[test]
fn a_file_of_users_is_read_and_each_bad_line_told() {
    let bench = Bench::new();
    let hash = "$2b$05$s8MmEkBYZgFrAnrfgpdL/O50I8ElHRi9v.i9df1j0X3fR4J3OeOJi";
    let text = "[relay]\nusers_file = \"DIR/users\"\n";
    let missing = &bench.found(text)[0];
    assert!(
        missing.starts_with("3 relay.users_file: DIR/users: No such file"),
        "{missing}"
    );
    bench.file("users", &format!("ada:{hash}\nbob:secret\nada:{hash}\n"));
    let found = bench.found(text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found[0].starts_with("3 relay.users_file: DIR/users:2: unknown password scheme"),
        "{found:?}"
    );
    assert!(
        found[1].starts_with("3 relay.users_file: DIR/users:3: user ada is in line 1"),
        "{found:?}"
    );
    assert!(
        found[2].starts_with("3 warning: relay.users_file: nobody can log in"),
        "{found:?}"
    );
    for empty in ["", "# people\n\n"] {
        bench.file("users", empty);
        let found = bench.found(text);
        assert_eq!(found[0], "3 relay.users_file: DIR/users: has no users");
    }
    let path = bench.file("users", &format!("ada:{hash}\n"));
    assert_eq!(bench.found(text).len(), 1);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let found = bench.found(text);
    assert!(found[0].contains("others than its owner may use it"), "{found:?}");
}

const KEY: &str = "[[dkim.key]]\ndomain = \"example.org\"\nselector = \"";

#[test]
fn signing_keys_that_cannot_sign_are_errors_with_their_lines() {
    let bench = Bench::new();
    for (name, pem) in [
        (
            "rsa",
            include_str!("../../../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem"),
        ),
        (
            "short",
            include_str!("../../../spool-smtp/src/dkim/testdata/rsa-1024.pem"),
        ),
        ("ec", include_str!("../../../spool-smtp/src/dkim/testdata/ec.pem")),
        (
            "ed",
            include_str!("../../../spool-smtp/src/dkim/testdata/ed25519.pem"),
        ),
        ("empty", ""),
    ] {
        bench.file(name, pem);
    }
    let key =
        |selector: &str, file: &str, more: &str| format!("{KEY}{selector}\"\nfile = \"DIR/{file}\"\n{more}");
    let good = key("a", "rsa", "");
    assert_eq!(bench.found(&good), [""; 0]);
    assert_eq!(bench.found(&format!("{good}{}", key("b", "ed", ""))), [""; 0]);
    for (file, why) in [
        ("short", "shorter than 2048 bits"),
        ("ec", "neither RSA nor Ed25519"),
        ("empty", "holds no private key"),
        ("missing", "No such file"),
        (".", "a directory"),
    ] {
        let second = key("b", file, "").replace("example.org", "example.net");
        bench.finds(
            &format!("{good}{second}"),
            &format!("9 dkim.key.file: DIR/{file}: "),
            why,
        );
    }
    let path = bench.file(
        "open",
        include_str!("../../../spool-smtp/src/dkim/testdata/rsa-pkcs1.pem"),
    );
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    bench.finds(
        &key("a", "open", ""),
        "5 warning: dkim.key.file: DIR/open: others",
        "chmod 600",
    );
    bench.finds(
        &key("a", "ed", ""),
        "5 warning: dkim.key.file: ",
        "Ed25519 without an RSA key",
    );
}

#[test]
fn signing_keys_that_sign_nothing_are_warned_of() {
    let bench = Bench::new();
    bench.file(
        "rsa",
        include_str!("../../../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem"),
    );
    let key = |selector: &str, more: &str| format!("{KEY}{selector}\"\nfile = \"DIR/rsa\"\n{more}\n");
    bench.finds(
        &key("a", "until = \"2020-01-01\""),
        "6 warning: dkim.key.until: ended at 2020-01-01T00:00:00.000Z",
        "signs nothing",
    );
    // The second one signs from the beginning, and for ever.
    bench.finds(
        &format!("{}{}", key("a", ""), key("b", "")),
        "4 warning: dkim.key.selector: ",
        "newer key of example.org",
    );
    let newer = key("b", "from = \"2020-01-01\"");
    bench.finds(
        &format!("{newer}{}", key("a", "")),
        "9 warning: dkim.key.selector: ",
        "newer key",
    );
    // One that takes over later, or gives way again, leaves it something.
    for (a, b) in [
        ("", "from = \"2999-01-01\""),
        ("", "from = \"2020-01-01\"\nuntil = \"2999-01-01\""),
        ("until = \"2999-01-01\"", "from = \"2998-01-01\""),
    ] {
        assert_eq!(
            bench.found(&format!("{}{}", key("a", a), key("b", b))),
            [""; 0],
            "{a} {b}"
        );
    }
    let gone = format!(
        "{}{}",
        key("a", "from = \"2999-01-02\"\nuntil = \"2999-01-03\""),
        key("b", "from = \"2999-01-02\"")
    );
    bench.finds(&gone, "4 warning: dkim.key.selector: ", "newer key");
}

#[test]
fn bounces_that_no_key_signs_are_warned_of() {
    let bench = Bench::new();
    bench.file(
        "rsa",
        include_str!("../../../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem"),
    );
    let with = |retry: &str, more: &str| {
        format!("hostname = \"mx.example.org\"\n[retry]\n{retry}\n{KEY}a\"\nfile = \"DIR/rsa\"\n{more}\n")
    };
    bench.finds(
        &with("", ""),
        "6 warning: retry.bounce_from: ",
        "bounces come from mx.example.org",
    );
    bench.finds(
        &with("bounce_from = \"b@bexample.org\"", "subdomains = true"),
        "4 warning: retry.bounce_from: ",
        "no signing key",
    );
    for (retry, more) in [
        ("", "subdomains = true"),
        ("bounce_from = \"b@Example.org\"", ""),
        ("on_failure = \"freeze\"", ""),
    ] {
        assert_eq!(bench.found(&with(retry, more)), [""; 0], "{retry} {more}");
    }
}
