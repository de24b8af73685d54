//! Who is who on the veth: every server has an address for each version of TLS, every client its own.

use std::net::{IpAddr, Ipv4Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mta {
    Postfix,
    Exim,
    OpenSmtpd,
}

/// A server that speaks one version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    pub mta: Mta,
    /// Minor version of TLS 1.
    pub tls: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// As it is installed: a session a message.
    Postfix,
    /// With `smtp_tls_connection_reuse`: another process, tlsproxy, speaks TLS.
    PostfixReuse,
    Exim,
    OpenSmtpd,
    Sendmail,
    Python,
}

impl Server {
    pub fn all() -> Vec<Server> {
        [Mta::Postfix, Mta::Exim, Mta::OpenSmtpd]
            .into_iter()
            .flat_map(|mta| [2, 3].map(|tls| Server { mta, tls }))
            .collect()
    }

    /// Last octet of its address.
    pub fn octet(self) -> u8 {
        10 * (self.mta as u8 + 1) + self.tls
    }

    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, self.octet())
    }

    pub fn at(address: IpAddr) -> Option<Server> {
        Server::all().into_iter().find(|server| server.address() == address)
    }
}

impl Client {
    pub const ALL: [Client; 6] = [
        Client::Postfix,
        Client::PostfixReuse,
        Client::Exim,
        Client::OpenSmtpd,
        Client::Sendmail,
        Client::Python,
    ];

    /// Its address; a client that holds several sessions at once has one for each lane.
    pub fn address(self, lane: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, 10 * (self as u8 + 1) + lane)
    }

    pub fn at(address: IpAddr) -> Option<Client> {
        let IpAddr::V4(address) = address else { return None };
        let [_, _, _, last] = address.octets();
        Client::ALL.into_iter().find(|client| *client as u8 + 1 == last / 10)
    }
}
