//! The clients of the licence server: who may ask for what is not for everybody. A file of its own, because the policy is
//! published and these are not.

use std::collections::HashMap;
use std::path::Path;

use policy::fields::{At, Fields, Report, parse};
use policy::protocol::olp::Client;
use policy::{Diagnostic, Source};

/// Clients of one file.
const CLIENTS_MAX: usize = 10_000;
/// Problems shown of one file.
const DIAGNOSTICS_MAX: usize = 200;

/// Why the file of clients cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientsError {
    #[error("{path}: {source}")]
    Unreadable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{}", policy::render(diagnostics).trim_end())]
    Invalid { diagnostics: Vec<Diagnostic> },
}

/// All clients, by their names.
#[derive(Default)]
pub(crate) struct Clients(HashMap<String, Row>);

struct Row {
    operator: String,
    secret_sha256: [u8; 32],
}

impl Clients {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Clients, ClientsError> {
        let unreadable = |source| ClientsError::Unreadable { path: path.display().to_string(), source };
        let source = crate::policy_file::read(path).map_err(unreadable)?;
        Clients::parse(source).map_err(|diagnostics| ClientsError::Invalid { diagnostics })
    }

    /// The same of a text that was read already.
    pub(crate) fn parse(source: Source) -> Result<Clients, Vec<Diagnostic>> {
        let report = Report::default();
        let clients = parse(&report, source, "the file of clients", |fields| read(&report, fields));
        if !report.has_errors() {
            return Ok(Clients(clients));
        }
        let mut diagnostics = report.finish(DIAGNOSTICS_MAX).1;
        // What somebody wrote where a digest should be may be the secret itself, whatever they called it.
        diagnostics.iter_mut().for_each(|diagnostic| diagnostic.excerpt.clear());
        Err(diagnostics)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The operator whose client this is; none if the name or the secret is nobody's. It takes as long for a name that is
    /// not there.
    pub(super) fn operator_of(&self, client: &Client) -> Option<&str> {
        let row = self.0.get(&client.id);
        let is_right = client.has_secret(row.map_or(&[0; 32], |row| &row.secret_sha256));
        row.filter(|_| is_right).map(|row| row.operator.as_str())
    }
}

fn read(report: &Report, top: Fields<'_, '_>) -> HashMap<String, Row> {
    let mut clients = HashMap::new();
    for fields in top.tables("client", "`[[client]]`") {
        let id = fields.required("id", "the name that the client shows, as in `id = \"example-labs\"`");
        let operator = fields.required("operator", "whose crawlers it gets tokens for");
        let secret = fields.required("secret_sha256", "64 hex digits: `printf %s \"$SECRET\" | sha256sum`");
        fields.finish();
        let secret_sha256 = secret.and_then(|At { value, place }| {
            let read = digest(&value);
            if read.is_none() {
                let help = "64 hex digits: `printf %s \"$SECRET\" | sha256sum`";
                report.error_help(place, "`secret_sha256` is no SHA-256", help);
            }
            read
        });
        let (Some(id), Some(operator), Some(secret_sha256)) = (id, operator, secret_sha256) else { continue };
        if clients.len() == CLIENTS_MAX {
            report.error(id.place, format!("there are more than {CLIENTS_MAX} clients"));
            break;
        }
        let row = Row { operator: operator.value, secret_sha256 };
        if clients.insert(id.value.clone(), row).is_some() {
            report.error(id.place, format!("the client `{}` is there twice", id.value));
        }
    }
    top.finish();
    clients
}

fn digest(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let mut digest = [0; 32];
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf %s secret | sha256sum`
    const SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn read_text(text: &str) -> Result<Clients, ClientsError> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("a temporary file");
        Clients::read(file.path())
    }

    #[test]
    fn a_client_is_its_name_and_its_secret() {
        let text = format!("[[client]]\nid = \"lab\"\noperator = \"labs\"\nsecret_sha256 = \"{SECRET}\"\n");
        let clients = read_text(&text).expect("one client");
        assert_eq!(clients.operator_of(&Client::new("lab", "secret")), Some("labs"));
        for (id, secret) in [("lab", "Secret"), ("lab", ""), ("Lab", "secret"), ("", "secret")] {
            assert_eq!(clients.operator_of(&Client::new(id, secret)), None, "{id} {secret}");
        }
        assert!(read_text("").expect("none").0.is_empty());
    }

    #[test]
    fn a_mistake_has_its_place_and_says_no_digest() {
        let whole = format!("id = \"a\"\noperator = \"b\"\nsecret_sha256 = \"{SECRET}\"\n");
        for (text, line) in [
            (format!("[[client]]\n{}", whole.replace("\"2bb", "\"xbb")), 4),
            (format!("[[client]]\n{}", whole.replace(SECRET, "hunter2")), 4),
            ("[[client]]\nid = \"a\"\n".to_owned(), 1),
            (format!("[[client]]\n{whole}secret = \"hunter2\"\n"), 5),
            (format!("[[client]]\n{whole}[[client]]\n{whole}"), 6),
            ("[[clients]]\n".to_owned(), 1),
        ] {
            let Err(ClientsError::Invalid { diagnostics }) = read_text(&text) else { panic!("{text}") };
            let said = policy::render(&diagnostics);
            assert_eq!(diagnostics[0].line, line, "{said}");
            assert!(!said.contains("hunter2") && !said.contains("2bb80d"), "{said}");
        }
        let Err(error) = Clients::read(Path::new("/nowhere/clients.toml")) else { panic!("no such file") };
        assert!(error.to_string().starts_with("/nowhere/clients.toml: "));
    }
}
