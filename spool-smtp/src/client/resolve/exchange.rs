//! One query to one name server, over UDP or TCP, with a time limit.
//!
//! Each query has its own socket and a port that the system chooses, which a forger has to guess too.

use super::verdict::{NoAnswer, is_about};
use hickory_resolver::proto::op::{DnsResponse, Message};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};

/// The longest datagram that is read; queries ask for less.
const DATAGRAM: usize = 4096;

/// The most records of an answer, in all of its sections: several times as many as any domain needs. Each takes a few hundred bytes in
/// memory.
const MAX_RECORDS: usize = 128;

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        match error.kind() == io::ErrorKind::TimedOut {
            true => Self::Silence,
            false => Self::Fails(error.to_string()),
        }
    }
}

/// Queries over UDP. The query is sent up to three times within `time`, because a datagram may be lost.
pub(super) async fn over_udp(
    server: SocketAddr,
    question: &Message,
    time: Duration,
) -> Result<DnsResponse, NoAnswer> {
    let bytes = encode(question)?;
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // The system drops datagrams from other senders.
    socket.connect(server).await?;
    let begin = Instant::now();
    for after in [time / 5, time / 2, time] {
        socket.send(&bytes).await?;
        if let Ok(answer) = timeout_at(begin + after, receive(&socket, question)).await {
            return answer;
        }
    }
    Err(NoAnswer::Silence)
}

async fn receive(socket: &UdpSocket, question: &Message) -> Result<DnsResponse, NoAnswer> {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut datagram).await?;
        let read = datagram.get(..length).unwrap_or_default();
        // The id is checked first, because a forger has to guess it.
        if read.get(..2) != Some(&question.metadata.id.to_be_bytes()[..]) {
            continue;
        }
        let answer = decode(read.to_vec())?;
        if is_about(question, &answer) {
            return Ok(answer);
        }
    }
}

/// Queries over TCP.
pub(super) async fn over_tcp(
    server: SocketAddr,
    question: &Message,
    time: Duration,
) -> Result<DnsResponse, NoAnswer> {
    let bytes = encode(question)?;
    let length = u16::try_from(bytes.len()).map_err(|error| NoAnswer::Fails(error.to_string()))?;
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream
            .write_all(&[&length.to_be_bytes()[..], &bytes].concat())
            .await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        let answer = decode(answer)?;
        match is_about(question, &answer) {
            true => Ok(answer),
            false => Err(NoAnswer::Fails("an answer to another question".to_owned())),
        }
    };
    timeout(time, exchange).await.unwrap_or(Err(NoAnswer::Silence))
}

fn encode(question: &Message) -> Result<Vec<u8>, NoAnswer> {
    question
        .to_vec()
        .map_err(|error| NoAnswer::Fails(error.to_string()))
}

fn decode(answer: Vec<u8>) -> Result<DnsResponse, NoAnswer> {
    let records = records(&answer);
    if records > MAX_RECORDS {
        return Err(NoAnswer::Fails(format!("an answer of {records} records")));
    }
    DnsResponse::from_buffer(answer).map_err(|error| NoAnswer::Fails(format!("not an answer: {error}")))
}

/// The number of records in the header of an answer, before any of them is parsed.
fn records(answer: &[u8]) -> usize {
    let counts = answer.get(6..12).unwrap_or_default().chunks_exact(2);
    counts
        .map(|count| count.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
        .sum()
}
