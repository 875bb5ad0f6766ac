//! Model peers. Each determines the result of a session, and how long it takes, when the session begins.

use crate::pace::Signal;
use spool_core::{
    AttemptReport, AttemptResult, Envelope, RefusedRecipient, Reply, ReversePath, Stage, Timestamp,
};
use std::time::Duration;

/// How long a good session takes on average.
pub(super) const SERVICE: Duration = Duration::from_millis(100);
/// How long a refusal takes.
pub(super) const REFUSAL: Duration = Duration::from_millis(5);

/// How long a session takes that breaks off.
const BROKEN: Duration = Duration::from_secs(30);

/// The result of a session with a peer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Whether the message was taken.
    pub(super) taken: bool,
    /// The signal of the client's report.
    pub(super) signal: Signal,
    pub(super) span: Duration,
}

/// xorshift64*: a seed plays the same choices again.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 up to 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

pub(super) trait Peer {
    /// The `nth` session begins, with `open` sessions taken that have not ended. Each message is for another mailbox.
    fn begin(&mut self, now: Timestamp, open: usize, nth: usize) -> Answer;
}

/// Ways to refuse everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// No connection.
    Unreachable,
    /// The session breaks off after half a minute.
    Broken,
    /// 421 in place of a greeting.
    Greeting,
    /// 421 to MAIL.
    Mail,
    /// 421 to RCPT.
    Rcpt,
    /// A reply to RCPT that could be about one mailbox, if it did not come to all of them.
    Words,
}

impl Way {
    pub(super) const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Broken,
        Self::Greeting,
        Self::Mail,
        Self::Rcpt,
        Self::Words,
    ];

    /// For people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "no connection",
            Self::Broken => "broken after 30 s",
            Self::Greeting => "421 at the greeting",
            Self::Mail => "421 to MAIL",
            Self::Rcpt => "421 to RCPT",
            Self::Words => "450 4.2.1 to RCPT",
        }
    }

    /// The refusal of the `nth` message.
    pub(super) fn refuse(self, nth: usize) -> Answer {
        let no_connection = AttemptResult::NoConnection {
            error: "connection refused".into(),
        };
        let broken = AttemptResult::Broken {
            stage: Stage::Data,
            error: "timed out".into(),
            in_doubt: false,
        };
        let signal = match self {
            Self::Unreachable => signal(no_connection, &[], nth),
            Self::Broken => signal(broken, &[], nth),
            Self::Greeting => refused(Stage::Connect, "4.3.2 too busy", nth),
            Self::Mail => refused(Stage::Mail, "4.7.0 try again later", nth),
            Self::Rcpt => all_refused(421, "4.7.0 try again later", nth),
            Self::Words => all_refused(450, "4.2.1 too many", nth),
        };
        let taken = false;
        let span = if self == Self::Broken { BROKEN } else { REFUSAL };
        Answer { taken, signal, span }
    }
}

fn signal(result: AttemptResult, refused: &[Reply], mailbox: usize) -> Signal {
    let to = format!("{mailbox}@x.example").parse().unwrap();
    let mut report = AttemptReport::new(result);
    let refused = refused.iter().cloned();
    report.refused = refused
        .map(|reply| RefusedRecipient { recipient: 0, reply })
        .collect();
    Signal::of(&report, &Envelope::of(ReversePath::Null, [to]))
}

fn refused(stage: Stage, text: &str, nth: usize) -> Signal {
    let reply = Reply::new(421, text);
    signal(AttemptResult::Refused { stage, reply }, &[], nth)
}

fn all_refused(code: u16, text: &str, mailbox: usize) -> Signal {
    signal(AttemptResult::AllRefused, &[Reply::new(code, text)], mailbox)
}

fn well(span: Duration) -> Answer {
    let (taken, signal) = (true, Signal::Fine);
    Answer { taken, signal, span }
}

