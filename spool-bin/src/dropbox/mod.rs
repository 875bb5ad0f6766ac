//! Mail that `sendmail` left while the service was down: it is added to the spool from the drop directory, each message once.
//!
//! A file is removed only after its message is durable. A crash between the two leaves both: the add has a key made of the file's
//! name and inode, so that the next scan finds that the message was added already. A file that is no message is set aside with the
//! reason in the log; one for which there is no memory now waits in `taken/`. Other mail is not delayed: one batch is read at a time,
//! its memory is that of arriving mail, and files are used on threads that may block.

mod dir;
mod format;
mod leave;

pub(crate) use leave::leave;

use crate::config::{Config, SubmissionLimits};
use crate::failure::Failure;
use crate::relay::{Relay, SubmitOptions};
use dir::{DropDir, FileIdentity, Left, Look, NAMES, NotTaken};
use futures_util::future::join_all;
use spool_core::{AddError, Admission, Budget, FlowId, Held, Mail, MessageId, Source, visible};
use spool_smtp::server::left_by;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Time between two scans of a directory with nothing to do.
const POLL: Duration = Duration::from_secs(2);
/// Scans take at most one of so many parts of the time, however many names there are.
const SHARE: u32 = 10;
/// Files read and added at the same time.
const BATCH: usize = 32;
/// Time between two searches for files that were begun and not finished.
const SWEEP: Duration = Duration::from_secs(3600);
/// Files set aside in one scan that have a log line of their own; the others are counted.
const TOLD: usize = 20;

/// Adds mail from the drop directory.
pub(crate) struct DropBox {
    dir: Arc<DropDir>,
    path: PathBuf,
    relay: Relay,
    memory: Budget,
    limits: SubmissionLimits,
    hostname: String,
    received_headers: usize,
    /// Files that cannot be removed although their messages are on the spool: they are not added or logged again.
    stuck: Mutex<HashMap<CString, FileIdentity>>,
}

/// The message of one file.
struct ReadFile {
    name: CString,
    user: u32,
    key: String,
    mail: Mail,
    _held: Held,
}

impl From<AddError> for NotTaken {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Invalid(_) | AddError::TooManyRecipients { .. } | AddError::KeyReused { .. } => {
                Self::Bad(error.to_string())
            }
            AddError::Unsigned(_) => Self::Waits(error.to_string()),
            // Also unknown errors: nothing is lost by waiting.
            AddError::Busy
            | AddError::Full(_)
            | AddError::Disk(_)
            | AddError::Ended(_)
            | AddError::Killed
            | _ => Self::Later(error.to_string()),
        }
    }
}

/// The name and the owner of a file, and the result of its add.
type Added = (CString, u32, Result<Vec<MessageId>, NotTaken>);

/// The result of one scan.
#[derive(Debug, Default)]
struct Round {
    taken: usize,
    refused: usize,
    /// Why the rest waits.
    waits: Option<String>,
    /// The spool adds nothing now.
    full: bool,
}

impl Round {
    /// Something waits; the first reason is kept.
    fn waits(&mut self, why: String) {
        self.waits.get_or_insert(why);
    }
}

