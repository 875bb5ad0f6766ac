//! A start on a spool directory of any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| spool_core::store::fuzzing::recovery(input));
