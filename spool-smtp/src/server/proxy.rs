//! Reads the header of the PROXY protocol, versions 1 and 2.
//!
//! The configuration states for a listener whether a header is expected, and from which proxies; it is never guessed from the
//! input. No byte after the header is read, so that a TLS handshake that follows finds all of its bytes. The source is the
//! specification at haproxy.org, "The PROXY protocol", sections 2.1 and 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The signature of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const PREFIX: &[u8] = b"PROXY ";
/// The longest line of version 1, with its CRLF.
const LONGEST_LINE: usize = 107;
/// The fixed part of version 2.
const HEAD: usize = 16;
/// The longest part of version 2 that follows: addresses and TLVs. haproxy sends a few hundred bytes.
const LONGEST_REST: usize = 4 << 10;
/// The TLV with the CRC32C of the header.
const CRC32C: u8 = 0x03;

/// The origin of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// From this client.
    Client(SocketAddr),
    /// From the proxy itself (LOCAL, a health check), or from a client without a known address (UNKNOWN).
    Unnamed,
}

/// Why the bytes are not a valid header.
#[derive(Debug, Error)]
pub(super) enum ProxyError {
    #[error("it does not begin as a PROXY header does")]
    NotProxy,
    #[error("the PROXY header is too long")]
    TooLong,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the PROXY header is of a protocol that is not TCP")]
    NotTcp,
    #[error("the PROXY header's checksum is wrong")]
    Checksum,
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

/// Reads exactly a header from `stream`. The caller sets the time limit.
///
/// # Errors
/// [`ProxyError`]; an unknown number of bytes was read then.
pub(super) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Origin, ProxyError> {
    // No header is shorter than the signature.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let [command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST_REST {
            return Err(ProxyError::TooLong);
        }
        header.extend(fixed);
        header.resize(HEAD + length, 0);
        stream
            .read_exact(header.get_mut(HEAD..).unwrap_or_default())
            .await?;
        return binary(command, family, &header);
    }
    if !header.starts_with(PREFIX) {
        return Err(ProxyError::NotProxy);
    }
    // Version 1: one line of unknown length.
    loop {
        if let Some(line) = header.strip_suffix(b"\r\n") {
            return line_origin(line).ok_or(ProxyError::Malformed);
        }
        if header.len() >= LONGEST_LINE {
            return Err(ProxyError::TooLong);
        }
        header.push(stream.read_u8().await?);
    }
}

fn line_origin(line: &[u8]) -> Option<Origin> {
    let line = std::str::from_utf8(line).ok().filter(|line| line.is_ascii())?;
    let mut words = line.split(' ').skip(1);
    let protocol = words.next()?;
    if protocol == "UNKNOWN" {
        // The rest of the line is ignored.
        return Some(Origin::Unnamed);
    }
    let [client, server, client_port, server_port] = [(); 4].map(|()| words.next());
    let (client, _) = match protocol {
        "TCP4" => (address::<Ipv4Addr>(client?)?, address::<Ipv4Addr>(server?)?),
        "TCP6" => (address::<Ipv6Addr>(client?)?, address::<Ipv6Addr>(server?)?),
        _ => return None,
    };
    let (port, _) = (port(client_port?)?, port(server_port?)?);
    let whole = words.next().is_none();
    whole.then(|| Origin::Client(SocketAddr::new(client.to_canonical(), port)))
}

fn address<A: FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<A>().ok().map(Into::into)
}

fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

/// Version 2.
fn binary(command: u8, family: u8, header: &[u8]) -> Result<Origin, ProxyError> {
    // The length of the addresses.
    let length = match (command, family) {
        // LOCAL: the rest is ignored.
        (0x20, _) => return Ok(Origin::Unnamed),
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        // An unknown protocol: the addresses are ignored.
        (0x21, 0x00) => 0,
        // A Unix socket, on the machine of the proxy.
        (0x21, 0x31) => 216,
        (0x21, 0x12 | 0x22 | 0x32) => return Err(ProxyError::NotTcp),
        _ => return Err(ProxyError::Malformed),
    };
    let rest = header.get(HEAD..).unwrap_or_default();
    let (addresses, tlvs) = rest.split_at_checked(length).ok_or(ProxyError::Malformed)?;
    check(header, tlvs)?;
    let origin = match family {
        0x11 => client::<4>(addresses),
        0x21 => client::<16>(addresses),
        _ => Some(Origin::Unnamed),
    };
    origin.ok_or(ProxyError::Malformed)
}

/// The client: its address, that of the server, its port, and that of the server.
fn client<const N: usize>(addresses: &[u8]) -> Option<Origin>
where
    IpAddr: From<[u8; N]>,
{
    let (client, rest) = addresses.split_first_chunk::<N>()?;
    let (_, ports) = rest.split_first_chunk::<N>()?;
    let (port, _) = ports.split_first_chunk::<2>()?;
    let client = IpAddr::from(*client).to_canonical();
    Some(Origin::Client(SocketAddr::new(client, u16::from_be_bytes(*port))))
}

/// Whether `tlvs`, the end of `header`, are well formed, and the header's checksum is right, if it has one.
fn check(header: &[u8], tlvs: &[u8]) -> Result<(), ProxyError> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let (&[kind, high, low], behind) = rest.split_first_chunk::<3>().ok_or(ProxyError::Malformed)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, behind) = behind.split_at_checked(length).ok_or(ProxyError::Malformed)?;
        if kind == CRC32C {
            let told: [u8; 4] = value.try_into().map_err(|_| ProxyError::Malformed)?;
            // The checksum is that of the header with zeros in its place.
            let before = header.len().saturating_sub(behind.len() + told.len());
            let mut sum = crc32c::crc32c(header.get(..before).unwrap_or_default());
            sum = crc32c::crc32c_append(sum, &[0; 4]);
            sum = crc32c::crc32c_append(sum, behind);
            if sum != u32::from_be_bytes(told) {
                return Err(ProxyError::Checksum);
            }
        }
        rest = behind;
    }
    Ok(())
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
