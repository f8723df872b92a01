//! The text between tags, found while it streams: a tokenizer that knows as much of HTML as counting words needs.
//!
//! It follows the tokenizer of the HTML standard where that decides what is text: quoted attributes, comments, elements
//! whose content is no markup. It builds no tree, so an element that the standard would close by itself is not closed.

use super::text::Text;

/// Elements whose content is no text of the work.
const SKIPPED: [&[u8]; 8] =
    [b"script", b"style", b"noscript", b"template", b"title", b"iframe", b"noembed", b"noframes"];

/// Elements of text level: their tags do not separate words.
const INLINE: [&[u8]; 30] = [
    b"a", b"abbr", b"acronym", b"b", b"bdi", b"bdo", b"big", b"cite", b"code", b"del", b"dfn", b"em",
    b"font", b"i", b"ins", b"kbd", b"mark", b"nobr", b"q", b"s", b"samp", b"small", b"span", b"strike",
    b"strong", b"sub", b"sup", b"tt", b"u", b"var",
];

/// The longest name of an element that matters here is shorter.
const NAME_BYTES_MAX: usize = 12;

/// The longest character reference; what is longer is text.
const REFERENCE_BYTES_MAX: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Text,
    /// After `&`.
    Reference,
    /// After `<`.
    Open,
    /// After `</`.
    OpenEnd,
    /// In a tag's name.
    Name,
    /// In a tag, outside values.
    Tag,
    /// After `=` in a tag.
    Value,
    /// In a value without quotes.
    Bare,
    /// In a value with this quote.
    Quoted(u8),
    /// After `<!`, with so many bytes of `--` or `[CDATA[` seen.
    Bang,
    /// Up to `>`.
    Declaration,
    /// With so many dashes before it (3: two dashes and `!`).
    Comment(u8),
    /// With so many brackets before it.
    CharacterData(u8),
    /// In an element whose content does not count.
    Skipped,
    /// In such an element, after so many bytes of `</name`.
    SkippedEnd(usize),
}

/// A count of the words of a marked-up text.
pub(super) struct Markup {
    text: Text,
    xml: bool,
    state: State,
    /// The tag's name in lower case, or what came after `&` or `<!`.
    name: Vec<u8>,
    /// The tag is an end tag.
    end: bool,
}

impl Markup {
    pub(super) fn html(text: Text) -> Markup {
        Markup { text, xml: false, state: State::Text, name: Vec::new(), end: false }
    }

    /// XML has no elements whose content is no markup, and it has CDATA sections.
    pub(super) fn xml(text: Text) -> Markup {
        Markup { xml: true, ..Markup::html(text) }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(first) = rest.first() {
            // Whole stretches at once where only one or two bytes matter.
            let plain = match self.state {
                State::Text => rest.iter().position(|byte| matches!(byte, b'<' | b'&')),
                State::Skipped => rest.iter().position(|byte| *byte == b'<'),
                State::Comment(0) => rest.iter().position(|byte| *byte == b'-'),
                _ => Some(0),
            };
            let length = plain.unwrap_or(rest.len());
            if length > 0 {
                if self.state == State::Text {
                    self.text.push(&rest[..length]);
                }
                rest = &rest[length..];
                continue;
            }
            if self.step(*first) {
                rest = &rest[1..];
            }
        }
    }

    /// Takes one byte; false if the new state must see it again.
    fn step(&mut self, byte: u8) -> bool {
        match self.state {
            State::Text => {
                self.name.clear();
                self.state = if byte == b'&' { State::Reference } else { State::Open };
                true
            }
            State::Reference => self.in_reference(byte),
            State::Open => self.after_open(byte),
            State::OpenEnd => match byte {
                b'>' => self.go(State::Text),
                _ if byte.is_ascii_alphabetic() || self.xml && byte >= 0x80 => {
                    self.end = true;
                    self.state = State::Name;
                    false
                }
                _ => self.go(State::Declaration),
            },
            State::Name => match byte {
                b'>' => self.close_tag(),
                b'/' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c => self.go(State::Tag),
                _ => {
                    if self.name.len() <= NAME_BYTES_MAX {
                        self.name.push(byte.to_ascii_lowercase());
                    }
                    true
                }
            },
            State::Tag => match byte {
                b'>' => self.close_tag(),
                b'=' => self.go(State::Value),
                _ => true,
            },
            State::Value => match byte {
                b'>' => self.close_tag(),
                b'"' | b'\'' => self.go(State::Quoted(byte)),
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c => true,
                _ => self.go(State::Bare),
            },
            State::Bare => match byte {
                b'>' => self.close_tag(),
                b' ' | b'\t' | b'\n' | b'\r' | 0x0c => self.go(State::Tag),
                _ => true,
            },
            State::Quoted(quote) if byte == quote => self.go(State::Tag),
            State::Quoted(_) => true,
            State::Bang => self.after_bang(byte),
            State::Declaration if byte == b'>' => self.go(State::Text),
            State::Declaration => true,
            State::Comment(dashes) => self.go(match (byte, dashes) {
                (b'>', 2..) => State::Text,
                (b'-', 0) => State::Comment(1),
                (b'-', 1 | 2) => State::Comment(2),
                (b'-', _) => State::Comment(1),
                (b'!', 2) => State::Comment(3),
                _ => State::Comment(0),
            }),
            State::CharacterData(brackets) => self.in_character_data(byte, brackets),
            State::Skipped => self.go(State::SkippedEnd(1)),
            State::SkippedEnd(seen) => self.in_skipped_end(byte, seen),
        }
    }

