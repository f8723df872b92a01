//! The demo's own checks: what is printed as true was looked at.

/// Claims, and whether they hold.
#[derive(Default)]
pub(crate) struct Checks {
    claims: Vec<(String, bool)>,
}

impl Checks {
    /// Notes a claim.
    pub(crate) fn claim(&mut self, holds: bool, claim: impl Into<String>) {
        self.claims.push((claim.into(), holds));
    }

    /// All of them, in order.
    pub(crate) fn claims(&self) -> &[(String, bool)] {
        &self.claims
    }

    /// Whether all hold.
    pub(crate) fn all_hold(&self) -> bool {
        self.claims.iter().all(|(_, holds)| *holds)
    }
}
