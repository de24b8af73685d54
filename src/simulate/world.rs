//! The company: its machines, its networks, its people's accounts, and what an administrator would declare.
//!
//! *In*: seed and scenario. *Out*: [`World`] and `portreeve.toml`.

use super::calendar::TIME_ZONE;
use super::dialogue::{MTA, Manners};
use super::draw::{Dice, mix};
use super::frames::{SHAPES, Shape, shape};
use super::names;
use crate::company::Role;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// First relay: classic stamps.
pub(super) const RELAY_1: usize = 0;
/// Second relay: RFC 3339 stamps.
pub(super) const RELAY_2: usize = 1;
/// Application server, mails straight to the receivers.
pub(super) const APPLICATION: usize = 2;
/// Newsletter server.
pub(super) const NEWSLETTER: usize = 3;
/// A mail server that is commissioned while the world runs; its log is not collected.
pub(super) const NEW_RELAY: usize = 4;

/// A machine with a mail server of its own.
pub(super) struct Machine {
    /// Its short name.
    pub(super) name: String,
    /// Address its mail leaves from.
    pub(super) address: IpAddr,
    /// Its address by IPv6, where it uses one.
    pub(super) v6: Option<IpAddr>,
    /// Name it greets with.
    pub(super) helo: String,
    /// How it opens connections.
    pub(super) shape: &'static Shape,
    /// How it speaks SMTP.
    pub(super) manners: Manners,
    /// Index of its collected log.
    pub(super) log: Option<usize>,
    /// Spans in which it reaches nobody, and the benign burst that each of them is.
    pub(super) outages: Vec<(i64, i64, usize)>,
    /// Messages queued so far.
    pub(super) serial: u64,
}

/// A machine without a mail server: hands its mail to a relay.
pub(super) struct Client {
    /// Its short name.
    pub(super) name: String,
    /// Its address.
    pub(super) address: IpAddr,
    /// What it is.
    pub(super) role: Role,
}

/// A person with a mailbox.
pub(super) struct Person {
    /// Login and address.
    pub(super) login: String,
    /// The machine in the office.
    pub(super) office: IpAddr,
    /// Where the person works from at home.
    pub(super) home: IpAddr,
    /// Relay the person submits to.
    pub(super) relay: usize,
}

/// The company.
pub(super) struct World {
    /// Head of its domain.
    pub(super) company: String,
    /// Machines with mail servers.
    pub(super) machines: Vec<Machine>,
    /// Machines that use a relay.
    pub(super) clients: Vec<Client>,
    /// People.
    pub(super) people: Vec<Person>,
}

/// Where the company's mail comes in; it sends none.
pub(super) const MX_IN: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

/// Index of the billing server among the clients.
pub(super) const BILLING: usize = 0;
/// Index of the monitoring system among the clients.
pub(super) const MONITORING: usize = 1;

