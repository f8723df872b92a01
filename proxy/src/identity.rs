//! Who is it: evidence for a claimed name.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use policy::{CrawlerRow, Evidence, PolicySnapshot, ReverseDnsAnswer};

use crate::config::IdentitySettings;

/// Gathers evidence.
pub(crate) struct Identity;

impl Identity {
    pub(crate) fn start(
        _settings: &IdentitySettings,
        _state: &Path,
        _policy: &PolicySnapshot,
    ) -> anyhow::Result<Identity> {
        Ok(Identity)
    }

    pub(crate) async fn gather(&self, row: &Arc<CrawlerRow>, address: IpAddr) -> Evidence {
        policy::weigh(row, address, &|_| None, &ReverseDnsAnswer::Unknown)
    }
}
