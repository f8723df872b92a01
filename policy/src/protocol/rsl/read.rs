//! Reading and validation (§1): a document from text, or what is wrong in it, where, and what would be right.

mod elements;
mod reader;

use roxmltree::Node;

use self::reader::{Reader, name_of};
use super::NAMESPACE;
use super::discovery::FeedLicense;
use super::gate::{DOCUMENT_BYTES_MAX, load, text_of};
use super::model::Document;
use crate::{Diagnostic, Severity, Source};

/// `content` elements of a document.
pub const CONTENTS_MAX: usize = 4_096;
/// Words of a list.
pub(super) const TOKENS_MAX: usize = 256;
/// Problems that one reading tells.
pub const DIAGNOSTICS_MAX: usize = 32;

/// Why a text is no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than [`super::DOCUMENT_BYTES_MAX`].
    #[error("{bytes} bytes: {DOCUMENT_BYTES_MAX} are the most")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// Not UTF-8: other encodings of XML are not read.
    #[error("byte {offset} is not UTF-8")]
    NotUtf8 {
        /// Where the fault is, from 0.
        offset: usize,
    },
    /// One of the limits of this module.
    #[error("{line}:{column}: {what}: {limit} are the most")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
        /// Where the limit is passed, from 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// A document type declaration, by which entities would come: refused unread.
    #[error("{line}:{column}: a document type is not allowed; leave it out")]
    DocumentType {
        /// Where it is, from 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// Not well-formed XML with namespaces.
    #[error("{line}:{column}: not well-formed XML")]
    Malformed {
        /// Where, from 1; 1:1 where the reader does not say.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What the reader says.
        #[source]
        source: roxmltree::Error,
    },
    /// Not one `license` element and nothing else, where that is asked for.
    #[error("not one `license` element")]
    NotOneLicense,
    /// Well-formed, and not what RSL 1.0 allows.
    #[error("{}", first_of(.diagnostics))]
    NotConformant {
        /// What is wrong; warnings are among it. At most [`DIAGNOSTICS_MAX`].
        diagnostics: Vec<Diagnostic>,
    },
}

fn first_of(diagnostics: &[Diagnostic]) -> String {
    let mut errors = diagnostics.iter().filter(|one| one.severity == Severity::Error);
    let Some(first) = errors.next() else { return "not conformant".to_owned() };
    let more = match errors.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{}:{}: {}{more}", first.line, first.column, first.message)
}

/// Where a document stands, which decides its form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Carrier {
    /// A resource of its own: the default namespace, paths.
    Standalone,
    /// `<script>` in HTML: exactly one `content`, whose scope may be its place.
    Script,
    /// An item of a feed.
    Feed,
    /// XMP, EPUB and other files: exactly one `content` with a URL.
    File,
}

impl Document {
    /// Reads a document that is a resource of its own, from bytes or text.
    ///
    /// # Errors
    /// Why it is none: then nothing in it is a licence.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Document, DocumentError> {
        let text = text_of(text.as_ref())?;
        let source = Source { name: "license.xml".to_owned(), text: text.to_owned() };
        Document::read(&source).map(|(document, _)| document)
    }

    /// The same with warnings, and with the source's name in what is told.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(source: &Source) -> Result<(Document, Vec<Diagnostic>), DocumentError> {
        read_root(source, Carrier::Standalone)
    }
}

/// Reads a text whose root is `rsl`.
pub(super) fn read_root(
    source: &Source,
    carrier: Carrier,
) -> Result<(Document, Vec<Diagnostic>), DocumentError> {
    let xml = load(&source.text)?;
    let mut reader = Reader::new(source, carrier);
    let document = reader.document(xml.root_element());
    reader.finish(document)
}

/// Reads the one wrapper `rsl:rsl` in a file's metadata.
pub(super) fn read_embedded(source: &Source) -> Result<Option<(Document, Vec<Diagnostic>)>, DocumentError> {
    let xml = load(&source.text)?;
    let is_wrapper = |node: &Node<'_, '_>| is_rsl(node) && node.tag_name().name() == "rsl";
    let Some(wrapper) = xml.descendants().find(is_wrapper) else { return Ok(None) };
    let mut reader = Reader::new(source, Carrier::File);
    let document = reader.document(wrapper);
    reader.finish(document).map(Some)
}

/// Reads the `rsl:content` elements in the items of a feed, each with its item's link.
pub(super) fn read_feed(source: &Source) -> Result<Vec<FeedLicense>, DocumentError> {
    let xml = load(&source.text)?;
    let mut reader = Reader::new(source, Carrier::Feed);
    let mut found = Vec::new();
    let is_item = |node: &Node<'_, '_>| {
        node.is_element() && matches!(node.tag_name().name(), "item" | "entry") && !is_rsl(node)
    };
    for item in xml.descendants().filter(is_item) {
        let own = |name: &'static str| item.children().filter(move |child| child.tag_name().name() == name);
        let link = own("link").filter(|child| !is_rsl(child)).find_map(|child| {
            let text: String =
                child.children().filter(Node::is_text).filter_map(|text| text.text()).collect();
            let text = text.trim().to_owned();
            if text.is_empty() { child.attribute("href").map(str::to_owned) } else { Some(text) }
        });
        for content in own("content").filter(is_rsl) {
            if found.len() == CONTENTS_MAX {
                reader.error(name_of(&content), format!("more than {CONTENTS_MAX} `content` elements"), None);
                return reader.finish(found).map(|(found, _)| found);
            }
            found.push(FeedLicense { link: link.clone(), content: reader.content(content) });
        }
    }
    reader.finish(found).map(|(found, _)| found)
}

fn is_rsl(node: &Node<'_, '_>) -> bool {
    node.is_element() && node.tag_name().namespace() == Some(NAMESPACE)
}
