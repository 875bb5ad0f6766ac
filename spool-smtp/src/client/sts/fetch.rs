//! Fetches policies over HTTPS (RFC 8461 section 3.3): certificates are verified, redirects are not followed, and the size is bounded.

use crate::client::race::race;
use crate::client::resolve::{Resolve, RouteConfig};
use crate::client::roots::TrustRoots;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use spool_core::BoxFuture;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest policy (as section 3.3 suggests).
const MAX_SIZE: usize = 64 * 1024;
const HTTPS: u16 = 443;

/// Fetches policies.
pub(in crate::client) trait Fetch: fmt::Debug + Send + Sync + 'static {
    /// The text of the policy of `domain`, or why it cannot be fetched.
    fn fetch(&self, domain: &str) -> BoxFuture<Result<String, String>>;
}

/// Over HTTPS, from `https://mta-sts.DOMAIN/.well-known/mta-sts.txt`.
#[derive(Debug, Clone)]
pub(in crate::client) struct HttpsFetch(Arc<HttpsClient>);

#[derive(Debug)]
struct HttpsClient {
    resolver: Arc<dyn Resolve>,
    route: RouteConfig,
    port: u16,
    /// The authorities that certificates are checked against.
    roots: TrustRoots,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl HttpsFetch {
    /// Fetches from hosts that `resolver` finds, except those in `route.ignored_networks`, with certificates of these roots.
    pub(in crate::client) fn new(resolver: Arc<dyn Resolve>, route: RouteConfig, roots: TrustRoots) -> Self {
        Self::at(HTTPS, resolver, route, roots)
    }

    /// The same from another port.
    pub(super) fn at(port: u16, resolver: Arc<dyn Resolve>, route: RouteConfig, roots: TrustRoots) -> Self {
        Self(Arc::new(HttpsClient {
            resolver,
            route,
            port,
            roots,
            tls: OnceCell::new(),
        }))
    }
}

impl Fetch for HttpsFetch {
    fn fetch(&self, domain: &str) -> BoxFuture<Result<String, String>> {
        let (inner, host) = (Arc::clone(&self.0), format!("mta-sts.{domain}"));
        Box::pin(async move { inner.get(&host).await.map_err(|error| format!("{host}: {error}")) })
    }
}

impl HttpsClient {
    async fn get(&self, host: &str) -> Result<String, String> {
        let stream = TokioIo::new(self.connect(host).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream)
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::get("/.well-known/mta-sts.txt")
            .header(header::HOST, host)
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| error.to_string())?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            // Redirects are not followed (section 3.3).
            if response.status() != StatusCode::OK {
                return Err(format!("HTTP status {}", response.status()));
            }
            let kind = response.headers().get(header::CONTENT_TYPE);
            if !kind.is_some_and(|kind| is_plain_text(kind.as_bytes())) {
                return Err("the policy is no text/plain".to_owned());
            }
            let body = Limited::new(response.into_body(), MAX_SIZE).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            String::from_utf8(body.into()).map_err(|_| "the policy is no text".to_owned())
        };
        // The connection must be polled, and ends with the answer.
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }

    async fn connect(&self, host: &str) -> Result<TlsStream<TcpStream>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let mut addresses = self
            .resolver
            .addresses(host)
            .await
            .map_err(|error| error.to_string())?
            .ips;
        addresses.retain(|address| !self.route.is_ignored(*address));
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, self.port));
        let tcp = race(addresses.take(8), |address| async move {
            TcpStream::connect(address)
                .await
                .map_err(|error| format!("{address}: {error}"))
        });
        let tcp = tcp.await?;
        let tls = Arc::clone(self.tls.get_or_try_init(|| self.tls_config()).await?);
        TlsConnector::from(tls)
            .connect(name, tcp)
            .await
            .map_err(|error| error.to_string())
    }

    async fn tls_config(&self) -> Result<Arc<ClientConfig>, String> {
        let roots = self.roots.clone();
        // Loading reads files.
        let roots = tokio::task::spawn_blocking(move || roots.load())
            .await
            .map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        Ok(Arc::new(
            builder.with_root_certificates(roots).with_no_client_auth(),
        ))
    }
}

/// Whether a media type is text/plain, in any case of letters and with any parameters.
fn is_plain_text(kind: &[u8]) -> bool {
    let end = kind.iter().position(|byte| *byte == b';');
    let essence = kind.get(..end.unwrap_or(kind.len())).unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"text/plain")
}
