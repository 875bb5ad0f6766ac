//! The configuration file: it is read and checked as a whole, and refused with all errors and their lines.
//!
//! [`keys`] states every key with its default. A key whose feature does not exist yet is refused when it is set to anything
//! but its default; it is never silently ignored.

mod addresses;
mod client;
mod dkim;
mod effective;
mod keys;
mod listen;
mod read;
mod reader;
mod route;
mod sections;
mod settings;
mod values;

pub(crate) use addresses::{clash, v6_only};
pub(crate) use dkim::DkimKey;
pub(crate) use effective::{Effective, KeyChange};
pub(crate) use keys::{TakesEffect, is_key, option_help};
pub(crate) use listen::{SmtpAddress, proxy_problem, split};
pub(crate) use reader::{Origin, Places};
pub(crate) use settings::{
    CertificateFiles, Client, Config, Inherited, Log, Login, Secret, SubmissionLimits,
};
pub(crate) use values::parse_span;

#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod tests;
