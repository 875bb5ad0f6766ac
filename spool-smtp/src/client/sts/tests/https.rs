//! The fetch, against a server with a certificate on loopback.

use super::super::over_https;
use crate::client::resolve::tests::Names;
use crate::client::resolve::{RouteConfig, Routes};
use crate::client::{SmtpConfig, TrustRoots};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server with a certificate for `name` that answers every request with `reply`, and the roots that a client must trust.
async fn server(name: &str, reply: Vec<u8>) -> (u16, TrustRoots) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, serve(listener, name, reply))
}

fn serve(listener: TcpListener, name: &str, reply: Vec<u8>) -> TrustRoots {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &root).unwrap();
    let roots = TrustRoots::Only(vec![root.der().clone()]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let (acceptor, reply) = (acceptor.clone(), reply.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(tcp).await.ok()?;
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.ok()?);
                }
                let request = String::from_utf8(request).unwrap();
                assert!(
                    request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\n"),
                    "{request}"
                );
                assert!(request.contains("host: mta-sts.d.example\r\n"), "{request}");
                stream.write_all(&reply).await.ok()?;
                stream.shutdown().await.ok()
            });
        }
    });
    roots
}

fn reply(status: &str, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

async fn fetch(port: u16, roots: TrustRoots, on_loopback: bool) -> Result<String, String> {
    let names = Names::default().host("mta-sts.d.example", &["127.0.0.1"]);
    let mut route = RouteConfig::default();
    if on_loopback {
        route.ignored_networks.clear();
    }
    over_https(port, Arc::new(names), route, roots)
        .get("d.example")
        .await
}

/// The result of a fetch when the server with the right name sends this answer.
async fn fetched(reply: Vec<u8>) -> Result<String, String> {
    let (port, roots) = server("mta-sts.d.example", reply).await;
    fetch(port, roots, true).await
}

#[tokio::test]
async fn the_text_is_fetched_whole_in_either_encoding() {
    let good = reply("200 OK", "Text/Plain ; charset=utf-8", "version: STSv1\r\n");
    assert_eq!(fetched(good).await, Ok("version: STSv1\r\n".to_owned()));
    let chunked = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(fetched(chunked.to_vec()).await, Ok("abcde".to_owned()));
}

#[tokio::test]
async fn redirects_other_kinds_and_floods_are_no_policy() {
    let long = "x".repeat(70_000);
    for (reply, expected) in [
        (reply("301 Moved", "text/plain", ""), "HTTP status 301"),
        (reply("404 Not Found", "text/plain", ""), "HTTP status 404"),
        (reply("200 OK", "text/html", "x"), "text/plain"),
        (reply("200 OK", "text/plainer", "x"), "text/plain"),
        (reply("200 OK", "text/plain", &long), "limit"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nx".to_vec(),
            "",
        ),
        (b"220 smtp\r\n".to_vec(), ""),
        (Vec::new(), ""),
    ] {
        let error = fetched(reply).await.unwrap_err();
        assert!(
            error.starts_with("mta-sts.d.example: ") && error.contains(expected),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_certificate_counts() {
    let good = || reply("200 OK", "text/plain", "x");
    let (port, roots) = server("mta-sts.other.example", good()).await;
    let error = fetch(port, roots, true).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    let (port, _) = server("mta-sts.d.example", good()).await;
    let (_, strangers) = server("mta-sts.d.example", good()).await;
    let error = fetch(port, strangers, true).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn no_policy_is_fetched_from_loopback() {
    let (port, roots) = server("mta-sts.d.example", reply("200 OK", "text/plain", "x")).await;
    let error = fetch(port, roots, false).await.unwrap_err();
    assert!(error.contains("no address"), "{error}");
}

#[tokio::test]
async fn the_authorities_of_the_configuration_count() {
    const HOST: &str = "127.4.4.3";
    let Ok(listener) = TcpListener::bind((HOST, 443)).await else {
        println!("skipped: this user may not listen on port 443");
        return;
    };
    let text = "version: STSv1\nmode: enforce\nmx: other.example\nmax_age: 9\n";
    let roots = serve(listener, "mta-sts.d.example", reply("200 OK", "text/plain", text));
    // The exchanger is refused only if the policy was fetched.
    for (roots, is_passed_over) in [(roots, true), (TrustRoots::System, false)] {
        let names = Names::default()
            .mx("d.example", &[(1, "host.example")])
            .host("host.example", &["192.0.2.1"])
            .host("mta-sts.d.example", &[HOST]);
        names.set_texts("_mta-sts.d.example", Ok(&["v=STSv1; id=1;"]));
        let mut config = SmtpConfig::default();
        (config.route.mta_sts, config.tls_roots) = (true, roots);
        config.route.ignored_networks.clear();
        let routes = Routes::new(Arc::new(names), &config);
        let mut route = routes.to(&"mx:d.example:25".parse().unwrap(), true).await;
        assert_eq!(route.next().await.unwrap().is_err(), is_passed_over);
    }
}
