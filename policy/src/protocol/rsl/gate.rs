//! The bounds that hold before the XML reader begins: one pass over the bytes that counts tags, depth and attributes.
//!
//! The reader goes one call deeper for each element and compares attributes and namespaces pairwise, so these have
//! limits. The pass knows as much of XML as it needs to never count less than the reader would meet before it stops at
//! a fault: comments, CDATA sections, instructions and quoted values hold no tags.

use super::read::DocumentError;
use crate::diagnostic::locate;

/// Bytes of a document, a feed or a file's metadata.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Elements within one another.
pub const DEPTH_MAX: usize = 64;
/// Tags, comments, sections and instructions.
pub const NODES_MAX: usize = 65_536;
/// Attributes of one element.
pub const ATTRIBUTES_MAX: usize = 64;
/// Bytes of one attribute's value, as it is written.
pub const ATTRIBUTE_BYTES_MAX: usize = 8_192;
/// Namespaces declared in all of a document.
pub const NAMESPACES_MAX: usize = 128;
/// `=` in all of a document: the reader makes room for as many attributes before it has seen one.
const EQUALS_MAX: usize = 65_536;

/// Reads a document that keeps the bounds and has no document type.
pub(in crate::protocol) fn load(text: &str) -> Result<roxmltree::Document<'_>, DocumentError> {
    check(text)?;
    let options = roxmltree::ParsingOptions { allow_dtd: false, ..Default::default() };
    roxmltree::Document::parse_with_options(text, options).map_err(|source| {
        let place = source.pos();
        DocumentError::Malformed { line: place.row as usize, column: place.col as usize, source }
    })
}

/// The text of a document that came as bytes: UTF-8, with or without its mark.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, DocumentError> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: bytes.len() });
    }
    std::str::from_utf8(bytes).map_err(|error| DocumentError::NotUtf8 { offset: error.valid_up_to() })
}

fn check(text: &str) -> Result<(), DocumentError> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { bytes: text.len() });
    }
    let limit = |what, limit, at: usize| {
        let (line, column, ..) = locate(text, at..at);
        DocumentError::Limit { what, limit, line, column }
    };
    if text.bytes().filter(|byte| *byte == b'=').count() > EQUALS_MAX {
        return Err(limit("`=` signs", EQUALS_MAX, 0));
    }
    let (mut at, mut depth, mut nodes, mut namespaces) = (0, 0_usize, 0, 0);
    while let Some(start) = text[at..].find('<').map(|found| at + found) {
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(limit("tags", NODES_MAX, start));
        }
        let rest = &text[start..];
        let skipped = if rest.starts_with("<!--") {
            after(rest, 4, "-->")
        } else if rest.starts_with("<![CDATA[") {
            after(rest, 9, "]]>")
        } else if rest.starts_with("<!") {
            let (line, column, ..) = locate(text, start..start);
            return Err(DocumentError::DocumentType { line, column });
        } else if rest.starts_with("<?") {
            after(rest, 2, "?>")
        } else if rest.starts_with("</") {
            depth = depth.saturating_sub(1);
            after(rest, 2, ">")
        } else {
            let tag = Tag::scan(rest);
            if tag.attributes > ATTRIBUTES_MAX {
                return Err(limit("attributes of an element", ATTRIBUTES_MAX, start));
            }
            if tag.longest_value > ATTRIBUTE_BYTES_MAX {
                return Err(limit("bytes of an attribute", ATTRIBUTE_BYTES_MAX, start));
            }
            namespaces += tag.namespaces;
            if namespaces > NAMESPACES_MAX {
                return Err(limit("declarations of namespaces", NAMESPACES_MAX, start));
            }
            if !tag.is_empty {
                depth += 1;
            }
            if depth > DEPTH_MAX {
                return Err(limit("elements within one another", DEPTH_MAX, start));
            }
            tag.end
        };
        match skipped {
            Some(length) => at = start + length,
            None => break, // it never ends: the reader says so
        }
    }
    Ok(())
}

