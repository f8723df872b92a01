//! The `Payment` scheme: a stranger's credential is what it says, or nothing; and it is ours only if we wrote its challenge.

use std::sync::LazyLock;

use policy::protocol::mpp::accept::AcceptPayment;
use policy::protocol::mpp::challenge::Challenger;
use policy::protocol::mpp::credential::{Credential, Field};
use policy::protocol::mpp::receipt::Receipt;

static CHALLENGER: LazyLock<Challenger> =
    LazyLock::new(|| Challenger::new(&[b"a secret that no input of strangers knows"]).expect("long enough"));

pub(crate) fn run(input: &[u8]) {
    let header = Credential::from_headers([input], [input; 0]);
    let token = Credential::parse(Field::Authorization, input);
    // The JSON inside, which is easier to alter well.
    let encoded = policy::protocol::x402::header::encode(input).replace('+', "-").replace('/', "_");
    let inside = Credential::parse(Field::Authorization, encoded.trim_end_matches('=').as_bytes());
    for credential in [header.ok().flatten(), token.ok(), inside.ok()].into_iter().flatten() {
        let again = Credential::from_headers([credential.to_field()], [""; 0]);
        assert_eq!(again, Ok(Some(credential.clone())));
        let realm = credential.challenge.realm.clone();
        assert!(
            CHALLENGER.verify(&credential, &realm, None, 0).is_err(),
            "a forged challenge: {credential:?}"
        );
    }
    if let Some(receipt) = Receipt::parse(input) {
        assert_eq!(Receipt::parse(receipt.to_field().as_bytes()), Some(receipt));
    }
    if let Some(accept) = std::str::from_utf8(input).ok().and_then(AcceptPayment::parse) {
        let chosen = accept.choose(&[("tempo", "charge"), ("stripe", "charge"), ("tempo", "session")]);
        assert!((1..=3).contains(&chosen.len()) && chosen.iter().all(|place| *place < 3), "{chosen:?}");
    }
}
