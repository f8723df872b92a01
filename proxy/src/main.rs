//! `byline`: a transparent HTTP proxy that meters what AI crawlers fetch, under a licence policy, into a ledger that
//! anyone can check.

mod admin;
mod body;
mod bucket;
mod cli;
mod client_io;
mod clients;
mod close;
mod closer;
mod config;
mod demo;
mod dial;
mod error;
mod evidence;
mod fetch;
mod flow;
mod frames;
mod generations;
mod handover;
mod headers;
mod hold;
mod http1;
mod key_server;
mod keys;
mod licence;
mod listen;
mod logging;
mod memory;
mod metered;
mod notify;
mod payment;
mod peer;
mod pem;
mod policy_file;
mod process;
mod proxy_header;
mod resolve;
mod respond;
mod reverse;
mod server;
mod shared;
mod signals;
mod stack;
mod streams;
mod tls;
mod turns;
mod units;
mod upstream;
mod worker;

/// Small, short-lived allocations are most of what a request costs in memory: mimalloc is made for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