    fn go(&mut self, state: State) -> bool {
        self.state = state;
        true
    }

    fn after_open(&mut self, byte: u8) -> bool {
        self.end = false;
        match byte {
            b'/' => self.go(State::OpenEnd),
            b'!' => self.go(State::Bang),
            b'?' => self.go(State::Declaration),
            _ if byte.is_ascii_alphabetic() || self.xml && (byte == b'_' || byte >= 0x80) => {
                self.state = State::Name;
                false
            }
            _ => {
                self.text.push_char('<'); // a less-than sign that opens nothing
                self.state = State::Text;
                false
            }
        }
    }

    /// A tag is complete.
    fn close_tag(&mut self) -> bool {
        let name = self.name.as_slice();
        if self.xml || !INLINE.contains(&name) {
            self.text.push_char(' ');
        }
        let skipped = !self.xml && !self.end && SKIPPED.contains(&name);
        self.go(if skipped { State::Skipped } else { State::Text })
    }

    /// After `<!`: a comment, a CDATA section of XML, or a declaration up to `>`.
    fn after_bang(&mut self, byte: u8) -> bool {
        const CHARACTER_DATA: &[u8] = b"[CDATA[";
        self.name.push(byte);
        if self.name == b"--" {
            return self.go(State::Comment(2)); // `<!-->` is a comment, too
        }
        if self.xml && self.name == CHARACTER_DATA {
            return self.go(State::CharacterData(0));
        }
        let open = b"--".starts_with(&self.name) || self.xml && CHARACTER_DATA.starts_with(&self.name);
        if !open {
            self.state = State::Declaration;
            return byte != b'>'; // `<!>` is empty
        }
        true
    }

    fn in_character_data(&mut self, byte: u8, brackets: u8) -> bool {
        match (byte, brackets) {
            (b'>', 2) => self.go(State::Text),
            (b']', 2) => {
                self.text.push(b"]");
                true
            }
            (b']', _) => self.go(State::CharacterData(brackets + 1)),
            _ => {
                self.text.push(&b"]]"[..usize::from(brackets)]);
                self.text.push(&[byte]);
                self.go(State::CharacterData(0))
            }
        }
    }

    /// Looks for the end tag of the element that is skipped; `name` is the element's.
    fn in_skipped_end(&mut self, byte: u8, seen: usize) -> bool {
        let end = matches!(byte, b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c);
        let wanted = if seen == 1 { Some(b'/') } else { self.name.get(seen - 2).copied() };
        match wanted {
            Some(wanted) if byte.to_ascii_lowercase() == wanted => self.go(State::SkippedEnd(seen + 1)),
            None if end => {
                self.end = true;
                self.state = State::Tag;
                false
            }
            _ => {
                self.state = State::Skipped;
                false
            }
        }
    }

    fn in_reference(&mut self, byte: u8) -> bool {
        let more = byte.is_ascii_alphanumeric() || byte == b'#' && self.name.is_empty();
        if more && self.name.len() < REFERENCE_BYTES_MAX {
            self.name.push(byte);
            return true;
        }
        self.state = State::Text;
        if byte == b';' && !self.name.is_empty() {
            if let Some(character) = referenced(&self.name) {
                self.text.push_char(character);
            }
            return true;
        }
        self.literal_reference();
        false
    }

    /// An ampersand that is no character reference.
    fn literal_reference(&mut self) {
        self.text.push_char('&');
        let name = std::mem::take(&mut self.name);
        self.text.push(&name);
    }

    pub(super) fn finish(mut self) -> u64 {
        match self.state {
            State::Reference => self.literal_reference(),
            State::CharacterData(brackets) => self.text.push(&b"]]"[..usize::from(brackets)]),
            _ => {}
        }
        self.text.finish()
    }
}

