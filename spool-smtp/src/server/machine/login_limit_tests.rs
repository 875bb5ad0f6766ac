//! Rate limits of messages and recipients, for clients and users.

use super::*;

const MAIL: &str = "MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\nDATA\r\nx\r\n.\r\n";

#[test]
fn messages_of_a_client_are_limited_over_its_sessions() {
    let limits = Limits {
        messages_per_client: rate(2),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\n");
    // Transactions without a message.
    for _ in 0..9 {
        assert!(bench.say("MAIL FROM:<a@b.org>\r\nRSET\r\n").starts_with("250"));
        assert!(bench.say("MAIL FROM:<a@b.org>\r\nDATA\r\n").starts_with("554"));
        bench.say("RSET\r\n");
    }
    // The spool has no room: the message is not counted.
    bench.refuses = Some(AddError::Busy);
    for _ in 0..9 {
        assert!(bench.say(MAIL).starts_with("451"), "{}", bench.replies);
    }
    bench.refuses = None;
    assert!(bench.say(MAIL).starts_with("250") && bench.say(MAIL).starts_with("250"));
    let refused = bench.say("MAIL FROM:<a@b.org>\r\n").to_owned();
    assert!(
        refused.starts_with("450 4.7.1 Too many messages, try again in 6"),
        "{refused}"
    );
    // Sessions with an open transaction.
    let mut other = Machine::new(
        Arc::clone(&bench.config),
        "192.0.2.1".parse().unwrap(),
        FlowId::from_u128(3),
    );
    std::mem::swap(&mut other, &mut bench.machine);
    assert!(
        bench
            .say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n")
            .starts_with("450 4.7.1")
    );
    assert!(bench.config.clients.lift("192.0.2.1"));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\n")
            .starts_with("250")
    );
    for _ in 0..2 {
        bench
            .config
            .clients
            .take(&ClientKey::address("192.0.2.1".parse().unwrap()), Kind::Messages)
            .unwrap();
    }
    assert!(bench.say("DATA\r\n").starts_with("450 4.7.1"));
    bench.say("RSET\r\nMAIL FROM:<a@b.org>\r\n");
    bench.clock.advance(Duration::from_secs(66));
    bench.say("MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\n");
    assert!(bench.say("DATA\r\n").starts_with("354"));
    assert!(bench.say("x\r\n.\r\n").starts_with("250"));
}

#[test]
fn messages_in_chunks_count_once_against_the_limit() {
    let limits = Limits {
        messages_per_client: rate(1),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    let open = "MAIL FROM:<a@b.org>\r\nRCPT TO:<x@ours.example>\r\n";
    bench.say(&format!("EHLO c\r\n{open}"));
    bench.refuses = Some(AddError::Full(String::new()));
    assert!(
        bench
            .say("BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n")
            .starts_with("452")
    );
    bench.refuses = None;
    assert!(
        bench
            .say(&format!("{open}BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n"))
            .starts_with("250 2.0.0 Queued")
    );
    let mut other = Machine::new(
        Arc::clone(&bench.config),
        "192.0.2.1".parse().unwrap(),
        FlowId::from_u128(3),
    );
    std::mem::swap(&mut other, &mut bench.machine);
    assert!(bench.config.clients.lift("192.0.2.1"));
    bench.say(&format!("EHLO c\r\n{open}"));
    bench
        .config
        .clients
        .take(&ClientKey::address("192.0.2.1".parse().unwrap()), Kind::Messages)
        .unwrap();
    bench.replies.clear();
    assert!(
        bench
            .say("BDAT 6\r\nNOOP\r\nBDAT 0 LAST\r\nNOOP\r\n")
            .starts_with("250 2.0.0 Ok")
    );
    let codes: Vec<&str> = bench.replies.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(codes, ["450", "503", "250"], "{}", bench.replies);
    assert_eq!(bench.mails.len(), 2);
}

#[test]
fn a_user_whom_a_proxy_names_has_his_limits_and_patterns() {
    let mut bench = Bench::new(Limits {
        messages_per_user: rate(1),
        ..Limits::default()
    });
    let mut config = (*bench.config).clone();
    config.proxies = vec!["192.0.2.1".parse().unwrap()];
    bench.config = Arc::new(config);
    let session = |bench: &Bench| {
        let mut machine = Machine::new(
            Arc::clone(&bench.config),
            "192.0.2.1".parse().unwrap(),
            FlowId::from_u128(4),
        );
        machine.under_tls(TLS);
        machine
    };
    bench.machine = session(&bench);
    let open = "XCLIENT ADDR=198.51.100.7 LOGIN=bob\r\nEHLO c\r\n";
    assert!(bench.say(open).starts_with("250"), "{}", bench.replies);
    assert_eq!(bench.machine.client.to_string(), "198.51.100.7");
    assert!(bench.say("MAIL FROM:<a@c.org>\r\n").starts_with("553 5.7.1"));
    let mail = "MAIL FROM:<a@b.org>\r\nRCPT TO:<x@else.example>\r\nDATA\r\nx\r\n.\r\n";
    assert!(
        bench.say(mail).starts_with("250 2.0.0 Queued"),
        "{}",
        bench.replies
    );
    assert_eq!(bench.mails[0].source.admission, Admission::User("bob".into()));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\n")
            .starts_with("450 4.7.1 Too many messages")
    );
    // A user whom only the proxy knows.
    bench.machine = session(&bench);
    bench.say("XCLIENT LOGIN=carol\r\nEHLO c\r\n");
    assert!(
        bench
            .say(&mail.replace("a@b.org", "any@where.example"))
            .starts_with("250 2.0.0 Queued")
    );
}

