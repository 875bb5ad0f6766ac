//! Reads whole files: values, and what is wrong with them by line and key.

use super::*;
use spool_core::bounce::{NoticeConfig, OnFailure};
use spool_core::{RetryPolicy, SpoolConfig, TlsPolicy};
use spool_smtp::client::SmtpConfig;
use spool_smtp::server::{Limits, ServerConfig};
use std::path::Path;
use std::time::Duration;

fn problems(text: &str) -> Vec<String> {
    Config::parse(text)
        .unwrap_err()
        .iter()
        .map(|p| format!("{}: {}", p.line, p.text))
        .collect()
}

#[test]
fn configurations_of_packages_and_installation_are_valid() {
    let page = include_str!("../../../docs/install.md");
    let written = page
        .split("```toml")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let installed = include_str!("../../../packaging/spool.toml");
    let container = include_str!("../../../packaging/container.toml");
    for text in [written, installed, container] {
        let config = Config::parse(text).unwrap_or_else(|problems| panic!("{text}\n{problems:?}"));
        assert_eq!(config.spool.dir, Path::new("/var/lib/spool"));
    }
    let all = installed.lines().map(|line| {
        line.strip_prefix("# ")
            .filter(|rest| rest.contains(['[', '=']))
            .unwrap_or(line)
    });
    let with_comments: Vec<&str> = all.collect();
    assert!(
        Config::parse(&with_comments.join("\n")).is_ok(),
        "what is in comments fits as well"
    );
}

#[test]
fn the_line_of_each_key_is_known() {
    let text = "hostname = \"a\"\n[client]\ntls_roots = \"x\"\n[[route.rule]]\ndomain = \"a\"\n[[route.rule]]\n\ndomain = \"b\"\n";
    let places = Config::parse(text).unwrap().places;
    let lines = [
        "hostname",
        "client.tls_roots",
        "route.rule[0].domain",
        "route.rule[1].domain",
        "threads",
    ];
    assert_eq!(
        lines.map(|key| places.line(key)),
        [Some(1), Some(3), Some(5), Some(8), None]
    );
}

#[test]
fn a_host_name_is_kept_in_a_labels() {
    let name = |text: &str| Config::parse(&format!("hostname = {text:?}\n")).map(|config| config.hostname);
    assert_eq!(name("b\u{fc}ro.example").unwrap(), "xn--bro-hoa.example");
    assert_eq!(name("MX.example").unwrap(), "MX.example");
    for bad in [
        "xn--\u{fc}.example",
        "\u{ff41}\u{ff1a}\u{ff42}.example",
        "a b",
        "-x",
    ] {
        assert!(name(bad).is_err(), "{bad}");
    }
}

#[test]
fn every_key_of_the_example_is_checked() {
    let example = include_str!("../../../docs/spool.example.toml");
    let mut section = String::new();
    let mut keys = 0;
    for line in example.lines() {
        if line.starts_with('[') {
            section = format!("{line}\n");
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with('#')) {
            keys += 1;
            // A date suits no key, and a misspelt key none at all.
            let wrong = problems(&format!("{section}{key} = 1979-05-27\n"));
            assert!(wrong.len() == 1 && wrong[0].contains(key), "{key}: {wrong:?}");
            let line = 1 + section.lines().count();
            let unknown = problems(&format!("{section}{key}x = 1\n"));
            assert_eq!(unknown.len(), 1, "{unknown:?}");
            assert!(
                unknown[0].starts_with(&format!("{line}: ")) && unknown[0].contains("unknown key"),
                "{unknown:?}"
            );
        }
    }
    assert!(keys > 45, "{keys}");
}

#[test]
fn every_error_has_its_line() {
    let text = "max_concurrent_jobs = -1\nthreads = 2.5\n[retry]\nintervals = [\"1m\", \"soon\"]\njitter = 2\n\
                [listen]\nsmtp = [\"localhost\"]\n[frob]\n[[route.rule]]\ndomain = \"a b\"\nnext_hops = [\"b\"]\n";
    let found = problems(text);
    let lines: Vec<_> = found
        .iter()
        .map(|problem| problem.split(':').next().unwrap())
        .collect();
    assert_eq!(lines, ["1", "2", "4", "5", "7", "8", "10", "11"], "{found:#?}");
}

