//! The ways in: what `[[source.log]]` may say, and what it means.
//!
//! *In*: one table of the configuration. *Out*: a checked [`Way`]. *Bound*: none. *Spec*: docs/sources.md.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A log: exactly one of `path`, `journald` and `listen`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Path of a log that is followed through its rotation; `-` is standard input.
    pub path: Option<PathBuf>,
    /// Whether to read the systemd journal, through journalctl.
    pub journald: bool,
    /// Directory of journal files, such as those of other machines. Default: this machine's journal.
    pub journal_directory: Option<PathBuf>,
    /// Units whose journal is read, such as `postfix@-.service`. Default: all.
    pub units: Vec<String>,
    /// Where to take syslog: `udp://127.0.0.1:5514` or `tcp://127.0.0.1:5514`.
    pub listen: Option<String>,
    /// Networks that may send syslog here. Default: this machine alone.
    #[schemars(with = "Vec<String>")]
    pub peers: Vec<IpNet>,
    /// Its dialect. Default: recognised by content.
    pub dialect: Option<String>,
    /// Time zone of stamps that name none. Default: the company's.
    pub time_zone: Option<String>,
    /// The machine whose log it is, by the name of its `[[host]]`; for logs whose lines name no machine, such as
    /// Exim's own. Default: the source's name.
    pub host: Option<String>,
}

/// One way in, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A file that is written and rotated.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// The systemd journal.
    Journal(JournalSettings),
    /// Syslog from the network.
    Listen(ListenSettings),
}

/// Which journal is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalSettings {
    /// Where its files are; `None` for this machine's journal.
    pub directory: Option<PathBuf>,
    /// Units to which it is narrowed; empty for all.
    pub units: Vec<String>,
}

/// How syslog comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
}

/// Where syslog is taken, and from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// By datagrams or by a stream.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
    /// Who may send; empty for this machine alone.
    pub peers: Vec<IpNet>,
}

impl ListenSettings {
    /// Whether this address may send.
    pub fn admits(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        match self.peers.is_empty() {
            true => peer.is_loopback(),
            false => self.peers.iter().any(|network| network.contains(&peer)),
        }
    }
}

impl LogConfig {
    /// A log file, with every default.
    pub fn of_path(path: PathBuf) -> LogConfig {
        LogConfig { path: Some(path), ..LogConfig::default() }
    }

    /// What it is called in messages and in the state.
    pub fn name(&self) -> String {
        match (&self.path, &self.listen) {
            (Some(path), _) if path.as_os_str() == "-" => "standard input".into(),
            (Some(path), _) => path.display().to_string(),
            (None, Some(listen)) => listen.clone(),
            (None, None) => match &self.journal_directory {
                Some(directory) => format!("journal {}", directory.display()),
                None => "journal".into(),
            },
        }
    }

    /// Which way in it is, or what is wrong with it.
    pub fn way(&self) -> Result<Way, String> {
        let wrong = |says: &str| Err(format!("[[source.log]]: {says}"));
        let ways =
            [self.path.is_some(), self.journald, self.listen.is_some()].iter().filter(|way| **way).count();
        if ways != 1 {
            return wrong("give exactly one of path, journald = true and listen");
        }
        if !self.journald && (self.journal_directory.is_some() || !self.units.is_empty()) {
            return wrong("journal_directory and units go with journald = true");
        }
        if self.units.iter().any(|unit| unit.is_empty() || unit.starts_with('-')) {
            return wrong("units are names such as postfix@-.service");
        }
        if self.listen.is_none() && !self.peers.is_empty() {
            return wrong("peers goes with listen");
        }
        if let Some(listen) = &self.listen {
            return Ok(Way::Listen(self.listen_settings(listen)?));
        }
        Ok(match &self.path {
            Some(path) if path.as_os_str() == "-" => Way::Stdin,
            Some(path) => Way::File(path.clone()),
            None => Way::Journal(JournalSettings {
                directory: self.journal_directory.clone(),
                units: self.units.clone(),
            }),
        })
    }

    fn listen_settings(&self, listen: &str) -> Result<ListenSettings, String> {
        let parts = listen.split_once("://").and_then(|(transport, address)| {
            let transport = match transport {
                "udp" => Transport::Udp,
                "tcp" => Transport::Tcp,
                _ => return None,
            };
            Some((transport, address.parse().ok()?))
        });
        let Some((transport, address)) = parts else {
            return Err(format!(
                "[[source.log]]: listen {listen:?}: use udp://ADDRESS:PORT or tcp://ADDRESS:PORT, such as udp://127.0.0.1:5514"
            ));
        };
        let settings = ListenSettings { transport, address, peers: self.peers.clone() };
        if !settings.address.ip().is_loopback() && settings.peers.is_empty() {
            return Err(format!(
                "[[source.log]]: listen {listen:?} is open to other machines: name those that may send, as in peers = [\"192.0.2.0/24\"]"
            ));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_a_table() {
        let way = |text: &str| toml::from_str::<LogConfig>(text).unwrap().way();
        assert_eq!(way("path = \"/var/log/mail.log\""), Ok(Way::File("/var/log/mail.log".into())));
        assert_eq!(way("path = \"-\""), Ok(Way::Stdin));
        assert_eq!(way("journald = true"), Ok(Way::Journal(JournalSettings::default())));
        assert!(matches!(way("listen = \"udp://127.0.0.1:5514\""), Ok(Way::Listen(_))));
        for (text, says) in [
            ("", "exactly one"),
            ("path = \"a\"\njournald = true", "exactly one"),
            ("path = \"a\"\npeers = [\"10.0.0.0/8\"]", "peers goes with listen"),
            ("path = \"a\"\nunits = [\"x\"]", "go with journald"),
            ("journald = true\nunits = [\"--file=/etc/shadow\"]", "units are names"),
            ("listen = \"127.0.0.1:5514\"", "use udp://"),
            ("listen = \"tcp://0.0.0.0:5514\"", "name those that may send"),
        ] {
            let error = way(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn only_peers_may_send() {
        let listen = |peers: &[&str]| ListenSettings {
            transport: Transport::Udp,
            address: "0.0.0.0:5514".parse().unwrap(),
            peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        };
        assert!(listen(&[]).admits("127.0.0.1".parse().unwrap()));
        assert!(!listen(&[]).admits("10.0.0.1".parse().unwrap()));
        assert!(listen(&["10.0.0.0/8"]).admits("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!listen(&["10.0.0.0/8"]).admits("127.0.0.1".parse().unwrap()));
    }
}
