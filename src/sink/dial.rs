//! Connections of sinks: to where the configuration says, and nowhere else.
//!
//! *In*: host and port. *Out*: a connected stream, plain or TLS. *Bound*: a time limit. *Spec*: the IANA
//! special-purpose address registries (RFC 6890); RFC 6052, RFC 3056, RFC 4380 for addresses inside addresses.
//!
//! The check is on the address that is connected to, after names were resolved and however the address was
//! written, so that neither `http://0x7f.1/` nor a name that resolves to another address the second time gets
//! past it. Addresses that are not global must be allowed by the configuration.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Networks of houses and companies, and this machine itself. Link-local addresses are not among them: behind
/// those, clouds keep their credentials.
const PRIVATE: &[&str] =
    &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7", "::1/128"];

/// Which addresses a sink may connect to, beside global ones.
#[derive(Clone, Debug)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    /// Global addresses and the networks given.
    pub fn new(allowed: &[IpNet]) -> Guard {
        Guard { allowed: allowed.to_vec() }
    }

    /// As [`Guard::new`]; private networks where none were given. For protocols that no web service speaks.
    pub fn or_private(allowed: Option<&[IpNet]>) -> Guard {
        let private = || PRIVATE.iter().filter_map(|net| net.parse().ok()).collect();
        Guard { allowed: allowed.map_or_else(private, <[IpNet]>::to_vec) }
    }

    /// Refuses an address that is neither global nor allowed.
    pub fn check(&self, address: IpAddr) -> Result<(), DialError> {
        let address = innermost(address);
        if is_global(address) || self.allowed.iter().any(|net| net.contains(&address)) {
            return Ok(());
        }
        Err(DialError::Refused(address))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The guard.
    #[error("{0} is not a public address: add it to allow_networks of this sink if it is meant")]
    Refused(IpAddr),
    /// The resolver or the network.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The time limit.
    #[error("no answer in time")]
    TimedOut,
}

/// The address that is really meant: an IPv4 address inside IPv6 (mapped, compatible, NAT64, 6to4).
fn innermost(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address.to_canonical() else { return address.to_canonical() };
    let o = v6.octets();
    let v4 = |at: usize| IpAddr::V4(Ipv4Addr::new(o[at], o[at + 1], o[at + 2], o[at + 3]));
    let nat64 = o[..12] == [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0];
    let compatible = o[..12] == [0; 12] && v6 != Ipv6Addr::LOCALHOST && v6 != Ipv6Addr::UNSPECIFIED;
    match o {
        _ if nat64 || compatible => v4(12),
        [0x20, 0x02, ..] => v4(2),
        _ => IpAddr::V6(v6),
    }
}

/// Whether an address is one of the public internet.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let o = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || o[0] == 0
                || o[0] >= 224
                || (o[0] == 100 && o[1] & 0xc0 == 64)
                || (o[0] == 192 && o[1] == 0 && o[2] == 0)
                || (o[0] == 192 && o[1] == 88 && o[2] == 99)
                || (o[0] == 198 && o[1] & 0xfe == 18))
        }
        // Only 2000::/3 is handed out; of it Teredo and other special uses (2001::/23), documentation, and
        // 6to4, which was looked into before, are not meant.
        IpAddr::V6(v6) => {
            let s = v6.segments();
            s[0] & 0xe000 == 0x2000
                && !(s[0] == 0x2001 && s[1] < 0x200)
                && !(s[0] == 0x2001 && s[1] == 0xdb8)
                && s[0] != 0x3fff
                && s[0] != 0x2002
        }
    }
}

/// Connects to the first address of a host that the guard allows and that answers.
pub async fn connect(host: &str, port: u16, guard: &Guard, limit: Duration) -> Result<TcpStream, DialError> {
    let dial = async {
        let mut last = DialError::Io(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for address in tokio::net::lookup_host((host, port)).await? {
            match connect_to(address, guard).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    tokio::time::timeout(limit, dial).await.unwrap_or(Err(DialError::TimedOut))
}

async fn connect_to(address: SocketAddr, guard: &Guard) -> Result<TcpStream, DialError> {
    guard.check(address.ip())?;
    let stream = TcpStream::connect(address).await?;
    // Whatever a translation on the way may do: what we are connected to counts.
    guard.check(stream.peer_addr()?.ip())?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A UDP socket that sends to a host only.
pub async fn connect_udp(host: &str, port: u16, guard: &Guard) -> Result<UdpSocket, DialError> {
    let mut last = DialError::Io(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in tokio::net::lookup_host((host, port)).await? {
        if let Err(error) = guard.check(address.ip()) {
            last = error;
            continue;
        }
        let local: SocketAddr = if address.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(address).await?;
        return Ok(socket);
    }
    Err(last)
}

/// How a server is known under TLS. There is no switch to trust anybody: give the authority's certificate.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Certificates to trust in place of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, where the server asks for one, PEM.
    pub client_certificate_file: Option<PathBuf>,
    /// Its key, PEM.
    pub client_key_file: Option<PathBuf>,
    /// Name to expect in the server's certificate. Default: the host.
    pub server_name: Option<String>,
}

/// Makes TLS connections for one sink.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl Tls {
    /// Reads certificates. `host` is where it will connect to.
    pub fn new(settings: &TlsSettings, host: &str) -> Result<Tls, String> {
        let config = ClientConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(settings.ca_file.as_deref())?);
        let config = match (&settings.client_certificate_file, &settings.client_key_file) {
            (None, None) => config.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let certificates = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("client_key_file {}: {error}", key.display()))?;
                config.with_client_auth_cert(certificates, key).map_err(|error| error.to_string())?
            }
            _ => return Err("give client_certificate_file and client_key_file together".into()),
        };
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let server_name =
            ServerName::try_from(name.clone()).map_err(|_| format!("{name:?} is no name for a server"))?;
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    /// The handshake.
    pub async fn wrap(&self, stream: TcpStream, limit: Duration) -> Result<TlsStream<TcpStream>, DialError> {
        let handshake = self.connector.connect(self.server_name.clone(), stream);
        Ok(tokio::time::timeout(limit, handshake).await.map_err(|_| DialError::TimedOut)??)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: String| format!("{}: {error}", path.display());
    let list: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| failed(error.to_string()))?;
    if list.is_empty() { Err(failed("no certificate in it".into())) } else { Ok(list) }
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        Guard::new(&[]).check(text.parse().unwrap()).is_err()
    }

    #[test]
    fn addresses_that_are_not_public_are_refused_however_they_are_wrapped() {
        for text in [
            "127.0.0.1",
            "127.255.0.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.88.99.1",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "100::1",
            "3fff::1",
            "5f00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(refused(text), "{text}");
        }
        for text in
            ["8.8.8.8", "100.63.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(!refused(text), "{text}");
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_and_nothing_more() {
        let guard = Guard::new(&["10.1.0.0/16".parse().unwrap()]);
        assert!(guard.check("10.1.2.3".parse().unwrap()).is_ok());
        assert!(guard.check("::ffff:10.1.2.3".parse().unwrap()).is_ok());
        assert!(guard.check("10.2.0.1".parse().unwrap()).is_err());
        let private = Guard::or_private(None);
        assert!(private.check("192.168.0.9".parse().unwrap()).is_ok());
        assert!(private.check("169.254.169.254".parse().unwrap()).is_err());
        assert!(Guard::or_private(Some(&[])).check("192.168.0.9".parse().unwrap()).is_err());
    }
}
