//! What a sink will want of the system, so that everything else can be forbidden to the whole process.
//!
//! *In*: a sink's settings. *Out*: [`Needs`]. *Bound*: none.

use super::dial::TlsSettings;
use super::mail::Security;
use super::syslog::Transport;
use super::{SinkConfig, host_and_port};
use std::path::{Path, PathBuf};

/// What the configured sinks need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// TCP ports of receivers.
    pub ports: Vec<u16>,
    /// Secrets and certificates.
    pub reads: Vec<PathBuf>,
    /// Directories that files are written in.
    pub writes: Vec<PathBuf>,
    /// Programs that are run.
    pub runs: Vec<PathBuf>,
}

impl SinkConfig {
    /// Host and TCP port of the receiver; `None` where there is none, or where it is not asked by TCP.
    pub fn receiver(&self) -> Option<(String, u16)> {
        let of_url = |url: &str| {
            let host = url.parse::<hyper::Uri>().ok()?.host()?.trim_matches(['[', ']']).to_owned();
            Some((host, url_port(url)))
        };
        match self {
            SinkConfig::Stdout(_) | SinkConfig::File(_) | SinkConfig::Command(_) => None,
            SinkConfig::Syslog(s) => match s.transport {
                Transport::Udp => None,
                Transport::Tcp => host_and_port(&s.address, 514).ok(),
                Transport::Tls => host_and_port(&s.address, 6514).ok(),
            },
            SinkConfig::Webhook(s) => of_url(&s.url),
            SinkConfig::Splunk(s) => of_url(&s.url),
            SinkConfig::Elastic(s) => of_url(&s.url),
            SinkConfig::Mail(s) => {
                host_and_port(&s.server, if s.security == Security::Implicit { 465 } else { 587 }).ok()
            }
        }
    }

    /// Adds what this sink needs.
    pub fn add_needs(&self, needs: &mut Needs) {
        match self {
            SinkConfig::Stdout(_) => {}
            SinkConfig::File(s) => {
                let parent = s.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                needs.writes.push(parent.unwrap_or(Path::new(".")).to_owned());
            }
            SinkConfig::Syslog(s) => {
                // The transport decides between the two usual ports.
                needs.ports.extend([514, 6514].map(|usual| port(&s.address, usual)));
                needs.tls(&s.tls);
            }
            SinkConfig::Webhook(s) => {
                needs.ports.push(url_port(&s.url));
                needs.reads.extend(s.secret_file.iter().chain(&s.token_file).cloned());
                needs.tls(&s.tls);
            }
            SinkConfig::Splunk(s) => {
                needs.ports.push(url_port(&s.url));
                needs.reads.extend(s.token_file.clone());
                needs.tls(&s.tls);
            }
            SinkConfig::Elastic(s) => {
                needs.ports.push(url_port(&s.url));
                needs.reads.extend(s.api_key_file.iter().chain(&s.password_file).cloned());
                needs.tls(&s.tls);
            }
            SinkConfig::Mail(s) => {
                needs.ports.extend([587, 465].map(|usual| port(&s.server, usual)));
                needs.reads.extend(s.password_file.clone());
                needs.tls(&s.tls);
            }
            SinkConfig::Command(s) => needs.runs.extend(s.argv.first().map(PathBuf::from)),
        }
    }
}

impl Needs {
    fn tls(&mut self, tls: &TlsSettings) {
        let files = [&tls.ca_file, &tls.client_certificate_file, &tls.client_key_file];
        self.reads.extend(files.into_iter().flatten().cloned());
    }
}

fn port(address: &str, usual: u16) -> u16 {
    host_and_port(address, usual).map_or(usual, |(_, port)| port)
}

fn url_port(url: &str) -> u16 {
    let url: Option<hyper::Uri> = url.parse().ok();
    let usual = if url.as_ref().and_then(|url| url.scheme_str()) == Some("http") { 80 } else { 443 };
    url.and_then(|url| url.port_u16()).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_files_and_programs_are_found() {
        let sinks: Vec<SinkConfig> = toml::from_str::<toml::Value>(
            r#"
            [[sink]]
            type = "webhook"
            url = "https://hook.example/x"
            secret_file = "/etc/p/secret"
            [[sink]]
            type = "splunk"
            url = "http://[2001:db8::1]:8088"
            [[sink]]
            type = "syslog"
            address = "siem.example"
            [[sink]]
            type = "file"
            path = "/var/log/portreeve/alerts.ndjson"
            [[sink]]
            type = "command"
            argv = ["/usr/local/bin/page"]
            "#,
        )
        .unwrap()["sink"]
            .clone()
            .try_into()
            .unwrap();
        let mut needs = Needs::default();
        sinks.iter().for_each(|sink| sink.add_needs(&mut needs));
        assert_eq!(needs.ports, [443, 8088, 514, 6514]);
        assert_eq!(needs.reads, [PathBuf::from("/etc/p/secret")]);
        assert_eq!(needs.writes, [PathBuf::from("/var/log/portreeve")]);
        assert_eq!(needs.runs, [PathBuf::from("/usr/local/bin/page")]);
    }
}
