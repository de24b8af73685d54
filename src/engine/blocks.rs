//! The blocks around an address: which prefixes are judged as one sender each, and which of their addresses woke.
//!
//! *In*: addresses that nobody declared and that usually are silent. *Out*: blocks, narrowest first, and the
//! wake-up scan of the narrowest that has one. *Bound*: [`LEVELS_MAX`] blocks an address; `limits::WAKES_MAX`
//! prefixes with wake-ups. *Spec*: docs/detection.md, blocks.
//!
//! ```text
//!  192.0.2.7 ─▶ /24 ─▶ /20 ─▶ /16      2001:db8::7 ─▶ /64 ─▶ /48      none wider than the network that was declared
//! ```
//!
//! A wider block speaks only for what none of its parts explains: mail of a part that was accused stays with it, and
//! a wider block is accused only where three of its parts take part.

use super::Engine;
use super::familiarity::Familiarity;
use super::marks::Marks;
use super::sender::{QUIET_PER_DAY, SenderId, SenderKey};
use super::wakes::{DORMANT_SECONDS, Scan, Wakes};
use crate::limits;
use crate::observation::Observation;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Blocks around one address at most.
pub const LEVELS_MAX: usize = 3;
/// Prefix lengths of the blocks that are judged.
const LEVELS_V4: [u8; LEVELS_MAX] = [24, 20, 16];
const LEVELS_V6: [u8; 2] = [64, 48];
/// Addresses, or parts, that must take part before a block is accused.
pub const PARTS_MIN: usize = 3;

/// The narrowest block an address belongs to: IPv4 /24, IPv6 /64.
pub fn block_of(address: IpAddr) -> IpNet {
    prefix(address, levels(address)[0])
}

fn levels(address: IpAddr) -> &'static [u8] {
    match address {
        IpAddr::V4(_) => &LEVELS_V4,
        IpAddr::V6(_) => &LEVELS_V6,
    }
}

fn prefix(address: IpAddr, length: u8) -> IpNet {
    IpNet::new_assert(address, length).trunc()
}

/// How many parts of a block some addresses are in: addresses of the narrowest blocks, narrowest blocks of others.
pub fn parts(block: &IpNet, addresses: &BTreeSet<IpAddr>) -> usize {
    let narrowest = levels(block.addr())[0];
    if block.prefix_len() >= narrowest {
        return addresses.len();
    }
    addresses.iter().map(|address| prefix(*address, narrowest)).collect::<BTreeSet<_>>().len()
}

impl Engine {
    /// The blocks around an address, narrowest first, none wider than the company's own network around it.
    pub(super) fn blocks_around(&self, address: IpAddr) -> Vec<IpNet> {
        let own = self.company.network_of(address).map_or(u8::MAX, |network| network.prefix_len());
        let mut blocks: Vec<IpNet> = Vec::with_capacity(LEVELS_MAX);
        for (index, level) in levels(address).iter().enumerate() {
            let length = if index == 0 { *level } else { own.max(*level) };
            if blocks.last().is_none_or(|narrower| length < narrower.prefix_len()) {
                blocks.push(prefix(address, length));
            }
        }
        blocks
    }

    /// The blocks that a delivery of an address counts for beside the address; none where the address was declared
    /// or is no quiet one. An address of IPv6 is no sender of its own: its /64 is, and is judged as such.
    pub(super) fn blocks_fed(&self, observation: &Observation) -> Vec<IpNet> {
        let Some(address) = observation.sender.address else { return Vec::new() };
        if self.company.host_of(address).is_some() {
            return Vec::new();
        }
        let id = match address {
            IpAddr::V4(_) => SenderId::Address(address),
            IpAddr::V6(_) => SenderId::Block(block_of(address)),
        };
        if !self.quiet(&SenderKey { vantage: observation.vantage, id }) {
            return Vec::new();
        }
        let mut blocks = self.blocks_around(address);
        blocks.retain(|block| address.is_ipv4() || block.prefix_len() < LEVELS_V6[0]);
        blocks
    }

    fn quiet(&self, key: &SenderKey) -> bool {
        self.senders.get(key).is_none_or(|sender| sender.usual_per_day() < QUIET_PER_DAY)
    }

