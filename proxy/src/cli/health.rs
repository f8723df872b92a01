//! `byline health`: ask a running Byline whether it is ready; for container health checks, where no curl is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

/// Patience with the admin listener.
const PATIENCE: Duration = Duration::from_secs(3);
/// More than any readiness answer.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// Arguments of `byline health`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The admin listener.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8402")]
    admin: SocketAddr,
}

/// Runs it: 0 ready, 1 not ready or not there.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut stream = TcpStream::connect_timeout(&args.admin, PATIENCE)
        .with_context(|| format!("nothing answers on {}", args.admin))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", args.admin)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    print!("{body}");
    Ok(if head.starts_with("HTTP/1.1 200") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
