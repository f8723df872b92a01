//! `[[payment]]`: ways to be paid for a single fetch.

use super::draft::is_url;
use super::quantity::duration_secs;
use crate::diagnostic::suggest;
use crate::fields::{At, Fields, Place, Report};
use crate::payment::{MppWay, PaymentWay, X402Way};
use crate::protocol::x402::batch::Credit;
use crate::protocol::x402::eip712::Address;
use crate::protocol::x402::network::Network;
use crate::protocol::x402::offer::Token;
use crate::protocol::x402::payment::{SETTLE_MARGIN_SECS, VALID_SECS_MAX};
use crate::{Currency, PolicySnapshot};

/// Ways of one policy: each takes room in every 402.
const WAYS_MAX: usize = 8;
/// Seconds that a payment may take, where the policy does not say.
const TIMEOUT_SECS: u64 = 60;
/// Characters of a token's name, a method's recipient and the like: they stand in headers.
const TEXT_MAX: usize = 64;

const WAYS: [&str; 3] = ["x402", "cloudflare:402", "mpp"];

/// A way as it is written.
pub(crate) struct PaymentDraft {
    pub(crate) place: Place,
    pub(crate) way: PaymentWay,
    /// Of a token: what it counts for, where the policy says so.
    pub(crate) currency: Option<At<String>>,
}

/// Reads one `[[payment]]`.
pub(crate) fn read(report: &Report, fields: Fields<'_, '_>) -> Option<PaymentDraft> {
    let place = fields.place;
    let way = fields.required("way", "one of \"x402\", \"cloudflare:402\" and \"mpp\"")?;
    let read = match way.value.as_str() {
        "x402" => read_x402(report, &fields).map(PaymentWay::X402),
        "cloudflare:402" => read_credit(report, &fields).map(PaymentWay::Credit),
        "mpp" => read_mpp(report, &fields).map(PaymentWay::Mpp),
        other => {
            let help = match suggest(other, WAYS) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "one of \"x402\", \"cloudflare:402\" and \"mpp\"".to_owned(),
            };
            report.error_help(way.place, format!("`{other}` is no way of payment"), help);
            return None;
        }
    };
    let currency = if way.value == "x402" { fields.string("currency") } else { None };
    fields.finish();
    Some(PaymentDraft { place, way: read?, currency })
}

/// Puts the policy's ways together; a way that stands there twice is an error.
pub(crate) fn resolve(report: &Report, drafts: Vec<PaymentDraft>, currency: Currency) -> Vec<PaymentWay> {
    let mut ways: Vec<PaymentWay> = Vec::new();
    for mut draft in drafts {
        if let PaymentWay::X402(way) = &mut draft.way {
            way.token.currency = currency;
            if let Some(written) = &draft.currency {
                match Currency::parse(&written.value) {
                    Ok(read) if read == currency => {}
                    Ok(read) => report.error_help(
                        written.place,
                        format!("this token counts for {read}, the policy's currency is {currency}"),
                        "a policy has one currency, and nothing is converted",
                    ),
                    Err(error) => report.error(written.place, error.to_string()),
                }
            }
        }
        if ways.iter().any(|way| is_same(way, &draft.way)) {
            let what = format!("{} stands here twice", draft.way.name());
            report.error_help(draft.place, what, "keep one of them");
        } else if ways.len() == WAYS_MAX {
            report.error(draft.place, format!("a policy has {WAYS_MAX} ways of payment at most"));
        } else {
            ways.push(draft.way);
        }
    }
    ways
}

/// Whether a payment could not tell the two apart.
fn is_same(one: &PaymentWay, other: &PaymentWay) -> bool {
    match (one, other) {
        (PaymentWay::X402(one), PaymentWay::X402(other)) => {
            (one.token.chain_id, one.token.asset) == (other.token.chain_id, other.token.asset)
        }
        (PaymentWay::Credit(_), PaymentWay::Credit(_)) => true,
        (PaymentWay::Mpp(one), PaymentWay::Mpp(other)) => one.method == other.method,
        _ => false,
    }
}

fn read_x402(report: &Report, fields: &Fields<'_, '_>) -> Option<X402Way> {
    let network = fields.required("network", "as in `network = \"eip155:8453\"`");
    let network = network.and_then(|network| read_network(report, &network));
    let asset = read_address(report, fields, "asset", "the token's contract, `0x` and 40 hex digits");
    let pay_to = read_address(report, fields, "pay_to", "your address there, `0x` and 40 hex digits");
    let name = read_text(
        report,
        fields,
        "asset_name",
        "the name that the token's contract signs with (EIP-712): `name()`, as in \"USD Coin\"",
    );
    let version = read_text(
        report,
        fields,
        "asset_version",
        "the version that the token's contract signs with (EIP-712): `version()`, as in \"2\"",
    );
    let decimals = fields.positive("decimals");
    if fields.key("decimals").is_none() {
        fields.missing(&["decimals"], "`[[payment]]` needs `decimals`", "those of the token: 6 for USDC");
    }
    let decimals = decimals.and_then(|decimals| {
        let fits = u32::try_from(decimals.value).ok().filter(|decimals| *decimals <= 36);
        if fits.is_none() {
            report.error(decimals.place, "no token has more than 36 decimals");
        }
        fits
    });
    let max_timeout_secs = read_timeout(report, fields);
    let identifier = fields.string("identifier");
    let requires_identifier = match identifier.as_ref().map(|word| word.value.as_str()) {
        None | Some("optional") => false,
        Some("required") => true,
        Some(_) => {
            let place = identifier.map_or(fields.place, |word| word.place);
            report.error_help(place, "this says nothing about identifiers", "\"optional\" or \"required\"");
            false
        }
    };
    let versions = read_versions(report, fields, network.as_ref());
    let (v1, v2) = versions?;
    let network = network?;
    Some(X402Way {
        token: Token {
            chain_id: network.chain_id()?,
            asset: asset?,
            name: name?,
            version: version?,
            decimals: decimals?,
            currency: Currency::USD, // the policy's, which is not known here
            pay_to: pay_to?,
            max_timeout_secs: max_timeout_secs?,
        },
        v1,
        v2,
        requires_identifier,
    })
}

