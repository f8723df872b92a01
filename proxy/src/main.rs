//! The `byline` binary.

fn main() {}
