//! Where licences are declared (§3): robots.txt, the `Link` header, HTML, feeds, metadata of files. Each channel comes as
//! text; what is declared there goes out as URLs or documents.
//!
//! A client has to look at all of them. Joining what they say is [`super::Decision::combine`]'s matter. URLs are as they
//! were written: the specification wants HTTPS of them, which is for those who fetch to insist on.

use super::model::{Content, Document};
use super::read::{Carrier, DocumentError, read_embedded, read_feed, read_root};
use super::value::{is_absolute_uri, is_http_url, same_origin, split_origin};
use super::{MEDIA_TYPE, html};
use crate::Source;
use crate::protocol::robots::RobotsTxt;

/// Declarations that are taken from one robots.txt, one response's headers or one page; more are ignored.
pub const DECLARATIONS_MAX: usize = 32;

/// Bytes of a page that are looked at; what comes later is ignored.
pub const HTML_BYTES_MAX: usize = 1 << 20;

/// The `License` lines for a crawler, by its product token: those of its group if there are any, else those before all
/// groups. They change nothing about `Allow` and `Disallow`.
///
/// What is not an absolute URI is ignored (`"License" ":" OWS absolute-URI OWS`).
pub fn in_robots(robots: &RobotsTxt, token: &str) -> Vec<String> {
    let uri = |value: std::borrow::Cow<'_, str>| is_absolute_uri(&value).then(|| value.into_owned());
    let rules = robots.agent(token);
    let mut of_group = rules.extensions("license").peekable();
    if of_group.peek().is_some() {
        return of_group.filter_map(|line| uri(line.text())).take(DECLARATIONS_MAX).collect();
    }
    robots.global("license").filter_map(|line| uri(line.text())).take(DECLARATIONS_MAX).collect()
}

/// The targets of `Link: <…>; rel="license"; type="application/rsl+xml"` among the values of a response's `Link` headers.
///
/// Targets are absolute; a link without that type is some other licence, one with an anchor is about something else.
pub fn in_link_headers<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Vec<String> {
    let mut targets = Vec::new();
    for value in values {
        let Ok(value) = std::str::from_utf8(value) else { continue };
        let mut rest = value;
        while let Some((link, after)) = Link::read(rest) {
            if link.is_license() && targets.len() < DECLARATIONS_MAX {
                targets.push(link.target.to_owned());
            }
            rest = after;
        }
    }
    targets
}

/// The value of a `Link` header that declares a document; the other half of [`in_link_headers`].
///
/// None if the URL is not absolute: then it could not be declared.
pub fn link_header(url: &str) -> Option<String> {
    (is_http_url(url) && url.is_ascii()).then(|| format!("<{url}>; rel=\"license\"; type=\"{MEDIA_TYPE}\""))
}

/// What a page declares.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HtmlDeclarations {
    /// `<link rel="license" type="application/rsl+xml" href>`.
    pub links: Vec<HtmlLink>,
    /// `<script type="application/rsl+xml">`: documents, or why they are none. A page with one that cannot be read is
    /// not licensed by it.
    pub inline: Vec<Result<Document, DocumentError>>,
    /// Names (as they are written) and contents of the `<meta>` elements by which other vocabularies speak: `tdm-reservation`,
    /// `tdm-policy` and `robots`.
    pub elements: Vec<(String, String)>,
}

/// A `<link>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HtmlLink {
    /// As it is written, entities decoded: relative to the page or its `<base>`.
    pub href: String,
    /// What it is about.
    pub scope: HtmlScope,
}

/// What a declaration within a page is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HtmlScope {
    /// In the head: the page.
    Page,
    /// In the body: the element around it and what that holds. Not conforming HTML for `<link>`, but honoured.
    Part,
}

/// What a page declares. The first [`HTML_BYTES_MAX`] bytes are read, in linear time, without a tree.
pub fn in_html(page: &str) -> HtmlDeclarations {
    let mut declarations = HtmlDeclarations::default();
    for found in html::scan(page, HTML_BYTES_MAX) {
        match found {
            html::Found::Link(link) if declarations.links.len() < DECLARATIONS_MAX => {
                declarations.links.push(link)
            }
            html::Found::Script(text) if declarations.inline.len() < DECLARATIONS_MAX => {
                let source = Source { name: "script".to_owned(), text: text.trim().to_owned() };
                declarations.inline.push(read_root(&source, Carrier::Script).map(|(document, _)| document));
            }
            html::Found::Meta(name, content)
                if declarations.elements.len() < DECLARATIONS_MAX
                    && ["tdm-reservation", "tdm-policy", "robots"]
                        .iter()
                        .any(|known| name.trim().eq_ignore_ascii_case(known)) =>
            {
                declarations.elements.push((name.trim().to_owned(), html::decode(content.trim())));
            }
            html::Found::Link(_) | html::Found::Script(_) | html::Found::Meta(..) => {}
        }
    }
    declarations
}

