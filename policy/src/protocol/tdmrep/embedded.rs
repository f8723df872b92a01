//! What a file says of itself: the package document of an EPUB, the XMP packet of a PDF (§ "TDM Metadata in EPUB 2 files" and
//! the two sections after it). Both come as XML that somebody has taken out of the file.

use roxmltree::Node;

use super::Declaration;
use crate::protocol::rsl::{DocumentError, load};

/// What `tdm` stands for in an EPUB 3; other prefixes may.
const EPUB_NAMESPACE: &str = "http://www.w3.org/ns/tdmrep#";
/// What it stands for in XMP: with a slash.
const XMP_NAMESPACE: &str = "http://www.w3.org/ns/tdmrep/";

impl Declaration {
    /// Reads the package document of an EPUB 2 (`<meta name="tdm:reservation" content="1"/>`) or 3
    /// (`<meta property="tdm:reservation">1</meta>`). It is about every resource of the package.
    ///
    /// # Errors
    /// It is no XML within the limits of [`crate::protocol::rsl`], so that it says nothing.
    pub fn from_epub(package: &str) -> Result<Declaration, DocumentError> {
        let xml = load(package)?;
        let root = xml.root_element();
        let prefixes = Prefixes::of(root.attribute("prefix").unwrap_or_default());
        let is_metadata = |node: &Node<'_, '_>| node.tag_name().name() == "metadata";
        let metas = || {
            let all = root.children().filter(is_metadata).flat_map(|metadata| metadata.children());
            // One that refines another is about that.
            all.filter(|node| node.tag_name().name() == "meta" && !node.has_attribute("refines"))
        };
        let named = |name: &'static str| {
            let prefixes = &prefixes;
            metas().filter_map(move |meta| {
                let is_named = |attribute: &str, is_tdm: &dyn Fn(&str) -> bool| {
                    let (prefix, local) = meta.attribute(attribute)?.trim().split_once(':')?;
                    (local == name && is_tdm(prefix)).then_some(())
                };
                if is_named("name", &|prefix| prefix == "tdm").is_some() {
                    return meta.attribute("content");
                }
                is_named("property", &|prefix| prefixes.is_tdm(prefix))?;
                Some(meta.text().unwrap_or_default())
            })
        };
        Ok(Declaration::of(named("reservation"), named("policy")))
    }

    /// Reads the XMP packet of a PDF: elements, or attributes of `rdf:Description`, in the namespace
    /// `http://www.w3.org/ns/tdmrep/`. It is about every page.
    ///
    /// # Errors
    /// It is no XML within the limits of [`crate::protocol::rsl`], so that it says nothing.
    pub fn from_xmp(packet: &str) -> Result<Declaration, DocumentError> {
        let xml = load(packet)?;
        let descriptions =
            || xml.descendants().filter(|node| node.is_element() && node.tag_name().name() == "Description");
        let named = |name: &'static str| {
            descriptions().flat_map(move |description| {
                let elements = description.children().filter(move |child| {
                    child.tag_name().namespace() == Some(XMP_NAMESPACE) && child.tag_name().name() == name
                });
                let attribute = description.attribute((XMP_NAMESPACE, name));
                elements.map(|element| element.text().unwrap_or_default()).chain(attribute)
            })
        };
        Ok(Declaration::of(named("reservation"), named("policy")))
    }
}

