//! Which addresses are ours: networks, declared hosts and their roles.

use crate::mail::{Mailbox, registrable_domain};
use crate::time::CivilClock;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Declared or learned kind of sender; each has its row in `baselines/`.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Relays the mail of many people or programs.
    MailRelay,
    /// Sends newsletters and other announced bulk.
    BulkSender,
    /// An application server: orders, tickets, resets, invoices.
    Application,
    /// A printer, scanner, sensor or monitoring probe.
    Device,
    /// A person's machine, or a person's account.
    Workstation,
    /// An address that should be silent.
    Unused,
}

impl Role {
    /// Its name, as in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Role::MailRelay => "mail_relay",
            Role::BulkSender => "bulk_sender",
            Role::Application => "application",
            Role::Device => "device",
            Role::Workstation => "workstation",
            Role::Unused => "unused",
        }
    }

    /// In a sentence.
    pub const fn phrase(self) -> &'static str {
        match self {
            Role::MailRelay => "a mail relay",
            Role::BulkSender => "a bulk sender",
            Role::Application => "an application",
            Role::Device => "a device",
            Role::Workstation => "a workstation",
            Role::Unused => "an unused address",
        }
    }
}

/// A machine of ours that was declared by name.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name as MTA logs print it (short or full).
    pub name: String,
    /// The address its mail leaves from.
    pub address: IpAddr,
    /// What it is for; `None` leaves the role to be learned.
    pub role: Option<Role>,
}

/// The company that is watched.
#[derive(Clone, Debug)]
pub struct Company {
    networks: Vec<IpNet>,
    domains: BTreeSet<Vec<u8>>,
    by_name: BTreeMap<String, usize>,
    by_address: BTreeMap<IpAddr, usize>,
    hosts: Vec<Host>,
    /// The clock that people of the company live by.
    pub clock: CivilClock,
}

impl Company {
    /// Networks (may be empty: private ranges are then ours), own mail domains, declared hosts, clock.
    pub fn new(networks: Vec<IpNet>, domains: &[String], hosts: Vec<Host>, clock: CivilClock) -> Company {
        let mut by_name = BTreeMap::new();
        let mut by_address = BTreeMap::new();
        for (index, host) in hosts.iter().enumerate() {
            by_name.insert(host.name.to_ascii_lowercase(), index);
            by_address.insert(host.address, index);
        }
        let domains = domains.iter().map(|domain| registrable_domain(domain.as_bytes())).collect();
        Company { networks, domains, by_name, by_address, hosts, clock }
    }

    /// Whether networks were configured, or private ranges stand in for them.
    pub fn networks_declared(&self) -> bool {
        !self.networks.is_empty()
    }

    /// The configured networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.networks
    }

    /// Whether an address belongs to the company.
    pub fn owns(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.by_address.contains_key(&address) {
            return true;
        }
        if self.networks.is_empty() {
            is_private(address)
        } else {
            self.networks.iter().any(|net| net.contains(&address))
        }
    }

    /// The widest network of ours around an address; private ranges where none were configured.
    pub fn network_of(&self, address: IpAddr) -> Option<IpNet> {
        let address = address.to_canonical();
        let around = |nets: &mut dyn Iterator<Item = IpNet>| {
            nets.filter(|net| net.contains(&address)).min_by_key(IpNet::prefix_len)
        };
        if self.networks.is_empty() {
            around(&mut PRIVATE.iter().filter_map(|net| net.parse().ok()))
        } else {
            around(&mut self.networks.iter().copied())
        }
    }

    /// Whether mail of this connection leaves from us.
    ///
    /// With networks declared, the originator must be in them. Without, private originators are ours, and
    /// where both ends are public the originator is taken to be ours: the sensor was put on its line.
    pub fn sends(&self, originator: IpAddr, responder: IpAddr) -> bool {
        self.owns(originator) || (self.networks.is_empty() && !is_private(responder.to_canonical()))
    }

    /// The declared host of an address.
    pub fn host_of(&self, address: IpAddr) -> Option<&Host> {
        self.by_address.get(&address.to_canonical()).map(|index| &self.hosts[*index])
    }

    /// The declared host of a log's host name: exact, or by its first label.
    pub fn host_named(&self, name: &[u8]) -> Option<&Host> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let short = name.split('.').next().unwrap_or(&name);
        let index = self.by_name.get(&name).or_else(|| self.by_name.get(short)).or_else(|| {
            self.by_name
                .iter()
                .find(|(declared, _)| declared.split('.').next() == Some(&name))
                .map(|(_, i)| i)
        })?;
        Some(&self.hosts[*index])
    }

    /// All declared hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Whether a mailbox is in one of our own mail domains. `None` where none were declared.
    pub fn owns_mailbox(&self, mailbox: &Mailbox) -> Option<bool> {
        if self.domains.is_empty() {
            return None;
        }
        Some(self.domains.contains(&registrable_domain(mailbox.domain())))
    }
}

/// RFC 1918 and RFC 4193.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// RFC 1918, RFC 4193, loopback and link-local ranges.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_by_network_by_host_and_by_default() {
        let relay = Host { name: "mx1".into(), address: "203.0.113.9".parse().unwrap(), role: None };
        let nothing = Company::new(vec![], &[], vec![], CivilClock::utc());
        let some =
            Company::new(vec!["198.51.100.0/24".parse().unwrap()], &[], vec![relay], CivilClock::utc());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(nothing.owns(ip("10.0.0.1")) && !nothing.owns(ip("198.51.100.7")));
        assert!(some.owns(ip("198.51.100.7")) && some.owns(ip("203.0.113.9")) && !some.owns(ip("10.0.0.1")));
        assert!(some.owns(ip("::ffff:198.51.100.7")));
        assert!(nothing.sends(ip("192.0.2.1"), ip("192.0.2.2")));
        assert!(!nothing.sends(ip("192.0.2.1"), ip("10.0.0.2")));
        assert_eq!(some.host_named(b"MX1.example.org").unwrap().name, "mx1");
    }
}
