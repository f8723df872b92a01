//! Licences: Byline's own licence server (OLP), and what a licence token that a crawler shows is worth (CAP). Whose is which
//! stands in the policy; here are the keys, the clients, the list of what is revoked, and the way to another server.
//!
//! Tokens are signed and not kept: what was given is in the hands of those who got it. What is kept is what was revoked.

pub(crate) mod clients;
pub(crate) mod endpoint;
mod rates;
mod remote;
pub(crate) mod revocations;
pub(crate) mod shown;
mod watch;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use http::request;
use policy::protocol::cap::{IssuingKey, VerifyingKey};
use policy::protocol::olp::Client;
use policy::{LICENCE_SERVER_PATH, LicenceServer, PolicySnapshot};
use tracing::{error, warn};

use crate::config::LicenceSettings;
use crate::keys::{self, KeyFile, KeyFileError};

use clients::{Clients, ClientsError};
use rates::Rates;
use remote::Remote;
use watch::Watch;

/// Why licences cannot be given or checked as configured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LicenceFileError {
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    Clients(#[from] ClientsError),
    #[error("{path}: {source}")]
    Secret {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// All that licences need, for all threads.
pub(crate) struct Licences {
    settings: LicenceSettings,
    in_force: ArcSwap<InForce>,
    revoked: Watch,
    calls: Rates,
    remote: Arc<Remote>,
}

/// What is read again at a reload.
#[derive(Default)]
pub(crate) struct InForce {
    /// The one that signs.
    issuing: Option<IssuingKey>,
    /// All whose tokens are believed.
    verifying: Vec<VerifyingKey>,
    clients: Clients,
    /// Who we are to another licence server.
    us: Option<Client>,
}

impl Licences {
    /// Reads keys, clients and the secret at the start.
    pub(crate) fn start(
        settings: LicenceSettings,
        state: &Path,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<Licences, LicenceFileError> {
        let in_force = ArcSwap::from_pointee(InForce::read(&settings)?);
        let remote = Arc::new(Remote::new(tls, settings.timeout, settings.cache));
        let revoked = Watch::of(state);
        Ok(Licences { settings, in_force, revoked, calls: Rates::default(), remote })
    }

    /// Reads them again, for [`Licences::replace`].
    pub(crate) fn read_again(&self) -> Result<InForce, LicenceFileError> {
        InForce::read(&self.settings)
    }

    /// From now on these count.
    pub(crate) fn replace(&self, fresh: InForce) {
        self.in_force.store(Arc::new(fresh));
    }

    /// Says what a policy needs and this configuration lacks.
    pub(crate) fn compare(&self, policy: &PolicySnapshot) {
        let in_force = self.in_force.load();
        match policy.licence_server() {
            LicenceServer::BuiltIn if policy.has_licences() && in_force.issuing.is_none() => {
                error!(
                    "the policy offers licences, and [licence] names no keys: nobody can get one, and no token counts"
                );
            }
            LicenceServer::External { url } if in_force.us.is_none() => {
                warn!(%url, "[licence] names no client_id: the licence server is asked about tokens without a name");
            }
            _ => {}
        }
    }

    /// Whether a request is for the licence server that Byline is under this policy.
    pub(crate) fn are_asked_for(&self, policy: &PolicySnapshot, head: &request::Parts) -> bool {
        let rest = head.uri.path().strip_prefix(LICENCE_SERVER_PATH);
        rest.is_some_and(|rest| rest.starts_with('/'))
            && policy.has_licences()
            && *policy.licence_server() == LicenceServer::BuiltIn
            && self.in_force.load().issuing.is_some()
    }

    /// Whether a client may ask now.
    fn may_ask(&self, client: IpAddr) -> bool {
        self.calls.take(client, Instant::now())
    }
}

impl InForce {
    fn read(settings: &LicenceSettings) -> Result<InForce, LicenceFileError> {
        let mut files = match &settings.keys {
            Some(directory) => keys::read_all(directory)?,
            None => Vec::new(),
        };
        for KeyFile { path, .. } in files.iter().filter(|file| file.is_exposed) {
            warn!(path = %path.display(), "others than its owner can read this private key");
        }
        // The newest signs, so that a new key is put into use by making it.
        files.sort_by_key(|file| std::cmp::Reverse(file.made));
        let mut issuing: Vec<IssuingKey> = files.into_iter().map(|file| IssuingKey::new(file.key)).collect();
        let verifying = issuing.iter().map(IssuingKey::verifying_key).collect();
        let issuing = (!issuing.is_empty()).then(|| issuing.swap_remove(0));
        let clients = settings.clients.as_deref().map(Clients::read).transpose()?.unwrap_or_default();
        let us = match (&settings.client_id, &settings.client_secret) {
            (Some(id), Some(path)) => Some(Client::new(id, secret(path)?)),
            (Some(id), None) => Some(Client::new(id, "")),
            (None, _) => None,
        };
        Ok(InForce { issuing, verifying, clients, us })
    }
}

/// A secret is one line.
fn secret(path: &Path) -> Result<String, LicenceFileError> {
    let unreadable = |source| LicenceFileError::Secret { path: path.display().to_string(), source };
    let source = crate::policy_file::read(path).map_err(unreadable)?;
    Ok(source.text.trim_end_matches(['\r', '\n']).to_owned())
}
