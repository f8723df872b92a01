//! Whatever of these a server does with the bytes of a path, it reads none about which the policy says something else.

use policy::{PolicySnapshot, Source};

/// Entries of every shape, each with a name of its own: an entry and a rule are found in the same way.
const TEXT: &str = r#"
version = 1
[[work]]
path = "/**"
id = "rest"
[[work]]
path = "/drafts/**"
id = "drafts"
[[work]]
path = "/drafts/open/*"
id = "open"
[[work]]
path = "/drafts"
id = "exact"
[[work]]
path = "/a/**/b"
id = "folders"
[[work]]
path = "/é/**"
id = "accent"
[[work]]
path = "/ｄ：/*"
id = "wide"
"#;

fn policy() -> PolicySnapshot {
    let source = Source { name: "test".to_owned(), text: TEXT.to_owned() };
    match PolicySnapshot::compile(source, None, &mut |_, _| Err("none".to_owned())) {
        Ok((policy, _)) => policy,
        Err(errors) => panic!("{}", policy::render(&errors)),
    }
}

/// What servers do: which steps, in which order.
struct Server {
    decodes: u8,
    cuts_parameters: Cut,
    joins: bool,
    takes_host: bool,
    folds: bool,
    backslash_is_slash: bool,
}

#[derive(PartialEq)]
enum Cut {
    Never,
    BeforeDecoding,
    AfterDecoding,
}

const NGINX: Server = Server {
    decodes: 1,
    cuts_parameters: Cut::Never,
    joins: true,
    takes_host: false,
    folds: false,
    backslash_is_slash: false,
};

/// The path of a file or a route that the server looks for; `None` if it refuses the request.
fn read(server: &Server, raw: &str) -> Option<Vec<u8>> {
    let mut path = raw.as_bytes().to_vec();
    if server.takes_host && path.starts_with(b"//") {
        let slash = path[2..].iter().position(|byte| *byte == b'/').map(|at| at + 2);
        path = slash.map_or_else(|| b"/".to_vec(), |slash| path[slash..].to_vec());
    }
    if server.cuts_parameters == Cut::BeforeDecoding {
        path = without_parameters(&path);
    }
    for _ in 0..server.decodes {
        path = decoded(&path)?;
    }
    if server.cuts_parameters == Cut::AfterDecoding {
        path = without_parameters(&path);
    }
    if server.folds {
        path = folded(&path);
    }
    if server.backslash_is_slash {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    if path.contains(&0) {
        return None;
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut pieces = path[1..].split(|byte| *byte == b'/').peekable();
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        match piece {
            b"" if server.joins && !is_last => {}
            b"." | b".." => {
                if piece == b".." {
                    segments.pop()?;
                }
                if is_last {
                    segments.push(b"");
                }
            }
            piece => segments.push(piece),
        }
    }
    Some(segments.iter().flat_map(|segment| [&b"/"[..], segment].concat()).collect())
}

fn without_parameters(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/');
    let cut = segments.map(|segment| segment.split(|byte| *byte == b';').next().unwrap_or_default());
    cut.collect::<Vec<_>>().join(&b'/')
}

fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::new(), 0);
    while at < path.len() {
        if path[at] == b'%' {
            match (digit(at + 1), digit(at + 2)) {
                (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
                _ => return None,
            }
            at += 3;
        } else {
            out.push(path[at]);
            at += 1;
        }
    }
    Some(out)
}

/// NFKC of the characters that the paths below are made of.
fn folded(path: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(path) else { return path.to_vec() };
    let folded = text.replace("e\u{301}", "é").replace('／', "/").replace('‥', "..").replace('：', ":");
    folded.replace('ｄ', "d").replace('；', ";").into_bytes()
}

/// The entry that a path belongs to where no byte has a meaning any more but the slash; by rules of its own, so that
/// what is tested does not test itself.
fn name_of(path: &[u8]) -> &'static str {
    let path = String::from_utf8_lossy(path);
    let file_in = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'));
    match &*path {
        "/drafts" => "exact",
        _ if file_in("/drafts/open/") => "open",
        _ if path.starts_with("/drafts/") => "drafts",
        "/a/b" => "folders",
        _ if path.starts_with("/a/") && path.ends_with("/b") && path.len() > 4 => "folders",
        _ if path.starts_with("/é/") => "accent",
        _ if file_in("/ｄ：/") || file_in("/d:/") => "wide",
        _ => "rest",
    }
}

