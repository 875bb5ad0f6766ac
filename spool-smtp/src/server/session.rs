//! Drives one session over a stream: reads, writes and timeouts around the machine. No protocol is decided here.
//!
//! A message handed to the intake is always waited for: neither a timeout nor a shutdown ends that wait, and a client
//! that goes away meanwhile does not undo it (RFC 1047).

use super::buffer::Buffer;
use super::config::ServerConfig;
use super::deadline::Deadline;
use super::machine::{Machine, Next};
use spool_core::{FlowId, Intake};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tracing::debug;

/// How long, and for how many bytes, a client that is being turned out may go on talking so that it sees why.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// Why a session ended without a last reply.
#[derive(Debug, Error)]
enum End {
    #[error("the client went away")]
    Gone,
    #[error("the client did not read its replies in time")]
    Stuck,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Serves one client until the session ends. When `shutdown` becomes true, or its sender is gone, an idle session
/// ends at once and one in a transaction after that.
///
/// The future must be polled to its end: dropping it gives up the answer to a message in hand, though not the message.
pub async fn serve<S>(
    stream: S,
    client: SocketAddr,
    config: Arc<ServerConfig>,
    intake: Arc<dyn Intake>,
    shutdown: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let session = FlowId::random();
    debug!(%session, %client, "session opened");
    let mut driver = Driver {
        machine: Machine::new(Arc::clone(&config), client.ip(), session),
        deadline: Deadline::after(config.command_timeout),
        config,
        stream,
    };
    match driver.run(&*intake, shutdown).await {
        Ok(()) => debug!(%session, %client, "session closed"),
        Err(end) => debug!(%session, %client, %end, "session lost"),
    }
}

struct Driver<S> {
    stream: S,
    machine: Machine,
    deadline: Deadline,
    config: Arc<ServerConfig>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    async fn run(&mut self, intake: &dyn Intake, mut shutdown: watch::Receiver<bool>) -> Result<(), End> {
        let mut stop = pin!(async move {
            // Its sender gone, nobody could stop the session any more: so it stops now.
            let _ = shutdown.wait_for(|stop| *stop).await;
        });
        let mut stopping = false;
        let mut buffer = Buffer::new(self.config.memory.clone());
        loop {
            let mut input = buffer.unread();
            let next = self.machine.advance(&mut input);
            let left = input.len();
            buffer.keep(left);
            match next {
                Next::Admit(size) => self.machine.admitted(intake.admit(size)),
                Next::Accept(mail) => self.machine.accepted(intake.accept(*mail).await),
                Next::Flush => {
                    self.flush().await?;
                }
                Next::Close => return self.close().await,
                Next::Read => {
                    self.flush().await?;
                    let space = buffer.space(self.machine.in_data());
                    self.read(space, stop.as_mut(), &mut stopping).await?;
                }
            }
        }
    }

    /// Reads at least one byte, or none when the machine was told of a timeout or a shutdown instead.
    async fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
        stopping: &mut bool,
    ) -> Result<(), End> {
        if self.machine.take_progress() {
            self.deadline.restart(if self.machine.in_data() {
                self.config.data_timeout
            } else {
                self.config.command_timeout
            });
        }
        let read = {
            let mut read = pin!(self.stream.read_buf(buffer));
            self.deadline
                .bound(poll_fn(|context| {
                    if let Poll::Ready(read) = read.as_mut().poll(context) {
                        return Poll::Ready(Some(read));
                    }
                    if !*stopping && stop.as_mut().poll(context).is_ready() {
                        *stopping = true;
                        return Poll::Ready(None);
                    }
                    Poll::Pending
                }))
                .await
        };
        match read {
            Some(Some(Ok(0))) => Err(End::Gone),
            Some(Some(Ok(_))) => Ok(()),
            Some(Some(Err(error))) => Err(End::Broken(error)),
            Some(None) => {
                self.machine.stop();
                Ok(())
            }
            None => {
                self.machine.timed_out();
                Ok(())
            }
        }
    }

    /// Sends the replies. The client has the time of one command to read them.
    async fn flush(&mut self) -> Result<(), End> {
        if self.machine.replies().is_empty() {
            return Ok(());
        }
        // There are replies because a command or a message ended: no deadline of one still on its way is moved.
        self.deadline.restart(self.config.command_timeout);
        let (stream, replies) = (&mut self.stream, self.machine.replies());
        let written = self.deadline.bound(async {
            stream.write_all(replies).await?;
            stream.flush().await
        });
        written.await.ok_or(End::Stuck)??;
        self.machine.replies_sent();
        Ok(())
    }

    async fn close(&mut self) -> Result<(), End> {
        self.flush().await?;
        let stream = &mut self.stream;
        if !self.machine.lingers() {
            // The client has all it needs to know: a failure to say goodbye is none.
            let _ = stream.shutdown().await;
            return Ok(());
        }
        // Closing with input unread resets the connection and takes the last reply with it.
        let linger = async {
            stream.shutdown().await?;
            let mut scratch = [0; 1024];
            let mut left = LINGER_BYTES;
            while left > 0 {
                let count = stream.read(&mut scratch).await?;
                left = if count == 0 { 0 } else { left.saturating_sub(count) };
            }
            Ok::<_, io::Error>(())
        };
        let _ = Deadline::after(LINGER_TIME).bound(linger).await;
        Ok(())
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
