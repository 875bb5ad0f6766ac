//! `spool sink`: the mock SMTP sink.

use crate::failure::Failure;
use crate::logging::{self, LogFormat};
use anyhow::Context;
use clap::Args;
use spool_smtp::sink::{Script, Sink as MockSink, SinkConfig};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool sink --listen 127.0.0.1:2526 --ledger sink.jsonl
  echo 'rcpt first=1 reply 451 4.7.1 greylisted' > grey.sink && spool sink --script grey.sink

A script has lines of STAGE CONDITION... ACTION; the first that matches wins:
  stages      connect ehlo helo mail rcpt data dot rset quit
  conditions  from=GLOB to=GLOB nth=N first=N over=N rate=N share=0.1
  actions     reply CODE TEXT, reply-close CODE TEXT, raw BYTES, endless BYTES, drip SPAN CODE TEXT,
              delay SPAN, hang, close, reset, hide EXTENSION...")]
pub(super) struct Sink {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:2526")]
    listen: SocketAddr,
    /// How to misbehave
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// A JSON line for each message taken, written before it is answered
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// No summary at the end
    #[arg(long)]
    quiet: bool,
}

impl Sink {
    pub(super) fn run(self) -> Result<(), Failure> {
        let _flush = logging::init(LogFormat::Text)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        runtime.block_on(self.serve())
    }

    async fn serve(self) -> Result<(), Failure> {
        let mut config = SinkConfig::default();
        if let Some(file) = &self.script {
            config.script = read_script(file)?;
        }
        config.ledger.clone_from(&self.ledger);
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
            eprintln!(
                "{} messages, {} bytes, {} connections",
                count(&counts.messages),
                count(&counts.bytes),
                count(&counts.connections)
            );
        }
        Ok(())
    }
}

fn read_script(file: &PathBuf) -> Result<Script, Failure> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
    text.parse().map_err(|error: spool_smtp::sink::ScriptError| {
        Failure::Usage(format!("{}:{}: {}", file.display(), error.line, error.text))
    })
}