impl World {
    /// The company of a seed.
    pub(super) fn new(seed: u64, accounts: u32) -> World {
        let mut dice = Dice::new(seed, "company");
        let company = (*dice.pick(names::COMPANIES)).to_owned();
        let server = |dice: &mut Dice, name: &str, last: u8, v6: bool, log| Machine {
            name: name.to_owned(),
            address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)),
            v6: v6.then(|| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 1, 0, 0, 0, u16::from(last)))),
            helo: format!("{name}.{company}.example"),
            shape: &SHAPES[dice.below(3)],
            manners: Manners { library: dice.bits(), ..MTA },
            log,
            outages: Vec::new(),
            serial: dice.bits() >> 40,
        };
        let mut machines = vec![
            server(&mut dice, "mx-out1", 10, false, Some(0)),
            server(&mut dice, "mx-out2", 11, false, Some(1)),
            server(&mut dice, "app1", 20, true, None),
            server(&mut dice, "news1", 30, false, None),
            server(&mut dice, "mx-out3", 12, false, None),
        ];
        machines[NEWSLETTER].manners.starttls = false;
        let lan = |third, last| IpAddr::V4(Ipv4Addr::new(10, 20, third, last));
        let mut clients = vec![
            Client { name: "billing".into(), address: lan(1, 40), role: Role::Application },
            Client { name: "monitor".into(), address: lan(1, 50), role: Role::Device },
        ];
        for index in 0..4 {
            let name = format!("printer{}", index + 1);
            clients.push(Client { name, address: lan(9, 20 + index), role: Role::Device });
        }
        let people = (0..accounts).map(|index| person(&mut dice, &company, index)).collect();
        World { company, machines, clients, people }
    }

    /// The company's mail domain.
    pub(super) fn domain(&self) -> String {
        format!("{}.example", self.company)
    }

    /// What an administrator would write down.
    pub(super) fn config(&self) -> String {
        let mut out = format!(
            "# The simulated company, as its administrator would declare it.\n[company]\n\
             networks = [\"203.0.113.0/24\", \"192.0.2.0/24\", \"10.20.0.0/16\", \"2001:db8:100::/48\"]\n\
             domains = [\"{0}.example\", \"news.{0}.example\"]\ntime_zone = \"{TIME_ZONE}\"\n",
            self.company
        );
        let mut host = |name: &str, address: IpAddr, role: Role| {
            let role = match role {
                Role::MailRelay => "mail_relay",
                Role::BulkSender => "bulk_sender",
                Role::Application => "application",
                Role::Device => "device",
                Role::Workstation => "workstation",
                Role::Unused => "unused",
            };
            let _ =
                write!(out, "\n[[host]]\nname = \"{name}\"\naddress = \"{address}\"\nrole = \"{role}\"\n");
        };
        for (name, address, role) in self.declared() {
            host(&name, address, role);
        }
        out
    }

    /// Hosts that are declared: all but the mail server that nobody commissioned yet.
    pub(super) fn declared(&self) -> Vec<(String, IpAddr, Role)> {
        let roles = [Role::MailRelay, Role::MailRelay, Role::Application, Role::BulkSender];
        let mut list = Vec::new();
        for (machine, role) in self.machines.iter().zip(roles) {
            list.push((machine.name.clone(), machine.address, role));
            list.extend(machine.v6.map(|v6| (format!("{}-v6", machine.name), v6, role)));
        }
        list.extend(self.clients.iter().map(|client| (client.name.clone(), client.address, client.role)));
        list
    }
}

fn person(dice: &mut Dice, company: &str, index: u32) -> Person {
    let count = names::FIRST.len() * names::LAST.len();
    let number = index as usize;
    let first = names::FIRST[(number * 7 + number / names::FIRST.len()) % names::FIRST.len()];
    let last = names::LAST[(number * 11) % names::LAST.len()];
    let more = if number < count / 60 { String::new() } else { (number * 60 / count + 1).to_string() };
    let floor = 100 + (number / 200) as u8 * 4 + (number % 4) as u8;
    Person {
        login: format!("{first}.{last}{more}@{company}.example"),
        office: IpAddr::V4(Ipv4Addr::new(10, 20, floor, 20 + (number / 4 % 50) as u8 * 4)),
        home: IpAddr::V4(Ipv4Addr::from(0xc613_0000 + (dice.bits() as u32 & 0x7fff))),
        relay: [RELAY_1, RELAY_2][number % 2],
    }
}

/// An address by which a phone carrier's customers come: few networks for very many people.
pub(super) fn carrier_client(dice: &mut Dice) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(198, 18, 200 + dice.below(12) as u8, dice.whole(1, 254) as u8))
}

/// An address of a hotel, a train, a customer's guest network: anywhere.
pub(super) fn hotel_client(dice: &mut Dice) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0xc613_0000 + (dice.bits() as u32 & 0xffff)))
}

/// An address of the networks that attackers come from.
pub(super) fn foreign_client(dice: &mut Dice) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0xc613_8000 + (dice.bits() as u32 & 0x7fff)))
}

/// Link address of a machine, the same for ever.
pub(super) fn link_address(address: IpAddr) -> [u8; 6] {
    let bits = match address {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64 ^ u128::from(v6) as u64,
    };
    let [a, b, c, d, ..] = mix(bits).to_be_bytes();
    [0x02, 0x5e, a, b, c, d]
}

/// What malware brings: a machine with its own way of opening connections.
pub(super) fn foreign_shape(dice: &mut Dice) -> &'static Shape {
    const COMMON: [&str; 8] =
        ["windows", "windows", "windows-old", "linux", "linux-old", "router", "freebsd", "mac"];
    shape(COMMON[dice.below(COMMON.len())])
}
