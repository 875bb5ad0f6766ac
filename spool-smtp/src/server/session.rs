//! Drives one session over a stream: reads, writes and timeouts around the machine. No protocol is decided here.
//!
//! The session always waits for the answer about a message that it passed to the intake: neither a timeout nor a shutdown ends
//! that wait, and a client that disconnects meanwhile does not undo the message (RFC 1047).

use super::auth::{LoginAttempt, LoginResult};
use super::buffer::Buffer;
use super::clients::ClientKey;
use super::config::ServerConfig;
use super::machine::{Machine, Next};
use super::peer::Peer;
use super::tls::HANDSHAKE_MEMORY;
use crate::deadline::{Deadline, from_now};
use crate::stream::Stream;
use spool_core::{FlowId, Intake, TlsSession};
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info};

/// For how long, and for how many bytes, input is read from a client that is being closed, so that it sees the reason.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// Why a session ended without a last reply.
#[derive(Debug, Error)]
enum End {
    #[error("the client went away")]
    Gone,
    #[error("the client did not read its replies in time")]
    Stuck,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("the TLS handshake took too long")]
    SlowHandshake,
    #[error("there is no memory for a TLS handshake")]
    NoMemory,
    #[error("the service stopped during the TLS handshake")]
    Stopped,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Whether the client begins with its TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Opening {
    /// The greeting comes first; TLS by STARTTLS, if there is a certificate.
    #[default]
    Plain,
    /// The handshake comes first (RFC 8314).
    ImplicitTls,
}

/// Serves one client until the session ends. When `shutdown` becomes true, or its sender is gone, an idle session
/// ends at once and one in a transaction after that.
///
/// Poll the future to its end: dropping it gives up the answer about a message that the intake has, but not the message.
pub(super) async fn serve<S>(
    stream: S,
    peer: Peer,
    opening: Opening,
    config: Arc<ServerConfig>,
    intake: Arc<dyn Intake>,
    shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let session = FlowId::random();
    let client = peer.to_string();
    debug!(%session, client, "session opened");
    let mut stop = pin!(async move {
        let mut shutdown = shutdown;
        // Without its sender nothing could stop the session later, so it stops now.
        let _ = shutdown.wait_for(|stop| *stop).await;
    });
    let mut driver = Driver {
        machine: Machine::new(Arc::clone(&config), peer.address.ip(), session),
        deadline: Deadline::after(config.command_timeout),
        config,
        stream: Stream::Plain(stream),
        peer,
        message_end: None,
    };
    match driver.run(opening, &*intake, stop.as_mut()).await {
        Ok(()) => debug!(%session, client, "session closed"),
        Err(end @ (End::Handshake(_) | End::SlowHandshake | End::NoMemory)) => {
            info!(%session, client, %end, "session lost");
        }
        Err(end) => debug!(%session, client, %end, "session lost"),
    }
}

struct Driver<S> {
    stream: Stream<S>,
    machine: Machine,
    deadline: Deadline,
    config: Arc<ServerConfig>,
    peer: Peer,
    /// Which message in chunks is open, and its deadline.
    message_end: Option<(FlowId, Instant)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    async fn run(
        &mut self,
        opening: Opening,
        intake: &dyn Intake,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), End> {
        if self.peer.unnamed {
            self.machine.unnamed();
        }
        if let Some(user) = self.peer.user {
            self.machine.local(user);
        }
        match opening {
            Opening::Plain if self.config.tls.is_some() && self.peer.user.is_none() => {
                self.machine.offer_tls()
            }
            Opening::Plain => {}
            Opening::ImplicitTls => {
                let memory = self.config.memory.hold_first(HANDSHAKE_MEMORY);
                let _memory = memory.ok_or(End::NoMemory)?;
                let session = self.handshake(stop.as_mut()).await?;
                self.machine.under_tls(session);
            }
        }
        let mut buffer = Buffer::new(self.config.memory.clone());
        loop {
            let mut input = buffer.unread();
            let next = self.machine.advance(&mut input, &|size| intake.admit(size));
            let left = input.len();
            buffer.keep(left);
            match next {
                Next::Accept(mail) => self.machine.accepted(intake.accept(*mail).await),
                Next::Flush => {
                    self.flush().await?;
                }
                Next::Readdress(client) => {
                    let client = ClientKey::address(client);
                    let has_place = self.peer.counts_as(client, &self.config).is_ok();
                    self.machine.readdressed(has_place);
                }
                Next::Close => return self.close().await,
                Next::StartTls => {
                    self.flush().await?;
                    // The machine consumed all input: later bytes belong to the handshake.
                    let session = self.handshake(stop.as_mut()).await?;
                    self.machine.tls_started(session);
                }
                Next::Authenticate(attempt) => {
                    self.flush().await?;
                    self.authenticate(attempt, &mut buffer, stop.as_mut()).await?;
                }
                Next::Read => {
                    self.flush().await?;
                    let space = buffer.space(self.machine.in_data());
                    self.read(space, stop.as_mut()).await?;
                }
            }
        }
    }

