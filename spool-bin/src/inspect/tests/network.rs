//! Addresses, networks and routes.

use super::*;

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
fn sockets_of_the_service_manager_do_not_clash() {
    let bench = Bench::new();
    let text = format!(
        "spool_dir = \"{}/new\"\n[listen]\nsmtp = [\"[::]:25\", \"127.0.0.1:25\"]\n",
        bench.0.path().display()
    );
    let mut config = Config::parse(&text).unwrap();
    assert_eq!(inspect(&config).len(), 1);
    config.inherited.smtp = config.smtp.clone();
    assert_eq!(inspect(&config), []);
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
