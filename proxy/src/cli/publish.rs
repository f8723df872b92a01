//! `byline publish`: the files and server snippets by which a site that serves them itself says what its policy says.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use policy::protocol::tdmrep;
use policy::publish::{Field, LICENSE_PATH, Origin, Publisher, Switches, Unsaid};

use super::explain::load;

/// Arguments of `byline publish`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to write to, such as the site's document root. A robots.txt that is there keeps all of its lines.
    #[arg(long)]
    dir: PathBuf,
    /// The policy; without one ./policy.toml if it is there.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// The site, as in `example.com` or `http://localhost:8080`; https unless it says otherwise.
    #[arg(long)]
    host: String,
}

/// Bytes of a robots.txt that is augmented.
const ROBOTS_BYTES_MAX: u64 = 512_000;

/// Runs it.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(policy) = load(args.policy.as_deref(), None)? else {
        return Ok(ExitCode::from(super::INVALID_CONFIGURATION));
    };
    let Some(origin) = origin_of(&args.host) else {
        eprintln!("byline publish: `{}` is not a host", args.host);
        return Ok(ExitCode::from(2));
    };
    let asked = policy.published(origin.host());
    let switches = if asked.any() { asked } else { Switches::ALL };
    let publisher = Publisher::new(&policy, &origin, switches);
    let mut unsaid = publisher.published().unsaid.clone();
    if switches.robots {
        let file = args.dir.join("robots.txt");
        let own = read_own(&file)?;
        let (text, missing) = publisher.robots(&own).context("robots.txt cannot be augmented")?;
        unsaid.extend(missing);
        write(&file, &text)?;
    }
    if switches.rsl {
        let text = publisher.published().license.as_deref();
        write_or_say(&args.dir.join(LICENSE_PATH.trim_start_matches('/')), text)?;
    }
    if switches.tdmrep {
        let text = publisher.published().tdmrep.as_deref();
        write_or_say(&args.dir.join(tdmrep::FILE_PATH.trim_start_matches('/')), text)?;
    }
    if switches.headers {
        let fields = publisher.fields_by_path();
        write(&args.dir.join("headers.nginx.conf"), nginx(&fields).as_bytes())?;
        write(&args.dir.join("headers.Caddyfile"), caddy(&fields).as_bytes())?;
    }
    for Unsaid { signal, why } in unsaid {
        eprintln!("byline publish: {} does not say: {why}", signal.as_str());
    }
    Ok(ExitCode::SUCCESS)
}

/// An origin of what people write for one.
pub(super) fn origin_of(text: &str) -> Option<Origin> {
    let (is_https, host) = match text.split_once("://") {
        Some(("https", host)) => (true, host),
        Some(("http", host)) => (false, host),
        Some(_) => return None,
        None => (true, text),
    };
    Origin::new(is_https, host.trim_end_matches('/'))
}

fn read_own(file: &Path) -> anyhow::Result<Vec<u8>> {
    match std::fs::metadata(file) {
        Ok(metadata) => {
            anyhow::ensure!(metadata.len() <= ROBOTS_BYTES_MAX, "{} has more than 500 KiB", file.display());
            std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}

fn write_or_say(file: &Path, text: Option<&str>) -> anyhow::Result<()> {
    match text {
        Some(text) => write(file, text.as_bytes()),
        None => {
            eprintln!("byline publish: nothing to say in {}: it is not written", file.display());
            Ok(())
        }
    }
}

/// Puts a file in its place whole: nobody who reads meanwhile sees half of it.
fn write(file: &Path, text: &[u8]) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    let draft = folder.join(format!(".{name}.{}", std::process::id()));
    let written = std::fs::File::create(&draft)
        .and_then(|mut out| out.write_all(text).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&draft, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written.with_context(|| format!("{} cannot be written", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// Fields that snippets may set, and the variables of nginx that hold them.
const FIELDS: [(&str, &str, &str); 4] = [
    ("link", "Link", "byline_link"),
    ("content-usage", "Content-Usage", "byline_content_usage"),
    ("tdm-reservation", "tdm-reservation", "byline_tdm_reservation"),
    ("tdm-policy", "tdm-policy", "byline_tdm_policy"),
];

fn value<'f>(fields: &'f [Field], name: &str) -> &'f str {
    fields.iter().find(|(own, _)| *own == name).map_or("", |(_, value)| value)
}

/// A `map` for each field, the narrowest paths first, as nginx takes the first expression that matches; a field without a value
/// is not sent. It looks at what was asked for: `$uri` is what index files and rewriting have made of it by then.
fn nginx(said: &[(String, Vec<Field>)]) -> String {
    let mut out = String::from("# In http { }: what the policy says of each path.\n");
    for (name, _, variable) in FIELDS {
        out.push_str(&format!("map $request_uri ${variable} {{\n    default \"\";\n"));
        for (pattern, fields) in said.iter().rev() {
            let text = value(fields, name).replace('\\', "\\\\").replace('"', "\\\"");
            out.push_str(&format!(
                "    \"~{}\" \"{text}\";\n",
                expression(pattern, str::to_owned, "(\\?|$)")
            ));
        }
        out.push_str("}\n");
    }
    out.push_str("\n# In server { } or location { }, wherever there is an add_header of your own as well:\n");
    for (_, field, variable) in FIELDS {
        out.push_str(&format!("# add_header {field} ${variable};\n"));
    }
    out
}

/// One block for each path, the narrowest first: what is deferred runs in the opposite order when the head is written, so that the
/// narrowest has the last word.
fn caddy(said: &[(String, Vec<Field>)]) -> String {
    let mut out = String::from("# In the site's block: what the policy says of each path.\nroute {\n");
    for (index, (pattern, fields)) in said.iter().rev().enumerate() {
        let matcher = format!("@byline{}", index + 1);
        out.push_str(&format!("\t{matcher} path_regexp `{}`\n", expression(pattern, decoded, "$")));
        out.push_str(&format!("\theader {matcher} {{\n\t\tdefer\n"));
        for (name, field, _) in FIELDS {
            match value(fields, name) {
                "" => out.push_str(&format!("\t\t-{field}\n")),
                text => out.push_str(&format!("\t\t{field} `{text}`\n")),
            }
        }
        out.push_str("\t}\n");
    }
    out.push_str("}\n");
    out
}

/// The regular expression of a pattern: what its literals are to a server, and how what it compares ends.
fn expression(pattern: &str, literal: fn(&str) -> String, end: &str) -> String {
    let (path, end) = match pattern.strip_suffix('$') {
        Some(path) => (path, end),
        None => (pattern, ""),
    };
    let mut out = String::from("^");
    for (index, part) in path.split('*').enumerate() {
        if index > 0 {
            out.push_str(".*");
        }
        for letter in literal(part).chars() {
            if !letter.is_alphanumeric() && !matches!(letter, '/' | '-' | '_' | '%') {
                out.push('\\');
            }
            out.push(letter);
        }
    }
    out + end
}

/// A literal as it is to servers that compare decoded paths.
fn decoded(literal: &str) -> String {
    let bytes = literal.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = literal.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            // What could end a line or a string of the server's configuration stays encoded, and never matches.
            Some(byte) if byte > b' ' && !matches!(byte, b'"' | b'`' | b'\\' | 0x7f) => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| literal.to_owned())
}
