//! What of all that could be published a policy asks for: nothing, unless it does.

/// What a site publishes through us.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Switches {
    /// Lines in `/robots.txt`.
    pub robots: bool,
    /// `/.well-known/tdmrep.json`.
    pub tdmrep: bool,
    /// `/license.xml`, and where it is declared.
    pub rsl: bool,
    /// Fields of responses.
    pub headers: bool,
}

impl Switches {
    /// All of it.
    pub const ALL: Switches = Switches { robots: true, tdmrep: true, rsl: true, headers: true };

    /// Whether anything is asked for.
    pub fn any(self) -> bool {
        self.robots || self.tdmrep || self.rsl || self.headers
    }
}