    /// An open incident of a block around a sender, the narrowest one.
    pub(super) fn open_block_around(&self, id: &SenderId) -> Option<SenderId> {
        let (address, own) = match id {
            SenderId::Address(address) => (*address, u8::MAX),
            SenderId::Block(block) => (block.addr(), block.prefix_len()),
            SenderId::Account(_) | SenderId::Host(_) => return None,
        };
        let wider = self.blocks_around(address).into_iter().filter(|block| block.prefix_len() < own);
        wider.map(SenderId::Block).find(|block| self.incidents.contains_key(block))
    }

    /// Counts a sender that wakes for the block around it: an address of IPv4 for its /24, a /64 of IPv6 for its /48.
    /// `None` where it was awake, or it is too early to tell.
    pub(super) fn woke(
        &mut self,
        observation: &Observation,
        familiarity: Familiarity,
        marks: Marks,
    ) -> Option<(SenderId, Scan)> {
        let (vantage, at) = (observation.vantage, observation.at);
        let address = observation.sender.address?;
        if self.company.host_of(address).is_some() {
            return None;
        }
        let (id, prefix) = match address {
            IpAddr::V4(_) => (SenderId::Address(address), block_of(address)),
            IpAddr::V6(_) => (SenderId::Block(block_of(address)), *self.blocks_around(address).get(1)?),
        };
        let known = self.senders.get(&SenderKey { vantage, id });
        if known.is_some_and(|sender| at.seconds_since(sender.last_at) < DORMANT_SECONDS) {
            return None;
        }
        let since = self.roads[vantage as usize].first_at().unwrap_or(at);
        if self.wakes.len() >= limits::WAKES_MAX && !self.wakes.contains_key(&(vantage, prefix)) {
            self.forget_oldest_wakes();
        }
        let wakes = self.wakes.entry((vantage, prefix)).or_insert_with(|| Wakes::new(since, at));
        let scan = wakes.note(at, marks.novel != Some(false));
        familiarity.settled.then_some((SenderId::Block(prefix), scan))
    }

    fn forget_oldest_wakes(&mut self) {
        let oldest = self.wakes.iter().min_by_key(|(key, wakes)| (wakes.last_at(), **key));
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.wakes.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::InstallKey;
    use super::super::model::Model;
    use super::super::{Engine, Settings};
    use super::*;
    use crate::company::Company;
    use crate::time::CivilClock;
    use std::sync::Arc;

    #[test]
    fn blocks_grow_up_to_the_declared_network() {
        let blocks = |networks: &[&str], address: &str| {
            let networks = networks.iter().map(|net| net.parse().unwrap()).collect();
            let company = Arc::new(Company::new(networks, &[], vec![], CivilClock::utc()));
            let engine =
                Engine::new(company, Model::shipped().unwrap(), Settings::default(), InstallKey([1; 16]));
            let blocks = engine.blocks_around(address.parse().unwrap());
            blocks.iter().map(IpNet::to_string).collect::<Vec<_>>()
        };
        assert_eq!(blocks(&[], "10.1.17.9"), ["10.1.17.0/24", "10.1.16.0/20", "10.1.0.0/16"]);
        assert_eq!(blocks(&["198.51.100.0/24"], "198.51.100.9"), ["198.51.100.0/24"]);
        assert_eq!(blocks(&["198.51.100.0/28"], "198.51.100.9"), ["198.51.100.0/24"]);
        assert_eq!(
            blocks(&["198.18.0.0/18"], "198.18.1.9"),
            ["198.18.1.0/24", "198.18.0.0/20", "198.18.0.0/18"]
        );
        assert_eq!(blocks(&["198.18.0.0/22"], "198.18.1.9"), ["198.18.1.0/24", "198.18.0.0/22"]);
        assert_eq!(blocks(&["2001:db8::/32"], "2001:db8:1:2::9"), ["2001:db8:1:2::/64", "2001:db8:1::/48"]);
        assert_eq!(blocks(&["2001:db8:1:2::/64"], "2001:db8:1:2::9"), ["2001:db8:1:2::/64"]);
    }

    #[test]
    fn parts_of_a_narrow_block_are_addresses_and_of_a_wide_one_blocks() {
        let addresses = ["10.1.17.9", "10.1.17.10", "10.1.18.1"].map(|text| text.parse().unwrap()).into();
        assert_eq!(parts(&"10.1.17.0/24".parse().unwrap(), &addresses), 3);
        assert_eq!(parts(&"10.1.16.0/20".parse().unwrap(), &addresses), 2);
    }
}
