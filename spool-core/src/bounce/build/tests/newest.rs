//! Which of several attempts a notice reports.

use super::*;

/// A message with one recipient that was tried so often, once in each minute: the blocks of its delayed notice, or of the one that says that it
/// failed with `own`.
fn told_after(results: Vec<AttemptReport>, own: Option<Reply>) -> (Vec<(String, String)>, String) {
    let fate = if own.is_some() {
        Fate::Refused
    } else {
        Fate::Waiting
    };
    let mix = plain(fate, "");
    let mut message = message(&mix);
    if let Some(failed) = message.state.failed.first_mut() {
        failed.reply = own;
    }
    let attempts = (1..).zip(results).map(|(minute, report)| Attempt {
        at: T0.after(minute * Duration::from_secs(60)),
        duration_ms: 0,
        report,
    });
    message.state.attempts = Attempts::of(attempts.collect(), 0);
    let decision = decided(&message, &[], T0.after(2 * HOUR));
    let report = Report::new(&message, &decision, &mix.body, false);
    let block = String::from_utf8(delivery_status(&report, "mta.example.org")).unwrap();
    let people = explanation(&report, "mta.example.org", None);
    (
        fields(block.split("\r\n\r\n").nth(1).unwrap()),
        String::from_utf8(people).unwrap().replace("\r\n    ", " "),
    )
}

fn host(number: u8, result: AttemptResult, refused: Option<Reply>) -> AttemptReport {
    let mut report = AttemptReport::new(result);
    report.peer = Some(format!("mx{number}.example.net:25").parse().unwrap());
    let one = |reply| RefusedRecipient { recipient: 0, reply };
    report.refused = refused.map(one).into_iter().collect();
    report
}

#[test]
fn the_newest_attempt_is_reported() {
    let greylisted = || {
        host(
            1,
            AttemptResult::AllRefused,
            Some(Reply::new(450, "4.2.0 greylisted")),
        )
    };
    let mail = |code, text| AttemptResult::Refused {
        stage: Stage::Mail,
        reply: Reply::new(code, text),
    };
    let minute = |minute: u32| T0.after(minute * Duration::from_secs(60)).rfc5322();
    // A newer reply to the whole message.
    let results = vec![greylisted(), host(2, mail(451, "4.7.26 no SPF"), None)];
    let (told, people) = told_after(results, None);
    assert_eq!(get(&told, "Status"), Some("4.7.26"));
    assert_eq!(get(&told, "Diagnostic-Code"), Some("smtp; 451 4.7.26 no SPF"));
    assert_eq!(get(&told, "Remote-MTA"), Some("dns; mx2.example.net"));
    assert_eq!(get(&told, "Last-Attempt-Date"), Some(minute(2).as_str()));
    assert!(!people.contains("greylisted"), "{people}");
    // No reply.
    let (error, stage) = ("connection refused".to_owned(), Stage::Data);
    let broken = AttemptResult::Broken {
        stage,
        error: error.clone(),
        in_doubt: false,
    };
    for (result, status) in [
        (AttemptResult::NoConnection { error }, "4.4.1"),
        (broken, "4.4.2"),
    ] {
        let (told, people) = told_after(vec![greylisted(), host(2, result, None)], None);
        assert_eq!(get(&told, "Status"), Some(status));
        assert_eq!(get(&told, "Diagnostic-Code"), Some("x-spool; connection refused"));
        assert_eq!(get(&told, "Last-Attempt-Date"), Some(minute(2).as_str()));
        let words =
            "connection refused; in an earlier attempt: host mx1.example.net said: 450 4.2.0 greylisted";
        let people = people.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(people.contains(words), "{people}");
    }
    // Attempts after it failed were for others.
    let own = Reply::new(550, "5.1.1 no such user");
    let results = vec![
        greylisted(),
        host(1, AttemptResult::AllRefused, Some(own.clone())),
        host(2, mail(451, "4.7.26 no SPF"), None),
        host(3, AttemptResult::AllRefused, None),
    ];
    let (told, _) = told_after(results, Some(own));
    assert_eq!(get(&told, "Status"), Some("5.1.1"));
    assert_eq!(get(&told, "Remote-MTA"), Some("dns; mx1.example.net"));
    assert_eq!(get(&told, "Last-Attempt-Date"), Some(minute(2).as_str()));
}