/// A licence in an item of a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedLicense {
    /// The item's link: what an empty `url` stands for.
    pub link: Option<String>,
    /// `rsl:content`.
    pub content: Content,
}

/// The `rsl:content` elements in the items of an RSS feed that was fetched from an origin, `https://example.com`.
///
/// A `url` on another origin is not the feed's to license, and left out.
///
/// # Errors
/// The feed is no XML within the limits, or one of the elements is not conformant.
pub fn in_feed(feed: &str, origin: &str) -> Result<Vec<FeedLicense>, DocumentError> {
    let source = Source { name: "feed".to_owned(), text: feed.to_owned() };
    let is_own =
        |url: &str| !is_http_url(url) || split_origin(url).is_some_and(|(of, _)| same_origin(of, origin));
    let mut licenses = read_feed(&source)?;
    licenses.retain(|license| is_own(&license.content.url));
    Ok(licenses)
}

/// The document in `<rsl:rsl>` within the XML metadata of a file: an XMP packet, an EPUB's package, the text of a PNG or
/// of an ID3 tag.
///
/// # Errors
/// The metadata is no XML within the limits, or the document is not conformant.
pub fn in_file(metadata: &str) -> Result<Option<Document>, DocumentError> {
    let source = Source { name: "metadata".to_owned(), text: metadata.to_owned() };
    Ok(read_embedded(&source)?.map(|(document, _)| document))
}

/// One link of a `Link` header (RFC 8288 §3).
#[derive(Default)]
struct Link<'a> {
    target: &'a str,
    rel: Option<&'a str>,
    media_type: Option<&'a str>,
    has_anchor: bool,
}

impl<'a> Link<'a> {
    fn is_license(&self) -> bool {
        let is_license =
            |rel: &str| rel.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("license"));
        let is_rsl =
            |kind: &str| kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case(MEDIA_TYPE);
        self.rel.is_some_and(is_license)
            && self.media_type.is_some_and(is_rsl)
            && !self.has_anchor
            && is_absolute_uri(self.target)
    }

    /// The next link, and what follows it. What is not a link ends the reading.
    fn read(text: &'a str) -> Option<(Link<'a>, &'a str)> {
        let text = text.trim_start_matches([' ', '\t', ',']);
        let (target, mut rest) = text.strip_prefix('<')?.split_once('>')?;
        let mut link = Link { target: target.trim(), ..Link::default() };
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let Some(parameter) = rest.strip_prefix(';') else { break };
            let parameter = parameter.trim_start_matches([' ', '\t']);
            let end = parameter.find(['=', ';', ',']).unwrap_or(parameter.len());
            let name = parameter[..end].trim_end();
            rest = &parameter[end..];
            let Some(value) = rest.strip_prefix('=') else { continue };
            let value = value.trim_start_matches([' ', '\t']);
            let (value, after) = match value.strip_prefix('"') {
                // Escapes stay as they are: no value that we look for has one.
                Some(quoted) => quoted.split_at(end_of_quoted(quoted)?),
                None => value.split_at(value.find([';', ',']).unwrap_or(value.len())),
            };
            rest = after.strip_prefix('"').unwrap_or(after);
            // Of several, the first one counts (RFC 8288 §3.3, §3.4.1).
            if name.eq_ignore_ascii_case("rel") {
                link.rel.get_or_insert(value);
            } else if name.eq_ignore_ascii_case("type") {
                link.media_type.get_or_insert(value.trim());
            }
            link.has_anchor |= name.eq_ignore_ascii_case("anchor");
        }
        (rest.is_empty() || rest.starts_with(',')).then_some((link, rest))
    }
}

