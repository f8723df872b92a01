//! The elements of RSL (§1), from the outside in.

use roxmltree::Node;

use super::reader::{Reader, is_space, name_of, shown, text_span};
use super::{CONTENTS_MAX, Carrier, is_rsl};
use crate::Currency;
use crate::protocol::rsl::NAMESPACE;
use crate::protocol::rsl::model::{
    Accepts, Alternate, Amount, Content, Copyright, Document, Legal, License, Payment, Reporting, Schema,
    Statements,
};
use crate::protocol::rsl::value::{
    URL_BYTES_MAX, has_url_characters, is_absolute_uri, is_date_time, is_decimal, is_http_url, is_https,
    is_media_type,
};
use crate::protocol::rsl::vocabulary::{
    Disclaimer, Geo, HolderType, PaymentType, ReportingType, UsageClass, UserClass, Warranty,
};

impl Reader<'_> {
    pub(super) fn document(&mut self, root: Node<'_, '_>) -> Document {
        let mut document = Document::default();
        if !is_rsl(&root) || root.tag_name().name() != "rsl" {
            let found = root.tag_name();
            let message = match found.namespace() {
                Some(namespace) => format!("the root is `{}` of `{}`", shown(found.name()), shown(namespace)),
                None => format!("the root is `{}` without a namespace", shown(found.name())),
            };
            let help = format!("it is <rsl xmlns=\"{NAMESPACE}\">");
            self.error(name_of(&root), message, Some(&help));
            return document;
        }
        if self.carrier == Carrier::Standalone && self.source.text[name_of(&root)].contains(':') {
            let help = format!("the namespace is the default one: <rsl xmlns=\"{NAMESPACE}\">");
            self.error(name_of(&root), "the root has a prefix", Some(&help));
        }
        self.known_attributes(root, &["max-age"]);
        if let Some(max_age) = self.attribute(root, "max-age") {
            let value = max_age.value().trim_matches(is_space);
            let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
            document.max_age_days = value.parse().ok().filter(|days| is_number && *days > 0);
            if document.max_age_days.is_none() {
                let message = format!("`{}` is not a number of days", shown(value));
                self.error(
                    max_age.range_value(),
                    message,
                    Some("a whole number of days above 0, such as 30"),
                );
            }
        }
        let contents = self.children(root, &["content"]);
        if contents.is_empty() {
            self.error(
                name_of(&root),
                "there is no `content`",
                Some("one or more say which assets are licensed"),
            );
        }
        if contents.len() > CONTENTS_MAX {
            self.error(
                name_of(&contents[CONTENTS_MAX]),
                format!("more than {CONTENTS_MAX} `content` elements"),
                None,
            );
            return document;
        }
        if matches!(self.carrier, Carrier::Script | Carrier::File) && contents.len() > 1 {
            self.error(name_of(&contents[1]), "a second `content`", Some("one is the most here"));
        }
        document.contents = contents.into_iter().map(|content| self.content(content)).collect();
        document
    }

    pub(super) fn content(&mut self, node: Node<'_, '_>) -> Content {
        self.known_attributes(node, &["url", "server", "encrypted", "lastmod"]);
        let mut content = Content { url: self.url(node).unwrap_or_default(), ..Content::default() };
        content.server =
            self.optional(node, "server", is_http_url, "a URL", "the licence server's base URL, https://…");
        if content.server.as_deref().is_some_and(|server| !is_https(server)) {
            let place =
                self.attribute(node, "server").map_or_else(|| name_of(&node), |server| server.range_value());
            self.warning(place, "a licence server without HTTPS", Some("clients only talk to https://…"));
        }
        if let Some(encrypted) = self.attribute(node, "encrypted") {
            content.encrypted = self.boolean(encrypted.value(), encrypted.range_value()).unwrap_or(false);
            if content.encrypted && self.attribute(node, "server").is_none() {
                let help = "add server=\"https://…\": keys come from there";
                self.error(encrypted.range(), "encrypted, and no server to ask for the key", Some(help));
            }
        }
        let help = "a date-time of RFC 3339, such as 2026-11-01T00:00:00Z";
        content.lastmod = self.optional(node, "lastmod", is_date_time, "a date-time", help);
        let known = ["license", "alternate", "schema", "copyright", "terms"];
        for child in self.children(node, &known) {
            match child.tag_name().name() {
                "license" => {
                    let license = self.license(child);
                    content.licenses.push(license);
                }
                "alternate" => content.alternates.extend(self.alternate(child)),
                "schema" => {
                    let schema = self.schema(child);
                    self.once(&mut content.schema, child, schema);
                }
                "copyright" => {
                    let copyright = Some(self.copyright(child));
                    self.once(&mut content.copyright, child, copyright);
                }
                _ => {
                    self.known_attributes(child, &[]);
                    let terms = self.reference(child, "the URL of terms for people");
                    self.once(&mut content.terms, child, terms);
                }
            }
        }
        if content.licenses.is_empty() {
            self.error(
                name_of(&node),
                "`content` without a `license`",
                Some("one or more say what is allowed"),
            );
        }
        content
    }

    fn url(&mut self, node: Node<'_, '_>) -> Option<String> {
        let help = match self.carrier {
            Carrier::Standalone => "a path such as \"/articles/*\", \"/\" for all",
            Carrier::Script | Carrier::Feed => "a path, a URL, or \"\" for the place where it stands",
            Carrier::File => "the file's own URL, https://…",
        };
        let carrier = self.carrier;
        let is_right = |url: &str| match carrier {
            Carrier::File => is_http_url(url),
            Carrier::Script | Carrier::Feed if url.is_empty() => true,
            _ => (url.starts_with(['/', '*']) && is_pattern(url)) || is_http_url(url),
        };
        self.required(node, "url", is_right, "a path pattern or a URL", help)
    }

    fn license(&mut self, node: Node<'_, '_>) -> License {
        self.known_attributes(node, &[]);
        let mut license = License::default();
        for child in self.children(node, &["permits", "prohibits", "payment", "reporting", "legal"]) {
            match child.tag_name().name() {
                "permits" => self.statement(child, &mut license.permits),
                "prohibits" => self.statement(child, &mut license.prohibits),
                "payment" => {
                    let payment = Some(self.payment(child));
                    self.once(&mut license.payment, child, payment);
                }
                "reporting" => license.reporting.extend(self.reporting(child)),
                _ => {
                    if let Some(legal) = self.legal(child) {
                        if license.legal.iter().any(|other| other.as_str() == legal.as_str()) {
                            let message = format!("a second `legal` of type {}", legal.as_str());
                            self.error(name_of(&child), message, Some("one of each type is the most"));
                        } else {
                            license.legal.push(legal);
                        }
                    }
                }
            }
        }
        license
    }

    fn statement(&mut self, node: Node<'_, '_>, statements: &mut Statements) {
        self.known_attributes(node, &["type"]);
        let types = ["usage", "user", "geo"];
        let Some(kind) =
            self.word(node, "type", |word| types.iter().position(|known| *known == word), &types)
        else {
            return;
        };
        match kind {
            0 => {
                let list = self.list(node, UsageClass::parse, &words(UsageClass::ALL, |word| word.as_str()));
                self.once(&mut statements.usage, node, list);
            }
            1 => {
                let list = self.list(node, UserClass::parse, &words(UserClass::ALL, |word| word.as_str()));
                self.once(&mut statements.user, node, list);
            }
            _ => {
                let list = self.list(node, Geo::parse, &[]);
                self.once(&mut statements.geo, node, list);
            }
        }
    }

    fn payment(&mut self, node: Node<'_, '_>) -> Payment {
        self.known_attributes(node, &["type"]);
        let mut payment = Payment::default();
        if let Some(kind) = self.attribute(node, "type") {
            let known = words(PaymentType::ALL, |word| word.as_str());
            let word = kind.value().trim_matches(is_space);
            payment.kind = self.token(node, kind.range_value(), word, &PaymentType::parse, &known);
        }
        for child in self.children(node, &["standard", "custom", "amount", "accepts"]) {
            match child.tag_name().name() {
                "standard" => {
                    self.known_attributes(child, &[]);
                    let text = self.text(child);
                    let help = "the absolute URI of a framework";
                    let value =
                        self.checked(text, text_span(child), is_absolute_uri, "an absolute URI", help);
                    self.once(&mut payment.standard, child, value);
                }
                "custom" => {
                    self.known_attributes(child, &[]);
                    let value = self.reference(child, "a URL or path of your own process");
                    self.once(&mut payment.custom, child, value);
                }
                "amount" => {
                    let value = self.amount(child);
                    self.once(&mut payment.amount, child, value);
                }
                _ => {
                    self.known_attributes(child, &["type"]);
                    let payload = self.text(child);
                    let help = "the media type of a payment protocol, such as application/x402+json";
                    let media_type = self.required(child, "type", is_media_type, "a media type", help);
                    let value = media_type.map(|media_type| Accepts { media_type, payload });
                    self.once(&mut payment.accepts, child, value);
                }
            }
        }
        payment
    }

    fn amount(&mut self, node: Node<'_, '_>) -> Option<Amount> {
        self.known_attributes(node, &["currency"]);
        let text = self.text(node);
        let decimal =
            self.checked(text, text_span(node), is_decimal, "a price", "digits with a point, such as 0.015");
        let is_currency = |code: &str| Currency::parse(code).is_ok();
        let help = match self.attribute(node, "currency").map(|currency| currency.value()) {
            Some("XBT") => "`XBT` left RSL with the erratum of 2026-05-13; name a currency of ISO 4217",
            _ => "a code of ISO 4217 in upper case, such as currency=\"USD\"",
        };
        let currency = self.required(node, "currency", is_currency, "a currency", help)?;
        Some(Amount { decimal: decimal?, currency: Currency::parse(&currency).ok()? })
    }

    fn reporting(&mut self, node: Node<'_, '_>) -> Option<Reporting> {
        self.known_attributes(node, &["type", "profile", "endpoint"]);
        let _ = self.children(node, &[]);
        let known = words(ReportingType::ALL, |word| word.as_str());
        let kind = match self.attribute(node, "type") {
            Some(kind) => {
                let word = kind.value().trim_matches(is_space);
                self.token(node, kind.range_value(), word, &ReportingType::parse, &known)
            }
            None => {
                let help = format!("it is one of {}", known.join(", "));
                self.error(name_of(&node), "`reporting` has no `type`", Some(&help));
                None
            }
        };
        let help = "the absolute URI of the profile";
        let profile = self.required(node, "profile", is_absolute_uri, "an absolute URI", help);
        let endpoint = self.optional(node, "endpoint", is_https, "a URL of HTTPS", "https://…");
        Some(Reporting { kind: kind?, profile: profile?, endpoint })
    }

    fn legal(&mut self, node: Node<'_, '_>) -> Option<Legal> {
        self.known_attributes(node, &["type"]);
        let types = ["warranty", "disclaimer", "attestation", "contact", "proof"];
        let kind = self.word(node, "type", |word| types.iter().position(|known| *known == word), &types)?;
        match kind {
            0 => self
                .list(node, Warranty::parse, &words(Warranty::ALL, |word| word.as_str()))
                .map(Legal::Warranty),
            1 => self
                .list(node, Disclaimer::parse, &words(Disclaimer::ALL, |word| word.as_str()))
                .map(Legal::Disclaimer),
            2 => {
                let text = self.text(node);
                self.boolean(&text, text_span(node)).map(Legal::Attestation)
            }
            3 => {
                let text = self.text(node);
                let is_contact = |text: &str| {
                    has_url_characters(text)
                        && (is_absolute_uri(text) || is_mail(text) || text.starts_with('/'))
                };
                let help = "one URL or mail address";
                self.checked(text, text_span(node), is_contact, "a contact", help).map(Legal::Contact)
            }
            _ => {
                let text = self.text(node);
                let uris: Vec<String> =
                    text.split(is_space).filter(|uri| !uri.is_empty()).map(str::to_owned).collect();
                if uris.is_empty() || !uris.iter().all(|uri| is_absolute_uri(uri)) {
                    let help = "absolute URIs, separated by spaces";
                    self.error(text_span(node), "a proof is a list of absolute URIs", Some(help));
                    return None;
                }
                Some(Legal::Proof(uris))
            }
        }
    }

    fn alternate(&mut self, node: Node<'_, '_>) -> Option<Alternate> {
        self.known_attributes(node, &["type"]);
        let media_type = self.optional(
            node,
            "type",
            is_media_type,
            "a media type",
            "the rendition's media type, such as text/plain",
        );
        let url = self.reference(node, "the URL of another rendition")?;
        Some(Alternate { url, media_type })
    }

    fn schema(&mut self, node: Node<'_, '_>) -> Option<Schema> {
        self.known_attributes(node, &["type"]);
        match self.attribute(node, "type") {
            None => self.reference(node, "the URL of a schema.org description").map(Schema::Url),
            Some(kind) if kind.value().trim_matches(is_space) == "application/ld+json" => {
                let text = self.text(node);
                if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
                    self.warning(text_span(node), "the description is not JSON", None);
                }
                if text.is_empty() {
                    self.error(name_of(&node), "`schema` is empty", Some("leave it out"));
                }
                Some(Schema::Inline(text))
            }
            Some(kind) => {
                let message = format!("`{}` is no type of `schema`", shown(kind.value()));
                self.error(kind.range_value(), message, Some("application/ld+json, or no type and a URL"));
                None
            }
        }
    }

    fn copyright(&mut self, node: Node<'_, '_>) -> Copyright {
        self.known_attributes(node, &["type", "contactEmail", "contactUrl"]);
        let kind = match self.attribute(node, "type") {
            Some(_) => {
                self.word(node, "type", HolderType::parse, &words(HolderType::ALL, |word| word.as_str()))
            }
            None => None,
        };
        let contact_email =
            self.optional(node, "contactEmail", is_mail, "a mail address", "such as rights@example.com");
        let contact_url = self.optional(node, "contactUrl", has_url_characters, "a URL", "https://…");
        Copyright { holder: self.text(node), kind, contact_email, contact_url }
    }

    /// The element's text as a URL or path.
    fn reference(&mut self, node: Node<'_, '_>, what: &str) -> Option<String> {
        let text = self.text(node);
        self.checked(text, text_span(node), has_url_characters, "a URL", what)
    }
}

fn words<T: Copy>(all: &[T], as_str: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|word| as_str(*word)).collect()
}

fn is_mail(text: &str) -> bool {
    has_url_characters(text) && text.contains('@')
}

/// A path pattern has no white space and no control characters.
fn is_pattern(text: &str) -> bool {
    text.len() <= URL_BYTES_MAX && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}
