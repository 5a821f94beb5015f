//! The codec's bench.
fn main() {}