/// A good session, of varying length.
pub(super) fn taken(chance: &mut Chance) -> Answer {
    well(SERVICE.mul_f64(0.7 + 0.6 * chance.next()))
}

/// Takes `k` sessions at once.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) k: usize,
    /// How it refuses more of them.
    pub(super) way: Way,
    pub(super) chance: Chance,
}

impl Peer for Connections {
    fn begin(&mut self, _: Timestamp, open: usize, nth: usize) -> Answer {
        if open >= self.k {
            self.way.refuse(nth)
        } else {
            taken(&mut self.chance)
        }
    }
}

/// How a peer counts messages in a time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counting {
    /// So many in each full second, whatever was refused counted too.
    Seconds,
    /// A bucket with a second's worth in it.
    Bucket,
}

/// Takes `r` messages a second.
#[derive(Debug)]
pub(super) struct Messages {
    r: f64,
    counting: Counting,
    way: Way,
    chance: Chance,
    since: Option<Timestamp>,
    count: f64,
}

impl Messages {
    pub(super) fn new(r: f64, counting: Counting, way: Way, seed: u64) -> Self {
        Self {
            r,
            counting,
            way,
            chance: Chance::new(seed),
            since: None,
            count: 0.0,
        }
    }
}

impl Peer for Messages {
    fn begin(&mut self, now: Timestamp, _: usize, nth: usize) -> Answer {
        let burst = self.r.max(1.0);
        let since = *self.since.get_or_insert(now);
        let passed = now.since(since).as_secs_f64();
        let over = match self.counting {
            Counting::Seconds => {
                // A limit below one a second is counted over as long as one message takes.
                if passed >= burst / self.r {
                    (self.since, self.count) = (Some(now), 0.0);
                }
                self.count += 1.0;
                self.count > burst
            }
            Counting::Bucket => {
                self.since = Some(now);
                self.count = (self.count - passed * self.r).max(0.0);
                let over = self.count + 1.0 > burst;
                self.count += if over { 0.0 } else { 1.0 };
                over
            }
        };
        if over {
            self.way.refuse(nth)
        } else {
            taken(&mut self.chance)
        }
    }
}

/// Refuses a share of the messages, and takes the others.
#[derive(Debug)]
pub(super) struct Share {
    /// One message in so many.
    pub(super) one_in: usize,
    /// Whether they are all for one mailbox.
    pub(super) same: bool,
    pub(super) way: Way,
    pub(super) chance: Chance,
}

impl Peer for Share {
    fn begin(&mut self, _: Timestamp, _: usize, nth: usize) -> Answer {
        let bad = match self.same {
            true => nth.is_multiple_of(self.one_in),
            false => self.chance.next() * (self.one_in as f64) < 1.0,
        };
        if bad {
            return self.way.refuse(if self.same { 0 } else { nth });
        }
        taken(&mut self.chance)
    }
}

/// Is down between two times: refuses all, or some, and is another peer at all other times.
#[derive(Debug)]
pub(super) struct Down<P> {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) way: Way,
    /// It takes one message in so many while it is down; 0: none.
    pub(super) takes: usize,
    pub(super) peer: P,
}

impl Peer for Box<dyn Peer> {
    fn begin(&mut self, now: Timestamp, open: usize, nth: usize) -> Answer {
        (**self).begin(now, open, nth)
    }
}

impl<P: Peer> Peer for Down<P> {
    fn begin(&mut self, now: Timestamp, open: usize, nth: usize) -> Answer {
        let down = (self.from..self.until).contains(&now);
        if down && (self.takes == 0 || !nth.is_multiple_of(self.takes)) {
            return self.way.refuse(nth);
        }
        self.peer.begin(now, open, nth)
    }
}

/// Takes everything, in sessions of this length.
#[derive(Debug)]
pub(super) struct Well(pub(super) Duration);

impl Peer for Well {
    fn begin(&mut self, _: Timestamp, _: usize, _: usize) -> Answer {
        well(self.0)
    }
}