#[test]
fn no_server_leaves_the_rule_that_was_applied() {
    let servers = [
        ("nginx", NGINX),
        ("no joining", Server { joins: false, ..NGINX }),
        ("a servlet container", Server { cuts_parameters: Cut::BeforeDecoding, ..NGINX }),
        ("one that cuts late", Server { cuts_parameters: Cut::AfterDecoding, ..NGINX }),
        ("one that decodes twice", Server { decodes: 2, ..NGINX }),
        (
            "one that decodes twice and cuts",
            Server { decodes: 2, cuts_parameters: Cut::AfterDecoding, ..NGINX },
        ),
        ("one that takes // for a host", Server { takes_host: true, joins: false, ..NGINX }),
        ("one that folds", Server { folds: true, ..NGINX }),
        ("one that folds and joins nothing", Server { folds: true, joins: false, ..NGINX }),
        ("one that knows no difference of slashes", Server { backslash_is_slash: true, ..NGINX }),
    ];
    let pieces = r"/ / / / drafts drafts open a b x // /drafts/ . .. /./ /../ ; ;v=1 %2e %2E%2e %2f %5c \ %64 %2564 %252e
        %253b %3B %25 %00 %C3%A9 e%CC%81 %EF%BC%8F %E2%80%A5 %EF%BD%84 %EF%BC%9A d:"
        .split_ascii_whitespace()
        .collect::<Vec<_>>();
    let policy = policy();
    let mut seed = 0x5e_77e5_u64;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let (mut accepted, mut odd) = (0, 0);
    for _ in 0..200_000 {
        let raw: String =
            std::iter::once("/").chain((0..next(8)).map(|_| pieces[next(pieces.len())])).collect();
        let Ok(work) = policy.work("http", "site.test", &raw) else { continue };
        accepted += 1;
        odd += usize::from(raw.contains("//") || raw.contains([';', '%']));
        for (who, server) in &servers {
            if let Some(path) = read(server, &raw) {
                let found = name_of(&path);
                assert_eq!(found, work.id, "{raw}: {who} reads {:?}", String::from_utf8_lossy(&path));
            }
        }
    }
    assert!(accepted > 20_000 && odd > 5_000, "the cases are not all refused: {accepted}, {odd}");
}

#[test]
fn what_is_odd_but_clear_is_served() {
    let policy = policy();
    for (path, id) in [
        ("/drafts/a%20b", "drafts"),
        ("/drafts/a;jsessionid=1", "drafts"),
        ("/drafts/x//y", "drafts"),
        ("/drafts/100%25", "drafts"),
        ("/drafts/%2520", "drafts"),
        ("/drafts/%EF%BC%88x%EF%BC%89", "drafts"),
        ("/drafts/open/x%EF%BC%9F", "open"),
        ("/%C3%A9/e%CC%81", "accent"),
        ("/%EF%BD%84%EF%BC%9A/x", "wide"),
        ("/x;v=1/y%253F", "rest"),
        ("/a/x;/b", "folders"),
        ("/d:/x", "wide"),
    ] {
        let work = policy.work("http", "site.test", path).map(|work| work.id);
        assert_eq!(work.as_deref(), Ok(id), "{path}");
    }
    for path in [
        "//drafts/x",
        "/drafts//open/x",
        "/drafts;v=1/x",
        "/drafts/open/x%252Fy",
        "/%2564rafts/x",
        "/%EF%BD%84rafts/x",
        "/e%CC%81/x",
        "/drafts%EF%BC%8Fx",
        "/drafts%3Fx",
        "//x/drafts",
    ] {
        let work = policy.work("http", "site.test", path).map(|work| work.id);
        assert!(work.is_err(), "{path}: {work:?}");
    }
}
