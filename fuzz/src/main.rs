//! One target under libFuzzer: `FUZZ_TARGET` says which.
#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    byline_fuzz::TARGETS.iter().find(|(target, _)| *target == name).expect("a target of that name").1
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET(input));
