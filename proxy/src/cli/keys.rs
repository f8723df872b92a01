//! `byline keys`: the keys with which an agent signs its requests (Web Bot Auth), and the directory in which it publishes them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use policy::protocol::bot_auth::{HttpsUrl, WELL_KNOWN_PATH, directory_body, directory_fields};

use super::days;
use crate::keys::{self, KeyFile};
use crate::units;

/// Arguments of `byline keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an Ed25519 key: a file that only its owner can read, its thumbprint and its public part on stdout.
    Generate {
        #[command(flatten)]
        place: Place,
    },
    /// The keys there are: thumbprint, algorithm, age, file.
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Write the key directory for a server of files: the fields to send with it, an empty line, the document.
    Directory {
        #[command(flatten)]
        place: Place,
        /// The origin that will serve it, as it will stand in Signature-Agent: `https://bot.example`.
        #[arg(long, value_name = "URL")]
        url: String,
        /// How long its signatures hold; a copy that is served after that proves nothing.
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = units::duration)]
        valid: Duration,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Directory of the key files.
    #[arg(long, value_name = "DIR", default_value = "byline-state/keys")]
    dir: PathBuf,
}

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Generate { place } => {
            let made = keys::generate(&place.dir)?;
            let public = made.key.public_key();
            println!("file        {}", made.path.display());
            println!("thumbprint  {}", public.thumbprint());
            println!("jwk         {}", public.to_jwk());
        }
        Command::List { place } => {
            for file in keys::list(&place.dir)? {
                show(&file);
            }
        }
        Command::Directory { place, url, valid } => return directory(&place, &url, valid),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(KeyFile { path, key, made, is_exposed }: &KeyFile) {
    let public = key.public_key();
    let age = SystemTime::now().duration_since(*made).unwrap_or_default().as_secs();
    println!(
        "{}  {}  {:>8}  {}",
        public.thumbprint(),
        public.algorithm(),
        days(i64::try_from(age).unwrap_or(i64::MAX)),
        path.display()
    );
    if *is_exposed {
        eprintln!("{}: others than its owner can read it; chmod 600", path.display());
    }
}

fn directory(place: &Place, url: &str, valid: Duration) -> anyhow::Result<ExitCode> {
    let parsed = HttpsUrl::parse(url).map_err(|error| error.to_string()).and_then(|url| {
        let is_its_directory = url.path() == WELL_KNOWN_PATH;
        let no_origin = || format!("this is no origin; a directory stands at {WELL_KNOWN_PATH} of one");
        if url.is_origin() || is_its_directory { Ok(url) } else { Err(no_origin()) }
    });
    let url = match parsed {
        Ok(url) => url,
        Err(error) => {
            eprintln!("byline keys directory: {url}: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let keys = keys::read_all(&place.dir)?;
    let signing: Vec<_> = keys.iter().map(|file| &file.key).collect();
    let public: Vec<_> = signing.iter().map(|key| key.public_key()).collect();
    let body = directory_body(&public);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let until = now.saturating_add(i64::try_from(valid.as_secs()).unwrap_or(i64::MAX));
    let fields = directory_fields(&signing, url.authority(), &body, now, until)
        .context("the directory cannot be signed")?;
    for (name, value) in &fields {
        println!("{name}: {value}");
    }
    println!("\n{body}");
    Ok(ExitCode::SUCCESS)
}