/// Where a mark ends that stands in `text` at or after `from`.
fn after(text: &str, from: usize, mark: &str) -> Option<usize> {
    text[from..].find(mark).map(|at| from + at + mark.len())
}

struct Tag {
    attributes: usize,
    namespaces: usize,
    longest_value: usize,
    is_empty: bool,
    /// Bytes of the tag; none if it never ends.
    end: Option<usize>,
}

impl Tag {
    fn scan(text: &str) -> Tag {
        let bytes = text.as_bytes();
        let mut tag = Tag { attributes: 0, namespaces: 0, longest_value: 0, is_empty: false, end: None };
        let mut at = 1;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'"' | b'\'' => {
                    tag.attributes += 1;
                    let close = text[at + 1..].find(char::from(byte)).map(|length| at + 1 + length);
                    tag.longest_value = tag.longest_value.max(close.unwrap_or(bytes.len()) - at - 1);
                    let Some(close) = close else { return tag };
                    at = close;
                }
                b'x' if text[at..].starts_with("xmlns") => tag.namespaces += 1,
                b'>' => {
                    tag.is_empty = bytes[at - 1] == b'/';
                    tag.end = Some(at + 1);
                    return tag;
                }
                _ => {}
            }
            at += 1;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        check(text).expect_err("it is refused").to_string()
    }

    #[test]
    fn what_could_cost_much_is_refused_before_it_is_read() {
        let deep = "<a>".repeat(DEPTH_MAX) + &"</a>".repeat(DEPTH_MAX);
        assert!(check(&deep).is_ok() && load(&deep).is_ok());
        assert!(
            refused(&"<a>".repeat(300_000)).contains("1:193: elements within one another: 64 are the most")
        );
        assert!(refused(&"<a/>".repeat(NODES_MAX + 1)).contains("tags"));
        let attributes = |count: usize| -> String {
            ["<a", &(0..count).map(|n| format!(" b{n}=''")).collect::<String>(), "/>"].concat()
        };
        assert!(load(&attributes(ATTRIBUTES_MAX)).is_ok());
        assert!(refused(&attributes(ATTRIBUTES_MAX + 1)).contains("attributes of an element"));
        assert!(load(&format!("<a b='{}'/>", "c".repeat(ATTRIBUTE_BYTES_MAX))).is_ok());
        assert!(
            refused(&format!("<a b='{}'/>", "c".repeat(ATTRIBUTE_BYTES_MAX + 1)))
                .contains("bytes of an attribute")
        );
        assert!(
            refused(&format!("<a b='{}", "c".repeat(ATTRIBUTE_BYTES_MAX + 1)))
                .contains("bytes of an attribute")
        );
        let namespaces: String = (0..=NAMESPACES_MAX).map(|n| format!("<a xmlns:n{n}='urn:{n}'/>")).collect();
        assert!(refused(&format!("<r>{namespaces}</r>")).contains("declarations of namespaces"));
        assert!(refused(&"=".repeat(EQUALS_MAX + 1)).contains("`=`"));
        assert!(matches!(check(&" ".repeat(DOCUMENT_BYTES_MAX + 1)), Err(DocumentError::TooLarge { .. })));
        for text in ["<!DOCTYPE a><a/>", "<a/><!ENTITY b 'c'>", "<!doctype a>", "\n <!ELEMENT a>"] {
            assert!(matches!(check(text), Err(DocumentError::DocumentType { .. })), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_tag_is_no_tag() {
        let inside = "<b>".repeat(DEPTH_MAX + 1);
        for text in [
            format!("<a><![CDATA[{inside}]]></a>"),
            format!("<a><!--{inside}--></a>"),
            format!("<a><?b {inside}?></a>"),
            "<a><![CDATA[<!DOCTYPE]]></a>".to_owned(),
        ] {
            assert!(load(&text).is_ok(), "{text}");
        }
    }
}
