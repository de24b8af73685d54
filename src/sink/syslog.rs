//! A syslog receiver, by UDP, TCP or TLS.
//!
//! *In*: letters. *Out*: RFC 5424 messages: one datagram each (RFC 5426), or octet-counted (RFC 6587 section
//! 3.4.1, RFC 5425). *Bound*: [`BATCH_MAX`] messages a connection.
//!
//! Syslog has no receipts. UDP is gone when it is sent. On TCP and TLS each batch has a connection of its own:
//! after the last message we close our side and wait until the receiver, having read everything, closes its
//! own. With every byte acknowledged that is as good a receipt as there is; where it does not come in time, the batch
//! counts as unconfirmed.

use super::dial::{Guard, Tls, TlsSettings, connect, connect_udp};
use super::sys::unacknowledged_bytes;
use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig, host_and_port, time_limit};
use crate::alert::{Alert, Format, rfc5424};
use schemars::JsonSchema;
use serde::Deserialize;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Messages of one connection.
const BATCH_MAX: usize = 500;
/// Longest UDP payload over IPv4, bytes.
const DATAGRAM_BYTES_MAX: usize = 65_507;

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Datagrams: nothing tells when one is lost.
    Udp,
    /// A stream, octet-counted.
    #[default]
    Tcp,
    /// A stream under TLS, octet-counted.
    Tls,
}

/// Settings of a syslog receiver.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port`. Default port: 514, for TLS 6514.
    pub address: String,
    /// `udp`, `tcp` or `tls`. Default: tcp.
    #[serde(default)]
    pub transport: Transport,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: rfc5424; any other form is sent in an RFC 5424 envelope.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
    /// Seconds until an attempt is given up. Default: 10.
    pub timeout_seconds: Option<f64>,
    /// Networks that this sink may connect to beside public addresses. Default: private networks
    /// and this machine; never link-local addresses.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_networks: Option<super::AllowNetworks>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsSettings,
}

struct Syslog {
    host: String,
    port: u16,
    transport: Transport,
    tls: Option<Tls>,
    guard: Guard,
    limit: Duration,
    format: &'static Format,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Syslog(settings) = config else { return None };
    Some(Common::read(config, "rfc5424").and_then(|common| open_syslog(settings, common)))
}

fn open_syslog(settings: &Settings, common: Common) -> Result<Opened, String> {
    if common.format.name == "text" {
        return Err("format text has several lines: use another one for syslog".into());
    }
    let usual_port = if settings.transport == Transport::Tls { 6514 } else { 514 };
    let (host, port) = host_and_port(&settings.address, usual_port)?;
    let tls = match settings.transport {
        Transport::Tls => Some(Tls::new(&settings.tls, &host)?),
        _ => None,
    };
    let syslog = Syslog {
        host,
        port,
        transport: settings.transport,
        tls,
        guard: Guard::or_private(settings.allow_networks.as_deref()),
        limit: time_limit(settings.timeout_seconds)?,
        format: common.format,
    };
    let target = format!("syslog {:?} {}", settings.transport, settings.address).to_lowercase();
    Ok(common.opened(target, syslog))
}

impl Deliver for Syslog {
    fn batch_max(&self) -> usize {
        BATCH_MAX
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        Box::pin(async move {
            if self.transport == Transport::Udp {
                return self.send_datagrams(letters).await;
            }
            let mut frames = String::new();
            for letter in letters {
                let message = self.message(&letter.alert);
                frames.push_str(&format!("{} {message}", message.len()));
            }
            let fate = match self.send_stream(frames.as_bytes()).await {
                Ok(true) => Fate::Delivered,
                Ok(false) => Fate::Unconfirmed,
                Err(reason) => Fate::unreachable(reason),
            };
            vec![fate; letters.len()]
        })
    }
}

impl Syslog {
    fn message(&self, alert: &Alert) -> String {
        let encoded = (self.format.encode)(alert);
        match self.format.name {
            "rfc5424" => encoded.trim_end_matches('\n').to_owned(),
            _ => rfc5424::envelope(alert, &encoded),
        }
    }

    async fn send_datagrams(&self, letters: &[Letter]) -> Vec<Fate> {
        let socket = match connect_udp(&self.host, self.port, &self.guard).await {
            Ok(socket) => socket,
            Err(error) => return vec![Fate::unreachable(error.to_string())],
        };
        let mut fates = Vec::with_capacity(letters.len());
        for letter in letters {
            let message = self.message(&letter.alert);
            if message.len() > DATAGRAM_BYTES_MAX {
                fates.push(Fate::Dead(format!("{} bytes do not fit into a datagram", message.len())));
                continue;
            }
            match socket.send(message.as_bytes()).await {
                Ok(_) => fates.push(Fate::Unconfirmed),
                Err(error) => {
                    fates.push(Fate::unreachable(error.to_string()));
                    break;
                }
            }
        }
        fates
    }

    /// Whether the receiver closed its side after having read everything.
    async fn send_stream(&self, frames: &[u8]) -> Result<bool, String> {
        let Syslog { host, port, guard, limit, .. } = self;
        let text = |error: super::dial::DialError| format!("{host}:{port}: {error}");
        let stream = connect(host, *port, guard, *limit).await.map_err(text)?;
        match &self.tls {
            Some(tls) => {
                let stream = tls.wrap(stream, *limit).await.map_err(text)?;
                hand_over(stream, |stream| stream.get_ref().0, frames, *limit).await
            }
            None => hand_over(stream, |stream| stream, frames, *limit).await,
        }
    }
}

/// Writes everything, closes our side, and waits for the receiver to close its own: whether it did.
async fn hand_over<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    socket: impl Fn(&S) -> &TcpStream,
    frames: &[u8],
    limit: Duration,
) -> Result<bool, String> {
    let exchange = async {
        stream.write_all(frames).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut rest = [0u8; 256];
        loop {
            match stream.read(&mut rest).await {
                Ok(0) => break,
                Ok(_) => {}
                // A receiver that ends TLS without its closing alert still ended the stream.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        // It may have closed before it got our last bytes: then they are never acknowledged but reset.
        while unacknowledged_bytes(socket(&stream))? > 0 {
            if let Some(error) = socket(&stream).take_error()? {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        socket(&stream).take_error()?.map_or(Ok(()), Err)
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) => Err(error.to_string()),
        // Still open and nothing wrong: a receiver that does not close. What it acknowledged, it has.
        Err(_) if unacknowledged_bytes(socket(&stream)).is_ok_and(|bytes| bytes == 0) => Ok(false),
        Err(_) => Err("no answer in time".into()),
    }
}
