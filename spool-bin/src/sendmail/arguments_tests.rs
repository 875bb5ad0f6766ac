//! The command line: each option in each form, and words that no program should give.

use super::super::exit::Exit;
use super::*;
use proptest::prelude::*;

fn read(words: &[&str]) -> Result<Command, SendmailError> {
    parse(words.iter().map(OsString::from))
}

fn sending(words: &[&str]) -> Sending {
    match read(words) {
        Ok(Command {
            plan: Plan::Send(sending),
            ..
        }) => sending,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn plan(words: &[&str]) -> Plan {
    read(words).unwrap().plan
}

#[test]
fn values_follow_their_letter_or_come_as_the_next_word() {
    for words in [
        &["-fa@b.example", "c@d.example"][..],
        &["-f", "a@b.example", "c@d.example"],
        &["-r", "a@b.example", "c@d.example"],
        &["-ifa@b.example", "c@d.example"],
        &["-if", "a@b.example", "--", "c@d.example"],
    ] {
        let sending = sending(words);
        assert_eq!(sending.from.as_deref(), Some("a@b.example"), "{words:?}");
        assert_eq!(sending.recipients, ["c@d.example"], "{words:?}");
    }
    assert_eq!(sending(&["-f", "", "c@d"]).from.as_deref(), Some(""));
    assert_eq!(sending(&["-f", "<>", "c@d"]).from.as_deref(), Some("<>"));
    // A value may look like an option: getopt takes it so.
    assert_eq!(sending(&["-F", "-t", "c@d"]).name.as_deref(), Some("-t"));
}

#[test]
fn what_cron_git_php_and_mutt_give_is_understood() {
    let cron = sending(&["-i", "-FCronDaemon", "-B8BITMIME", "-oem", "root"]);
    assert_eq!(cron.name.as_deref(), Some("CronDaemon"));
    assert_eq!(cron.body, Some(BodyKind::EightBitMime));
    assert!(cron.dot_is_text);
    assert_eq!(sending(&["-i", "a@b", "c@d"]).recipients, ["a@b", "c@d"]);
    let php = sending(&["-t", "-i"]);
    assert!(php.extract && php.dot_is_text && php.recipients.is_empty());
    let mutt = sending(&["-oem", "-oi", "-f", "a@b", "--", "c@d"]);
    assert!(mutt.dot_is_text && mutt.from.as_deref() == Some("a@b"));
    let vixie = sending(&["-FCronDaemon", "-odi", "-oem", "-oi", "-t", "-f", "root"]);
    assert!(vixie.extract && vixie.dot_is_text && vixie.from.as_deref() == Some("root"));
}

#[test]
fn what_has_no_meaning_here_is_accepted() {
    let words = [
        "-bm",
        "-odb",
        "-odi",
        "-odq",
        "-oem",
        "-oep",
        "-om",
        "-ounknown",
        "-v",
        "-vv",
        "-G",
        "-U",
        "-m",
        "-n",
        "-L",
        "tag",
        "-X",
        "log",
        "-Am",
        "-em",
        "-h5",
        "-O",
        "Other=1",
    ];
    for end in 0..words.len() {
        if ["-L", "-X", "-O"].contains(&words[end]) {
            continue;
        }
        let mut words = words[..=end].to_vec();
        words.push("a@b");
        assert_eq!(sending(&words).recipients, ["a@b"], "{words:?}");
    }
    assert!(!sending(&["-odi", "a@b"]).dot_is_text);
}

#[test]
fn notices_and_parameters_are_read() {
    let notify = |value: &str| sending(&["-N", value, "a@b"]).notify.unwrap();
    assert_eq!(notify("never"), Notify::default());
    let both = notify("FAILURE,delay");
    assert!(both.failure && both.delay && !both.success);
    let all = sending(&["-Rhdrs", "-V", "id 1", "-Orequiretls=yes", "-B7BIT", "a@b"]);
    assert_eq!(all.parameters.ret, Some(Ret::Headers));
    assert_eq!(all.parameters.envid.as_deref(), Some("id 1"));
    assert!(all.parameters.requiretls);
    assert_eq!(all.body, Some(BodyKind::SevenBit));
    assert!(!sending(&["-O", "RequireTLS=no", "a@b"]).parameters.requiretls);
}

#[test]
fn modes_are_told_apart() {
    assert_eq!(plan(&["-bs"]), Plan::Session);
    assert_eq!(plan(&["-b", "s"]), Plan::Session);
    assert_eq!(plan(&["-bp"]), Plan::List);
    assert_eq!(plan(&["-bi"]), Plan::Nothing(NO_ALIASES));
    assert_eq!(plan(&["-I"]), Plan::Nothing(NO_ALIASES));
    for queue in ["-q", "-q15m", "-qf", "-qIabc"] {
        assert_eq!(plan(&[queue]), Plan::Nothing(NO_QUEUE_RUN), "{queue}");
    }
    assert_eq!(
        read(&["-C", "/x.toml", "-bs"]).unwrap().config,
        Some(PathBuf::from("/x.toml"))
    );
}

#[test]
fn what_is_not_understood_is_refused_with_64() {
    for words in [
        &[][..],
        &["-i"],
        &["--"],
        &["-"],
        &["-Z", "a@b"],
        &["-\u{e9}", "a@b"],
        &["--help"],
        &["-f"],
        &["-tf"],
        &["a@b", "-t"],
        &["a@b", "--", "-t"],
        &["-bd"],
        &["-bz"],
        &["-bs", "a@b"],
        &["-bs", "-t"],
        &["-N", "never,failure", "a@b"],
        &["-N", "", "a@b"],
        &["-R", "half", "a@b"],
        &["-V", "", "a@b"],
        &["-V", "a\nb", "a@b"],
        &["-B", "binarymime", "a@b"],
        &["-O", "requiretls=maybe", "a@b"],
    ] {
        let refusal = read(words).expect_err(&format!("{words:?}"));
        assert_eq!(refusal.exit, Exit::Usage, "{words:?}");
    }
}

#[test]
fn words_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    assert!(parse([OsString::from_vec(b"a\xff@b".to_vec())]).is_err());
}

proptest! {
    #[test]
    fn behind_two_dashes_every_word_is_a_recipient(words in proptest::collection::vec("[-a-z@. ]{0,8}", 1..5)) {
        let mut all = vec!["--"];
        all.extend(words.iter().map(String::as_str));
        prop_assert_eq!(sending(&all).recipients, words);
    }

    #[test]
    fn no_option_becomes_a_recipient(words in proptest::collection::vec("-?[-a-zA-Z0-9@=]{0,4}", 0..6)) {
        let all: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Ok(Command { plan: Plan::Send(sending), .. }) = read(&all) {
            let explicit = words.iter().any(|word| word == "--");
            prop_assert!(explicit || sending.recipients.iter().all(|recipient| !recipient.starts_with('-')));
            prop_assert!(sending.extract || !sending.recipients.is_empty());
        }
    }

    #[test]
    fn letters_may_be_joined(letters in proptest::sample::subsequence(vec!['i', 't', 'v', 'm', 'n', 'G', 'U'], 1..7)) {
        let joined = format!("-{}", letters.iter().collect::<String>());
        let apart: Vec<String> = letters.iter().map(|letter| format!("-{letter}")).collect();
        let mut apart: Vec<&str> = apart.iter().map(String::as_str).collect();
        apart.push("a@b");
        prop_assert_eq!(sending(&[&joined, "a@b"]), sending(&apart));
    }
}
