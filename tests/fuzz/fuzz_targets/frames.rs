//! The decoder of segments, frames and payloads.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| spool_core::store::fuzzing::frames(input));