#[test]
fn recipients_are_limited_per_client_and_per_user() {
    let limits = Limits {
        recipients_per_client: rate(2),
        recipients_per_user: rate(3),
        messages_per_user: rate(1),
        ..Limits::default()
    };
    let rcpt = |n: u32| format!("RCPT TO:<x{n}@ours.example>\r\n");
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n");
    assert!(
        bench.say("RCPT TO:<x@else.example>\r\n").starts_with("550"),
        "not counted"
    );
    assert!(bench.say(&rcpt(1)).starts_with("250") && bench.say(&rcpt(2)).starts_with("250"));
    assert!(
        bench
            .say(&rcpt(3))
            .starts_with("450 4.7.1 Too many recipients, try again in")
    );
    assert!(
        bench.say("DATA\r\nx\r\n.\r\n").starts_with("250"),
        "with those that were taken"
    );
    assert_eq!(bench.mails[0].envelope.recipients.len(), 2);

    let mut bench = Bench::logged_in(limits);
    bench.say("MAIL FROM:<a@b.org>\r\n");
    for n in 0..3 {
        assert!(bench.say(&rcpt(n)).starts_with("250"));
    }
    assert!(bench.say(&rcpt(3)).starts_with("450 4.7.1"));
    assert!(bench.say("DATA\r\nx\r\n.\r\n").starts_with("250"));
    assert!(
        bench
            .say("MAIL FROM:<a@b.org>\r\n")
            .starts_with("450 4.7.1 Too many messages")
    );
}

#[test]
fn refused_recipients_hold_no_memory() {
    let limits = Limits {
        recipients_per_client: rate(2),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n");
    bench.say("RCPT TO:<1@ours.example>\r\nRCPT TO:<2@ours.example>\r\n");
    let memory = bench.config.memory.clone();
    let before = memory.used();
    assert!(before > 0);
    for number in 0..1000 {
        let refused = bench.say(&format!(
            "RCPT TO:<{number}@ours.example> ORCPT=rfc822;{}\r\n",
            "x".repeat(400)
        ));
        assert!(refused.starts_with("450 4.7.1 Too many recipients"), "{refused}");
    }
    assert_eq!(memory.used(), before);
    assert!(bench.say("DATA\r\n").starts_with("354"));
    assert!(bench.say("x\r\n.\r\n").starts_with("250"));
    assert_eq!(bench.mails[0].envelope.recipients.len(), 2);
}

#[test]
fn a_recipient_that_found_no_memory_does_not_count() {
    let limits = Limits {
        recipients_per_client: rate(2),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\nRCPT TO:<1@ours.example>\r\n");
    let memory = bench.config.memory.clone();
    let others = memory.hold_first(memory.limit() - memory.used()).unwrap();
    for _ in 0..5 {
        let refused = bench.say("RCPT TO:<2@ours.example>\r\n");
        assert!(refused.starts_with("452 4.3.1 No memory"), "{refused}");
    }
    drop(others);
    assert!(bench.say("RCPT TO:<2@ours.example>\r\n").starts_with("250"));
    assert!(bench.say("RCPT TO:<3@ours.example>\r\n").starts_with("450"));
}

#[test]
fn too_many_deferrals_close_the_session() {
    let limits = Limits {
        recipients_per_client: rate(1),
        ..Limits::default()
    };
    let mut bench = Bench::new(limits);
    bench.say("EHLO c\r\nMAIL FROM:<a@b.org>\r\n");
    bench.say(&"RCPT TO:<1@ours.example>\r\n".repeat(20_000));
    assert!(bench.closed);
    assert_eq!(
        bench.replies.matches("\r\n450 4.7.1").count(),
        MAX_DEFERRALS + bench.config.errors_per_session
    );
    assert!(
        bench
            .replies
            .ends_with("421 4.7.0 Too many errors, closing connection\r\n")
    );
}
