//! Host and request target: what a rule is asked about is what any server reads in the same bytes.

use std::sync::LazyLock;

use policy::{PolicySnapshot, Source};

static POLICY: LazyLock<PolicySnapshot> = LazyLock::new(|| {
    let text = "version = 1\n[[site]]\nhost = \"example.com\"\nquery = [\"p\", \"page\"]\n";
    let source = Source { name: "fuzz".to_owned(), text: text.to_owned() };
    PolicySnapshot::compile(source, None, &mut |_, _| Err("nothing is included".to_owned()))
        .unwrap_or_else(|wrong| panic!("{}", policy::render(&wrong)))
        .0
});

/// The first line is the host (none: one of which query parameters count), the rest the target.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (host, target) = text.split_once('\n').unwrap_or(("example.com", text));
    let host = if host.is_empty() { "example.com" } else { host };
    let Ok(work) = POLICY.work("https", host, target) else { return };

    let url = work.url.strip_prefix("https://").expect("the scheme as given");
    let (canonical_host, locator) = url.split_at(url.find('/').or(url.find('*')).expect("a path"));
    let again = POLICY.work("https", canonical_host, locator).expect("what is canonical is readable");
    assert_eq!(again, work, "once more changes something");

    assert!(work.host.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()), "{:?}", work.host);
    let path = &work.path;
    assert!(path == "*" || path.starts_with('/'), "{path}");
    assert!(path.bytes().all(|b| b.is_ascii_graphic() && !b"\\?#\"<>^`{|}".contains(&b)), "{path}");
    assert!(path.len() <= 8_192);
    let mut names = path.split('/').map(|segment| segment.split(';').next().unwrap_or(""));
    assert!(!path.contains("//") && !names.any(|name| name == "." || name == ".."), "{path}");

    // Three ways in which servers read a path: whatever the order of decoding, joining and resolving, it is this one.
    if path != "*" {
        let (raw, _) = target.split_once('?').unwrap_or((target, ""));
        let meant = decode(path.as_bytes());
        assert_eq!(resolve(&join(&decode(raw.as_bytes()))), meant, "decoded first: {raw} {path}");
        assert_eq!(decode(&join(&resolve(raw.as_bytes()))), meant, "decoded last: {raw} {path}");
        assert_eq!(
            resolve(&join(&decode(&without_parameters(raw.as_bytes())))),
            join(&decode(&without_parameters(path.as_bytes()))),
            "without parameters: {raw} {path}"
        );
    }
}

/// Decodes each percent-encoded byte, once.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::new(), 0);
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Makes one slash of several.
fn join(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|next, before| *next == b'/' && *before == b'/');
    out
}

/// Resolves dot segments (RFC 3986 §5.2.4).
fn resolve(path: &[u8]) -> Vec<u8> {
    let path = if path.is_empty() { b"/" } else { path };
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut pieces = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        match piece {
            b"." | b".." => {
                if piece == b".." {
                    segments.pop();
                }
                if last {
                    segments.push(b"");
                }
            }
            piece => segments.push(piece),
        }
    }
    segments.iter().flat_map(|segment| [&b"/"[..], segment]).collect::<Vec<_>>().concat()
}

/// Cuts each segment at its `;`, as Java's servers do.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let cut = |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    path.split(|byte| *byte == b'/').map(cut).collect::<Vec<_>>().join(&b'/')
}
