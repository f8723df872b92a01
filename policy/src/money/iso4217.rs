//! The active currency codes of ISO 4217 with the number of decimals of their minor unit.
//!
//! Source: ISO 4217:2015 list one (current currency and funds codes) as amended up to amendment 179 (Bulgaria's lev
//! and the Netherlands Antillean guilder have left). Left out are the codes without a minor unit: precious metals, bond
//! units, special drawing rights, the test code and "no currency".

/// Codes whose minor unit has no decimals.
const NO_DECIMALS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
/// Codes whose minor unit has two decimals.
const TWO_DECIMALS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD \
    CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD \
    HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU \
    MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK \
    SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD \
    XCG YER ZAR ZMW ZWG";
/// Codes whose minor unit has three decimals.
const THREE_DECIMALS: &str = "BHD IQD JOD KWD LYD OMR TND";
/// Codes whose minor unit has four decimals.
const FOUR_DECIMALS: &str = "CLF UYW";

/// Decimals of a code's minor unit; `None` if the list does not have the code.
pub(super) fn decimals(code: [u8; 3]) -> Option<u8> {
    [(TWO_DECIMALS, 2), (NO_DECIMALS, 0), (THREE_DECIMALS, 3), (FOUR_DECIMALS, 4)]
        .into_iter()
        .find(|(codes, _)| lists(codes, code))
        .map(|(_, decimals)| decimals)
}

/// Whether a list has a code: its codes are in order, each of three letters and, but for the last, followed by a space.
fn lists(codes: &str, code: [u8; 3]) -> bool {
    let (spaced, last) = codes.as_bytes().as_chunks::<4>();
    spaced.binary_search_by(|known| known[..3].cmp(&code)).is_ok() || last == code
}

/// All codes, for suggestions.
pub(super) fn codes() -> impl Iterator<Item = &'static str> {
    [TWO_DECIMALS, NO_DECIMALS, THREE_DECIMALS, FOUR_DECIMALS]
        .into_iter()
        .flat_map(str::split_ascii_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_and_nothing_else() {
        for code in codes() {
            let bytes: [u8; 3] = code.as_bytes().try_into().unwrap();
            assert!(decimals(bytes).is_some(), "{code}");
            assert_eq!(decimals([bytes[1], bytes[2], b' ']), None, "{code}");
        }
        assert_eq!(decimals(*b"JPY"), Some(0));
        assert_eq!(decimals(*b"EUR"), Some(2));
        assert_eq!(decimals(*b"TND"), Some(3));
        assert_eq!(decimals(*b"UYW"), Some(4));
        assert_eq!(decimals(*b"XAU"), None, "gold has no minor unit");
    }
}
