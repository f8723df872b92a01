//! x402: headers of strangers and answers of facilitators. What is read is written and read again; what is taken is the price.

use std::sync::LazyLock;

use policy::protocol::x402::batch::{COVERAGE, Credit, RequestSignature};
use policy::protocol::x402::eip712::Address;
use policy::protocol::x402::facilitator::{self, Supported, VerifyResponse};
use policy::protocol::x402::message::{Object, PaymentRequired, Resource, SettlementResponse};
use policy::protocol::x402::offer::{Offers, Token, Way};
use policy::protocol::x402::payment::{Asked, Payment, Presented};
use policy::protocol::x402::receipt::{Offer, Receipt, Signed};
use policy::protocol::x402::{Version, header};
use policy::{Currency, Money};

const NOW: u64 = 1_800_000_030;

/// The offers of `policy/testdata/vectors/x402.json`, and credit.
static OFFERS: LazyLock<Offers> = LazyLock::new(|| {
    let address = |text| Address::parse_checked(text).expect("an address");
    let token = Token {
        chain_id: 84_532,
        asset: address("0x036CbD53842c5426634e7929541eC2318f3dCF7e"),
        name: "USDC".to_owned(),
        version: "2".to_owned(),
        decimals: 6,
        currency: Currency::USD,
        pay_to: address("0x209693Bc6afc0C5328bA36FaF03C514EF312287C"),
        max_timeout_secs: 60,
    };
    let credit = Credit { registration_url: "https://publisher.test/".to_owned(), max_timeout_secs: None };
    let resource = Resource { url: "https://publisher.test/articles/1".to_owned(), ..Resource::default() };
    let price = Money { nano: 10_000_000, currency: Currency::USD };
    Offers::new(resource, price, &[Way::Exact(token), Way::Credit(credit)], Object::new()).expect("an offer")
});

/// Base64 as it comes in a header, or the JSON inside, which is easier to alter well.
pub(crate) fn run(input: &[u8]) {
    let encoded = header::encode(input);
    for value in [input, encoded.as_bytes()] {
        for version in [Version::V1, Version::V2] {
            pay(version, value);
        }
        if let Ok(offer) = header::read::<PaymentRequired>(value) {
            let again = header::read::<PaymentRequired>(header::write(&offer).as_bytes());
            assert_eq!(again.as_ref(), Ok(&offer));
        }
        if let Ok(answer) = header::read::<SettlementResponse>(value) {
            let again = header::read::<SettlementResponse>(header::write(&answer).as_bytes());
            assert_eq!(again.as_ref(), Ok(&answer));
        }
    }
    let _ = facilitator::read::<VerifyResponse>(input);
    let _ = facilitator::read::<Supported>(input);
    if let Ok(signed) = header::from_json::<Signed>(input) {
        let _ = signed.verify::<Offer>(&|_| Some([1; 32]));
        let _ = signed.verify::<Receipt>(&|_| Some([1; 32]));
    }
}

fn pay(version: Version, value: &[u8]) {
    let Ok(presented) = Presented::parse(version, value) else { return };
    assert_eq!(presented.version(), version);
    let _ = presented.identifier(true);
    let asked = Asked {
        method: "GET",
        url: &OFFERS.resource.url,
        now_secs: NOW,
        takes_contracts: value.len().is_multiple_of(2),
        is_retry: false,
        requires_identifier: false,
        signature: RequestSignature::Valid { components: &COVERAGE, created_secs: NOW, is_agent_known: true },
    };
    match presented.check(&OFFERS, &asked) {
        Ok(Payment::Exact(paid)) => {
            assert_eq!(paid.authorization.value.to_string(), "10000");
            assert_eq!(paid.price, OFFERS.price);
            assert!(paid.reservation.until_secs > NOW);
            assert_eq!(paid.request.x402_version, version.number());
        }
        Ok(Payment::Credit(paid)) => assert_eq!((paid.price, &*paid.amount.to_string()), (OFFERS.price, "1")),
        Err(error) => assert!(matches!(error.status(), 400 | 402 | 403), "{error}"),
    }
}
