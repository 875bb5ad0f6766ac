//! Certificates, users and files with secrets.

use super::*;

#[test]
fn missing_empty_and_wrong_files_are_errors_with_lines() {
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
fn a_secret_that_others_can_read_is_a_warning() {
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
        found[2].starts_with("3 warning: relay.users_file: no user can log in"),
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
