//! Name servers, asked one at a time in their order, as resolv.conf(5) has it; below hickory, which keeps answers, follows aliases and
//! validates.
//!
//! The first answer that counts is the answer, "no such domain" included. The next server is asked when one does not answer in its time,
//! cannot be reached, or says that it cannot answer; never beside another one, and never to find a better answer. A server that says that
//! it does not know EDNS, or that does not answer a question with EDNS at all, is asked again without it.

use super::exchange::{ExchangeError, over_tcp, over_udp};
use super::resolv_conf::Settings;
use super::verdict::{AnswerVerdict, OPEN_ALIAS, ends_in_an_alias, verdict};
use futures_util::stream::{Stream, once};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Message};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::{ConnectionProvider, PoolContext};
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// Questions under way at once, each with a socket. The others wait.
const QUESTIONS: usize = 256;
/// Bytes of answers after which what is kept of them is forgotten: an answer is kept whole, however large it is.
const MAX_BYTES: usize = 16 << 20;
/// What a record takes in memory beside its text.
const RECORD: usize = 384;
/// For how long a server is not asked with EDNS once it did not know it, or answered only without it.
const WITHOUT_EDNS: Duration = Duration::from_secs(600);

/// See the module. Cloning shares them.
#[derive(Clone)]
pub(super) struct NameServers(Arc<ServerList>);

struct ServerList {
    servers: Vec<NameServer>,
    /// How long one server is waited for.
    timeout: Duration,
    attempts: usize,
    /// How long all of it may take.
    limit: Duration,
    rotate: bool,
    questions: Semaphore,
    asked: AtomicUsize,
    /// Bytes of answers since they were forgotten.
    answered: AtomicUsize,
    runtime: TokioRuntimeProvider,
}

#[derive(Debug)]
struct NameServer {
    address: SocketAddr,
    /// Until when it is asked without EDNS.
    without_edns: Mutex<Option<Instant>>,
}

impl NameServers {
    /// Those in `settings`. After `limit` nobody waits for an answer any more: all servers are asked before.
    pub(super) fn new(settings: &Settings, limit: Duration) -> Self {
        let server = |address: &SocketAddr| NameServer {
            address: *address,
            without_edns: Mutex::default(),
        };
        let servers: Vec<_> = settings.servers.iter().map(server).collect();
        let share = limit.mul_f32(0.8) / u32::try_from(servers.len()).unwrap_or(u32::MAX).max(1);
        Self(Arc::new(ServerList {
            servers,
            timeout: settings.timeout.min(share),
            attempts: settings.attempts,
            limit,
            rotate: settings.rotate,
            questions: Semaphore::new(QUESTIONS),
            asked: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            runtime: TokioRuntimeProvider::default(),
        }))
    }

    /// Whether they have answered so much that it is to be forgotten; then it is counted anew.
    pub(super) fn have_answered_enough(&self) -> bool {
        let enough = self.0.answered.load(Ordering::Relaxed) >= MAX_BYTES;
        if enough {
            self.0.answered.store(0, Ordering::Relaxed);
        }
        enough
    }
}

/// What an answer takes in memory, about.
fn footprint(answer: &DnsResponse) -> usize {
    let records = answer.answers.len() + answer.authorities.len() + answer.additionals.len();
    answer.as_buffer().len() + RECORD * records
}

impl ServerList {
    /// The first answer that counts; the error says of each server why it has none.
    async fn ask(&self, question: &Message) -> Result<DnsResponse, NetError> {
        let end = Instant::now() + self.limit;
        let Ok(_place) = timeout_at(end, self.questions.acquire()).await else {
            return Err(NetError::from("too many questions are under way"));
        };
        let mut waiting = self.in_order();
        let mut reasons = Vec::new();
        for round in 0..self.attempts {
            let mut silent = Vec::new();
            for server in waiting {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    silent.push(server);
                    continue;
                }
                match server.ask(question, self.timeout.min(left), round > 0).await {
                    Ok(answer) => {
                        self.answered.fetch_add(footprint(&answer), Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Err(ExchangeError::Error(reason)) => {
                        reasons.push(format!("{}: {reason}", server.address))
                    }
                    Err(ExchangeError::Silence) => silent.push(server),
                }
            }
            waiting = silent;
        }
        let silent = waiting
            .iter()
            .map(|server| format!("{}: no answer", server.address));
        reasons.extend(silent);
        Err(NetError::from(reasons.join("; ")))
    }

    fn in_order(&self) -> Vec<&NameServer> {
        let mut servers: Vec<_> = self.servers.iter().collect();
        if self.rotate && !servers.is_empty() {
            let first = self.asked.fetch_add(1, Ordering::Relaxed) % servers.len();
            servers.rotate_left(first);
        }
        servers
    }
}

impl NameServer {
    /// `was_silent`: the same question got no answer. Some servers, and firewalls before them, drop whatever has EDNS; a question that
    /// asks for signatures needs it.
    async fn ask(
        &self,
        question: &Message,
        time: Duration,
        was_silent: bool,
    ) -> Result<DnsResponse, ExchangeError> {
        let dnssec = question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        if question.edns.is_none() || !dnssec && self.is_without_edns() {
            return self.ask_as_it_is(&plain(question), time).await?.into_answer();
        }
        if dnssec || !was_silent {
            match self.ask_as_it_is(question, time).await? {
                Asked::WithoutEdns => {}
                asked @ (Asked::Answer(_) | Asked::Fails(_)) => return asked.into_answer(),
            }
        }
        let answer = self.ask_as_it_is(&plain(question), time).await?.into_answer()?;
        let until = Instant::now() + WITHOUT_EDNS;
        *self.without_edns.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        Ok(answer)
    }

