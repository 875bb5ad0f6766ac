//! Fetches policies over HTTPS (RFC 8461 section 3.3): certificates are verified, redirects are not followed, and the size is bounded.

use crate::client::config::Lookup;
use crate::client::race::race;
use crate::client::resolve::{Resolve, RouteConfig};
use crate::client::roots::TrustRoots;
use crate::client::tls::TlsClient;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use spool_core::BoxFuture;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The longest policy (as section 3.3 suggests).
const MAX_SIZE: usize = 64 * 1024;
/// The port of the servers.
pub(in crate::client) const HTTPS: u16 = 443;

/// Fetches the text of the policy of a domain, or why it cannot be fetched.
pub(in crate::client) type Fetch = Lookup<str, BoxFuture<Result<String, String>>>;

/// What the fetches share.
struct HttpsClient {
    resolver: Arc<dyn Resolve>,
    route: RouteConfig,
    port: u16,
    tls: TlsClient,
}

/// Fetches from `https://mta-sts.DOMAIN/.well-known/mta-sts.txt`, from hosts that `resolver` finds, except those in
/// `route.ignored_networks`, with certificates of these roots.
pub(in crate::client) fn over_https(
    port: u16,
    resolver: Arc<dyn Resolve>,
    route: RouteConfig,
    roots: TrustRoots,
) -> Fetch {
    let client = Arc::new(HttpsClient {
        resolver,
        route,
        port,
        tls: TlsClient::new(roots),
    });
    Lookup::new(move |domain: &str| -> BoxFuture<Result<String, String>> {
        let (client, host) = (Arc::clone(&client), format!("mta-sts.{domain}"));
        Box::pin(async move {
            let text = client.get(&host).await;
            text.map_err(|error| format!("{host}: {error}"))
        })
    })
}

impl HttpsClient {
    async fn get(&self, host: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        let mut addresses = self.resolver.addresses(host).await?.ips;
        addresses.retain(|address| !self.route.is_ignored(*address));
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, self.port));
        let tcp = race(addresses.take(8), |address| async move {
            let tcp = TcpStream::connect(address).await;
            tcp.map_err(|error| format!("{address}: {error}"))
        });
        let (stream, _) = self.tls.handshake(tcp.await?, host, true, None).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection must be polled, and ends with the answer: dropping the set ends its task.
        let mut polled = JoinSet::new();
        polled.spawn(connection);
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        // Redirects are not followed (section 3.3).
        if response.status() != StatusCode::OK {
            return Err(format!("HTTP status {}", response.status()).into());
        }
        let kind = response.headers().get(header::CONTENT_TYPE);
        if !kind.is_some_and(|kind| is_plain_text(kind.as_bytes())) {
            return Err("the policy is no text/plain".into());
        }
        let body = Limited::new(response.into_body(), MAX_SIZE).collect().await?;
        String::from_utf8(body.to_bytes().into()).map_err(|_| "the policy is no text".into())
    }
}

/// Whether a media type is text/plain, in any case of letters and with any parameters.
fn is_plain_text(kind: &[u8]) -> bool {
    let end = kind.iter().position(|byte| *byte == b';');
    let essence = kind.get(..end.unwrap_or(kind.len())).unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}
