//! The one thread that writes to the store: it gathers what waits, commits it with one sync, and hands back the
//! answers in one go.
//!
//! Urgent changes are committed at once, together with whatever else waits. The others, which nobody waits for, ride
//! along, or are committed after [`LINGER`]. It never retries and never reorders. A panic in the store is reported, and every
//! change from then on is answered with an error: nobody waits for a thread that is gone.

use crate::engine::Answered;
use crate::gate::DiskWork;
use crate::supervision::Sentinel;
use spool_core::store::{Change, Store, StoreError};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a change that nobody waits for may wait for company.
const LINGER: Duration = Duration::from_millis(5);
/// How long to gather while several are waiting: about the time of one sync, so that each sync carries twice as much.
const GATHER: Duration = Duration::from_micros(300);
/// The most changes in one commit.
const BATCH: usize = 4096;

/// A change with what its owner wants to be reminded of.
pub(crate) type Ticket<T> = (Change, T);

#[derive(Debug)]
struct WriteQueue<T> {
    tickets: Vec<Ticket<T>>,
    urgent: usize,
    asleep: bool,
    closed: bool,
}

#[derive(Debug)]
struct Shared<T> {
    waiting: Mutex<WriteQueue<T>>,
    wake: Condvar,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, WriteQueue<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue in front of the writer thread.
#[derive(Debug)]
pub(crate) struct Writer<T: Send + 'static> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Writer<T> {
    /// Starts the thread. `answer` is called on it, once for each commit.
    pub(crate) fn start(
        store: Arc<Store>,
        sentinel: Sentinel,
        work: DiskWork,
        answer: impl Fn(Vec<Answered<T>>) + Send + 'static,
    ) -> io::Result<Self> {
        let waiting = WriteQueue {
            tickets: Vec::new(),
            urgent: 0,
            asleep: false,
            closed: false,
        };
        let shared = Arc::new(Shared {
            waiting: Mutex::new(waiting),
            wake: Condvar::new(),
        });
        let run = {
            let shared = Arc::clone(&shared);
            move || {
                write_all(&shared, &store, &sentinel, &work, &answer);
                sentinel.done();
            }
        };
        let thread = std::thread::Builder::new()
            .name("spool-writer".into())
            .spawn(run)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Queues changes, so many of them urgent. The bound on the queue is the memory that its owner was granted for the mail in it.
    pub(crate) fn push(&self, tickets: Vec<Ticket<T>>, urgent: usize) {
        let mut waiting = self.shared.lock();
        waiting.tickets.extend(tickets);
        let first = waiting.urgent == 0 && urgent > 0;
        waiting.urgent += urgent;
        // Awake, it looks again before it sleeps.
        if mem::take(&mut waiting.asleep) || first {
            drop(waiting);
            self.shared.wake.notify_one();
        }
    }
}

impl<T: Send + 'static> Drop for Writer<T> {
    /// Commits what waits, then ends the thread.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread panicked");
        }
    }
}

/// What a change is answered whose commit panicked, and all that come after it.
const PANICKED: &str = "the writer thread panicked";

fn write_all<T>(
    shared: &Shared<T>,
    store: &Store,
    sentinel: &Sentinel,
    work: &DiskWork,
    answer: &dyn Fn(Vec<Answered<T>>),
) {
    // Who waits for a change must be answered, whatever becomes of the store. What it holds in memory is then in disorder.
    let guarded = |work: &mut dyn FnMut()| {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            sentinel.panicked();
            store.abandon(PANICKED);
        }
    };
    let mut crowded = false;
    while let Some((tickets, urgent)) = next_batch(shared, crowded) {
        crowded = urgent > 1;
        let (mut changes, tags): (Vec<_>, Vec<_>) = tickets.into_iter().unzip();
        let failed = || Err(StoreError::Failed(PANICKED.to_owned()));
        let mut results: Vec<_> = changes.iter().map(|_| failed()).collect();
        work.begins();
        guarded(&mut || {
            sentinel.failpoint();
            results = store.commit(&mut changes);
        });
        let tickets = changes.into_iter().zip(tags).zip(results);
        let answered = |((change, tag), result)| Answered { change, tag, result };
        answer(tickets.map(answered).collect());
        // Nobody waits for this: the next segment is made ready, and finished ones are given back.
        guarded(&mut || {
            work.begins();
            store.maintain();
            // One small step under any load, and more while there is nothing to write. Closing waits for this thread.
            while store.compact() {
                work.begins();
                store.maintain();
                let waiting = shared.lock();
                if waiting.closed || !waiting.tickets.is_empty() {
                    break;
                }
            }
        });
        work.ends();
    }
}

