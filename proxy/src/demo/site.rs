//! The sample publisher's site: a few dozen short works in the public domain, and the pages made of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Where a page's bytes come from is decided once: every page is made at the start.
pub(crate) struct Site {
    pages: BTreeMap<String, Page>,
    works: Vec<String>,
}

/// A page as it is served.
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    /// A strong validator, with its quotes.
    pub(crate) etag: String,
    pub(crate) body: Vec<u8>,
}

/// The long page: longer than what the proxy holds whole, so that it streams.
pub(crate) const VOLUME: &str = "/volumes/everything";
/// A page that no crawler may have.
pub(crate) const DRAFT: &str = "/drafts/next-issue";
/// An image.
pub(crate) const COVER: &str = "/cover.png";
/// The feed.
pub(crate) const FEED: &str = "/feed.xml";

/// One work.
struct Work {
    path: String,
    title: &'static str,
    author: &'static str,
    year: &'static str,
    text: &'static str,
}

const SHELVES: [(&str, &str); 3] = [
    ("fables", include_str!("works/fables.txt")),
    ("poems", include_str!("works/poems.txt")),
    ("documents", include_str!("works/documents.txt")),
];

impl Site {
    /// Makes all pages.
    pub(crate) fn new() -> Site {
        let works: Vec<Work> = SHELVES.iter().flat_map(|(shelf, text)| read_shelf(shelf, text)).collect();
        let mut site =
            Site { pages: BTreeMap::new(), works: works.iter().map(|work| work.path.clone()).collect() };
        for work in &works {
            site.html(&work.path, work.title, &work.to_html());
        }
        site.html("/", "The Example Library", &front_page(&works));
        site.html(VOLUME, "Everything, in one volume", &volume(&works));
        site.html(
            DRAFT,
            "Next issue (draft)",
            "<p>Not ready. Nobody but the editors should read this.</p>\n",
        );
        site.html("/licence", "Licence", LICENCE);
        site.page("/robots.txt", "text/plain; charset=utf-8", ROBOTS.into());
        site.page(FEED, "application/atom+xml; charset=utf-8", feed(&works).into());
        site.page(COVER, "image/png", include_bytes!("cover.png").to_vec());
        site
    }

    /// The page of a path.
    pub(crate) fn get(&self, path: &str) -> Option<&Page> {
        self.pages.get(path)
    }

    /// The paths of all single works.
    pub(crate) fn works(&self) -> &[String] {
        &self.works
    }

    /// The paths of a shelf's works.
    pub(crate) fn shelf(&self, shelf: &str) -> impl Iterator<Item = &String> {
        let prefix = format!("/{shelf}/");
        self.works.iter().filter(move |path| path.starts_with(&prefix))
    }

    fn html(&mut self, path: &str, title: &str, body: &str) {
        let title = escape(title);
        let text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n</head>\n\
             <body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
        );
        self.page(path, "text/html; charset=utf-8", text.into());
    }

    fn page(&mut self, path: &str, content_type: &'static str, body: Vec<u8>) {
        let etag = format!("\"{:08x}-{:x}\"", fingerprint(&body), body.len());
        self.pages.insert(path.to_owned(), Page { content_type, etag, body });
    }
}

impl Work {
    fn to_html(&self) -> String {
        let mut html = format!("<p>{}, {}</p>\n", escape(self.author), escape(self.year));
        for paragraph in self.text.split("\n\n") {
            let lines: Vec<String> = paragraph.lines().map(escape).collect();
            let _ = writeln!(html, "<p>{}</p>", lines.join("<br>\n"));
        }
        html
    }
}

/// A shelf is works one after the other, each led by a line `=== name | title | author | year`.
fn read_shelf(shelf: &str, text: &'static str) -> Vec<Work> {
    let mut works = Vec::new();
    for piece in text.split("=== ").skip(1) {
        let (head, text) = piece.split_once('\n').unwrap_or((piece, ""));
        let mut fields = head.split(" | ");
        let mut field = || fields.next().unwrap_or_default();
        let path = format!("/{shelf}/{}", field());
        works.push(Work { path, title: field(), author: field(), year: field(), text: text.trim() });
    }
    works
}

