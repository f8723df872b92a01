use super::*;

fn whole() -> Value {
    json!({
        "@context": ["http://www.w3.org/ns/odrl.jsonld", "http://www.w3.org/ns/tdmrep.jsonld"],
        "@type": "Offer",
        "profile": "http://www.w3.org/ns/tdmrep",
        "uid": "https://press.example/policies/1",
        "assigner": {
            "uid": "https://press.example",
            "vcard:fn": "Example Press",
            "vcard:nickname": "EP",
            "vcard:hasEmail": "mailto:rights@press.example",
            "vcard:hasAddress": {
                "vcard:street-address": "1 Example Street",
                "vcard:postal-code": "12345",
                "vcard:locality": "Exampletown",
                "vcard:country-name": "France"
            },
            "vcard:hasTelephone": "tel:+33123456789",
            "vcard:hasURL": "https://press.example/tdm"
        },
        "permission": [
            {
                "action": "tdm:mine",
                "target": "https://press.example/papers",
                "duty": [{ "action": "obtainConsent" }, { "action": "compensate" }],
                "constraint": [
                    { "leftOperand": "purpose", "operator": "eq", "rightOperand": "tdm:non-research" }
                ]
            },
            {
                "action": "tdm:mine",
                "constraint": [
                    { "leftOperand": "purpose", "operator": "eq", "rightOperand": "tdm:research" },
                    { "leftOperand": "spatial", "operator": "isPartOf", "rightOperand": ["urn:iso:3166:FRA"] }
                ]
            },
            {
                "action": "tdm:mine",
                "duty": [{ "action": "dance" }],
                "constraint": [{ "leftOperand": "moon", "operator": "eq", "rightOperand": "full" }]
            }
        ]
    })
}

fn parse(value: &Value) -> Result<Policy, PolicyError> {
    Policy::parse(value.to_string().as_bytes())
}

#[test]
fn a_policy_is_read_whole_and_written_as_it_was() {
    let policy = parse(&whole()).unwrap();
    assert_eq!(policy.to_json(), whole());
    assert_eq!(parse(&policy.to_json()).unwrap(), policy);
    assert_eq!(policy.assigner.email.as_deref(), Some("mailto:rights@press.example"));
    assert_eq!(policy.assigner.address.as_ref().unwrap().country.as_deref(), Some("France"));
    assert_eq!(policy.permissions[0].duties, [Duty::ObtainConsent, Duty::Compensate]);
    assert_eq!(policy.permissions[2].duties, [Duty::Unknown("dance".to_owned())]);
    assert!(matches!(policy.permissions[2].constraints[..], [Constraint::Unknown(_)]));
    assert!(!policy.has_other_rules);
    let mut with_more = whole();
    with_more["prohibition"] = json!([]);
    assert!(parse(&with_more).unwrap().has_other_rules);
}

#[test]
fn a_permission_is_for_those_whom_every_constraint_fits() {
    let policy = parse(&whole()).unwrap();
    let which = |research, country| -> Vec<usize> {
        let found = policy.permissions_for(research, country);
        found.map(|one| policy.permissions.iter().position(|other| other == one).unwrap()).collect()
    };
    assert_eq!(which(Research::NonResearch, None), [0]);
    assert_eq!(which(Research::Research, Some("fra")), [1]);
    assert_eq!(which(Research::Research, Some("DEU")), [0; 0]);
    assert_eq!(which(Research::Research, None), [0; 0]);
}

#[test]
fn each_member_that_the_profile_asks_for_is_asked_for() {
    let texts = [
        "assigner.uid",
        "assigner.vcard:fn",
        "assigner.vcard:nickname",
        "assigner.vcard:hasEmail",
        "assigner.vcard:hasAddress",
        "assigner.vcard:hasAddress.vcard:street-address",
        "assigner.vcard:hasTelephone",
        "assigner.vcard:hasURL",
        "permission[0].target",
        "permission[0].duty",
        "permission[0].duty[0]",
        "permission[0].constraint",
    ];
    let mandatory = [
        "@context",
        "@type",
        "profile",
        "uid",
        "assigner",
        "permission",
        "permission[0].action",
        "permission[0].duty[0].action",
    ];
    for (member, is_mandatory) in
        texts.iter().map(|member| (*member, false)).chain(mandatory.map(|member| (member, true)))
    {
        let place = format!("/{}", member.replace(['.', '['], "/").replace(']', ""));
        let mut changed = whole();
        *changed.pointer_mut(&place).unwrap() = json!(5);
        match parse(&changed) {
            Err(PolicyError::Member { member: named, .. }) => assert_eq!(named, member),
            other => panic!("{member} of 5: {other:?}"),
        }
        let mut missing = whole();
        let (parent, name) = place.rsplit_once('/').unwrap();
        let removed = missing.pointer_mut(parent).unwrap().as_object_mut().map(|parent| parent.remove(name));
        if removed.is_some() {
            assert_eq!(parse(&missing).is_err(), is_mandatory, "without {member}");
        }
    }
}

#[test]
fn values_are_as_the_profile_writes_them() {
    for (place, value) in [
        ("/@context", json!(["http://www.w3.org/ns/tdmrep.jsonld", "http://www.w3.org/ns/odrl.jsonld"])),
        ("/@context", json!(["http://www.w3.org/ns/odrl.jsonld"])),
        ("/@context", json!("http://www.w3.org/ns/odrl.jsonld")),
        ("/@type", json!("Set")),
        ("/profile", json!("http://www.w3.org/ns/tdmrep#")),
        ("/uid", json!("")),
        ("/uid", json!("no-uri")),
        ("/uid", json!("https://a b")),
        ("/assigner", json!([{}])),
        ("/assigner/vcard:hasEmail", json!("rights@press.example")),
        ("/assigner/vcard:hasEmail", json!("mailto:")),
        ("/assigner/vcard:hasTelephone", json!("+33123456789")),
        ("/permission", json!({ "action": "tdm:mine" })),
        ("/permission/0/action", json!("use")),
    ] {
        let mut changed = whole();
        *changed.pointer_mut(place).unwrap() = value;
        assert!(matches!(parse(&changed), Err(PolicyError::Member { .. })), "{place}: {changed}");
    }
    let mut least = whole();
    least["assigner"] = json!({});
    least["permission"] = json!([]);
    assert_eq!(parse(&least).unwrap().permissions, []);
    assert!(matches!(Policy::parse(b"<html>"), Err(PolicyError::Json(_))));
    assert!(matches!(Policy::parse(b"[]"), Err(PolicyError::Member { .. })));
    assert!(matches!(Policy::parse(&vec![b' '; POLICY_BYTES_MAX + 1]), Err(PolicyError::TooLong { .. })));
}
