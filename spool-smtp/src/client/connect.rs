//! From a next hop to a TCP connection: its addresses in the resolver's order, each with its own timeout.

use super::config::SmtpConfig;
use super::session::ConnectError;
use super::source::Source;
use spool_core::NextHop;
use tokio::net::TcpStream;

/// The most addresses of one host that are tried.
const MAX_ADDRESSES: usize = 8;

/// Connects from `source` to the first address that answers.
pub(super) async fn connect(
    hop: &NextHop,
    source: Source,
    config: &SmtpConfig,
) -> Result<TcpStream, ConnectError> {
    let failed = |text: String| ConnectError::Failed(text);
    let lookup = tokio::net::lookup_host((hop.host(), hop.port()));
    let addresses = match tokio::time::timeout(config.connect_timeout, lookup).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(failed(format!("cannot resolve the name: {error}"))),
        Err(_) => return Err(failed("resolving the name timed out".to_owned())),
    };
    let mut last = "the name has no address".to_owned();
    for address in addresses.take(MAX_ADDRESSES) {
        match tokio::time::timeout(config.connect_timeout, source.connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = format!("{address}: {error}"),
            Err(_) => last = format!("{address}: connecting timed out"),
        }
    }
    Err(failed(last))
}