    /// Waits for the result of a login. A shutdown does not wait for the delays after failed logins. A client that
    /// disconnects ends the wait, so that others can use its turn. Input stays in `buffer`; when that is
    /// full, no more is read, and a disconnect is not noticed.
    async fn authenticate(
        &mut self,
        attempt: LoginAttempt,
        buffer: &mut Buffer,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), End> {
        let mut check = pin!(self.config.logins.check(self.machine.client, attempt));
        let stream = &mut self.stream;
        let watched = async {
            while let Some(space) = buffer.behind() {
                tokio::select! {
                    biased;
                    verdict = &mut check => return Ok(verdict),
                    read = stream.read_buf(space) => if read? == 0 {
                        return Err(End::Gone);
                    },
                }
            }
            Ok(check.await)
        };
        let verdict = match self.machine.stopping {
            true => None,
            false => unless_stopped(watched, stop).await.transpose()?,
        };
        self.machine.stopping |= verdict.is_none();
        self.machine.authenticated(verdict.unwrap_or(LoginResult::Busy));
        Ok(())
    }

    /// The server's part of a TLS handshake, within its time limit. No reply can be sent during a handshake, so a shutdown ends
    /// it without one.
    async fn handshake(&mut self, stop: Pin<&mut impl Future<Output = ()>>) -> Result<TlsSession, End> {
        let Some(tls) = &self.config.tls else {
            return Err(End::Handshake(io::Error::other("there is no certificate")));
        };
        if self.machine.stopping {
            return Err(End::Stopped);
        }
        self.deadline.restart(self.config.tls_timeout);
        let work = unless_stopped(self.stream.upgrade(|plain| tls.accept(plain)), stop);
        match self.deadline.bound(work).await {
            Some(Some(Ok(session))) => Ok(session),
            Some(Some(Err(error))) => Err(End::Handshake(error)),
            Some(None) => Err(End::Stopped),
            None => Err(End::SlowHandshake),
        }
    }

    /// Reads at least one byte, or none if the machine was notified of a timeout or a shutdown instead.
    async fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), End> {
        if self.machine.take_progress() {
            self.restart(if self.machine.in_data() {
                self.config.data_timeout
            } else {
                self.config.command_timeout
            });
        }
        let work = self.stream.read_buf(buffer);
        let read = match self.machine.stopping {
            true => self.deadline.bound(async { Some(work.await) }).await,
            false => self.deadline.bound(unless_stopped(work, stop)).await,
        };
        match read {
            Some(Some(Ok(0))) => Err(End::Gone),
            Some(Some(Ok(_))) => Ok(()),
            Some(Some(Err(error))) => Err(End::Broken(error)),
            Some(None) => {
                self.machine.stopping = true;
                Ok(())
            }
            None => {
                self.machine.timed_out();
                Ok(())
            }
        }
    }

    /// Sets the deadline to `span` from now, or to the end of the time for a message in chunks.
    fn restart(&mut self, span: Duration) {
        let Some(message) = self.machine.in_chunks() else {
            self.message_end = None;
            return self.deadline.restart(span);
        };
        let now = Instant::now();
        // Between two calls one message may have ended and the next one started.
        let end = match self.message_end {
            Some((of, end)) if of == message => end,
            Some(_) | None => from_now(self.config.data_timeout),
        };
        self.message_end = Some((message, end));
        self.deadline
            .restart(span.min(end.saturating_duration_since(now)));
    }

    /// Sends the replies. The client has the time of one command to read them.
    async fn flush(&mut self) -> Result<(), End> {
        if self.machine.replies().is_empty() {
            return Ok(());
        }
        // Replies exist because a command or a message ended: no deadline of an incomplete one is moved.
        self.restart(self.config.command_timeout);
        let (stream, replies) = (&mut self.stream, self.machine.replies());
        let written = self.deadline.bound(stream.send(replies)).await;
        written.ok_or(End::Stuck)??;
        self.machine.replies_sent();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), End> {
        self.flush().await?;
        let (stream, lingers) = (&mut self.stream, self.machine.lingers);
        let ending = async {
            // The client has its replies, so a failure here is not an error. Under TLS the closing alert needs room in the
            // connection, which a client that does not read may never provide.
            stream.shutdown().await?;
            // Closing with unread input resets the connection, and the last reply is lost.
            let mut scratch = [0; 1024];
            let mut left = LINGER_BYTES;
            while lingers && left > 0 {
                let count = stream.read(&mut scratch).await?;
                left = if count == 0 { 0 } else { left.saturating_sub(count) };
            }
            Ok::<_, io::Error>(())
        };
        let _ = Deadline::after(LINGER_TIME).bound(ending).await;
        Ok(())
    }
}

/// Waits for `work`; `None`: `stop` resolved first.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    stop: Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = stop => None,
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
