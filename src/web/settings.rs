//! What the user may say about the dashboard, checked.
//!
//! *In*: `[web]` of the configuration. *Out*: [`Settings`]. *Spec*: docs/dashboard.md.

use super::access::Secrets;
use crate::sink::secret::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The dashboard and its HTTP API. Without `listen` there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    /// Address and port to listen on, such as `127.0.0.1:8025`. Anything but loopback needs a password or a token.
    #[schemars(with = "Option<String>")]
    pub listen: Option<SocketAddr>,
    /// Names by which browsers may call the dashboard, beside addresses and `localhost`: a request for another
    /// name is refused, so that no foreign page can reach it by a name of its own.
    pub hosts: Vec<String>,
    /// File with the password for people: the password itself, or its Argon2 hash (`$argon2id$…`).
    pub password_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub password_env: Option<String>,
    /// File with the token for programs, sent as `Authorization: Bearer …`.
    pub token_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub token_env: Option<String>,
    /// Whether a proxy in front speaks TLS: cookies then travel over TLS only. Default: no.
    pub https: bool,
    /// Whether the dashboard only shows and never acts. Default: no.
    pub read_only: bool,
}

/// Checked settings of a dashboard.
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names that it answers to, lower case.
    pub hosts: Vec<String>,
    /// What lets people and programs in; neither on loopback means that everybody on this machine is let in.
    pub secrets: Secrets,
    /// Cookies travel over TLS only.
    pub https: bool,
    /// It shows and never acts.
    pub read_only: bool,
}

impl WebConfig {
    /// Checks what can be checked without reading secrets.
    pub fn check(&self) -> Result<(), String> {
        let Some(listen) = self.listen else { return Ok(()) };
        if !is_loopback(listen.ip()) && !self.has_secret() {
            return Err(format!(
                "web.listen {listen} is reachable by others: give web.password_file or web.token_file, or listen on 127.0.0.1"
            ));
        }
        if let Some(host) = self.hosts.iter().find(|host| host.contains(['/', ' ', ':', '*'])) {
            return Err(format!("web.hosts {host:?}: give a bare name such as \"mailwatch.example.org\""));
        }
        Ok(())
    }

    fn has_secret(&self) -> bool {
        self.password_file.is_some()
            || self.password_env.is_some()
            || self.token_file.is_some()
            || self.token_env.is_some()
    }

    /// Reads the secrets. `None` where there is no dashboard.
    pub fn settings(&self) -> Result<Option<Settings>, String> {
        self.check()?;
        let Some(listen) = self.listen else { return Ok(None) };
        let password =
            Secret::read("web.password", self.password_file.as_deref(), self.password_env.as_deref())?;
        let token = Secret::read("web.token", self.token_file.as_deref(), self.token_env.as_deref())?;
        Ok(Some(Settings {
            listen,
            hosts: self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            secrets: Secrets::new(password, token)?,
            https: self.https,
            read_only: self.read_only,
        }))
    }
}

impl Settings {
    /// A dashboard on loopback that asks nobody who they are.
    pub fn loopback(port: u16) -> Settings {
        Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            hosts: Vec::new(),
            secrets: Secrets::default(),
            https: false,
            read_only: false,
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_goes_without_a_secret() {
        let config = |listen: &str| WebConfig { listen: listen.parse().ok(), ..WebConfig::default() };
        assert!(config("127.0.0.1:1").check().is_ok() && config("[::1]:1").check().is_ok());
        assert!(config("0.0.0.0:1").check().unwrap_err().contains("password_file"));
        assert!(config("[::ffff:192.0.2.1]:1").check().is_err());
        let named = WebConfig { hosts: vec!["https://a".into()], ..config("127.0.0.1:1") };
        assert!(named.check().unwrap_err().contains("bare name"));
    }
}