fn front_page(works: &[Work]) -> String {
    let mut html = format!(
        "<p><img src=\"{COVER}\" alt=\"A book\" width=\"120\" height=\"160\"></p>\n\
         <p>A sample site. The works are old and free; the library and its holders are made up.</p>\n<ul>\n"
    );
    for work in works {
        let (path, title, author) = (&work.path, escape(work.title), escape(work.author));
        let _ = writeln!(html, "<li><a href=\"{path}\">{title}</a>, {author}</li>");
    }
    let _ = write!(
        html,
        "</ul>\n<p><a href=\"{VOLUME}\">Everything, in one volume</a> \u{b7} <a href=\"{FEED}\">Feed</a> \u{b7} \
         <a href=\"/licence\">Licence</a></p>\n"
    );
    html
}

/// All works, and behind them every word with the works that it stands in.
fn volume(works: &[Work]) -> String {
    let mut html = String::new();
    let mut concordance: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for work in works {
        let _ = write!(html, "<h2>{}</h2>\n{}", escape(work.title), work.to_html());
        for word in work.text.split(|c: char| !(c.is_alphabetic() || c == '\'')) {
            let word = word.trim_matches('\'').to_lowercase();
            if word.is_empty() {
                continue;
            }
            let places = concordance.entry(word).or_default();
            if places.last() != Some(&work.title) {
                places.push(work.title);
            }
        }
    }
    html.push_str("<h2>Concordance</h2>\n<dl>\n");
    for (word, places) in concordance {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(&word), escape(&places.join("; ")));
    }
    html.push_str("</dl>\n");
    html
}

fn feed(works: &[Work]) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\">\n\
         <title>The Example Library</title>\n<id>http://library.example/</id>\n<updated>2026-01-01T00:00:00Z</updated>\n\
         <author><name>The Example Library</name></author>\n",
    );
    for work in works.iter().take(10) {
        let (path, title) = (&work.path, escape(work.title));
        let _ = writeln!(
            xml,
            "<entry><title>{title}</title><id>http://library.example{path}</id><link href=\"{path}\"/>\
             <updated>2026-01-01T00:00:00Z</updated></entry>"
        );
    }
    xml.push_str("</feed>\n");
    xml
}

const ROBOTS: &str = "User-agent: *\nDisallow: /drafts/\n";

const LICENCE: &str = "<p>People read for free. AI crawlers pay as the price list says; write to \
                       licensing@library.example. (All of this is made up: the works are in the public domain.)</p>\n";

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// FNV-1a: enough to tell versions of a page apart.
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_work_is_whole_and_has_its_own_page() {
        let works: Vec<Work> = SHELVES.iter().flat_map(|(shelf, text)| read_shelf(shelf, text)).collect();
        let mut paths: Vec<&String> = works.iter().map(|work| &work.path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), works.len(), "paths are unique");
        assert!(works.len() >= 36, "a few dozen works, not {}", works.len());
        for work in &works {
            assert!(!work.title.is_empty() && !work.author.is_empty(), "{}", work.path);
            assert!(work.year.starts_with('1'), "{}: {}", work.path, work.year);
            let slug = work.path.rsplit('/').next().unwrap_or_default();
            assert!(slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{}", work.path);
            assert!((3..=40).contains(&work.text.lines().count()), "{} is short, and not empty", work.path);
            assert!(work.text.is_ascii(), "{}", work.path);
        }
    }

    #[test]
    fn the_volume_is_longer_than_the_proxy_holds() {
        let site = Site::new();
        assert!(site.get(VOLUME).is_some_and(|page| page.body.len() > 2 * crate::hold::HOLD_BYTES_MAX));
        for path in site.works() {
            let page = site.get(path).expect("every work has a page");
            assert!(page.body.len() < crate::hold::HOLD_BYTES_MAX, "{path}");
        }
    }

    #[test]
    fn versions_are_told_apart() {
        let site = Site::new();
        let mut etags: Vec<&String> = site.pages.values().map(|page| &page.etag).collect();
        etags.sort();
        etags.dedup();
        assert_eq!(etags.len(), site.pages.len());
    }
}