fn read_network(report: &Report, written: &At<String>) -> Option<Network> {
    let network = Network::parse(&written.value).filter(|network| network.chain_id().is_some());
    if network.is_none() {
        let help = match Network::from_v1(&written.value) {
            Some(network) if network.chain_id().is_some() => format!("write \"{network}\""),
            _ => "x402 is settled here on EVM networks, written as in \"eip155:8453\"".to_owned(),
        };
        report.error_help(written.place, format!("`{}` cannot be used as a network", written.value), help);
    }
    network
}

/// Versions 1 and 2 unless the policy says otherwise; version 1 only where it has a name for the network.
fn read_versions(
    report: &Report,
    fields: &Fields<'_, '_>,
    network: Option<&Network>,
) -> Option<(bool, bool)> {
    let has_name = network.is_some_and(|network| network.v1_name().is_some());
    let Some(written) = fields.positives("versions") else {
        return fields.key("versions").is_none().then_some((has_name, true));
    };
    let (mut v1, mut v2) = (false, false);
    for version in &written {
        match version.value {
            1 if network.is_some() && !has_name => report.error_help(
                version.place,
                "version 1 has no name for this network that is known here",
                "write `versions = [2]`",
            ),
            1 => v1 = true,
            2 => v2 = true,
            _ => report.error(version.place, "the versions of x402 are 1 and 2"),
        }
    }
    if written.is_empty() {
        report.error_help(fields.key("versions")?, "no version is none", "write `versions = [1, 2]`");
    }
    Some((v1, v2))
}

fn read_credit(report: &Report, fields: &Fields<'_, '_>) -> Option<Credit> {
    let registration =
        fields.required("registration", "the URL at which a crawler's operator gets an account");
    let is_timed = fields.key("max_timeout").is_some();
    let max_timeout_secs = read_timeout(report, fields);
    let registration = registration.filter(|url| {
        let fits = is_url(&url.value) && url.value.len() <= 256;
        if !fits {
            report.error_help(
                url.place,
                "`registration` is not a URL",
                "write it in full, at most 256 bytes",
            );
        }
        fits
    });
    Some(Credit {
        registration_url: registration?.value,
        max_timeout_secs: if is_timed { Some(max_timeout_secs?) } else { None },
    })
}

fn read_mpp(report: &Report, fields: &Fields<'_, '_>) -> Option<MppWay> {
    let method = fields.required("method", "as in `method = \"invoice\"`");
    let recipient = read_text(report, fields, "recipient", "who sends the bill, as in \"example-press\"");
    let max_timeout_secs = read_timeout(report, fields);
    let method = method.filter(|method| {
        let is_known = method.value == "invoice";
        if !is_known {
            report.error_help(
                method.place,
                format!("the method `{}` cannot be settled here", method.value),
                "\"invoice\": billed to the operator's `[[account]]`",
            );
        }
        is_known
    });
    Some(MppWay { method: method?.value, recipient: recipient?, max_timeout_secs: max_timeout_secs? })
}

fn read_address(report: &Report, fields: &Fields<'_, '_>, key: &'static str, help: &str) -> Option<Address> {
    let written = fields.required(key, help)?;
    let address = Address::parse_checked(&written.value);
    if address.is_none() {
        let message = if Address::parse(&written.value).is_some() {
            format!("`{key}` does not match its checksum (EIP-55): a letter or digit is wrong")
        } else {
            format!("`{key}` is no address")
        };
        report.error_help(written.place, message, help);
    }
    // Tokens sent there are gone.
    address.filter(|address| {
        let is_zero = *address.as_bytes() == [0; 20];
        if is_zero {
            report.error(written.place, format!("`{key}` is nobody's address"));
        }
        !is_zero
    })
}

fn read_text(report: &Report, fields: &Fields<'_, '_>, key: &'static str, help: &str) -> Option<String> {
    let text = fields.required(key, help)?;
    let fits = (1..=TEXT_MAX).contains(&text.value.len())
        && text.value.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'|'));
    if !fits {
        report.error(
            text.place,
            format!("`{key}` has 1 to {TEXT_MAX} characters of ASCII, none of them `\"`, `\\` or `|`"),
        );
    }
    fits.then_some(text.value)
}

fn read_timeout(report: &Report, fields: &Fields<'_, '_>) -> Option<u64> {
    let Some(text) = fields.quantity("max_timeout") else {
        return fields.key("max_timeout").is_none().then_some(TIMEOUT_SECS);
    };
    let read = duration_secs(&text.value).and_then(|secs| {
        let range = SETTLE_MARGIN_SECS + 4..=VALID_SECS_MAX;
        if range.contains(&secs) {
            Ok(secs)
        } else {
            Err(format!("from {} s to {} s", range.start(), range.end()))
        }
    });
    read.map_err(|help| report.error_help(text.place, "`max_timeout` cannot be used", help)).ok()
}

/// What [`super::lint`] says about ways of payment.
pub(crate) fn warn(report: &Report, policy: &PolicySnapshot) {
    crate::payment::warn_inexact(report, policy);
}
