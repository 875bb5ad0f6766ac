//! A raw SMTP client under TLS, by rustls and a thread that waits.

use crate::authority::Authority;
use crate::raw::{RawClient, Reply};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// One connection under TLS.
#[derive(Debug)]
pub struct TlsClient {
    reader: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// A configuration that trusts `authority` only.
#[must_use]
pub fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&authority.roots).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

impl TlsClient {
    /// TLS over `stream`, whose server has a certificate for 127.0.0.1; the handshake is done.
    ///
    /// # Errors
    /// When the handshake fails: the certificate is not good.
    pub fn over(stream: TcpStream, config: &Arc<ClientConfig>) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let name = "127.0.0.1".try_into().unwrap();
        let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self {
            // As small as a reply: a thousand of these are one process's.
            reader: BufReader::with_capacity(512, stream),
        })
    }

    /// Implicit TLS, the greeting and EHLO.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn smtps(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut client = Self::over(TcpStream::connect(to)?, config)?;
        assert_eq!(client.reply()?.0, 220);
        assert_eq!(client.command("EHLO client.example").0, 250);
        Ok(client)
    }

    /// STARTTLS and EHLO.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn starttls(to: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut plain = RawClient::hello(to);
        assert_eq!(plain.command("STARTTLS").0, 220);
        let mut client = Self::over(plain.into_stream(), config)?;
        assert_eq!(client.command("EHLO client.example").0, 250);
        Ok(client)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the peer has closed.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(bytes)?;
        stream.flush()
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// When the peer has closed or says nothing for a minute.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            all.push_str(&line);
            if line.as_bytes()[3] == b' ' {
                return Ok((line[..3].parse().unwrap(), all));
            }
        }
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> Reply {
        self.send(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply().unwrap()
    }

    /// One message to `to`, by DATA; the last reply.
    pub fn message(&mut self, to: &str, body: &str) -> Reply {
        for (line, code) in [
            ("MAIL FROM:<a@source.example>", 250),
            (&format!("RCPT TO:<{to}>"), 250),
            ("DATA", 354),
        ] {
            let reply = self.command(line);
            assert_eq!(reply.0, code, "{line}: {}", reply.1);
        }
        self.command(&format!("{body}\r\n."))
    }
}
