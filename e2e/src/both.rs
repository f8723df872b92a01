//! One process with both listeners: what holds on one must hold on the other.

use std::fmt;

use crate::byline::{Byline, Setup, configured};
use crate::client::Client;
use crate::config;
use crate::h2c::Connection;
use crate::tls::Authority;

/// Which listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The plain one.
    Plain,
    /// The one with TLS.
    Tls,
}

impl On {
    /// Both.
    pub const BOTH: [On; 2] = [On::Plain, On::Tls];
}

impl fmt::Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            On::Plain => "plain",
            On::Tls => "TLS",
        })
    }
}

/// A process with a plain listener and one for `site.test` with TLS.
pub struct Both {
    /// Who signed its certificate.
    pub authority: Authority,
    /// The process.
    pub byline: Byline,
}

impl Both {
    /// Starts it before this upstream; `more` goes into its configuration before the listener's table.
    pub fn start(upstream: &str, more: &str) -> Both {
        Both::prepared(upstream, more, |setup| setup)
    }

    /// [`Both::start`] with something to prepare.
    pub fn prepared(upstream: &str, more: &str, prepare: impl FnOnce(Setup) -> Setup) -> Both {
        let authority = Authority::new();
        let identity = authority.issue(&["site.test"]);
        let setup = configured(config::site(upstream, &format!("{more}{}", config::TLS_LISTENER)))
            .file("chain.pem", &identity.chain_pem)
            .file("key.pem", &identity.key_pem);
        Both { byline: prepare(setup).start(), authority }
    }

    /// A raw client, which speaks `alpn` where it is asked.
    pub fn client(&self, on: On, alpn: &str) -> Client {
        match on {
            On::Plain => self.byline.client(),
            On::Tls => Client::connect_tls(self.byline.tls, "site.test", self.authority.client(&[alpn])),
        }
    }

    /// An HTTP/2 connection.
    pub async fn h2(&self, on: On) -> Connection {
        let connection = match on {
            On::Plain => Connection::plain(self.byline.listen).await,
            On::Tls => Connection::tls(self.byline.tls, "site.test", self.authority.client(&["h2"])).await,
        };
        connection.expect("a connection")
    }
}