/// The character of a reference, as far as words are concerned: a letter of the right kind, an apostrophe, something
/// that separates, or nothing.
fn referenced(name: &[u8]) -> Option<char> {
    const SEPARATOR: char = ' ';
    if let Some(number) = name.strip_prefix(b"#") {
        let digits = std::str::from_utf8(number).ok()?;
        let code = match digits.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => digits.parse(),
        };
        return Some(code.ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    // The letters of HTML's entities end in their accent's name; a few others are letters as they stand.
    const ACCENTS: [&[u8]; 12] = [
        b"acute", b"grave", b"circ", b"tilde", b"uml", b"ring", b"cedil", b"slash", b"caron", b"breve",
        b"ogon", b"macr",
    ];
    const LETTERS: [&[u8]; 18] = [
        b"szlig", b"aelig", b"AElig", b"oelig", b"OElig", b"eth", b"ETH", b"thorn", b"THORN", b"alpha",
        b"beta", b"gamma", b"delta", b"lambda", b"mu", b"pi", b"sigma", b"omega",
    ];
    let accented = ACCENTS.iter().any(|accent| name.len() > accent.len() && name.ends_with(accent));
    Some(match name {
        b"apos" | b"rsquo" | b"lsquo" => '’',
        b"shy" => '\u{ad}',
        b"zwj" => '\u{200d}',
        b"zwnj" => '\u{200c}',
        b"period" => '.',
        b"lowbar" => '_',
        _ if accented || LETTERS.contains(&name) => 'é',
        _ => SEPARATOR,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(make: fn(Text) -> Markup, bytes: &[u8], pieces: usize) -> u64 {
        let mut markup = make(Text::new(false));
        bytes.chunks(pieces.max(1)).for_each(|piece| markup.push(piece));
        markup.finish()
    }

    #[track_caller]
    fn check(markup: &str, words: u64) {
        assert_eq!(count(Markup::html, markup.as_bytes(), usize::MAX), words, "{markup}");
        assert_eq!(count(Markup::html, markup.as_bytes(), 1), words, "{markup}, byte by byte");
    }

    #[test]
    fn text_between_tags_counts() {
        check("<!doctype html><html><body><h1>Two words</h1><p>and <b>three</b> more</p></body></html>", 5);
        check("one<br>two</p><p>three", 3);
        check("<p>un<b>believ</b>able<span>!</span></p>", 1);
        check("a < b and c > d & e<f", 6); // `<f` opens a tag
        check("<td>1</td><td>2</td>", 2);
    }

    #[test]
    fn attributes_comments_and_scripts_do_not() {
        check(r#"<img alt="not > counted" title='nor "this"' src=x>one"#, 1);
        check("<!-- no - not -- this > --> one <!--> two <!---> three <!-- x --!> four", 4);
        check("<script>if (a</b) { not counted }</SCRIPT >one", 1);
        check("<style>p { color: red }</style><title>Not the title</title>one", 1);
        check("<noscript><p>no</p></noscript><template>no</template>yes", 1);
        check("<script>never </scriptx> closed", 0);
        check("<scripture>yes</scripture>", 1);
        check("<?php no ?> <! no> </ no> yes", 1);
    }

    #[test]
    fn character_references_are_letters_or_separators() {
        check("caf&eacute; don&rsquo;t don&#39;t don&#x2019;t", 4);
        check("one&nbsp;two&mdash;three", 3);
        check("AT&T Q&A R&amp;D &unfinished", 7);
        check("&;& &#; &#xffffffff; &#1114112;", 0);
        check("soft&shy;hyphen", 1);
    }

    #[test]
    fn xml_has_character_data_and_no_raw_elements() {
        let xml = "<feed><title>Two words</title><x><![CDATA[a ]] b <c> ]]]></x><script>one</script></feed>";
        assert_eq!(count(Markup::xml, xml.as_bytes(), usize::MAX), 6);
        assert_eq!(count(Markup::xml, xml.as_bytes(), 1), 6);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn pieces_do_not_matter(
            parts in proptest::collection::vec(prop_oneof![
                "[ a-zé]{0,9}", "</?(b|p|script|title|x)( a=('>'|\"<\"|z))?/?>", "<!-{0,3}", "-{0,3}!?>",
                "&[a-z#0-9]{0,9};?", "<!\\[CDATA\\[", "\\]{0,3}>", "[<>&=\"'/!-]{0,3}",
            ], 0..60),
            pieces in 1usize..9,
        ) {
            let markup = parts.concat();
            for make in [Markup::html, Markup::xml] {
                prop_assert_eq!(
                    count(make, markup.as_bytes(), pieces),
                    count(make, markup.as_bytes(), usize::MAX)
                );
            }
        }
    }
}
