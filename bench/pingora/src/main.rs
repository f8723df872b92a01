//! The least proxy that Pingora makes: one thread, HTTP/1.1 and HTTP/2, TLS, kept connections, a buffered JSON log.
//!
//!     bench-pingora PLAIN_PORT TLS_PORT ORIGIN_PORT CERTIFICATE KEY LOG

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use pingora::http::RequestHeader;
use pingora::listeners::tls::TlsSettings;
use pingora::prelude::*;
use pingora::server::configuration::ServerConf;

struct Site {
    origin: String,
    log: Mutex<BufWriter<File>>,
}

#[async_trait]
impl ProxyHttp for Site {
    type CTX = Instant;

    fn new_ctx(&self) -> Instant {
        Instant::now()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Instant) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(&self.origin, false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Instant,
    ) -> Result<()> {
        // An HTTP/2 request has its host in the target, the origin wants it in a header.
        if request.headers.get("host").is_none() {
            let host = session.req_header().uri.host().unwrap_or("localhost").to_owned();
            request.insert_header("Host", host)?;
        }
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("X-Forwarded-For", client.ip().to_string())?;
        }
        Ok(())
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, begun: &mut Instant) {
        let head = session.req_header();
        let header = |name| {
            head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").escape_default()
        };
        let client = session.client_addr().map(ToString::to_string).unwrap_or_default();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut log = self.log.lock().expect("no other thread panics");
        let written = writeln!(
            log,
            r#"{{"time":"{}.{:03}","client":"{client}","method":"{}","host":"{}","uri":"{}","protocol":"{:?}","status":{},"bytes":{},"agent":"{}","referer":"{}","seconds":{:.6}}}"#,
            time.as_secs(),
            time.subsec_millis(),
            head.method,
            header("host"),
            head.uri,
            head.version,
            session.response_written().map_or(0, |response| response.status.as_u16()),
            session.body_bytes_sent(),
            header("user-agent"),
            header("referer"),
            begun.elapsed().as_secs_f64(),
        );
        written.expect("the log can be written");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [plain, tls, origin, certificate, key, log] = arguments.as_slice() else {
        panic!("usage: bench-pingora PLAIN_PORT TLS_PORT ORIGIN_PORT CERTIFICATE KEY LOG");
    };
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: 256,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let log = BufWriter::with_capacity(64 << 10, File::create(log).expect("the log's directory exists"));
    let site = Site { origin: format!("127.0.0.1:{origin}"), log: Mutex::new(log) };
    let mut service = http_proxy_service(&server.configuration, site);
    service.add_tcp(&format!("127.0.0.1:{plain}"));
    let mut settings = TlsSettings::intermediate(certificate, key).expect("the certificate can be read");
    settings.enable_h2();
    service.add_tls_with_settings(&format!("127.0.0.1:{tls}"), None, settings);
    server.add_service(service);
    server.run_forever();
}