#[test]
fn a_syntax_error_has_its_line() {
    let found = problems("threads = 1\nthreads 2\n");
    assert!(found[0].starts_with("2: "), "{found:?}");
}

#[test]
fn the_api_off_loopback_needs_a_token_and_allow_plaintext() {
    let off = "[listen]\nadmin = \"192.0.2.1:8525\"\n";
    let token = "[admin]\ntoken_file = \"token\"\n";
    assert!(problems(off)[0].starts_with("2: listen.admin: ") && problems(off)[0].contains("token_file"));
    let without_tls = problems(&format!("{off}{token}"));
    assert!(without_tls[0].contains("allow_plaintext"), "{without_tls:?}");
    let config = Config::parse(&format!("{off}{token}allow_plaintext = true\n")).unwrap();
    assert_eq!(config.admin_problem(), None);
    assert!(Config::parse(token).is_ok(), "on loopback a token is as good");
}

#[test]
fn rules_are_read_whole() {
    let text = "[route]\nmx_port = 26\ndns_servers = [\"192.0.2.53\", \"[::1]:5353\"]\nown = [\"MX.example.org\", \"192.0.2.1\"]\nignore_networks = []\n\
                [[route.rule]]\ndomain = \"a.example\"\ntls = \"verify\"\nmax_connections = 5\nrate = \"100/1m\"\n\
                [[route.rule]]\ndomain = \"*.b.example\"\nnext_hops = [\"c:25\", \"mx:d.example:26\"]\n\
                [[route.rule]]\ndomain = \"e.example\"\nnext_hops = []\n";
    let Config { route, client, .. } = Config::parse(text).unwrap();
    let resolving = client.smtp.route;
    let [a, b, e] = &route.rules[..] else {
        panic!("{:?}", route.rules)
    };
    assert!(a.next_hops.is_empty() && e.next_hops.is_empty());
    assert_eq!(a.policy.tls, Some(TlsPolicy::Verify));
    assert_eq!(a.policy.max_connections, std::num::NonZeroU32::new(5));
    assert_eq!(
        a.policy.rate,
        spool_core::Rate::new(100, Duration::from_secs(60)).ok()
    );
    assert_eq!(b.next_hops[1].to_string(), "mx:d.example:26");
    assert_eq!(b.policy, spool_core::DestinationPolicy::default());
    assert!(b.domain.matches("x.b.example") && !b.domain.matches("b.example"));
    let servers: Vec<_> = resolving.dns_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[::1]:5353"]);
    assert_eq!(resolving.own_names, ["mx.example.org"]);
    assert_eq!(resolving.own_addresses, [std::net::IpAddr::from([192, 0, 2, 1])]);
    assert_eq!((route.mx_port, resolving.ignored_networks.len()), (26, 0));
}

#[test]
fn contradictory_rules_are_refused_at_the_second() {
    let rule = |domain: &str, more: &str| format!("[[route.rule]]\ndomain = \"{domain}\"\n{more}\n");
    let (to, other) = ("next_hops = [\"s:25\"]", "next_hops = [\"t:25\"]");
    let cases = [
        // Line 5 is the second rule's domain, line 6 its next hops.
        (
            rule("b\u{fc}cher.example", to) + &rule("XN--BCHER-kva.example", other),
            Some("5: route.rule.domain: "),
        ),
        (
            rule("a.example", to) + &rule("b.example", &format!("{to}\nmax_connections = 2")),
            Some("6: route.rule.next_hops: "),
        ),
        (
            rule("a.example", &format!("{to}\ntls = \"none\""))
                + &rule("b.example", &format!("{other}\ntls = \"verify\"")),
            None,
        ),
        (rule("a.example", to) + &rule("b.example", to), None),
        (
            rule("a.example", "tls = \"none\"") + &rule("b.example", "tls = \"verify\""),
            None,
        ),
        (
            format!("[route]\n{to}\n") + &rule("a.example", &format!("{to}\nrate = \"1/1s\"")),
            Some("5: route.rule.next_hops: "),
        ),
        (format!("[route]\n{to}\n") + &rule("a.example", to), None),
    ];
    for (text, expected) in cases {
        match (Config::parse(&text), expected) {
            (Ok(_), None) => {}
            (Err(_), Some(expected)) => {
                let found = problems(&text);
                assert!(
                    found.len() == 1 && found[0].starts_with(expected),
                    "{text}\n{found:?}"
                );
            }
            (result, _) => panic!("{text}\n{:?}", result.err()),
        }
    }
}