/// Where a quoted string ends, seen from after its first quote.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn links(value: &str, expect: &[&str]) {
        assert_eq!(in_link_headers([value.as_bytes()]), expect, "{value}");
    }

    #[test]
    fn link_headers_declare_documents() {
        let own = link_header("https://a.example/license.xml").unwrap();
        assert_eq!(own, "<https://a.example/license.xml>; rel=\"license\"; type=\"application/rsl+xml\"");
        links(&own, &["https://a.example/license.xml"]);
        links("<https://a.example/x>;rel=license;type=application/rsl+xml", &["https://a.example/x"]);
        links(
            "</style.css>; rel=preload; as=\"style, please\", <https://a.example/x>; title=\"a \\\" , b\"; rel=\"next LICENSE\"; type=\"Application/RSL+xml\",<https://b.example>;type=\"application/rsl+xml\" ; rel=license",
            &["https://a.example/x", "https://b.example"],
        );
        for other in [
            "<https://a.example/x>; rel=\"license\"",
            "<https://a.example/x>; rel=\"license\"; type=\"text/html\"",
            "<https://a.example/x>; rel=\"licenses\"; type=\"application/rsl+xml\"",
            "</x>; rel=\"license\"; type=\"application/rsl+xml\"",
            "<https://a.example/x>; rel=\"license\"; type=\"application/rsl+xml\"; anchor=\"#a\"",
            "<https://a.example/x>; rel=\"a\"; rel=\"license\"; type=\"application/rsl+xml\"",
            "<https://a.example/x>; rel=\"license; type=\"application/rsl+xml\"",
            "https://a.example/x; rel=\"license\"; type=\"application/rsl+xml\"",
            "",
            ",,,;",
        ] {
            links(other, &[]);
        }
        assert_eq!(in_link_headers([b"\xff".as_slice()]), [""; 0]);
        let many = format!("{own}, ").repeat(DECLARATIONS_MAX + 5);
        assert_eq!(in_link_headers([many.as_bytes()]).len(), DECLARATIONS_MAX);
        for url in
            ["/license.xml", "https://a.example/>; rel=\"x", "https://a.example/ü", "https://a.example/\n"]
        {
            assert_eq!(link_header(url), None, "{url}");
        }
    }

    #[test]
    fn pages_declare_documents() {
        let page = "<!doctype html><html><head><!-- <link rel=license type=application/rsl+xml href=/no> -->
            <title><link rel=license type=application/rsl+xml href=/no></title>
            <LINK REL='nofollow License' TYPE=\"application/rsl+xml\" HREF=\"/a?b=1&amp;c=2\">
            <link rel=license type=text/html href=/no><link rel=license type=application/rsl+xml>
            <script>var x = \"<link rel=license type=application/rsl+xml href=/no>\"</script>
            <script type=\"application/rsl+xml\">
              <rsl xmlns=\"https://rslstandard.org/rsl\"><content url=\"\"><license/></content></rsl>
            </SCRIPT ></head><body><p data-x='>'><link rel=license type=application/rsl+xml href=b.xml />
            <script type='application/rsl+xml'><rsl/></script>";
        let found = in_html(page);
        assert_eq!(
            found.links,
            [
                HtmlLink { href: "/a?b=1&c=2".to_owned(), scope: HtmlScope::Page },
                HtmlLink { href: "b.xml".to_owned(), scope: HtmlScope::Part },
            ]
        );
        assert_eq!(found.inline.len(), 2);
        assert_eq!(found.inline[0].as_ref().unwrap().contents[0].url, "");
        assert!(found.inline[1].is_err());
        for odd in [
            "<",
            "<a",
            "<a b",
            "<a b=",
            "<a b='",
            "<!--",
            "<script",
            "<script>",
            "</",
            "<link rel=license",
            "<é>",
        ] {
            assert_eq!(in_html(odd), HtmlDeclarations::default(), "{odd}");
        }
    }

    #[test]
    fn a_script_licenses_one_content() {
        let script = |contents: &str| {
            let page = format!(
                "<script type=application/rsl+xml><rsl xmlns='{}'>{contents}</rsl></script>",
                super::super::NAMESPACE
            );
            in_html(&page).inline.remove(0)
        };
        assert!(script("<content url='/a'><license/></content>").is_ok());
        assert!(
            script("<content url='/a'><license/></content><content url='/b'><license/></content>").is_err()
        );
    }

    #[test]
    fn feeds_and_files_declare_documents() {
        let feed = "<rss version='2.0' xmlns:rsl='https://rslstandard.org/rsl'><channel><link>https://a.example/</link>
            <item><title>x</title><link>https://a.example/x</link>
              <rsl:content url=''><rsl:license><rsl:permits type='usage'>search</rsl:permits></rsl:license></rsl:content></item>
            <item><rsl:content url='https://A.example/y'><rsl:license/></rsl:content></item>
            <item><rsl:content url='https://b.example/y'><rsl:license/></rsl:content></item></channel></rss>";
        let found = in_feed(feed, "https://a.example").unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].link.as_deref(), Some("https://a.example/x"));
        assert_eq!(found[1].content.url, "https://A.example/y");
        assert!(in_feed(&feed.replace("search", "serch"), "https://a.example").is_err());

        let packet = |content: &str| {
            format!(
                "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rsl:rsl xmlns:rsl='https://rslstandard.org/rsl'>{content}</rsl:rsl></x:xmpmeta>"
            )
        };
        let document =
            in_file(&packet("<rsl:content url='https://a.example/i.png'><rsl:license/></rsl:content>"))
                .unwrap()
                .unwrap();
        assert_eq!(document.contents[0].url, "https://a.example/i.png");
        assert!(in_file(&packet("<rsl:content url=''><rsl:license/></rsl:content>")).is_err());
        assert_eq!(in_file("<x/>"), Ok(None));
    }
}