/// Waits until something must be written; gives it, and how many of it are urgent. `None` when the writer is closed and
/// nothing is left.
fn next_batch<T>(shared: &Shared<T>, crowded: bool) -> Option<(Vec<Ticket<T>>, usize)> {
    let mut waiting = shared.lock();
    while waiting.tickets.is_empty() {
        if waiting.closed {
            return None;
        }
        waiting.asleep = true;
        waiting = shared.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        waiting.asleep = false;
    }
    if waiting.urgent == 0 && !waiting.closed {
        let idle = |waiting: &mut WriteQueue<T>| waiting.urgent == 0 && !waiting.closed;
        waiting = shared
            .wake
            .wait_timeout_while(waiting, LINGER, idle)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    } else if crowded && !waiting.closed {
        drop(waiting);
        std::thread::sleep(GATHER);
        waiting = shared.lock();
    }
    let urgent = waiting.urgent;
    let rest = waiting.tickets.len().min(BATCH);
    let later = waiting.tickets.split_off(rest);
    // What is left over is taken at once by the next call.
    waiting.urgent = later.len();
    Some((mem::replace(&mut waiting.tickets, later), urgent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervision::{Part, Supervision};
    use bytes::Bytes;
    use spool_core::store::fs::SimFs;
    use spool_core::store::{Addition, Finish, NewMessage, StoreOptions};
    use spool_core::{
        Envelope, MessageId, RetryPolicy, ReversePath, RouteOrigin, Section, Status, Timestamp,
    };
    use std::path::Path;
    use std::sync::mpsc::channel;

    fn add(number: u128) -> Change {
        let to = ["b@example.net".parse().unwrap()];
        let status = Status::SendAt(Timestamp(0));
        Change::Add(Addition {
            messages: vec![NewMessage {
                id: MessageId::from_u128(number),
                section: Section {
                    envelope: Envelope::of(ReversePath::parse("a@example.org").unwrap(), to),
                    next_hops: ["mx.example.net:25".parse().unwrap()].into(),
                    origin: RouteOrigin::Named,
                    retry: RetryPolicy {
                        intervals: Vec::new(),
                        repeat_last: false,
                        expire_after: None,
                    },
                },
                status,
                frozen: None,
                in_flight: None,
                state: None,
            }],
            body: Bytes::from(vec![b'x'; 10_000]),
            flows: Vec::new(),
            parent: None,
            related: Vec::new(),
            spooled_at: Timestamp(0),
            key: None,
            conclusion: None,
            events: Vec::new(),
        })
    }

    /// A store in which most of what the journal holds is no longer needed.
    fn wasteful() -> Store {
        let mut options = StoreOptions::default();
        options.segment_size = 64 << 10;
        options.min_free_space = 0;
        options.slack_segments = 0;
        let (store, _) = Store::begin(Arc::new(SimFs::new()), Path::new("/spool"), &options).unwrap();
        store.load_all(&mut drop).unwrap();
        for number in 1..=200 {
            store.commit(&mut [add(number)]).pop().unwrap().unwrap();
        }
        for number in (1..=200).filter(|number| number % 6 > 0) {
            let finish = Change::Finish {
                id: MessageId::from_u128(number),
                how: Finish::Delivered,
                events: Vec::new(),
            };
            store.commit(&mut [finish]).pop().unwrap().unwrap();
        }
        store.maintain();
        store
    }

    #[test]
    fn a_commit_has_no_more_changes_than_allowed_and_the_rest_follows_at_once() {
        let ticket = |tag| (Change::Note { events: Vec::new() }, tag);
        let waiting = WriteQueue {
            tickets: (0..BATCH + 1).map(ticket).collect(),
            urgent: BATCH + 1,
            asleep: false,
            closed: false,
        };
        let shared = Shared {
            waiting: Mutex::new(waiting),
            wake: Condvar::new(),
        };
        let (first, _) = next_batch(&shared, false).unwrap();
        assert_eq!(
            (first.len(), first.last().map(|(_, tag)| *tag)),
            (BATCH, Some(BATCH - 1))
        );
        assert_eq!(shared.lock().urgent, 1, "it does not linger");
        let (second, _) = next_batch(&shared, false).unwrap();
        assert_eq!(second.first().map(|(_, tag)| *tag), Some(BATCH));
    }

    #[test]
    fn a_writer_that_is_closed_does_not_compact_all_that_there_is() {
        let store = Arc::new(wasteful());
        let (go_on, wait) = channel::<()>();
        let sentinel = Supervision::new().sentinel(Part::Writer);
        let answer = move |_| wait.recv().unwrap_or_default();
        let writer = Writer::start(Arc::clone(&store), sentinel, DiskWork::default(), answer).unwrap();
        let change = Change::Note { events: Vec::new() };
        writer.push(vec![(change, ())], 1);
        // Before the writer has come to the compaction.
        writer.shared.lock().closed = true;
        go_on.send(()).unwrap();
        drop(writer);
        assert!(store.compact(), "nothing is left to be compacted");
    }
}
