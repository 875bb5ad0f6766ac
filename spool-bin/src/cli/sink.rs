//! `spool sink`: the mock SMTP sink.

use super::console;
use crate::failure::Failure;
use crate::logging::{self, LogFormat, Redaction};
use crate::print;
use anyhow::Context;
use clap::{Args, ValueEnum};
use spool_smtp::sink::{Script, Sink as MockSink, SinkConfig, SinkTls, TlsMode};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool sink --listen 127.0.0.1:2526 --ledger sink.jsonl
  spool sink --tls starttls --tls-roots roots.pem --login ada:secret
  echo 'rcpt first=1 reply 451 4.7.1 greylisted' > grey.sink && spool sink --script grey.sink

A script has lines of STAGE CONDITION... ACTION; the first that matches wins:
  stages      connect ehlo helo starttls tls auth mail rcpt data bdat body dot rset quit
  conditions  from=GLOB to=GLOB nth=N first=N over=N rate=N share=0.1 tls=yes|no
  actions     reply CODE TEXT, reply-close CODE TEXT, lines N CODE TEXT, raw BYTES, endless BYTES,
              drip SPAN CODE TEXT, delay SPAN, hang, close, reset
  at ehlo     hide EXTENSION..., offer EXTENSION...
  at body     slow SPAN
  at tls      certificate expired|self-signed|other-name")]
pub(super) struct SinkArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2526")]
    listen: SocketAddr,
    /// A script of failures
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// A JSON line for each message taken, written before it is answered
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// TLS: when it is asked for, or before the greeting; with a certificate made for this run, unless one is given
    #[arg(long, value_name = "WHEN")]
    tls: Option<When>,
    /// The certificate to show and those that issued it, PEM
    #[arg(long, value_name = "FILE", requires = "tls", requires = "key")]
    certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Where to write what a client has to trust: the issuer of what is made for this run
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_roots: Option<PathBuf>,
    /// Take mail only from this user, by AUTH
    #[arg(long, value_name = "USER:PASSWORD", value_parser = login)]
    login: Option<(String, String)>,
    /// No summary at the end
    #[arg(long)]
    quiet: bool,
}

/// When TLS comes.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum When {
    /// When the client says STARTTLS
    Starttls,
    /// Before the greeting
    Implicit,
}

impl From<When> for TlsMode {
    fn from(when: When) -> Self {
        match when {
            When::Starttls => Self::StartTls,
            When::Implicit => Self::Implicit,
        }
    }
}

impl SinkArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _flush = logging::init(LogFormat::Text, Redaction::default())?;
        console::runtime()?.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let mut config = SinkConfig::default();
        if let Some(file) = &self.script {
            config.script = read_script(file)?;
        }
        config.ledger.clone_from(&self.ledger);
        config.tls = self.tls()?;
        config.login.clone_from(&self.login);
        let sink = MockSink::bind(self.listen, config)
            .await
            .with_context(|| format!("cannot listen on {}", self.listen))?;
        let (address, counts) = (sink.local_addr().context("no address")?, sink.counts());
        let mut terminate = signal(SignalKind::terminate()).context("signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
        let mut out = std::io::stdout().lock();
        out.write_all(format!("ready smtp={address}\n").as_bytes())
            .and_then(|()| out.flush())
            .context("standard output")?;
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(sink.run(stopped));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = stop.send(true);
        let _ = running.await;
        if !self.quiet {
            let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            print::tell(&format!(
                "{} messages, {} bytes, {} connections",
                count(&counts.messages),
                count(&counts.bytes),
                count(&counts.connections)
            ));
        }
        Ok(())
    }

    fn tls(&self) -> Result<Option<SinkTls>, Failure> {
        let Some(mode) = self.tls.map(TlsMode::from) else {
            return Ok(None);
        };
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        names.push(self.listen.ip().to_string());
        let tls = match (&self.certificate, &self.key) {
            (Some(chain), Some(key)) => {
                let made = SinkTls::from_pem(mode, &names, &read(chain)?, &read(key)?);
                made.map_err(|error| {
                    Failure::Usage(format!("{}, {}: {error}", chain.display(), key.display()))
                })?
            }
            (None, _) | (_, None) => SinkTls::generated(mode, &names).context("TLS")?,
        };
        if let Some(file) = &self.tls_roots {
            std::fs::write(file, tls.authority()).map_err(|error| refuse(file, &error))?;
        }
        Ok(Some(tls))
    }
}

fn login(text: &str) -> Result<(String, String), String> {
    let (user, password) = text.split_once(':').ok_or("give USER:PASSWORD")?;
    Ok((user.to_owned(), password.to_owned()))
}

pub(super) fn refuse(file: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!("{}: {why}", file.display()))
}

pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| refuse(file, &error))
}

fn read_script(file: &Path) -> Result<Script, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| refuse(file, &error))?;
    text.parse().map_err(|error: spool_smtp::LineError| {
        Failure::Usage(format!("{}:{}: {}", file.display(), error.line, error.text))
    })
}
