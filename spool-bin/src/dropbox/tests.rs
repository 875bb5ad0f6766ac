//! The names of files, and which refusals are for good.

use super::*;
use spool_core::AddError;

#[test]
fn only_names_that_sendmail_gives_go_into_headers_and_keys() {
    assert!(is_id(&FlowId::random().to_string()));
    for name in [
        "",
        "x",
        "01M8Q0X0C24FBQB4WSXN0N64J",
        "01M8Q0X0C24FBQB4WSXN0N64JGG",
        "01M8Q0X0C24FBQB4WSXN0N64J\n",
        "01m8q0x0c24fbqb4wsxn0n64jg",
        "01M8Q0X0C24FBQB4WSXN0N64\u{e9}",
    ] {
        assert!(!is_id(name), "{name:?}");
    }
}

#[test]
fn temporary_errors_keep_the_file() {
    let later = |error| matches!(NotTaken::from(error), NotTaken::Later(_));
    assert!(later(AddError::Full(String::new())));
    assert!(later(AddError::Busy));
    assert!(later(AddError::Killed));
    assert!(later(AddError::Disk(String::new())));
    // The key of one domain may be missing for days.
    let unsigned = NotTaken::from(AddError::Unsigned("no key".to_owned()));
    assert!(matches!(unsigned, NotTaken::Waits(_)), "{unsigned:?}");
    assert!(!later(AddError::Invalid(String::new())));
    assert!(!later(AddError::KeyReused { ids: Vec::new() }));
    assert!(!later(AddError::TooManyRecipients { count: 2, limit: 1 }));
}

use crate::routes::Routes;
use crate::submissions::Submissions;
use spool_actors::{OpenSpool, Spool, WhenLoaded};
use spool_core::store::count_from_disk;
use spool_core::{NoDice, SpoolConfig, SystemClock};
use spool_smtp::client::{SmtpAgent, SmtpConfig};
use spool_smtp::dkim::Rules;

/// A drop directory over a spool that sends nothing.
struct Bench {
    dropbox: DropBox,
    memory: Budget,
    spool: PathBuf,
    _open: OpenSpool,
    _dir: tempfile::TempDir,
}

const NAME: &str = "01M8Q0X0C24FBQB4WSXN0N64JG";
const FILE: &str = "{\"spool_drop\":1,\"from\":\"\",\"to\":[\"c@d.example\"]}\nSubject: x\r\n\r\nhello\r\n";

impl Bench {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut open = SpoolConfig::new(dir.path().join("spool"));
        open.max_concurrent_jobs = 0;
        open.store.min_free_space = 0;
        let agent = Arc::new(SmtpAgent::new(SmtpConfig::default()));
        let open = Spool::start(open, agent as _, Arc::new(SystemClock), Arc::new(NoDice));
        let open = open.await.unwrap();
        open.addr.send(WhenLoaded).await.unwrap().unwrap();
        let mut config = Config::parse("").unwrap();
        config.route.next_hops = vec!["mx.example.net:25".parse().unwrap()];
        config.hostname = "mx.example.org".to_owned();
        config.drop_dir = Some(dir.path().join("drop"));
        let memory = Budget::new(1 << 20);
        let submissions = Submissions::new(&config, Rules::default(), &memory);
        let relay = Relay::new(&open, Routes::of(&config), submissions);
        Self {
            dropbox: DropBox::open(&config, &relay, &memory).unwrap().unwrap(),
            memory,
            spool: dir.path().join("spool"),
            _open: open,
            _dir: dir,
        }
    }

    /// Leaves a file, and claims it.
    fn write(&self, name: &str, text: &str) -> CString {
        std::fs::write(self.dropbox.path.join(name), text).unwrap();
        self.dropbox.dir.look(false).unwrap();
        CString::new(name).unwrap()
    }

    fn taken(&self, name: &str) -> PathBuf {
        self.dropbox.path.join("taken").join(name)
    }

    /// What the spool says to this file, which stays.
    async fn add(&self, name: &CString) -> Result<Vec<MessageId>, NotTaken> {
        let (mut found, round) = self.dropbox.read(vec![name.clone()], Round::default());
        assert_eq!((found.len(), round.refused), (1, 0), "{:?}", round.waits);
        self.dropbox.add(found.remove(0)).await.2
    }
}

#[actix::test]
async fn a_file_that_is_found_again_is_not_added_again() {
    let bench = Bench::start().await;
    let name = bench.write(NAME, FILE);
    let ids = bench.add(&name).await.unwrap();
    // As after a crash between the add and the end of the file.
    assert_eq!(bench.add(&name).await.unwrap(), ids);
    assert_eq!(count_from_disk(&bench.spool).unwrap(), 1);
    // Its owner writes something else into it: that is no second message, and what he wrote is kept.
    std::fs::write(bench.taken(NAME), FILE.replace("hello", "other")).unwrap();
    let refused = bench.add(&name).await.unwrap_err();
    assert!(
        matches!(&refused, NotTaken::Bad(why) if why.contains(&ids[0].to_string())),
        "{refused:?}"
    );
    assert_eq!(count_from_disk(&bench.spool).unwrap(), 1);
    // Another file by the same name is another message.
    std::fs::rename(bench.taken(NAME), bench.taken("old")).unwrap();
    bench.write(NAME, FILE);
    assert_ne!(bench.add(&name).await.unwrap(), ids);
}

