//! Policies that are announced, fetched, kept and lost, in virtual time; and the fetch itself over real TLS.

mod https;
mod keeping;
