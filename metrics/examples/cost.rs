//! What the pure pieces of a metered fetch cost, in CPU time of this thread:
//! `cargo run --release -p byline-metrics --example cost`.

use std::hint::black_box;

use metrics::sha256_many;
use ring::digest::{SHA256, digest};
use rustix::time::{ClockId, clock_gettime};

fn main() {
    println!("SHA-256, GB/s     ring   batches of 1      2      3      4      8     16     64");
    for kib in [1, 10, 64] {
        let body = vec![7u8; kib * 1024];
        let rate = |micros: f64, bodies: usize| (bodies * body.len()) as f64 / micros / 1000.0;
        let ring = rate(micros(|| digest(&SHA256, &body)), 1);
        print!("{:>8} KiB     {ring:>8.2}         ", kib);
        for batch in [1, 2, 3, 4, 8, 16, 64] {
            let bodies = vec![body.clone(); batch];
            let chunked: Vec<&[Vec<u8>]> = bodies.chunks(1).collect();
            print!("{:>6.2} ", rate(micros(|| sha256_many(&chunked)), batch));
        }
        println!();
    }
}

/// The CPU time of one call, the least of several tries.
fn micros<T>(mut call: impl FnMut() -> T) -> f64 {
    let mut timed = |calls: u32| {
        let started = cpu_nanos();
        (0..calls).for_each(|_| drop(black_box(call())));
        (cpu_nanos() - started) as f64
    };
    let once = timed(10) / 10.0;
    let calls = (2_000_000.0 / once).clamp(1.0, 1e6) as u32;
    let least = (0..15).map(|_| timed(calls)).fold(f64::MAX, f64::min);
    least / f64::from(calls) / 1000.0
}

fn cpu_nanos() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
