//! Connections to servers that the owner of this proxy named and that are no origins: a facilitator, a licence server.

use std::io;
use std::net::{IpAddr, SocketAddr};

use http::uri::Authority;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::resolve::Name;

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// The host of an authority, an IPv6 address without its brackets.
pub(crate) fn host_of(authority: &Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

/// Connects; over TLS if there is a `tls`. How long that may take is the caller's to say.
pub(crate) async fn connect(
    authority: &Authority,
    tls: Option<&TlsConnector>,
) -> io::Result<Box<dyn Stream>> {
    let port = authority.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let host = host_of(authority);
    let addresses = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        // Not by the runtime's own threads: a stop would wait for a name server that is silent.
        Err(_) => Name::new(host, port).addresses().await?,
    };
    let stream = TcpStream::connect(&addresses[..]).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(tls.connect(name, stream).await?))
}
