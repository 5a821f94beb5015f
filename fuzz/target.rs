//! One target of `crates/fuzz` under libFuzzer: the one that the program is named after.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| c1000k_fuzz::run(env!("CARGO_BIN_NAME"), input));
