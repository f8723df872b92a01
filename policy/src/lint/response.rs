//! The head of a response, and the elements of its page.

use super::documents::judge_mining;
use super::readers::preferred;
use super::{Collector, Kind, ResponseText, Scene, Signal, Word};
use crate::protocol::aipref::{self, Category, Usage, UsageRules};
use crate::protocol::crawl_price::{self, OriginPrice};
use crate::protocol::robots::Target;
use crate::protocol::rsl::discovery;
use crate::protocol::tdmrep::{Declaration, POLICY, RESERVATION, Technique};
use crate::{Purpose, Unit, Verdict, Work};

pub(super) fn compare(scene: &Scene<'_>, response: &ResponseText, report: &mut Collector) {
    let Some(work) = scene.asker.work(&response.target).filter(|work| !work.always_free) else { return };
    let head = Head { scene, response, work };
    head.preferences(report);
    head.mining(report);
    head.licences(report);
    head.price(report);
    head.robots_tags(report);
}

struct Head<'a> {
    scene: &'a Scene<'a>,
    response: &'a ResponseText,
    work: Work,
}

impl Head<'_> {
    fn values(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let fields = self.response.fields.iter();
        fields.filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_slice())
    }

    fn content_type(&self) -> Option<&str> {
        Some(
            self.values("content-type")
                .next()
                .and_then(|value| std::str::from_utf8(value).ok())
                .unwrap_or(""),
        )
    }

    /// `Content-Usage`: alone, and as it holds together with robots.txt.
    fn preferences(&self, report: &mut Collector) {
        let usage = match Usage::from_fields(self.values(aipref::FIELD)) {
            Ok(usage) => usage,
            Err(error) => {
                report.malformed(Signal::ContentUsage, &self.response.name, &error.to_string());
                return;
            }
        };
        let everybody = self.scene.read.robots.as_ref().map(|(_, robots)| robots.agent("*"));
        let in_robots = everybody
            .as_ref()
            .and_then(|agent| UsageRules::of(agent).about(&Target::new(&self.response.target)));
        for (purpose, category) in [(Purpose::Train, Category::TrainAi), (Purpose::Ground, Category::AiUse)] {
            let stand = self.scene.asker.anybody_with(purpose, &self.work, self.content_type());
            let (name, target) = (&self.response.name, &self.response.target);
            let Some(word) = preferred(usage.about(category)) else { continue };
            report.judge(Signal::ContentUsage, name, category.label(), target, word, &stand);
            let together = Usage::combine(in_robots.into_iter().chain([usage]));
            if let Some(both) = preferred(together.about(category))
                && both != word
            {
                let other = format!("{both} together with robots.txt");
                report.add(
                    Kind::Conflict,
                    Signal::ContentUsage,
                    name,
                    category.label(),
                    target,
                    &word.to_string(),
                    &other,
                );
            }
        }
    }

    /// `tdm-reservation` and `tdm-policy`, in fields and elements, over those of the site's file.
    fn mining(&self, report: &mut Collector) {
        let name = &self.response.name;
        let field = Declaration::from_fields(self.values(RESERVATION), self.values(POLICY));
        if self.values(RESERVATION).next().is_some() && field.reservation.is_none() {
            report.malformed(Signal::Tdmrep, name, "tdm-reservation is neither 0 nor 1");
        }
        let elements = self.response.html.as_deref().map(|page| discovery::in_html(page).elements);
        let elements = elements.unwrap_or_default();
        let pairs = elements.iter().map(|(name, content)| (name.as_str(), content.as_str()));
        let meta = Declaration::from_meta(pairs.collect::<Vec<_>>());
        if field.is_unset() && meta.is_unset() {
            return; // the file alone is compared elsewhere
        }
        let file = self
            .scene
            .read
            .tdmrep
            .as_ref()
            .map(|(_, rules)| rules.about(&Target::new(&self.response.target)));
        let said = file.into_iter().map(|said| (Technique::File, said));
        let said = said.chain([(Technique::Field, field), (Technique::Meta, meta)]);
        let content_type = self.content_type();
        judge_mining(self.scene, name, &self.response.target, &self.work, said, content_type, report);
    }

    /// `Link: rel="license"` and `<link rel="license">`.
    fn licences(&self, report: &mut Collector) {
        let mut urls = discovery::in_link_headers(self.values("link"));
        if let Some(page) = &self.response.html {
            let declared = discovery::in_html(page);
            urls.extend(declared.links.into_iter().map(|link| match link.href.starts_with('/') {
                true => self.scene.origin.url(&link.href),
                false => link.href,
            }));
            for document in declared.inline {
                if let Err(error) = document {
                    report.malformed(Signal::Rsl, &self.response.name, &error.to_string());
                }
            }
        }
        for url in urls {
            self.scene.check_licence(&self.response.name, &url, &self.response.target, report);
        }
    }

    /// `crawler-price`: one of the prices that the policy asks for this work, unless it leaves them to the origin.
    fn price(&self, report: &mut Collector) {
        let (name, target) = (&self.response.name, &self.response.target);
        let price = match OriginPrice::parse(self.values(crawl_price::PRICE)) {
            OriginPrice::Absent => return,
            OriginPrice::Unreadable => {
                report.malformed(Signal::CrawlerPrice, name, "crawler-price is no price, or several");
                return;
            }
            OriginPrice::Price(price) => price,
        };
        let mut asked = Vec::new();
        let content_type = self.content_type().unwrap_or_default();
        for alternative in &self.scene.policy.rules.order {
            let rule = &self.scene.policy.rules.rules[alternative.rule];
            let is_here = alternative.matches_work(&self.work)
                && alternative.media.as_ref().is_none_or(|media| media.matches(content_type))
                && rule.verdict == Verdict::Charge;
            let Some(charge) = rule.charge.as_ref().filter(|_| is_here) else { continue };
            if charge.origin_price {
                return;
            }
            let unit = if charge.unit == Unit::Fetch { "" } else { charge.unit.as_str() };
            asked.push((charge.ceiling(), unit));
        }
        if asked.iter().any(|(own, _)| *own == price) {
            return;
        }
        let enforced = match &asked[..] {
            [] => "nothing is charged for it".to_owned(),
            [(own, _), ..] => format!("charged {own}"),
        };
        report.add(
            Kind::PriceDiffers,
            Signal::CrawlerPrice,
            name,
            "all",
            target,
            &price.to_string(),
            &enforced,
        );
    }

    /// `X-Robots-Tag: noai` and `<meta name="robots" content="noai">`: not for training.
    fn robots_tags(&self, report: &mut Collector) {
        let in_fields = self.values("x-robots-tag").map(|value| String::from_utf8_lossy(value).into_owned());
        let elements = self.response.html.as_deref().map(|page| discovery::in_html(page).elements);
        let in_page = elements.unwrap_or_default().into_iter();
        let in_page =
            in_page.filter(|(name, _)| name.eq_ignore_ascii_case("robots")).map(|(_, content)| content);
        let is_no_ai = |value: &String| {
            value.split([',', ':']).any(|word| {
                let word = word.trim();
                word.eq_ignore_ascii_case("noai") || word.eq_ignore_ascii_case("noimageai")
            })
        };
        if in_fields.chain(in_page).any(|value| is_no_ai(&value)) {
            let stand = self.scene.asker.anybody_with(Purpose::Train, &self.work, self.content_type());
            let (name, target) = (&self.response.name, &self.response.target);
            report.judge(Signal::RobotsTag, name, "noai", target, Word::Reserved, &stand);
        }
    }
}