#[test]
fn errors_in_a_rule_have_their_lines() {
    let text = "[route]\nmx_port = 0\ndns_servers = [\"ns.example\"]\nown = [\"[::1]\"]\nignore_networks = [\"10.0.0.1/8\"]\n\
                [[route.rule]]\ntls = \"yes\"\n[[route.rule]]\ndomain = \"a.example\"\nmax_connections = 0\nrate = \"0/1m\"\nfrob = 1\n";
    let found = problems(text);
    let lines: Vec<_> = found
        .iter()
        .map(|problem| problem.split(':').next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["2", "3", "4", "5", "6", "7", "10", "11", "12"],
        "{found:#?}"
    );
}

#[test]
fn keys_of_notices_are_read_and_checked() {
    let text = "[retry]\non_failure = \"freeze\"\nbounce_from = \"post@example.org\"\nbounce_size = \"10KiB\"\nbounces_per_hour = 0\ndelay_warning_after = \"4h\"\n";
    let notices = Config::parse(text).unwrap().notices;
    assert_eq!(notices.on_failure, OnFailure::Freeze);
    assert_eq!(notices.from, "post@example.org");
    assert_eq!(notices.size_limit, 10 << 10);
    assert_eq!(notices.per_hour, 0);
    assert_eq!(Config::parse("").unwrap().notices.per_hour, 20);
    assert_eq!(notices.delay_warning_after, Some(Duration::from_secs(4 * 3600)));
    for bad in [
        "on_failure = \"drop\"",
        "bounce_from = \"nobody\"",
        "bounce_from = \"\u{fc}@example.org\"",
        "bounce_size = \"50k\"",
        "bounces_per_hour = -1",
        "delay_warning_after = \"0s\"",
        "delay_warning_after = \"soon\"",
    ] {
        let found = problems(&format!("[retry]\n{bad}\n"));
        assert!(
            found.len() == 1 && found[0].starts_with("2: "),
            "{bad}: {found:?}"
        );
    }
}

#[test]
fn keys_of_missing_features_are_refused() {
    let found = problems("[spool]\npurge_removed_after = 30");
    assert!(
        found.len() == 1 && found[0].contains("expected a text"),
        "{found:?}"
    );
    let text = "[spool]\npurge_removed_after = \"30d\"";
    let found = problems(text);
    assert!(found.len() == 1 && found[0].starts_with("2: "), "{found:?}");
    assert!(found[0].contains("not yet supported"), "{found:?}");
}

