//! Name servers, which are queried one at a time in order, as resolv.conf(5) describes it. Hickory caches, follows aliases and validates
//! on top.
//!
//! The first usable answer is the result, also if the domain does not exist. The next server is queried only if one does not answer in
//! time, cannot be reached, or replies with an error. A server that does not know EDNS, or does not answer a query with EDNS, is queried
//! again without it.

use super::exchange::{over_tcp, over_udp};
use super::resolv_conf::Settings;
use super::verdict::{NoAnswer, OPEN_ALIAS, ends_in_an_alias, verdict};
use futures_util::stream::{Stream, once};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::DnsHandle;
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Message};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use hickory_resolver::{ConnectionProvider, PoolContext};
use parking_lot::Mutex;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// The most concurrent queries, each with a socket. Others wait.
const MAX_QUERIES: usize = 256;
/// The number of bytes of answers after which the cache is cleared: it keeps answers of any size.
const MAX_BYTES: usize = 16 << 20;
/// The memory of a record beside its text.
const RECORD: usize = 384;
/// For how long a server is queried without EDNS after it did not know it, or answered only without it.
const WITHOUT_EDNS: Duration = Duration::from_secs(600);

/// The name servers; see the module. Clones share them.
#[derive(Clone)]
pub(super) struct NameServers(Arc<ServerList>);

struct ServerList {
    servers: Vec<NameServer>,
    /// The time limit of a query to one server.
    timeout: Duration,
    attempts: usize,
    /// The time limit of a lookup.
    limit: Duration,
    rotate: bool,
    queries: Semaphore,
    asked: AtomicUsize,
    /// Bytes of answers since the cache was cleared.
    answered: AtomicUsize,
    runtime: TokioRuntimeProvider,
}

#[derive(Debug)]
struct NameServer {
    address: SocketAddr,
    /// Until when it is queried without EDNS.
    without_edns: Mutex<Option<Instant>>,
}

impl NameServers {
    /// The servers in `settings`. A lookup ends after `limit`, before which all servers are queried.
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
            queries: Semaphore::new(MAX_QUERIES),
            asked: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            runtime: TokioRuntimeProvider::default(),
        }))
    }

    /// Whether the cache must be cleared; resets the count of bytes.
    pub(super) fn take_cache_is_full(&self) -> bool {
        let enough = self.0.answered.load(Ordering::Relaxed) >= MAX_BYTES;
        if enough {
            self.0.answered.store(0, Ordering::Relaxed);
        }
        enough
    }
}

/// The approximate memory of an answer.
fn footprint(answer: &DnsResponse) -> usize {
    let records = answer.answers.len() + answer.authorities.len() + answer.additionals.len();
    answer.as_buffer().len() + RECORD * records
}

impl ServerList {
    /// The first usable answer. The error has the reason of each server.
    async fn ask(&self, question: &Message) -> Result<DnsResponse, NetError> {
        let end = Instant::now() + self.limit;
        let Ok(_place) = timeout_at(end, self.queries.acquire()).await else {
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
                    Err(NoAnswer::Silence) => silent.push(server),
                    Err(reason) => reasons.push(format!("{}: {reason}", server.address)),
                }
            }
            waiting = silent;
        }
        let silent = waiting
            .iter()
            .map(|server| format!("{}: {}", server.address, NoAnswer::Silence));
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
    /// Queries the server. `was_silent`: it did not answer the same query before. Some servers and firewalls drop queries with EDNS; a
    /// query for signatures needs it.
    async fn ask(
        &self,
        question: &Message,
        time: Duration,
        was_silent: bool,
    ) -> Result<DnsResponse, NoAnswer> {
        let dnssec = question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        if question.edns.is_none() || !dnssec && self.is_without_edns() {
            return self.ask_as_it_is(&plain(question), time).await;
        }
        if dnssec || !was_silent {
            let answer = self.ask_as_it_is(question, time).await;
            if !matches!(answer, Err(NoAnswer::WithoutEdns)) {
                return answer;
            }
        }
        let answer = self.ask_as_it_is(&plain(question), time).await?;
        let until = Instant::now() + WITHOUT_EDNS;
        *self.without_edns.lock() = Some(until);
        Ok(answer)
    }

    async fn ask_as_it_is(&self, question: &Message, time: Duration) -> Result<DnsResponse, NoAnswer> {
        let mut answer = over_udp(self.address, question, time).await?;
        let mut usable = verdict(question, &answer);
        if usable == Err(NoAnswer::Truncated) {
            answer = over_tcp(self.address, question, time).await?;
            usable = verdict(question, &answer);
        }
        usable.map(|()| for_hickory(question, answer))
    }

    fn is_without_edns(&self) -> bool {
        let until = self.without_edns.lock();
        until.is_some_and(|until| Instant::now() < until)
    }
}

fn plain(question: &Message) -> Message {
    let mut plain = question.clone();
    plain.edns = None;
    plain
}

/// The answer with the code [`OPEN_ALIAS`] if it ends in an alias, and the targets of its DNAME records in lower case, as they are signed
/// (RFC 4034 section 6.2). Hickory does not know this type and checks signatures against the received octets.
fn for_hickory(question: &Message, answer: DnsResponse) -> DnsResponse {
    let has_capitals = |record: &Record| {
        let RData::Unknown { code, rdata } = &record.data else {
            return false;
        };
        *code == RecordType::DNAME && rdata.anything.iter().any(u8::is_ascii_uppercase)
    };
    let is_open = ends_in_an_alias(question, &answer);
    if !is_open && !answer.answers.iter().any(has_capitals) {
        return answer;
    }
    let mut message = answer.clone().into_message();
    if is_open {
        message.metadata.response_code = OPEN_ALIAS;
    }
    for record in message.answers.iter_mut().filter(|record| has_capitals(record)) {
        if let RData::Unknown { rdata, .. } = &mut record.data {
            // The length octets of labels are less than any letter.
            rdata.anything.make_ascii_lowercase();
        }
    }
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

/// For hickory, all servers are one with a connection that is always open.
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
    async fn concurrent_queries_are_bounded_and_others_wait_for_a_limited_time() {
        let (settings, _) = Settings::parse("nameserver 192.0.2.1\n");
        let servers = NameServers::new(&settings, Duration::from_secs(30));
        let queries = &servers.0.queries;
        let places: Vec<_> = std::iter::from_fn(|| queries.try_acquire().ok()).collect();
        assert_eq!(places.len(), 256);
        let begun = Instant::now();
        let refused = servers.0.ask(&Message::query()).await.unwrap_err().to_string();
        assert_eq!(
            (refused.as_str(), begun.elapsed().as_secs()),
            ("too many questions are under way", 30)
        );
    }
}
