//! Any script of commands keeps the rules of logins and limits.

use super::*;

fn scripts() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("EHLO c".to_owned()),
        Just("AUTH PLAIN".to_owned()),
        Just("AUTH LOGIN".to_owned()),
        Just("AUTH LOGIN =".to_owned()),
        Just("*".to_owned()),
        Just(String::new()),
        Just("MAIL FROM:<a@b.org> AUTH=<>".to_owned()),
        Just("RCPT TO:<x@else.example>".to_owned()),
        Just("DATA".to_owned()),
        Just(".".to_owned()),
        Just("RSET".to_owned()),
        Just(encode("ada")),
        Just(encode("right")),
        Just(encode("\0ada\0right")),
        Just(format!("AUTH PLAIN {}", encode("\0ada\0right"))),
        Just(format!("AUTH LOGIN {}", encode("ada"))),
        "[ -~]{0,30}",
        "AUTH (PLAIN|LOGIN) [A-Za-z0-9+/=]{0,20}",
    ];
    proptest::collection::vec(line, 0..25).prop_map(|lines| lines.join("\r\n") + "\r\n")
}

proptest! {
    #[test]
    fn no_one_is_logged_in_without_an_accepted_check(script in scripts(), verdict in 0_u8..3) {
        let mut bench = Bench::new(Limits::default());
        bench.says = match verdict {
            0 => |_| LoginResult::Refused,
            1 => |_| LoginResult::Busy,
            _ => |_| LoginResult::Limited(Duration::from_secs(1)),
        };
        bench.say(&script);
        prop_assert!(!bench.replies.lines().any(|line| line.starts_with("235")));
        prop_assert!(bench.machine.user.is_none() && bench.mails.is_empty());
    }

    #[test]
    fn the_right_password_and_nothing_else_logs_in(script in scripts()) {
        let mut bench = Bench::new(Limits::default());
        bench.say(&script);
        let accepted = bench.replies.lines().filter(|line| line.starts_with("235")).count();
        prop_assert!(accepted <= 1 && accepted <= bench.attempts);
        prop_assert!(accepted == 0 || script.contains(&encode("right")) || script.contains(&encode("\0ada\0right")));
        for mail in &bench.mails {
            prop_assert_eq!(&mail.source.admission, &Admission::User("ada".into()));
        }
    }
}
