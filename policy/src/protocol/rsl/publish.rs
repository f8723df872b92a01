//! Writing a document: what is written reads as what it was written from, or is not written at all.

use super::model::{Content, Document, Legal, License, Payment, Schema, Statements};
use super::read::DocumentError;
use super::vocabulary::{Extension, Token};
use super::{MEDIA_TYPE, NAMESPACE};
use crate::{Source, sha256};

/// Why a document cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It would not be conformant. Places are those in the text that would have been published.
    #[error("the document would not be conformant")]
    NotConformant(#[source] DocumentError),
    /// A text in it would read differently: white space at its ends, or line ends that XML normalises.
    #[error("the document would not read as it was written: check texts for white space at their ends")]
    Changed,
}

impl Document {
    /// The media type that the published text is served with.
    pub const MEDIA_TYPE: &'static str = MEDIA_TYPE;

    /// Writes a document that is a resource of its own; [`Document::parse`] gives back the same.
    ///
    /// # Errors
    /// There is no conformant text for it.
    pub fn publish(&self) -> Result<String, PublishError> {
        let text = serialise(self);
        let source = Source { name: "license.xml".to_owned(), text };
        match Document::read(&source) {
            Ok((read, _)) if read == *self => Ok(source.text),
            Ok(_) => Err(PublishError::Changed),
            Err(error) => Err(PublishError::NotConformant(error)),
        }
    }
}

impl License {
    /// Reads one `license` element, as a client sends it to a licence server (`license` of `/token`). It may lack the
    /// namespace that it had in its document.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(element: &str) -> Result<License, DocumentError> {
        let open = format!("<rsl xmlns=\"{NAMESPACE}\"><content url=\"/\">");
        let text = format!("{open}{}</content></rsl>", element.trim());
        let mut document = Document::parse(&text)?;
        let [content] = &mut document.contents[..] else { return Err(DocumentError::NotOneLicense) };
        let license = content.licenses.pop();
        content.url.clear();
        // Nothing else came along.
        let is_one = *content == Content::default();
        license.filter(|_| is_one).ok_or(DocumentError::NotOneLicense)
    }

    /// Writes the element with its namespace, for a licence server. [`License::parse`] gives back the same, if the values
    /// are ones that a document may have.
    pub fn to_element(&self) -> String {
        let mut writer = Writer::new(self);
        writer.license(self, true);
        writer.out
    }

    /// SHA-256 of [`License::to_element`]: names the terms, however they were spelt in their document.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.to_element().as_bytes())
    }
}

fn serialise(document: &Document) -> String {
    let mut writer = Writer { out: String::new(), prefixes: Vec::new(), indent: 0 };
    for license in document.contents.iter().flat_map(|content| &content.licenses) {
        writer.collect(license);
    }
    writer.out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let max_age = document.max_age_days.map(|days| days.to_string());
    let mut attributes = writer.declarations();
    attributes.extend(max_age.map(|days| ("max-age".to_owned(), days)));
    writer.open("rsl", &attributes);
    for content in &document.contents {
        writer.content(content);
    }
    writer.close("rsl");
    writer.out
}

struct Writer {
    out: String,
    /// Namespaces of extension tokens; the first one's prefix is `x1`.
    prefixes: Vec<String>,
    indent: usize,
}

impl Writer {
    fn new(license: &License) -> Writer {
        let mut writer = Writer { out: String::new(), prefixes: Vec::new(), indent: 0 };
        writer.collect(license);
        writer
    }

    fn collect(&mut self, license: &License) {
        let mut see = |extension: Option<&Extension>| {
            if let Some(extension) = extension
                && !self.prefixes.contains(&extension.namespace)
            {
                self.prefixes.push(extension.namespace.clone());
            }
        };
        for statements in [&license.permits, &license.prohibits] {
            statements.usage.iter().flatten().for_each(|token| see(extension(token)));
            statements.user.iter().flatten().for_each(|token| see(extension(token)));
            statements.geo.iter().flatten().for_each(|token| see(extension(token)));
        }
        see(license.payment.as_ref().and_then(|payment| payment.kind.as_ref()).and_then(extension));
        license.reporting.iter().for_each(|reporting| see(extension(&reporting.kind)));
        for legal in &license.legal {
            match legal {
                Legal::Warranty(tokens) => tokens.iter().for_each(|token| see(extension(token))),
                Legal::Disclaimer(tokens) => tokens.iter().for_each(|token| see(extension(token))),
                Legal::Attestation(_) | Legal::Contact(_) | Legal::Proof(_) => {}
            }
        }
    }

    fn declarations(&self) -> Vec<(String, String)> {
        let own = ("xmlns".to_owned(), NAMESPACE.to_owned());
        let others = self.prefixes.iter().enumerate();
        std::iter::once(own)
            .chain(others.map(|(index, namespace)| (format!("xmlns:x{}", index + 1), namespace.clone())))
            .collect()
    }

