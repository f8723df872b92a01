//! A look through a page for `<link>` and `<script>`: tags, attributes, comments and raw text, without a tree.

use super::MEDIA_TYPE;
use super::discovery::{HtmlLink, HtmlScope};

/// Attributes of a tag that are looked at.
const ATTRIBUTES_MAX: usize = 64;

/// What a page has of interest.
pub(super) enum Found<'a> {
    Link(HtmlLink),
    /// The text of an RSL script.
    Script(&'a str),
    /// `<meta name content>`.
    Meta(&'a str, &'a str),
}

/// Goes through the first bytes of a page.
pub(super) fn scan(page: &str, bytes_max: usize) -> impl Iterator<Item = Found<'_>> {
    let mut end = page.len().min(bytes_max);
    while !page.is_char_boundary(end) {
        end -= 1;
    }
    let mut scanner = Scanner { rest: &page[..end], in_head: true };
    std::iter::from_fn(move || scanner.next())
}

struct Scanner<'a> {
    rest: &'a str,
    in_head: bool,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<Found<'a>> {
        loop {
            let tag = &self.rest[self.rest.find('<')?..];
            if let Some(comment) = tag.strip_prefix("<!--") {
                self.rest = &comment[comment.find("-->")? + 3..];
                continue;
            }
            let name_end = tag[1..]
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '/')
                .map_or(tag.len(), |at| at + 1);
            let name = tag[1..name_end].to_ascii_lowercase();
            if name.is_empty() {
                self.rest = &tag[1..];
                continue;
            }
            let (attributes, after) = attributes(&tag[name_end..])?;
            self.rest = after;
            let value = |wanted: &str| {
                attributes.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
            };
            let is_rsl = value("type").is_some_and(|kind| kind.trim().eq_ignore_ascii_case(MEDIA_TYPE));
            match name.trim_end_matches('/') {
                "body" | "/head" => self.in_head = false,
                "link" => {
                    let is_license = |rel: &str| {
                        rel.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("license"))
                    };
                    if let Some(href) = value("href")
                        && value("rel").is_some_and(is_license)
                        && is_rsl
                    {
                        let scope = if self.in_head { HtmlScope::Page } else { HtmlScope::Part };
                        return Some(Found::Link(HtmlLink { href: decode(href.trim()), scope }));
                    }
                }
                "meta" => {
                    if let (Some(name), Some(content)) = (value("name"), value("content")) {
                        return Some(Found::Meta(name, content));
                    }
                }
                raw @ ("script" | "style" | "textarea" | "title" | "noscript" | "template") => {
                    let end = end_of_raw(self.rest, raw)?;
                    let text = &self.rest[..end];
                    self.rest = &self.rest[end..];
                    if raw == "script" && is_rsl {
                        return Some(Found::Script(text));
                    }
                }
                _ => {}
            }
        }
    }
}

/// The attributes of a tag, as they are written, and what follows the tag; none if it never ends.
fn attributes(mut rest: &str) -> Option<(Vec<(&str, &str)>, &str)> {
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            return Some((attributes, after));
        }
        let is_end = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
        // A name may begin with `=`, so at least one character is taken each time.
        let first = rest.chars().next()?.len_utf8();
        let name_end = rest[first..].find(is_end)? + first;
        let name = &rest[..name_end];
        rest = rest[name_end..].trim_start_matches(|c: char| c.is_ascii_whitespace());
        let mut value = "";
        if let Some(after) = rest.strip_prefix('=') {
            let after = after.trim_start_matches(|c: char| c.is_ascii_whitespace());
            let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
            (value, rest) = match quote {
                Some(quote) => after[1..].split_once(quote)?,
                None => after.split_at(after.find(|c: char| c.is_ascii_whitespace() || c == '>')?),
            };
        }
        if attributes.len() < ATTRIBUTES_MAX {
            attributes.push((name, value));
        }
    }
}

/// Where the text of an element ends that holds no tags.
fn end_of_raw(text: &str, name: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find("</")?;
        let after = &text[at + 2..];
        if after.get(..name.len()).is_some_and(|tag| tag.eq_ignore_ascii_case(name)) {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Decodes the references that URLs are written with.
pub(super) fn decode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        const KNOWN: [(&str, char); 9] = [
            ("amp;", '&'),
            ("#38;", '&'),
            ("#x26;", '&'),
            ("quot;", '"'),
            ("#34;", '"'),
            ("apos;", '\''),
            ("#39;", '\''),
            ("lt;", '<'),
            ("gt;", '>'),
        ];
        match KNOWN.iter().find(|(reference, _)| after.starts_with(reference)) {
            Some((reference, character)) => {
                out.push(*character);
                rest = &after[reference.len()..];
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
