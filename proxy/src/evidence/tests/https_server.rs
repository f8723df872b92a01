//! An https server on loopback that says what its script says, byte for byte, and counts who comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A certificate for these names, and the roots that trust it.
pub(in crate::evidence) fn certificate(
    names: &[&str],
) -> (Arc<rustls::ServerConfig>, Arc<rustls::RootCertStore>) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(signed.cert.der().clone()).expect("a root");
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("they fit");
    (Arc::new(config), Arc::new(roots))
}

/// What is said to a request.
pub(in crate::evidence) enum Reply {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// These bytes, then a byte every 50 ms without an end.
    Trickle(Vec<u8>),
    /// Nothing.
    Silence,
}

pub(in crate::evidence) struct HttpsServer {
    pub(in crate::evidence) address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl HttpsServer {
    /// Serves what `script` says for a path.
    pub(in crate::evidence) async fn start(
        listen: &str,
        config: Arc<rustls::ServerConfig>,
        script: fn(&str) -> Reply,
    ) -> HttpsServer {
        let listener = TcpListener::bind(listen).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let acceptor = TlsAcceptor::from(config);
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let head = String::from_utf8(head).expect("an ASCII head");
                    let path = head.split(' ').nth(1).expect("a request line").to_owned();
                    let (bytes, trickles) = match script(&path) {
                        Reply::Bytes(bytes) => (bytes, false),
                        Reply::Trickle(bytes) => (bytes, true),
                        Reply::Silence => return std::future::pending().await,
                    };
                    // The client may go away in the middle.
                    let _ = stream.write_all(&bytes).await;
                    while trickles && stream.write_all(b" ").await.is_ok() && stream.flush().await.is_ok() {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        HttpsServer { address, connections }
    }

    /// How many have connected.
    pub(in crate::evidence) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