    fn content(&mut self, content: &Content) {
        let mut attributes = vec![("url".to_owned(), content.url.clone())];
        attributes.extend(content.server.clone().map(|server| ("server".to_owned(), server)));
        attributes.extend(content.encrypted.then(|| ("encrypted".to_owned(), "true".to_owned())));
        attributes.extend(content.lastmod.clone().map(|lastmod| ("lastmod".to_owned(), lastmod)));
        self.open("content", &attributes);
        for license in &content.licenses {
            self.license(license, false);
        }
        for alternate in &content.alternates {
            self.leaf("alternate", &[("type", alternate.media_type.as_deref())], &alternate.url);
        }
        match &content.schema {
            Some(Schema::Url(url)) => self.leaf("schema", &[], url),
            Some(Schema::Inline(json)) => self.leaf("schema", &[("type", Some("application/ld+json"))], json),
            None => {}
        }
        if let Some(copyright) = &content.copyright {
            let attributes = [
                ("type", copyright.kind.map(|kind| kind.as_str())),
                ("contactEmail", copyright.contact_email.as_deref()),
                ("contactUrl", copyright.contact_url.as_deref()),
            ];
            self.leaf("copyright", &attributes, &copyright.holder);
        }
        if let Some(terms) = &content.terms {
            self.leaf("terms", &[], terms);
        }
        self.close("content");
    }

    fn license(&mut self, license: &License, is_alone: bool) {
        let attributes = if is_alone { self.declarations() } else { Vec::new() };
        self.open("license", &attributes);
        self.statements("permits", &license.permits);
        self.statements("prohibits", &license.prohibits);
        if let Some(payment) = &license.payment {
            self.payment(payment);
        }
        for reporting in &license.reporting {
            let kind = self.word(&reporting.kind, |word| word.to_string());
            let attributes = [
                ("type", Some(kind.as_str())),
                ("profile", Some(reporting.profile.as_str())),
                ("endpoint", reporting.endpoint.as_deref()),
            ];
            self.leaf("reporting", &attributes, "");
        }
        for legal in &license.legal {
            let text = match legal {
                Legal::Warranty(tokens) => self.list(tokens, |word| word.to_string()),
                Legal::Disclaimer(tokens) => self.list(tokens, |word| word.to_string()),
                Legal::Attestation(attested) => attested.to_string(),
                Legal::Contact(contact) => contact.clone(),
                Legal::Proof(uris) => uris.join(" "),
            };
            self.leaf("legal", &[("type", Some(legal.as_str()))], &text);
        }
        self.close("license");
    }

    fn statements(&mut self, name: &str, statements: &Statements) {
        if let Some(usage) = &statements.usage {
            let text = self.list(usage, |word| word.to_string());
            self.leaf(name, &[("type", Some("usage"))], &text);
        }
        if let Some(user) = &statements.user {
            let text = self.list(user, |word| word.to_string());
            self.leaf(name, &[("type", Some("user"))], &text);
        }
        if let Some(geo) = &statements.geo {
            let text = self.list(geo, |word| word.to_string());
            self.leaf(name, &[("type", Some("geo"))], &text);
        }
    }

    fn payment(&mut self, payment: &Payment) {
        let kind =
            payment.kind.as_ref().map(|kind| ("type".to_owned(), self.word(kind, |word| word.to_string())));
        self.open("payment", &Vec::from_iter(kind));
        if let Some(standard) = &payment.standard {
            self.leaf("standard", &[], standard);
        }
        if let Some(custom) = &payment.custom {
            self.leaf("custom", &[], custom);
        }
        if let Some(amount) = &payment.amount {
            self.leaf("amount", &[("currency", Some(amount.currency.as_str()))], &amount.decimal);
        }
        if let Some(accepts) = &payment.accepts {
            self.leaf("accepts", &[("type", Some(accepts.media_type.as_str()))], &accepts.payload);
        }
        self.close("payment");
    }

    fn list<T>(&self, tokens: &[Token<T>], as_word: impl Fn(&T) -> String) -> String {
        tokens.iter().map(|token| self.word(token, &as_word)).collect::<Vec<_>>().join(" ")
    }

    fn word<T>(&self, token: &Token<T>, as_word: impl Fn(&T) -> String) -> String {
        match token {
            Token::Known(word) => as_word(word),
            Token::Extension(extension) => {
                let index = self.prefixes.iter().position(|namespace| *namespace == extension.namespace);
                format!("x{}:{}", index.map_or(0, |index| index + 1), extension.name)
            }
        }
    }

    fn open(&mut self, name: &str, attributes: &[(String, String)]) {
        self.start(name, attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        self.out.push_str(">\n");
        self.indent += 1;
    }

    fn close(&mut self, name: &str) {
        self.indent -= 1;
        self.pad();
        self.out.push_str(&format!("</{name}>\n"));
    }

    /// An element without children; attributes without a value are left out.
    fn leaf(&mut self, name: &str, attributes: &[(&str, Option<&str>)], text: &str) {
        self.start(name, attributes.iter().filter_map(|(name, value)| value.map(|value| (*name, value))));
        if text.is_empty() {
            self.out.push_str("/>\n");
        } else {
            self.out.push('>');
            escape(&mut self.out, text, false);
            self.out.push_str(&format!("</{name}>\n"));
        }
    }

    fn start<'a>(&mut self, name: &str, attributes: impl Iterator<Item = (&'a str, &'a str)>) {
        self.pad();
        self.out.push('<');
        self.out.push_str(name);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&mut self.out, value, true);
            self.out.push('"');
        }
    }

    fn pad(&mut self) {
        self.out.extend(std::iter::repeat_n("  ", self.indent));
    }
}

fn extension<T>(token: &Token<T>) -> Option<&Extension> {
    match token {
        Token::Known(_) => None,
        Token::Extension(extension) => Some(extension),
    }
}

/// What XML would read as markup, or as another character, is written as a reference.
fn escape(out: &mut String, text: &str, in_attribute: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if in_attribute => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' if in_attribute => out.push_str("&#10;"),
            '\t' if in_attribute => out.push_str("&#9;"),
            _ => out.push(c),
        }
    }
}
