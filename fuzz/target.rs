//! The reader that the target is called after.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| advmod::fuzzing::read(env!("CARGO_BIN_NAME"), bytes));
