//! `spool serve`: the relay service.

use crate::config::{Config, Inherited, SmtpAddress, option_help, split};
use crate::failure::Failure;
use crate::inspect::{ConfigFinding, inspect};
use crate::logging::{self, LogFormat, Redaction};
use crate::service;
use crate::sockets::Sockets;
use clap::Args;
use spool_core::NextHop;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  spool serve                                         a first look: everything goes to a built-in sink
  spool serve --next-hop mx.example.net:25            relay to a smart host
  spool serve --next-hop a:25 --next-hop b:25         the second when the first does not answer
  spool serve --config /etc/spool.toml                to the mail exchangers of each domain, unless it says otherwise

One line on standard output says that it is ready. SIGTERM and SIGINT shut it down in order, a second \
one immediately; SIGHUP reloads what can change in a running service, and the log says what did. If the disk fails or files of the spool are \
deleted, it stops by itself with exit status 1.")]
pub(crate) struct Serve {
    /// The configuration; options override it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[arg(long, value_name = "DIR", help = option_help("spool_dir"))]
    spool: Option<PathBuf>,
    #[arg(long, value_name = "ADDR", help = option_help("listen.smtp"))]
    listen: Vec<SmtpAddress>,
    #[arg(long, value_name = "ADDR", help = option_help("listen.admin"))]
    admin: Option<String>,
    #[arg(long, value_name = "HOST:PORT", help = option_help("route.next_hops"))]
    next_hop: Vec<NextHop>,
    /// Sockets of the service manager override options.
    #[arg(skip)]
    inherited: Inherited,
    /// Format of log lines
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

impl Serve {
    pub(super) fn run(mut self, sockets: Sockets) -> Result<(), Failure> {
        self.inherited = sockets.addresses()?;
        let (config, built_in_sink) = self.config()?;
        let redaction = Redaction::default();
        redaction.send_replace(logging::redactor(&config.log).map_err(Failure::Usage)?);
        let _flush = logging::init(self.log_format, redaction.clone())?;
        self.inspected(&config)?;
        let reread = move || {
            let (config, _) = self.config()?;
            self.inspected(&config)?;
            Ok(config)
        };
        service::serve(config, built_in_sink, &reread, redaction, sockets)
    }

    /// Inspects what the configuration names; warnings are logged.
    ///
    /// # Errors
    /// Every error, one a line.
    fn inspected(&self, config: &Config) -> Result<(), Failure> {
        let (mut errors, warnings): (Vec<_>, Vec<_>) =
            inspect(config).into_iter().partition(|finding| finding.is_error);
        // Opening the spool reports these errors, with their own exit status.
        errors.retain(|error| error.key != "spool_dir");
        let file = self.config.as_deref();
        for warning in warnings {
            tracing::warn!("{}", warning.logged(file));
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(Failure::Usage(lines(&errors, file))),
        }
    }

    /// The configuration overridden by the options; and whether the built-in sink is the next hop.
    pub(crate) fn config(&self) -> Result<(Config, bool), Failure> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => Config::defaults(),
        };
        if let Some(dir) = &self.spool {
            config.spool.dir.clone_from(dir);
            config.places.overrule("spool_dir", dir.display().to_string());
        }
        if !self.listen.is_empty() {
            (config.smtp, config.unix) = split(self.listen.clone());
            overrule(&mut config, "listen.smtp", &self.listen);
        }
        if let Some(admin) = self.admin.as_ref().filter(|_| self.inherited.admin.is_none()) {
            config.admin = parse_admin(admin)?;
            config.places.overrule("listen.admin", admin.as_str());
        }
        self.override_by_sockets(&mut config)?;
        if !self.next_hop.is_empty() {
            config.route.next_hops.clone_from(&self.next_hop);
            overrule(&mut config, "route.next_hops", &self.next_hop);
        }
        config.inherited = self.inherited.clone();
        // Without a configuration no mail goes to mail exchangers.
        let built_in_sink = self.config.is_none() && config.route.next_hops.is_empty();
        if config.smtp.is_empty() && config.smtps.is_empty() && config.unix.is_empty() {
            return Err(Failure::Usage(
                "no address to take mail on: set listen.smtp or listen.smtps, or give --listen ADDR"
                    .to_owned(),
            ));
        }
        Ok((config, built_in_sink))
    }

    /// The sockets of the service manager replace the addresses of the configuration.
    fn override_by_sockets(&self, config: &mut Config) -> Result<(), Failure> {
        let Inherited { smtp, smtps, admin } = &self.inherited;
        if !smtp.is_empty() {
            // The service manager passes no Unix sockets: those of the configuration stay.
            config.smtp.clone_from(smtp);
            overrule(config, "listen.smtp", smtp);
        }
        if let Some(admin) = admin {
            config.admin = Some(*admin);
            config.places.overrule("listen.admin", admin.to_string());
        }
        if !smtps.is_empty() {
            if config.tls.is_none() {
                return Err(Failure::Usage(
                    "a socket of the service manager is named smtps, and listen.tls has no certificate"
                        .to_owned(),
                ));
            }
            config.smtps.clone_from(smtps);
            overrule(config, "listen.smtps", smtps);
        }
        Ok(())
    }
}

/// Notes the values of a list that the command line or the service manager sets.
fn overrule(config: &mut Config, key: &str, values: &[impl ToString]) {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    config.places.overrule(key, values);
}

/// Findings, one a line.
pub(super) fn lines(findings: &[ConfigFinding], file: Option<&Path>) -> String {
    let lines: Vec<String> = findings.iter().map(|finding| finding.at(file)).collect();
    lines.join("\n")
}

fn parse_admin(text: &str) -> Result<Option<SocketAddr>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|error| Failure::Usage(format!("--admin {text}: {error}")))?;
    Ok(Some(address))
}