    async fn ask_as_it_is(&self, question: &Message, time: Duration) -> Result<Asked, ExchangeError> {
        let mut answer = over_udp(self.address, question, time).await?;
        let mut follows = verdict(question, &answer);
        if follows == AnswerVerdict::Truncated {
            answer = over_tcp(self.address, question, time).await?;
            follows = verdict(question, &answer);
        }
        Ok(match follows {
            AnswerVerdict::Counts => {
                Asked::Answer(Box::new(marked(question, with_canonical_targets(answer))))
            }
            AnswerVerdict::WithoutEdns => Asked::WithoutEdns,
            AnswerVerdict::Truncated => Asked::Fails("the answer is cut off".to_owned()),
            AnswerVerdict::Fails(reason) => Asked::Fails(reason),
        })
    }

    fn is_without_edns(&self) -> bool {
        let until = self.without_edns.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

/// What a server said.
enum Asked {
    Answer(Box<DnsResponse>),
    WithoutEdns,
    Fails(String),
}

impl Asked {
    fn into_answer(self) -> Result<DnsResponse, ExchangeError> {
        match self {
            Self::Answer(answer) => Ok(*answer),
            Self::WithoutEdns => Err(ExchangeError::Error("it cannot read the question".to_owned())),
            Self::Fails(reason) => Err(ExchangeError::Error(reason)),
        }
    }
}

fn plain(question: &Message) -> Message {
    let mut plain = question.clone();
    plain.edns = None;
    plain
}

/// The answer, with the targets of its DNAME records in lower case: so they stand in what is signed (RFC 4034 section 6.2). Hickory does
/// not know the kind, and checks signatures against the octets that came.
fn with_canonical_targets(answer: DnsResponse) -> DnsResponse {
    let is_loud = |record: &Record| {
        let RData::Unknown { code, rdata } = &record.data else {
            return false;
        };
        *code == RecordType::DNAME && rdata.anything.iter().any(u8::is_ascii_uppercase)
    };
    if !answer.answers.iter().any(is_loud) {
        return answer;
    }
    let mut message = answer.clone().into_message();
    for record in message.answers.iter_mut().filter(|record| is_loud(record)) {
        if let RData::Unknown { rdata, .. } = &mut record.data {
            // The length of a label is below any letter.
            rdata.anything.make_ascii_lowercase();
        }
    }
    DnsResponse::from_message(message).unwrap_or(answer)
}

/// The answer, with [`OPEN_ALIAS`] where it ends in an alias.
fn marked(question: &Message, answer: DnsResponse) -> DnsResponse {
    if !ends_in_an_alias(question, &answer) {
        return answer;
    }
    let mut message = answer.clone().into_message();
    message.metadata.response_code = OPEN_ALIAS;
    DnsResponse::from_message(message).unwrap_or(answer)
}

impl DnsHandle for NameServers {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let inner = Arc::clone(&self.0);
        let (question, _) = request.into_parts();
        Box::pin(once(async move { inner.ask(&question).await }))
    }
}

/// For hickory all servers are one, and a connection to it is had at once.
impl ConnectionProvider for NameServers {
    type Conn = Self;
    type FutureConn = Ready<Result<Self, NetError>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        _ip: IpAddr,
        _config: &ConnectionConfig,
        _cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        Ok(ready(Ok(self.clone())))
    }

    fn runtime_provider(&self) -> &Self::RuntimeProvider {
        &self.0.runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_questions_are_under_way_than_allowed_and_no_other_waits_without_end() {
        let (settings, _) = Settings::parse("nameserver 192.0.2.1\n");
        let servers = NameServers::new(&settings, Duration::from_secs(30));
        let questions = &servers.0.questions;
        let places: Vec<_> = std::iter::from_fn(|| questions.try_acquire().ok()).collect();
        assert_eq!(places.len(), 256);
        let begun = Instant::now();
        let refused = servers.0.ask(&Message::query()).await.unwrap_err().to_string();
        assert_eq!(
            (refused.as_str(), begun.elapsed().as_secs()),
            ("too many questions are under way", 30)
        );
    }
}
