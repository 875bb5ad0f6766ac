//! The token that a command sends to the admin API: of `--token-file`, or of the configuration of this machine.
//!
//! The token of the configuration is sent only to the address of the admin API in the same configuration, and only to a program whose
//! user may read it anyway.

use crate::admin::Token;
use crate::config::Config;
use crate::failure::Failure;
use crate::sendmail::{config_of_machine, reachable};
use crate::target::Service;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use std::net::SocketAddr;
use std::path::Path;

/// The service at `url`, with the token in the file that the command line or the environment `named`.
///
/// # Errors
/// A token that cannot be read, and who may read it; a URL that is none.
pub(super) fn service(named: Option<&Path>, url: &str) -> Result<Service, Failure> {
    if let Some(path) = named {
        let token = read(path, |why| Failure::Usage(format!("--token-file: {why}")))?;
        return Service::new(url, Some(token));
    }
    // Errors of the file are reported by the service and `spool check`; without a token the service says that it needs one.
    let config = config_of_machine().and_then(|path| Config::load(&path).ok());
    let known = config.and_then(|config| Some((config.admin?, config.token_file?)));
    let Some((_, path)) = known.filter(|(address, _)| is_at(url, *address)) else {
        return Service::new(url, None);
    };
    let token = read(&path, |why| Failure::Failed(format!("admin.token_file: {why}")))?;
    let mut service = Service::new(url, Some(token))?;
    service.readers_of = Some(path);
    Ok(service)
}

fn read(path: &Path, failure: impl Fn(String) -> Failure) -> Result<Token, Failure> {
    Token::read(path).map_err(|why| match access(path, Access::READ_OK) {
        Err(Errno::ACCESS | Errno::PERM) => Failure::Failed(format!(
            "the admin API asks for a token, and this user may not read it: {why}\n\
             Run the command as root (sudo), or as a member of the group that owns the file (usually spool)."
        )),
        Ok(()) | Err(_) => failure(why),
    })
}

/// Whether `url` is that of an admin API that listens on `address`.
fn is_at(url: &str, address: SocketAddr) -> bool {
    let Some(authority) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = authority.trim_end_matches('/');
    let address = reachable(address);
    let local = address.ip().is_loopback() && authority == format!("localhost:{}", address.port());
    local || authority.parse() == Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_the_address_of_the_api_and_nowhere_else() {
        for (url, address, expected) in [
            ("http://127.0.0.1:8525", "127.0.0.1:8525", true),
            ("http://127.0.0.1:8525/", "127.0.0.1:8525", true),
            ("http://localhost:8525", "127.0.0.1:8525", true),
            ("http://127.0.0.1:8525", "0.0.0.0:8525", true),
            ("http://[::1]:8525", "[::1]:8525", true),
            ("http://127.0.0.1:8526", "127.0.0.1:8525", false),
            ("http://192.0.2.1:8525", "0.0.0.0:8525", false),
            ("http://localhost:8525", "192.0.2.1:8525", false),
            ("http://localhost.example:8525", "127.0.0.1:8525", false),
            ("127.0.0.1:8525", "127.0.0.1:8525", false),
        ] {
            assert_eq!(is_at(url, address.parse().unwrap()), expected, "{url} {address}");
        }
    }
}