#[actix::test]
async fn a_crash_between_the_claim_and_the_add_loses_nothing() {
    let mut bench = Bench::start().await;
    let name = bench.write(NAME, FILE);
    assert!(bench.taken(NAME).exists() && !bench.dropbox.path.join(NAME).exists());
    assert_eq!(count_from_disk(&bench.spool).unwrap(), 0);
    // As at the next start: nothing is known but what is on disk.
    bench.dropbox.dir = Arc::new(DropDir::open(&bench.dropbox.path, bench.dropbox.limits).unwrap());
    let look = bench.dropbox.dir.look(true).unwrap();
    assert_eq!(look.names, [name]);
    let dropbox = Arc::new(bench.dropbox);
    let (_running, stop) = watch::channel(false);
    let round = dropbox.take(look.names, &stop).await.unwrap();
    assert_eq!((round.taken, round.refused, round.waits), (1, 0, None));
    assert_eq!(count_from_disk(&bench.spool).unwrap(), 1);
    assert_eq!(dropbox.dir.look(true).unwrap(), Look::default());
}

#[actix::test]
async fn a_file_without_memory_waits_and_blocks_no_smaller_one() {
    let bench = Bench::start().await;
    let large = bench.write(NAME, &format!("{FILE}{}", "x\r\n".repeat(100_000)));
    let small = bench.write(&NAME.replace('G', "H"), FILE);
    let held = bench.memory.hold_first((1 << 20) - 20_000).unwrap();
    let (found, round) = bench
        .dropbox
        .read(vec![large.clone(), small.clone()], Round::default());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].name, small);
    assert!(round.waits.unwrap().contains("memory") && round.refused == 0);
    drop((found, held));
    assert_eq!(bench.dropbox.read(vec![large], Round::default()).0.len(), 1);
    assert_eq!(bench.memory.used(), 0, "what is not spooled is released");
}

#[actix::test]
async fn a_message_that_waits_by_itself_does_not_end_the_look() {
    let bench = Bench::start().await;
    let name = bench.write(NAME, FILE);
    let finish = |refused| {
        bench
            .dropbox
            .finish(vec![(name.clone(), 0, Err(refused))], Round::default())
    };
    let round = finish(NotTaken::Waits("no key".to_owned()));
    assert_eq!((round.waits.as_deref(), round.full), (Some("no key"), false));
    let round = finish(NotTaken::Later("no room".to_owned()));
    assert_eq!((round.waits.as_deref(), round.full), (Some("no room"), true));
    assert!(bench.taken(NAME).exists());
}

#[actix::test]
async fn what_cannot_be_set_aside_waits() {
    let bench = Bench::start().await;
    let name = bench.write("junk", "");
    std::fs::remove_dir(bench.dropbox.path.join("refused")).unwrap();
    let mut round = Round::default();
    bench.dropbox.set_aside(&name, None, "is junk", &mut round);
    assert_eq!(round.refused, 0);
    assert!(round.waits.unwrap().contains("cannot be set aside"));
    assert!(bench.taken("junk").exists());
}

#[actix::test]
async fn a_file_that_cannot_be_removed_is_not_taken_again() {
    let bench = Bench::start().await;
    let name = bench.write(NAME, FILE);
    let ids = bench.add(&name).await.unwrap();
    // A directory cannot be removed as a file can, whoever tries.
    std::fs::remove_file(bench.taken(NAME)).unwrap();
    std::fs::create_dir(bench.taken(NAME)).unwrap();
    let round = bench
        .dropbox
        .finish(vec![(name.clone(), 0, Ok(ids))], Round::default());
    assert!(round.full && round.waits.unwrap().contains("cannot be removed"));
    for _ in 0..2 {
        let (found, round) = bench.dropbox.read(vec![name.clone()], Round::default());
        assert_eq!((found.len(), round.refused, round.full), (0, 0, false));
        assert!(round.waits.unwrap().contains("cannot be removed"));
    }
    // Another file by the same name is read.
    std::fs::remove_dir(bench.taken(NAME)).unwrap();
    bench.write(NAME, FILE);
    assert_eq!(
        bench.dropbox.read(vec![name.clone()], Round::default()).0.len(),
        1
    );
    // What is gone is forgotten.
    assert_eq!(bench.dropbox.stuck().len(), 1);
    bench.dropbox.forget_stuck(&[]);
    assert_eq!(bench.dropbox.stuck().len(), 0);
}

#[actix::test]
async fn files_that_cannot_be_removed_are_remembered_up_to_a_bound() {
    let bench = Bench::start().await;
    let name = bench.write(NAME, FILE);
    let identity = bench.dropbox.dir.identity(&name).unwrap();
    for nth in 0..NAMES {
        bench
            .dropbox
            .stuck()
            .insert(CString::new(nth.to_string()).unwrap(), identity);
    }
    std::fs::remove_file(bench.taken(NAME)).unwrap();
    std::fs::create_dir(bench.taken(NAME)).unwrap();
    assert!(!bench.dropbox.remove(&name, &mut Round::default()));
    assert_eq!(bench.dropbox.stuck().len(), NAMES);
}