/// The `prefix` of an EPUB's package: `prefix: URI` pairs, separated by white space.
struct Prefixes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Prefixes<'a> {
    fn of(attribute: &'a str) -> Prefixes<'a> {
        let mut words = attribute.split_ascii_whitespace();
        let mut pairs = Vec::new();
        while let Some(prefix) = words.next() {
            let Some(prefix) = prefix.strip_suffix(':') else { continue };
            let Some(uri) = words.next() else { break };
            pairs.push((prefix, uri));
        }
        Prefixes(pairs)
    }

    /// Whether a prefix stands for the properties of TDMRep. `tdm` does where nobody says what it stands for: a reservation is not
    /// lost by a missing declaration.
    fn is_tdm(&self, prefix: &str) -> bool {
        let declared = self.0.iter().find(|(other, _)| *other == prefix);
        declared.map_or(prefix == "tdm", |(_, uri)| *uri == EPUB_NAMESPACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://p.example/policy.json";

    fn says(reservation: Option<bool>, policy: Option<&str>) -> Declaration {
        Declaration { reservation, policy: policy.map(str::to_owned) }
    }

    #[track_caller]
    fn epub(prefix: &str, metadata: &str, expect: Declaration) {
        let package = format!(
            "<package xmlns=\"http://www.idpf.org/2007/opf\" version=\"3.0\"{prefix}><metadata>{metadata}</metadata><manifest/></package>"
        );
        assert_eq!(Declaration::from_epub(&package).unwrap(), expect, "{metadata}");
    }

    #[test]
    fn packages_of_epub_2_and_3_are_read() {
        let prefix =
            " prefix=\"rendition: http://www.idpf.org/vocab/rendition/# tdm: http://www.w3.org/ns/tdmrep#\"";
        epub(
            "",
            &format!(
                "<meta name=\"tdm:reservation\" content=\"1\"/><meta name=\"tdm:policy\" content=\"{URL}\"/>"
            ),
            says(Some(true), Some(URL)),
        );
        let three = format!(
            "<meta property=\"tdm:reservation\"> 1 </meta><meta property=\"tdm:policy\">{URL}</meta>"
        );
        epub(prefix, &three, says(Some(true), Some(URL)));
        epub("", &three, says(Some(true), Some(URL)));
        epub(&prefix.replace("tdm:", "x:"), &three.replace("tdm:", "x:"), says(Some(true), Some(URL)));
        epub(" prefix=\"tdm: https://other.example/\"", &three, says(None, None));
        epub(prefix, &three.replace("1", "0"), says(Some(false), None));
        for silent in [
            "<meta property=\"tdm:reservation\">yes</meta>",
            "<meta property=\"tdm:reservation\"/>",
            "<meta property=\"reservation\">1</meta>",
            "<meta property=\"tdm:reservation\" refines=\"#x\">1</meta>",
            "<meta name=\"tdm-reservation\" content=\"1\"/>",
            "<meta name=\"tdm:reservation\"/>",
            "<meta property=\"tdm:reservation\">1</meta><meta property=\"tdm:reservation\">0</meta>",
            "<x><meta property=\"tdm:reservation\">1</meta></x>",
            "",
        ] {
            epub(prefix, silent, says(None, None));
        }
        assert!(Declaration::from_epub("<!DOCTYPE package><package/>").is_err());
        assert!(Declaration::from_epub("no XML").is_err());
    }

    #[test]
    fn packets_of_pdf_are_read() {
        let packet = |namespace: &str, attributes: &str, elements: &str| {
            Declaration::from_xmp(&format!(
                "<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF \
                 xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" \
                 xmlns:tdm=\"{namespace}\"{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
            ))
            .unwrap()
        };
        let elements = format!("<tdm:reservation>1</tdm:reservation><tdm:policy>{URL}</tdm:policy>");
        assert_eq!(packet(XMP_NAMESPACE, "", &elements), says(Some(true), Some(URL)));
        let attributes = format!(" tdm:reservation=\"1\" tdm:policy=\"{URL}\"");
        assert_eq!(packet(XMP_NAMESPACE, &attributes, ""), says(Some(true), Some(URL)));
        assert_eq!(
            packet(XMP_NAMESPACE, "", "<tdm:reservation>0</tdm:reservation>"),
            says(Some(false), None)
        );
        assert_eq!(packet(EPUB_NAMESPACE, "", &elements), says(None, None), "another namespace");
        assert_eq!(packet(XMP_NAMESPACE, " tdm:reservation=\"0\"", &elements).reservation, None, "both");
        assert!(Declaration::from_xmp("<a").is_err());
    }
}