#[test]
fn tls_needs_a_certificate_and_its_key() {
    let both =
        "[listen]\nsmtps = [\"127.0.0.1:465\"]\n[listen.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"\n";
    let config = Config::parse(both).unwrap();
    let pair = config.tls.unwrap();
    assert_eq!((pair.certificate, pair.key), ("a.pem".into(), "b.pem".into()));
    assert_eq!(config.smtps.len(), 1);
    for (text, line, what) in [
        ("[listen.tls]\ncertificate = \"a.pem\"\n", "2", "needs a key"),
        ("[listen.tls]\nkey = \"b.pem\"\n", "2", "needs a certificate"),
        (
            "[listen]\nsmtps = [\"127.0.0.1:465\"]\n",
            "2",
            "needs listen.tls.certificate",
        ),
    ] {
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{line}: ")) && found[0].contains(what),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn rate_limits_are_rates_or_empty() {
    let keys = [
        "connections_per_client_rate",
        "messages_per_client",
        "recipients_per_client",
        "failed_logins_per_client",
        "messages_per_user",
        "recipients_per_user",
    ];
    let all: String = keys
        .iter()
        .zip(1..)
        .map(|(key, n)| format!("{key} = \"{n}/1m\"\n"))
        .collect();
    let rates = Config::parse(&format!("[listen.limits]\n{all}")).unwrap().rates;
    let read = [
        rates.connections_per_client,
        rates.messages_per_client,
        rates.recipients_per_client,
        rates.failed_logins_per_client,
        rates.messages_per_user,
        rates.recipients_per_user,
    ];
    for (rate, n) in read.iter().zip(1..) {
        assert_eq!(*rate, spool_core::Rate::new(n, Duration::from_secs(60)).ok());
    }
    for key in keys {
        let none = Config::parse(&format!("[listen.limits]\n{key} = \"\"\n")).unwrap();
        assert_eq!(none.rates, Limits::default());
        let found = problems(&format!("[listen.limits]\n{key} = \"many\"\n"));
        assert!(found[0].starts_with("2: ") && found[0].contains(key), "{found:?}");
    }
}

#[test]
fn proxies_are_networks_and_their_listeners_addresses() {
    let text =
        "[listen]\nproxy_protocol = [\"127.0.0.1:2525\"]\n[relay]\nproxies = [\"10.0.0.0/8\", \"::1\"]\n";
    let config = Config::parse(text).unwrap();
    assert_eq!((config.proxy_protocol.len(), config.server.proxies.len()), (1, 2));
    for text in [
        "[relay]\nproxies = [\"proxy.example\"]",
        "[listen]\nproxy_protocol = [\"127.0.0.1\"]",
    ] {
        assert_eq!(problems(text).len(), 1, "{text}");
    }
}

#[test]
fn a_login_names_its_host_and_one_secret() {
    let login =
        "[client]\ntls = \"verify\"\n[[client.login]]\nnext_hop = \"smtp.example.net:587\"\nuser = \"ada\"\n";
    let config = Config::parse(&format!("{login}password_file = \"secret\"\n")).unwrap();
    let [login_read] = config.client.logins.as_slice() else {
        panic!("{:?}", config.client);
    };
    assert_eq!(login_read.secret, Secret::Password("secret".into()));
    assert_eq!(login_read.security, TlsPolicy::Verify);
    for (text, line, what) in [
        (login.to_owned(), "3", "only one of them"),
        (
            format!("{login}password_file = \"a\"\ntoken_file = \"b\"\n"),
            "3",
            "only one of them",
        ),
        (
            format!("{login}token_file = \"b\"\nsecurity = \"tls\"\n"),
            "7",
            "must be",
        ),
        (
            "[[client.login]]\nuser = \"ada\"\ntoken_file = \"b\"\n".to_owned(),
            "1",
            "is missing",
        ),
    ] {
        let found = problems(&text);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("{line}: ")) && found[0].contains(what),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn defaults_are_those_of_the_libraries() {
    let config = Config::defaults();
    fn shown(value: &dyn std::fmt::Debug) -> String {
        format!("{value:#?}")
    }
    assert_eq!(shown(&config.client.smtp), shown(&SmtpConfig::default()));
    assert_eq!(shown(&config.server), shown(&ServerConfig::default()));
    let mut spool = SpoolConfig::new("./spool-data");
    // The library knows no connections.
    spool.max_sessions = config.client.smtp.connections;
    assert_eq!(shown(&config.spool), shown(&spool));
    assert_eq!(config.retry, RetryPolicy::default());
    let mut notices = NoticeConfig::new(config.hostname.as_str());
    notices.retry = config.retry.clone();
    assert_eq!(shown(&config.notices), shown(&notices));
    let rules = spool_smtp::dkim::Rules::default();
    assert_eq!(config.dkim.headers, rules.headers);
    assert_eq!(config.dkim.oversigned, rules.oversigned);
    assert_eq!(
        (config.dkim.expiration, config.dkim.on_failure),
        (rules.expiration, rules.on_failure)
    );
}
