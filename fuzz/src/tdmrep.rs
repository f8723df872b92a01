//! Reservations: a file or a policy that is read can be written, and is then read as the same.

use policy::protocol::robots::Target;
use policy::protocol::tdmrep::{Declaration, Policy, Rules, Technique, resolve};

pub(crate) fn run(input: &[u8]) {
    let mut said = Vec::new();
    if let Ok(rules) = Rules::parse(input) {
        let again = Rules::parse(rules.to_json().to_string().as_bytes()).expect("it was a file");
        assert_eq!(again.rules(), rules.rules());
        said.push((Technique::File, rules.about(&Target::new("/a/b.jpg"))));
    }
    if let Ok(policy) = Policy::parse(input) {
        let again = Policy::parse(policy.to_json().to_string().as_bytes()).expect("it was a policy");
        assert_eq!(again, Policy { has_other_rules: false, ..policy });
    }
    let lines = || input.split(|byte| *byte == b'\n');
    said.push((Technique::Field, Declaration::from_fields(lines().step_by(2), lines().skip(1).step_by(2))));
    if let Ok(text) = std::str::from_utf8(input) {
        let pairs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let meta = Declaration::from_meta(pairs);
        assert_eq!(Declaration::from_meta(meta.pairs().collect::<Vec<_>>()), meta);
        said.push((Technique::Meta, meta));
        for metadata in [Declaration::from_epub(text), Declaration::from_xmp(text)] {
            said.extend(metadata.ok().map(|declaration| (Technique::Embedded, declaration)));
        }
    }
    for (_, declaration) in &said {
        assert!(declaration.reservation != Some(false) || declaration.policy.is_none());
    }
    let resolved = resolve(said);
    assert!(resolved.policy.is_none() || resolved.reservation.is_some_and(|(is_reserved, _)| is_reserved));
}
