//! Signing keys and notices.

use super::*;

const KEY: &str = "[[dkim.key]]\ndomain = \"example.org\"\nselector = \"";

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
fn signing_keys_that_cannot_sign_are_errors_with_their_lines() {
    let bench = Bench::new();
    for (name, pem) in [
        (
            "rsa",
            include_str!("../../../../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem"),
        ),
        (
            "short",
            include_str!("../../../../spool-smtp/src/dkim/testdata/rsa-1024.pem"),
        ),
        (
            "ec",
            include_str!("../../../../spool-smtp/src/dkim/testdata/ec.pem"),
        ),
        (
            "ed",
            include_str!("../../../../spool-smtp/src/dkim/testdata/ed25519.pem"),
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
        include_str!("../../../../spool-smtp/src/dkim/testdata/rsa-pkcs1.pem"),
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
        include_str!("../../../../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem"),
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
        include_str!("../../../../spool-smtp/src/dkim/testdata/rsa-pkcs8.pem"),
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
