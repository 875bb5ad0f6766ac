//! Inspects what a configuration names outside of its file (files, the directory of the spool, addresses), and what in it can
//! have no effect. `spool check` and the start of `spool serve` use the same function.
//!
//! It reads and changes nothing; it takes no lock and no port. Of a secret it states where it is, never its value.

mod dkim;
mod finding;
mod network;
mod paths;
mod secrets;
#[cfg(test)]
mod tests;

pub(crate) use finding::ConfigFinding;

use crate::config::Config;
use finding::Findings;

/// Everything that can be found before the service starts, in the order of the lines.
pub(crate) fn inspect(config: &Config) -> Vec<ConfigFinding> {
    let mut found = Findings {
        places: &config.places,
        all: Vec::new(),
    };
    paths::spool_dir(config, &mut found);
    network::addresses(config, &mut found);
    paths::unix(config, &mut found);
    paths::drop_dir(config, &mut found);
    network::proxies(config, &mut found);
    secrets::tls(config, &mut found);
    secrets::users(config, &mut found);
    secrets::admin(config, &mut found);
    secrets::client(config, &mut found);
    network::resolv_conf(config, &mut found);
    network::rules(config, &mut found);
    secrets::log(config, &mut found);
    dkim::dkim(config, &mut found);
    dkim::notices(config, &mut found);
    found.all.sort_by_key(|finding| finding.line);
    found.all
}
