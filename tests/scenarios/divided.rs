//! A message whose recipients have several routes after a change is divided, and each part names the others.

use crate::routes::{Place, asking, count, listed, out, send, text};
use spool_tests::capture::Capture;
use spool_tests::process::{Running, dead_address as dead, run, signal, until};

#[test]
fn a_message_whose_recipients_belong_to_several_routes_is_divided() {
    let (gone, a, b) = (dead(), Capture::start(), Capture::start());
    let place = Place::new(&format!("next_hops = [{gone:?}]\n"));
    let server = place.start();
    send(
        &server,
        &["1@a.example", "2@b.example", "3@a.example", "4@c.example"],
    );
    assert_eq!(count(&server), "1");
    until("an attempt", || {
        server.log().contains("no connection").then_some(())
    });
    place.configure(&format!(
        "next_hops = [{gone:?}]\n[[route.rule]]\ndomain = \"a.example\"\nnext_hops = [{:?}]\n[[route.rule]]\ndomain = \"b.example\"\nnext_hops = [{:?}]\n",
        a.next_hop(),
        b.next_hop()
    ));
    signal(server.pid(), "HUP");
    let (to_a, to_b) = (a.message(), b.message());
    assert!(
        to_a.rcpt[0].contains("1@a.example") && to_a.rcpt[1].contains("3@a.example"),
        "{:?}",
        to_a.rcpt
    );
    assert!(to_b.rcpt[0].contains("2@b.example"), "{:?}", to_b.rcpt);
    assert_eq!((to_a.rcpt.len(), to_b.rcpt.len()), (2, 1));
    assert_eq!(to_a.without_trace(), to_b.without_trace());
    until("one message left", || (count(&server) == "1").then_some(()));
    let left = &listed(&server)[0];
    assert_eq!(left["recipients"], serde_json::json!(["4@c.example"]));
    assert_eq!(left["next_hops"], serde_json::json!([gone]));
}

#[test]
fn show_names_the_parts_of_a_divided_message_from_either_side() {
    let (to_a, to_b) = (dead(), dead());
    let place = Place::new(&format!("next_hops = [{to_a:?}]\n"));
    let server = place.start();
    assert!(asking(&server, &["jobs", "0"]).status.success());
    send(&server, &["1@a.example", "2@b.example"]);
    let first = listed(&server)[0]["id"].as_str().unwrap().to_owned();
    let rule = format!("[[route.rule]]\ndomain = \"b.example\"\nnext_hops = [{to_b:?}]\n");
    place.configure(&format!("next_hops = [{to_a:?}]\n{rule}"));
    signal(server.pid(), "HUP");
    until("two parts", || (count(&server) == "2").then_some(()));
    let ids: Vec<String> = listed(&server)
        .iter()
        .map(|message| message["id"].as_str().unwrap().to_owned())
        .collect();
    let other = ids.iter().find(|id| **id != first).unwrap();
    let by_service = |id: &str| out(&asking(&server, &["show", id]));
    let spool = place.spool();
    let in_directory = |id: &str| out(&run(&["show", id, "--spool", text(&spool)]));
    let has_line = |page: &str, line: &str| page.lines().any(|shown| shown == line);
    for show in [&by_service as &dyn Fn(&str) -> String, &in_directory] {
        let page = show(&first);
        assert!(has_line(&page, &format!("parts:        {other}")), "{page}");
        let page = show(other);
        assert!(has_line(&page, &format!("parent:       {first}")), "{page}");
        assert!(!page.contains("parts:"), "{page}");
    }
}

#[test]
fn a_recipient_that_moved_to_another_part_is_not_shown_as_delivered_by_the_first_one() {
    let to_b = dead();
    let place = Place::new("");
    let script = place.spool().with_file_name("script");
    std::fs::write(&script, "rcpt to=later@* reply 450 4.2.1 later\n").unwrap();
    let sink = Running::start(&["sink", "--listen", "127.0.0.1:0", "--script", text(&script)]);
    let to_a = sink.smtp().to_string();
    let rule = format!("[[route.rule]]\ndomain = \"b.example\"\nnext_hops = [{to_b:?}]\n");
    place.configure(&format!("next_hops = [{to_a:?}]\n"));
    let server = place.start();
    assert!(asking(&server, &["jobs", "0"]).status.success());
    send(&server, &["now@a.example", "later@a.example", "moved@b.example"]);
    let first = listed(&server)[0]["id"].as_str().unwrap().to_owned();
    place.configure(&format!("next_hops = [{to_a:?}]\n{rule}"));
    signal(server.pid(), "HUP");
    until("two parts", || (count(&server) == "2").then_some(()));
    assert!(asking(&server, &["jobs", "10"]).status.success());
    let shown = || out(&asking(&server, &["show", &first]));
    until("an attempt at the first part", || {
        shown().contains("<now@a.example> done").then_some(())
    });
    let in_directory = out(&run(&["show", &first, "--spool", text(&place.spool())]));
    for page in [shown(), in_directory] {
        assert!(page.contains("<now@a.example> done"), "{page}");
        assert!(page.contains("<later@a.example> to be tried"), "{page}");
        assert!(
            page.contains("<moved@b.example> not delivered by this message"),
            "{page}"
        );
    }
}
