//! `[licence]`: what the licence server and those who ask another one need of this machine. What is licensed stands in the
//! policy.

use std::path::PathBuf;
use std::time::Duration;

use policy::protocol::olp::Drafts;

use super::Table;

/// How licences are given and checked.
#[derive(Clone, Debug)]
pub(crate) struct LicenceSettings {
    /// Directory of the keys that tokens are signed with; without it, no tokens.
    pub(crate) keys: Option<PathBuf>,
    /// File of the clients that may ask for what is not for everybody.
    pub(crate) clients: Option<PathBuf>,
    /// Who we are to another licence server.
    pub(crate) client_id: Option<String>,
    /// File of our secret there.
    pub(crate) client_secret: Option<PathBuf>,
    /// How long a fetch waits for another licence server.
    pub(crate) timeout: Duration,
    /// How long its answers are believed at most.
    pub(crate) cache: Duration,
    /// Whether tokens go on to the origins.
    pub(crate) forward: bool,
    /// Whether clients may speak as the drafts before 1.0 have it.
    pub(crate) drafts: Drafts,
}

pub(super) fn licence(table: &Table<'_, '_, '_>) -> LicenceSettings {
    let settings = LicenceSettings {
        keys: table.path("keys"),
        clients: table.path("clients"),
        client_id: table.fields.string("client_id").map(|at| at.value),
        client_secret: table.path("client_secret"),
        timeout: table.duration("timeout", Duration::from_secs(2)),
        cache: table.duration("cache", Duration::from_secs(60)),
        forward: table.flag("forward", false),
        drafts: if table.flag("drafts", false) { Drafts::Accept } else { Drafts::Refuse },
    };
    if let (Some(place), None) = (table.fields.key("client_secret"), &settings.client_id) {
        let help = "write client_id, the name under which the licence server knows us";
        table.report.error_help(place, "`client_secret` without `client_id`", help);
    }
    settings
}
