//! TLS towards clients: rustls with ring, certificate and key from PEM files, HTTP/2 and HTTP/1.1 by ALPN.
//!
//! The certificate is asked for at each handshake, so that a reload changes it for new connections and no other.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use crate::config::TlsFiles;
use crate::pem::{PemError, PemFile};

mod validity;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFileError {
    #[error(transparent)]
    File(#[from] PemError),
    #[error("no random numbers for session tickets")]
    Tickets(#[source] Error),
}

/// The certificate of a listener, as it is now.
#[derive(Debug)]
pub(crate) struct Certificate {
    files: TlsFiles,
    in_force: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads it at the start. One that is expired is better than no site at all: it is used, with a warning.
    pub(crate) fn read(files: &TlsFiles) -> Result<Arc<Certificate>, TlsFileError> {
        let (key, age) = read(files)?;
        if let Err(untimely) = age {
            warn!("{untimely}");
        }
        Ok(Arc::new(Certificate { files: files.clone(), in_force: ArcSwap::from_pointee(key) }))
    }

    /// Reads the files again, for [`Certificate::replace`]. A certificate that is new must also be valid today; about one
    /// that is in force already there is only something to be said.
    pub(crate) fn read_again(&self) -> Result<CertifiedKey, TlsFileError> {
        let (key, age) = read(&self.files)?;
        match age {
            Err(untimely) if key.cert == self.in_force.load().cert => warn!("{untimely}"),
            age => age?,
        }
        Ok(key)
    }

    /// New handshakes get this one; open connections stay as they are.
    pub(crate) fn replace(&self, key: CertifiedKey) {
        self.in_force.store(Arc::new(key));
    }

    /// An acceptor that shows whatever certificate is in force.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsFileError> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("ring knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        // Ours first: clients list ciphers out of habit, and the order here is by strength.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(TlsFileError::Tickets)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.in_force.load_full())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads chain and key, which must belong together; beside them, what is wrong with the time they are good for.
fn read(files: &TlsFiles) -> Result<(CertifiedKey, Result<(), PemError>), PemError> {
    let chain_file = PemFile::read(&files.certificate)?;
    let key_file = PemFile::read(&files.key)?;
    let mut chain = Vec::new();
    for section in chain_file.sections(|label| label == "CERTIFICATE") {
        let certificate = CertificateDer::from_pem_slice(section.text.as_bytes());
        chain.push(certificate.map_err(|why| chain_file.error(section.line, why))?);
    }
    let first = chain_file.first_line(|label| label == "CERTIFICATE");
    let leaf = chain.first().ok_or_else(|| chain_file.error(1, "there is no certificate in this file"))?;
    let days = validity::of(leaf).ok_or_else(|| chain_file.error(first, "this is not a certificate"))?;

    let section = key_file.sections(|label| label.ends_with("PRIVATE KEY")).next();
    let section = section.ok_or_else(|| key_file.error(1, "there is no private key in this file"))?;
    let key = PrivateKeyDer::from_pem_slice(section.text.as_bytes())
        .map_err(|why| key_file.error(section.line, why))?;
    let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|why| match why {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let chain = files.certificate.display();
            key_file.error(
                section.line,
                format!("this key does not belong to the certificate at {chain}:{first}"),
            )
        }
        Error::InvalidCertificate(why) => {
            chain_file.error(first, format!("this certificate cannot be used: {why:?}"))
        }
        why => key_file.error(section.line, format!("this key cannot be used: {why}")),
    })?;
    let timely = days.check(crate::shared::now_micros() / 1_000_000);
    Ok((certified, timely.map_err(|why| chain_file.error(first, why))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn files(dir: &Path, chain: &str, key: &str) -> TlsFiles {
        let files = TlsFiles { certificate: dir.join("chain.pem"), key: dir.join("key.pem") };
        std::fs::write(&files.certificate, chain).expect("a temporary file");
        std::fs::write(&files.key, key).expect("a temporary file");
        files
    }

    fn issue(years: std::ops::Range<i32>) -> (String, String) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["site.test".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
    }

    #[test]
    fn a_mistake_in_a_pem_file_has_a_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (chain, key) = issue(2020..2100);
        let (_, other) = issue(2020..2100);
        let lines = chain.lines().count();
        let broken = format!("# ours\n{}", chain.replacen("\nMII", "\n%%%", 1));
        for (chain, key, place, what) in [
            ("nothing".to_owned(), key.clone(), "chain.pem:1:".to_owned(), "no certificate"),
            (broken, key.clone(), "chain.pem:2:".to_owned(), ""),
            (
                format!("{chain}-----BEGIN CERTIFICATE-----\nMII"),
                key.clone(),
                format!("chain.pem:{}:", lines + 1),
                "",
            ),
            (chain.clone(), chain.clone(), "key.pem:1:".to_owned(), "no private key"),
            (chain.clone(), format!("\n\n{other}"), "key.pem:3:".to_owned(), "does not belong"),
        ] {
            let said =
                Certificate::read(&files(dir.path(), &chain, &key)).expect_err("a mistake").to_string();
            assert!(said.contains(&place) && said.contains(what), "{said}");
        }
        Certificate::read(&files(dir.path(), &chain, &key)).expect("a certificate and its key");
    }

    #[test]
    fn a_new_certificate_must_be_valid_today_and_an_old_one_may_expire() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (expired, its_key) = issue(2001..2002);
        let certificate =
            Certificate::read(&files(dir.path(), &expired, &its_key)).expect("better than none");
        certificate.read_again().expect("the same one as before");
        for (years, what) in [(2003..2004, "2004-01-01"), (2099..2100, "2099-01-01")] {
            let (chain, key) = issue(years);
            files(dir.path(), &chain, &key);
            let said = certificate.read_again().expect_err("not valid today").to_string();
            assert!(said.contains("chain.pem:1:") && said.contains(what), "{said}");
        }
        let (chain, key) = issue(2020..2100);
        files(dir.path(), &chain, &key);
        certificate.replace(certificate.read_again().expect("a good one"));
    }
}
