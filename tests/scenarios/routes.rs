//! Routes are decided when mail leaves: queued mail follows the configuration, what a submitter or a person named stays.

use serde_json::Value;
use spool_tests::capture::Capture;
use spool_tests::http::ask;
use spool_tests::name_server::NameServer;
use spool_tests::process::{Running, dead_address as dead, run, serve, signal, until};
use spool_tests::raw::RawClient;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A spool and its configuration in a directory of their own.
pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(route: &str) -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.configure(route);
        place
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("spool.toml")
    }

    pub(crate) fn configure(&self, route: &str) {
        std::fs::write(
            self.config(),
            format!("[retry]\nintervals = [\"1s\"]\n[route]\n{route}"),
        )
        .unwrap();
    }

    pub(crate) fn start(&self) -> Running {
        serve(&self.spool(), &[], &["--config", text(&self.config())])
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn admin(server: &Running) -> String {
    format!("http://{}", server.field("admin"))
}

/// A command that asks `server`.
pub(crate) fn asking(server: &Running, args: &[&str]) -> Output {
    run(&[args, &["--admin", &admin(server)]].concat())
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn listed(server: &Running) -> Vec<Value> {
    let output = asking(server, &["status", "--format", "json"]);
    out(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The next hops and the origin of each message on the spool.
fn routes(server: &Running) -> Vec<(String, String)> {
    let one = |message: &Value| {
        let hops = message["next_hops"].as_array().unwrap();
        let hops: Vec<&str> = hops.iter().map(|hop| hop.as_str().unwrap()).collect();
        (hops.join(" "), message["route"].as_str().unwrap().to_owned())
    };
    listed(server).iter().map(one).collect()
}

pub(crate) fn count(server: &Running) -> String {
    out(&asking(server, &["count"])).trim().to_owned()
}

fn wait_until_empty(server: &Running) {
    until("an empty spool", || (count(server) == "0").then_some(()));
}

/// Spools a mail over SMTP.
pub(crate) fn send(server: &Running, to: &[&str]) {
    let sent = RawClient::hello(server.smtp()).transaction("a@example.org", to, b"x\r\n");
    assert_eq!(sent.unwrap().0, 250);
}

/// Spools a mail over HTTP; gives its id.
fn submit(server: &Running, json: &str) -> String {
    let (status, answer) = ask(server.field("admin"), "POST", "/api/v1/messages", json);
    assert_eq!(status, 201, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["ids"][0].as_str().unwrap().to_owned()
}

#[test]
fn queued_mail_goes_where_the_configuration_says_after_a_reload_and_named_next_hops_stay() {
    let (gone, named, capture) = (dead(), dead(), Capture::start());
    let place = Place::new(&format!("next_hops = [{gone:?}]\n"));
    let server = place.start();
    // So many that the circuit of the host opens.
    for n in 0..20 {
        send(&server, &[&format!("b{n}@example.net")]);
    }
    let json =
        format!(r#"{{"from":"a@example.org","to":["n@example.net"],"body":"x","next_hops":[{named:?}]}}"#);
    let stays = submit(&server, &json);
    until("attempts", || {
        server.log().contains("no connection").then_some(())
    });
    assert_eq!(routes(&server)[0], (gone, "configured".to_owned()));
    place.configure(&format!("next_hops = [{:?}]\n", capture.next_hop()));
    signal(server.pid(), "HUP");
    for _ in 0..20 {
        assert!(capture.message().rcpt[0].contains("b"));
    }
    until("one message left", || (count(&server) == "1").then_some(()));
    assert!(
        server.log().contains("20 messages go elsewhere now"),
        "{}",
        server.log()
    );
    assert_eq!(routes(&server), [(named, "named".to_owned())]);
    let shown = out(&asking(&server, &["show", &stays]));
    assert!(shown.contains("named by the submitter"), "{shown}");
}

#[test]
fn queued_mail_goes_where_the_configuration_says_after_a_restart() {
    let (gone, capture) = (dead(), Capture::start());
    let place = Place::new(&format!("next_hops = [{gone:?}]\n"));
    let server = place.start();
    for n in 0..5 {
        send(&server, &[&format!("{n}@a.example")]);
    }
    assert!(server.terminate().success());
    place.configure(&format!(
        "next_hops = [{gone:?}]\n[[route.rule]]\ndomain = \"a.example\"\nnext_hops = [{:?}]\n",
        capture.next_hop()
    ));
    let server = place.start();
    for _ in 0..5 {
        assert!(capture.message().rcpt[0].contains("@a.example"));
    }
    wait_until_empty(&server);
}

#[test]
fn mail_for_the_built_in_sink_goes_to_the_sink_of_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = serve(&spool, &[], &[]);
    assert!(asking(&server, &["jobs", "0"]).status.success());
    send(&server, &["b@example.net"]);
    let former = routes(&server)[0].clone();
    assert_eq!(former.1, "built_in_sink");
    assert!(server.terminate().success());
    // Whoever has the port now must not get the mail.
    let stranger = Capture::listen(TcpListener::bind(&former.0).unwrap());
    let server = serve(&spool, &[], &[]);
    wait_until_empty(&server);
    assert_eq!(stranger.try_message(), None);
    server.wait_for_log(" delivered ");
}

#[test]
fn mail_for_the_built_in_sink_waits_in_a_configured_run_until_it_is_rerouted() {
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    let server = serve(&spool, &[], &[]);
    assert!(asking(&server, &["jobs", "0"]).status.success());
    send(&server, &["b@example.net"]);
    assert!(server.terminate().success());
    let capture = Capture::start();
    let server = serve(&spool, &[&capture.next_hop()], &[]);
    // What is accepted now goes out, the other one does not.
    send(&server, &["c@example.net"]);
    assert!(capture.message().rcpt[0].contains("c@example.net"));
    until("one message left", || (count(&server) == "1").then_some(()));
    assert_eq!(routes(&server), [(String::new(), "built_in_sink".to_owned())]);
    let id = listed(&server)[0]["id"].as_str().unwrap().to_owned();
    let explained = out(&asking(&server, &["explain", &id]));
    assert!(
        explained.contains("built-in sink") && explained.contains("spool reroute"),
        "{explained}"
    );
    let row = out(&asking(&server, &["status"]))
        .lines()
        .last()
        .unwrap()
        .to_owned();
    assert!(
        row.contains("  no route ") && row.ends_with("(no route)"),
        "{row}"
    );
    let destinations = out(&asking(&server, &["destinations"]));
    assert!(
        destinations.contains("(no route)") && destinations.contains("no route: "),
        "{destinations}"
    );
    let shown = out(&asking(&server, &["show", &id]));
    assert!(shown.contains("has no route and waits"), "{shown}");
    for args in [&["send", "--all"][..], &["send", "--all", "--dry-run"]] {
        let sent = asking(&server, args);
        assert_eq!(sent.status.code(), Some(1), "{}", err(&sent));
        assert!(err(&sent).contains("has no route"), "{}", err(&sent));
    }
    let log = server.log();
    assert!(
        log.contains("WARN") && log.contains("mail without a route waits"),
        "{log}"
    );
    assert_eq!(capture.try_message(), None);
    let rerouted = asking(&server, &["reroute", &id, "--by-config"]);
    assert_eq!(out(&rerouted), "1 rerouted\n", "{}", err(&rerouted));
    assert!(capture.message().rcpt[0].contains("b@example.net"));
}

#[test]
fn configured_mail_is_not_forgotten_by_the_built_in_sink() {
    let capture = Capture::start();
    let place = Place::new(&format!("next_hops = [{:?}]\n", capture.next_hop()));
    let server = place.start();
    assert!(asking(&server, &["jobs", "0"]).status.success());
    send(&server, &["b@example.net"]);
    assert!(server.terminate().success());
    // Somebody forgot --config.
    let server = serve(&place.spool(), &[], &[]);
    let listed_once = until("the message in the list", || listed(&server).pop());
    assert_eq!(listed_once["route"], "configured");
    let id = listed_once["id"].as_str().unwrap();
    let explained = out(&asking(&server, &["explain", id]));
    assert!(explained.contains("without one"), "{explained}");
    for dry in [
        &["reroute", "--all", "--by-config"][..],
        &["reroute", "--all", "--by-config", "--dry-run"],
    ] {
        refused_without_a_configuration(&server, dry);
    }
    assert!(server.terminate().success());
    let server = place.start();
    assert!(capture.message().rcpt[0].contains("b@example.net"));
    wait_until_empty(&server);
}

fn refused_without_a_configuration(server: &Running, args: &[&str]) {
    let refused = asking(server, args);
    assert_eq!(refused.status.code(), Some(1), "{}", err(&refused));
    let told = err(&refused);
    assert!(
        told.contains("configuration") && !told.contains("missing field"),
        "{told}"
    );
}

#[test]
fn reroute_by_configuration_is_refused_without_one_also_on_an_empty_spool() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(&dir.path().join("spool"), &[], &[]);
    refused_without_a_configuration(&server, &["reroute", "--all", "--by-config"]);
    refused_without_a_configuration(&server, &["reroute", "--all", "--by-config", "--dry-run"]);
}

#[test]
fn reroute_gives_waiting_and_frozen_mail_another_route() {
    let (gone, capture) = (dead(), Capture::start());
    let place = Place::new(&format!("next_hops = [{gone:?}]\n"));
    let server = place.start();
    for n in 0..10 {
        send(&server, &[&format!("{n}@example.net")]);
    }
    let frozen = submit(
        &server,
        r#"{"from":"a@example.org","to":["f@example.net"],"body":"x","frozen":true}"#,
    );
    let to = capture.next_hop();
    let dry = asking(
        &server,
        &[
            "reroute",
            "--from-next-hop",
            &gone,
            "--next-hop",
            &to,
            "--dry-run",
        ],
    );
    assert_eq!(out(&dry).lines().count(), 11, "{}", err(&dry));
    assert!(err(&dry).contains("11 would be rerouted"), "{}", err(&dry));
    assert_eq!(routes(&server)[0].0, gone, "a dry run changes nothing");
    let json = format!(r#"{{"all":true,"next_hops":[{to:?}]}}"#);
    let (status, answer) = ask(server.field("admin"), "POST", "/api/v1/reroute", &json);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["matched"], &answer["done"]),
        (200, &11.into(), &11.into()),
        "{answer}"
    );
    for _ in 0..10 {
        assert!(capture.message().rcpt[0].contains("@example.net"));
    }
    until("the frozen one is left", || (count(&server) == "1").then_some(()));
    assert_eq!(routes(&server), [(to.clone(), "named".to_owned())]);
    // The disk has it too.
    let on_disk = run(&["status", "--spool", text(&place.spool()), "--format", "json"]);
    let on_disk: Value = serde_json::from_str(out(&on_disk).trim()).unwrap();
    assert_eq!(
        (&on_disk["next_hops"][0], &on_disk["route"]),
        (&to.as_str().into(), &"named".into())
    );
    let back = asking(&server, &["reroute", &frozen, "--by-config"]);
    assert!(back.status.success(), "{}", err(&back));
    assert_eq!(routes(&server), [(gone, "configured".to_owned())]);
    let shown = out(&asking(&server, &["show", &frozen]));
    assert!(shown.contains("by the configuration"), "{shown}");
    assert!(shown.contains("frozen"), "it is still frozen: {shown}");
    for (args, status) in [
        (&["reroute", "--all"][..], 2),
        (&["reroute", "--all", "--next-hop", "nohost"][..], 2),
        (&["reroute", "--by-config"][..], 2),
        (&["reroute", "--all", "--by-config", "--next-hop", "a:25"][..], 2),
        (&["reroute", "00000000000000000000000007", "--by-config"][..], 4),
    ] {
        let refused = asking(&server, args);
        assert_eq!(refused.status.code(), Some(status), "{args:?}: {}", err(&refused));
    }
    let (status, _) = ask(
        server.field("admin"),
        "POST",
        "/api/v1/reroute",
        r#"{"ids":["00000000000000000000000007"],"by_config":true}"#,
    );
    assert_eq!(status, 404);
}

#[test]
fn route_tells_where_mail_would_go_and_why_with_and_without_a_service() {
    let names = NameServer::start(
        "mx.example   MX 10 one.example
         mx.example   MX 20 two.example
         one.example  A 127.0.0.2
         two.example  A 127.0.0.3",
    );
    let place = Place::new(&format!(
        "next_hops = [\"smart.example:25\"]\nmx_port = 2599\ndns_servers = [\"{}\"]\nignore_networks = []\n\
         [[route.rule]]\ndomain = \"*.example\"\ntls = \"required\"\nmax_connections = 3\nrate = \"100/1m\"\n",
        names.address
    ));
    let server = place.start();
    let config = place.config();
    for how in [&["--admin", &admin(&server)], &["--config", text(&config)]] {
        let route = |args: &[&str]| run(&[&["route"], args, &how[..]].concat());
        let told = out(&route(&["bob@mx.example", "eve@other.test"]));
        for words in [
            "bob@mx.example goes to mx:mx.example:2599",
            "rule 1 (line 8) is for *.example",
            "tls required, at most 3 sessions at once, messages: 100/1m",
            "eve@other.test goes to smart.example:25",
            "no rule is for its domain",
        ] {
            assert!(told.contains(words), "{how:?}: {words}: {told}");
        }
        let looked = out(&route(&["bob@mx.example", "eve@gone.example", "--lookup"]));
        let (one, two) = (
            looked.find("one.example:2599 at 127.0.0.2"),
            looked.find("two.example:2599 at 127.0.0.3"),
        );
        assert!(one.is_some() && one < two, "{looked}");
        assert!(
            looked.contains("none: 550 5.1.2 the domain gone.example does not exist"),
            "{looked}"
        );
        let json = out(&route(&["bob@mx.example", "--format", "json"]));
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["rule"]["line"], &json["tls"]),
            (&8.into(), &"required".into())
        );
        let refused = route(&["nobody"]);
        assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    }
    let (status, answer) = ask(server.field("admin"), "GET", "/api/v1/route?address=nobody", "");
    assert_eq!(status, 400, "{answer}");
}