impl DropBox {
    /// The drop directory of `config`, created if it is missing; `None` when none is configured.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(crate) fn open(config: &Config, relay: &Relay, memory: &Budget) -> Result<Option<Self>, Failure> {
        let Some(path) = &config.drop_dir else {
            return Ok(None);
        };
        let limits = config.submission_limits();
        let dir = DropDir::open(path, limits)
            .map_err(|why| Failure::Failed(format!("relay.drop_dir: {}: {why}", path.display())))?;
        Ok(Some(Self {
            dir: Arc::new(dir),
            path: path.clone(),
            relay: relay.clone(),
            memory: memory.clone(),
            limits,
            hostname: config.hostname.clone(),
            received_headers: config.server.received_headers,
            stuck: Mutex::default(),
        }))
    }

    /// Adds the messages in the directory and those that arrive, until `stop` becomes true or its sender is dropped.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let mut swept: Option<Instant> = None;
        let mut told = (0, None);
        loop {
            let began = Instant::now();
            let sweep = swept.is_none_or(|swept| began.duration_since(swept) >= SWEEP);
            if sweep {
                swept = Some(began);
            }
            let dir = Arc::clone(&this.dir);
            let Some(look) = blocking(move || dir.look(sweep)).await else {
                return;
            };
            let took = began.elapsed();
            let look = look.unwrap_or_else(|error| {
                warn!(dir = %this.path.display(), %error, "the drop directory cannot be read");
                Look::default()
            });
            if std::mem::replace(&mut told.0, look.stuck) != look.stuck {
                warn!(dir = %this.path.display(), directories = look.stuck, "directories lie in the drop directory and cannot be removed");
            }
            this.forget_stuck(&look.names);
            let more = look.more;
            let Some(mut round) = this.take(look.names, &stop).await else {
                return;
            };
            look.unclaimed.into_iter().for_each(|why| round.waits(why));
            if round.waits != told.1 {
                if let Some(why) = &round.waits {
                    warn!(dir = %this.path.display(), why, "mail waits in the drop directory");
                }
                told.1.clone_from(&round.waits);
            }
            let progress = round.taken + round.refused > 0;
            if more && progress && round.waits.is_none() && !*stop.borrow() {
                continue;
            }
            let pause = POLL.max(took * SHARE);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Adds these files, batch by batch. `None`: the runtime ends.
    async fn take(self: &Arc<Self>, names: Vec<CString>, stop: &watch::Receiver<bool>) -> Option<Round> {
        let mut round = Round::default();
        for batch in names.chunks(BATCH) {
            // When the spool adds nothing now, the rest need not be read.
            if *stop.borrow() || round.full {
                break;
            }
            let (this, batch) = (Arc::clone(self), batch.to_vec());
            let (found, read) = blocking(move || this.read(batch, round)).await?;
            let added = join_all(found.into_iter().map(|found| self.add(found))).await;
            let this = Arc::clone(self);
            round = blocking(move || this.finish(added, read)).await?;
        }
        if round.refused > TOLD {
            warn!(dir = %self.path.display(), count = round.refused - TOLD, "more files were set aside");
        }
        Some(round)
    }

    /// Reads files. Those that are no messages are set aside.
    fn read(&self, names: Vec<CString>, mut round: Round) -> (Vec<ReadFile>, Round) {
        let mut all = Vec::new();
        for name in names {
            if self.is_stuck(&name) {
                self.remove(&name, &mut round);
                continue;
            }
            let Some(id) = name.to_str().ok().filter(|id| is_id(id)).map(str::to_owned) else {
                let why = "does not have a name that sendmail gives";
                self.set_aside(&name, None, why, &mut round);
                continue;
            };
            // For the file, and the message that is made of it.
            let needed = |size: u64| size.saturating_mul(3).saturating_add(4096);
            match self.dir.read(&name, |size| self.memory.hold_first(needed(size))) {
                Ok(left) => match self.mail(&id, &left) {
                    Ok(mail) => all.push(ReadFile {
                        key: format!("drop:{id}:{}", left.inode),
                        user: left.user,
                        name,
                        mail,
                        _held: left.held,
                    }),
                    Err(why) => self.set_aside(&name, Some(left.user), &why, &mut round),
                },
                Err(why) => self.leave_out(&name, None, why, &mut round),
            }
        }
        (all, round)
    }

    /// The message of a file.
    fn mail(&self, id: &str, left: &Left<Held>) -> Result<Mail, String> {
        let (envelope, message) = format::read(&left.bytes, self.limits)?;
        let (hostname, date) = (&self.hostname, left.at.rfc5322());
        let body = left_by(left.user, message, hostname, id, &date, self.received_headers)?;
        let source = Source {
            admission: Admission::Network,
            client: None,
            uid: Some(left.user),
            tls: None,
        };
        Ok(Mail {
            envelope,
            body: body.into(),
            flows: vec![FlowId::random()],
            source,
        })
    }

    /// Adds a file's message.
    async fn add(&self, found: ReadFile) -> Added {
        let options = SubmitOptions {
            key: Some(found.key),
            ..SubmitOptions::default()
        };
        let answer = self.relay.submit("drop", found.mail, options).await;
        (found.name, found.user, answer.map_err(NotTaken::from))
    }

    /// Removes files whose messages were added, and sets aside those that never can be.
    fn finish(&self, all: Vec<Added>, mut round: Round) -> Round {
        for (name, user, added) in all {
            match added {
                Ok(ids) => {
                    debug!(uid = user, ids = ?ids, file = %shown(&name), "mail taken from the drop directory");
                    round.taken += 1;
                    round.full |= !self.remove(&name, &mut round);
                }
                Err(why) => self.leave_out(&name, Some(user), why, &mut round),
            }
        }
        round
    }

    /// A file that is not taken in this round.
    fn leave_out(&self, name: &CStr, user: Option<u32>, why: NotTaken, round: &mut Round) {
        match why {
            NotTaken::Gone => {}
            NotTaken::Bad(why) => self.set_aside(name, user, &why, round),
            NotTaken::Waits(why) => round.waits(why),
            NotTaken::Later(why) => {
                round.waits(why);
                round.full = true;
            }
        }
    }

    /// Removes a file whose message is on the spool. One that cannot be removed is remembered, and logged so that it can be removed
    /// by hand: its message is not added again.
    fn remove(&self, name: &CStr, round: &mut Round) -> bool {
        let mut stuck = self.stuck();
        match self.dir.remove(name) {
            Ok(()) => {
                stuck.remove(name);
                true
            }
            Err(error) => {
                round.waits(format!("{} cannot be removed: {error}", shown(name)));
                // Beyond that number, the key of the add still finds the message.
                if let Ok(identity) = self.dir.identity(name)
                    && stuck.len() < NAMES
                {
                    stuck.insert(name.to_owned(), identity);
                }
                false
            }
        }
    }

    /// Whether `name` is still the file that could not be removed.
    fn is_stuck(&self, name: &CStr) -> bool {
        let known = self.stuck().get(name).copied();
        known.is_some_and(|known| self.dir.identity(name).is_ok_and(|now| now == known))
    }

    /// Forgets files that are not among `names` any more.
    fn forget_stuck(&self, names: &[CString]) {
        let mut stuck = self.stuck();
        if !stuck.is_empty() {
            let names: HashSet<&CString> = names.iter().collect();
            stuck.retain(|name, _| names.contains(name));
        }
    }

    fn stuck(&self) -> MutexGuard<'_, HashMap<CString, FileIdentity>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a file aside, and logs that if fewer than [`TOLD`] were set aside in this scan.
    fn set_aside(&self, name: &CStr, user: Option<u32>, why: &str, round: &mut Round) {
        let (dir, file) = (self.path.display(), shown(name));
        match self.dir.refuse(name) {
            Ok(kept) => {
                if round.refused < TOLD {
                    warn!(%dir, %file, uid = user, why, kept = %kept.display(), "not mail: set aside");
                }
                round.refused += 1;
            }
            Err(error) => round.waits(format!("{file}: {why}, and cannot be set aside: {error}")),
        }
    }
}

/// Whether a name has the form that [`leave`] gives: it becomes part of a header and of a key.
fn is_id(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    name.len() == 26 && name.bytes().all(fits)
}

fn shown(name: &CStr) -> String {
    visible(&name.to_string_lossy()).into_owned()
}

/// Runs `work` on a thread that may block; `None` when the runtime ends or the work panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
