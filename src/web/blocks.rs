//! The company's address space as a map: who sends, who is under suspicion, how near a block is to being listed.
//!
//! *In*: addresses that were seen, incidents of the last week, declared networks. *Out*: one page; a network at a
//! time, cells along a Hilbert curve. *Bound*: 256 cells, `ADDRESSES_SHOWN` rows; the list of addresses is read at
//! most every [`KEPT`]. *Spec*: Hilbert maps of address space (Munroe 2006); escalation of blocklists: see [`RULES`].

use super::chart::{self, Cell};
use super::now::swatch;
use super::page::{self, count};
use super::reading::Trouble;
use super::senders::suspicion;
use super::{Dashboard, Viewer};
use crate::store::StoreError;
use crate::store::read::{Activity, IncidentFilter, Page, Reader};
use crate::time::{MICROS_PER_DAY, Timestamp};
use axum::extract::{Query, State};
use ipnet::{IpNet, Ipv4Net};
use maud::{Markup, html};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the list of addresses is kept.
const KEPT: Duration = Duration::from_secs(10);
/// Rows of addresses beside the map.
const ADDRESSES_SHOWN: usize = 16;
/// Days of abuse that blocklists count.
const RULE_DAYS: i64 = 7;
/// Incidents of that time that are looked at.
const INCIDENTS_READ: u32 = 1_000;

/// Addresses of a block that have to be listed within seven days until the whole block is: prefix length, number.
/// UCEPROTECT level 2 as published in 2024 down to /23, in 2021 for /22 and /21; other lists are alike.
const RULES: &[(u8, u64)] = &[(32, 1), (27, 1), (26, 2), (25, 3), (24, 4), (23, 6), (22, 15), (21, 25)];

/// What the page is drawn from.
pub struct Space {
    seen: BTreeMap<IpAddr, Activity>,
    /// Addresses with an incident in the last week, and blocks with the number of addresses that took part.
    accused: BTreeSet<IpAddr>,
    accused_blocks: Vec<(IpNet, u64, bool)>,
    open: BTreeSet<IpAddr>,
}

/// The last list of addresses.
#[derive(Default)]
pub struct Cache(Mutex<Option<(Instant, Arc<Space>)>>);

impl Cache {
    fn fresh(&self) -> Option<Arc<Space>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT).map(|(_, space)| Arc::clone(space))
    }

    fn keep(&self, space: &Arc<Space>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), Arc::clone(space)));
    }
}

impl Space {
    fn read(reader: &Reader) -> Result<Space, StoreError> {
        let mut seen = BTreeMap::new();
        for activity in reader.activity()? {
            // The two roads see the same mail: the busier one counts.
            let kept = seen.entry(activity.address).or_insert_with(|| activity.clone());
            kept.messages = kept.messages.max(activity.messages);
            kept.usual_per_day = kept.usual_per_day.max(activity.usual_per_day);
            kept.evidence_nats = kept.evidence_nats.max(activity.evidence_nats);
            kept.last_at = kept.last_at.max(activity.last_at);
        }
        let mut space =
            Space { seen, accused: BTreeSet::new(), accused_blocks: Vec::new(), open: BTreeSet::new() };
        let since = reader.newest()?.map(|newest| newest.saturating_sub(RULE_DAYS * MICROS_PER_DAY));
        let filter = IncidentFilter { since, ..IncidentFilter::default() };
        for incident in reader.incidents(&filter, Page { offset: 0, limit: INCIDENTS_READ })?.rows {
            let open = incident.last_change != "closed";
            if let Ok(address) = incident.sender_name.parse() {
                space.accused.insert(address);
                open.then(|| space.open.insert(address));
            } else if let Ok(block) = incident.sender_name.parse::<IpNet>() {
                let story = reader.incident(&incident.id)?;
                let alert = story.and_then(|mut story| story.alerts.pop());
                let took_part = alert.map_or(0, |alert| alert.blast_radius.addresses);
                space.accused_blocks.push((block, took_part, open));
            }
        }
        Ok(space)
    }

    /// Addresses of a network that abused in the last week, as a blocklist would count them.
    fn abused(&self, net: &IpNet) -> u64 {
        let single = within(&self.accused, net).count() as u64;
        let in_blocks =
            self.accused_blocks.iter().filter(|(block, ..)| net.contains(block)).map(|(_, n, _)| *n);
        single.max(in_blocks.sum())
    }

    fn active<'a>(&'a self, net: &'a IpNet) -> impl Iterator<Item = &'a Activity> {
        self.seen.range(net.network()..=net.broadcast()).map(|(_, activity)| activity)
    }

    fn cell(&self, net: IpNet, leads: bool) -> Cell {
        let (mut active, mut messages, mut evidence) = (0u64, 0u64, 0f64);
        for activity in self.active(&net) {
            active += 1;
            messages = messages.saturating_add(activity.messages);
            evidence = evidence.max(activity.evidence_nats);
        }
        let name =
            if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() };
        let open = within(&self.open, &net).next().is_some()
            || self
                .accused_blocks
                .iter()
                .any(|(block, _, open)| *open && (net.contains(block) || active > 0 && block.contains(&net)));
        let inside = self.accused_blocks.iter().any(|(block, ..)| active > 0 && block.contains(&net));
        let accused = inside || self.abused(&net) > 0 || evidence >= 2.0;
        let class = match (open, accused, active) {
            (true, ..) => "cell-open",
            (_, true, _) => "cell-suspect",
            (_, _, 0) => "cell-none",
            _ => "cell-active",
        };
        let level = if class == "cell-active" { 0.25 + 0.15 * (messages as f64 + 1.0).log10() } else { 1.0 };
        let what = match (open, accused, active) {
            (true, ..) => "incident open",
            (_, true, _) => "under suspicion or accused this week",
            (_, _, 0) => "silent",
            _ => "sends",
        };
        let path = match leads {
            true => Some(view_path(&net)),
            false if active > 0 => Some(page::sender_path("address", &net.addr().to_string())),
            false => None,
        };
        let says = if active > 0 {
            format!("{name}: {what}, {} messages", page::number(messages))
        } else {
            format!("{name}: {what}")
        };
        Cell { class, level: level.min(0.9999), says, path }
    }
}

/// Addresses of a set that are in a network.
fn within<'a>(set: &'a BTreeSet<IpAddr>, net: &IpNet) -> impl Iterator<Item = &'a IpAddr> {
    set.range(net.network()..=net.broadcast())
}

/// What the address says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    /// A network.
    pub net: String,
}

fn view_path(net: &IpNet) -> String {
    format!("/blocks?net={}", page::encoded(&net.to_string()))
}

/// `GET /blocks`.
pub async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Query(wanted): Query<Wanted>,
) -> Result<Markup, Trouble> {
    let space = match dashboard.blocks.fresh() {
        Some(space) => space,
        None => {
            let space = Arc::new(dashboard.reading.ask(Space::read).await?);
            dashboard.blocks.keep(&space);
            space
        }
    };
    let networks = networks(&dashboard.about.networks, &space);
    let asked = wanted.net.parse::<IpNet>().ok().map(|net| net.trunc());
    let chosen = asked.or_else(|| busiest(&networks, &space));
    let content = html! {
        h1 { "Blocks" }
        p.lead { "Your address space at a glance. A stolen block shows as a patch of red where all should be grey. Blocklists punish the whole block when enough of its addresses abuse." }
        (overview(&networks, &space, chosen.as_ref()))
        @match chosen {
            Some(IpNet::V4(net)) => (map(net, &space, &networks)),
            Some(net) => (listing(net, &space)),
            None => section.card.quiet { h2 { "No address was seen yet." } p { "Declare [company] networks to see the silent ones too." } },
        }
    };
    Ok(dashboard.page(&viewer, "Blocks", "/blocks", &content))
}

/// The declared networks, or the /24 and /64 blocks that were seen.
fn networks(declared: &[IpNet], space: &Space) -> Vec<IpNet> {
    if !declared.is_empty() {
        return declared.to_vec();
    }
    let around = |address: &IpAddr| IpNet::new(*address, if address.is_ipv4() { 24 } else { 64 }).ok();
    let blocks: BTreeSet<IpNet> = space.seen.keys().filter_map(around).map(|net| net.trunc()).collect();
    blocks.into_iter().take(crate::limits::WEB_ROWS_MAX).collect()
}

/// Where there is most to be seen: abuse of the last week, then open incidents, then activity.
fn busiest(networks: &[IpNet], space: &Space) -> Option<IpNet> {
    let open = |net: &IpNet| {
        within(&space.open, net).count()
            + space.accused_blocks.iter().filter(|(block, _, open)| *open && net.contains(block)).count()
    };
    let key = |net: &&IpNet| (net.addr().is_ipv4(), space.abused(net), open(net), space.active(net).count());
    networks.iter().max_by_key(key).copied()
}

fn overview(networks: &[IpNet], space: &Space, chosen: Option<&IpNet>) -> Markup {
    html! {
        section.card { div.scroll { table {
            thead { tr { th { "Network" } th.number { "Addresses that send" } th.number { "Accused this week" } th { "How near to a listing of its worst block" } } }
            tbody {
                @for net in networks {
                    @let active = space.active(net).count() as u64;
                    tr {
                        td.name { a href=(view_path(net)) aria-current=[(chosen == Some(net)).then_some("true")] { (net) } }
                        td.number { (page::number(active)) }
                        td.number { @if space.abused(net) > 0 { span.high { (page::number(space.abused(net))) } } @else { "0" } }
                        td { (nearness(&worst(net, space), space)) }
                    }
                }
            }
        } } }
    }
}

/// The block of a rule's size inside a network that is nearest to its limit.
fn worst(net: &IpNet, space: &Space) -> IpNet {
    let length = if net.addr().is_ipv4() { 24 } else { 64 };
    if net.prefix_len() >= length {
        return *net;
    }
    let inside = |address: &IpAddr| IpNet::new(*address, length).ok().map(|block| block.trunc());
    let of_addresses = within(&space.accused, net).filter_map(inside);
    let of_blocks = space.accused_blocks.iter().map(|(block, ..)| *block).filter(|block| net.contains(block));
    of_addresses.chain(of_blocks).max_by_key(|block| space.abused(block)).unwrap_or(*net)
}

/// Addresses of a prefix that get the whole prefix listed; `None` where no rule is known.
fn limit_of(net: &IpNet) -> Option<u64> {
    let IpNet::V4(v4) = net else { return None };
    RULES
        .iter()
        .rev()
        .find(|(length, _)| v4.prefix_len() <= *length)
        .map(|(_, limit)| *limit)
        .filter(|_| v4.prefix_len() >= 21)
}

fn nearness(net: &IpNet, space: &Space) -> Markup {
    let used = space.abused(net);
    html! {
        @match (used, limit_of(net)) {
            (0, _) => span.soft { "far: no abuse in seven days" },
            (used, None) => { (net) ": " (count(used, "address", "addresses")) " accused; no rule is known for its size" },
            (used, Some(limit)) => {
                @let says = format!("{}: {} accused, {limit} get it listed", net, count(used, "address", "addresses"));
                (chart::meter(used, limit, &says))
                div.small { @if used >= limit { span.critical { (says) } } @else { (says) } }
            },
        }
    }
}

/// Prefix length of the cells of a network's map: /24s of a large one, else down to 256 parts.
fn cell_length(length: u8) -> u8 {
    let wanted = match length {
        16..=20 => 24,
        other => (other + 8).min(32),
    };
    match (wanted - length) % 2 {
        0 => wanted,
        _ if wanted < 32 => wanted + 1,
        _ => wanted - 1,
    }
}

fn map(net: Ipv4Net, space: &Space, networks: &[IpNet]) -> Markup {
    let length = cell_length(net.prefix_len());
    let cells: Vec<Cell> = match net.subnets(length) {
        Ok(parts) => parts.map(|part| space.cell(IpNet::V4(part), length < 32)).collect(),
        Err(_) => Vec::new(),
    };
    let above = networks.iter().find(|wide| wide.contains(&IpNet::V4(net)) && **wide != IpNet::V4(net));
    html! {
        div.columns {
            section.card {
                div.head {
                    h2 { span.mono { (net) } }
                    span.soft.small { @if length < 32 { "each cell is a /" (length) ": choose one to come closer" } @else { "each cell is one address" } }
                }
                @if let Some(above) = above { p.small { a href=(view_path(above)) { "← all of " (above) } } }
                figure { (chart::hilbert(&cells, &format!("Map of {net}"))) }
                p.key {
                    span { (swatch("cell-none")) "silent" } span { (swatch("cell-active")) "sends, darker: more" }
                    span { (swatch("cell-suspect")) "suspicion, or accused this week" } span { (swatch("cell-open")) "incident open" }
                }
                p.small.soft { "Neighbours on the map are neighbours by number (a Hilbert curve from the upper left)." }
            }
            div {
                section.card {
                    h2 { "How near to a listing" }
                    p { (nearness(&worst(&IpNet::V4(net), space), space)) }
                    p.small.soft { "Counted as UCEPROTECT level 2 counts: addresses of one block that abused within seven days. A /24 is listed from 4 on, a /25 from 3, a /23 from 6." }
                }
                (addresses(&IpNet::V4(net), space))
            }
        }
    }
}

fn listing(net: IpNet, space: &Space) -> Markup {
    html! {
        section.card { h2 { span.mono { (net) } } p.soft { "IPv6 space is too wide to be drawn: addresses that send are listed." } }
        (addresses(&net, space))
    }
}

fn addresses(net: &IpNet, space: &Space) -> Markup {
    let mut list: Vec<&Activity> = space.active(net).collect();
    let total = list.len();
    let rank = |activity: &Activity| {
        (space.open.contains(&activity.address), space.accused.contains(&activity.address))
    };
    list.sort_by(|a, b| {
        rank(b)
            .cmp(&rank(a))
            .then(b.evidence_nats.total_cmp(&a.evidence_nats))
            .then(b.messages.cmp(&a.messages))
    });
    html! {
        section.card {
            div.head { h2 { "Addresses that send" } span.soft.small { (page::number(total as u64)) } }
            @if list.is_empty() { p.soft { "None: all of it is silent." } } @else {
                div.scroll { table.tight {
                    thead { tr { th { "Address" } th.number { "Suspicion" } th.number { "Messages" } th { "Last mail" } } }
                    tbody {
                        @for activity in list.iter().take(ADDRESSES_SHOWN) {
                            tr {
                                td.name { (page::sender("address", &activity.address.to_string())) @if space.open.contains(&activity.address) { " " span.state.open { "open" } } }
                                td.number { (suspicion(activity.evidence_nats)) }
                                td.number { (page::number(activity.messages)) }
                                td.nowrap { (page::time(Timestamp::from_micros(activity.last_at))) }
                            }
                        }
                    }
                } }
                @if total > ADDRESSES_SHOWN { p.small { a href=(format!("/senders?kind=address&q={}", page::encoded(&stem(net)))) { "Search them all" } } }
            }
        }
    }
}

/// What the names of most addresses of a network begin with.
fn stem(net: &IpNet) -> String {
    let name = net.network().to_string();
    match net {
        IpNet::V4(v4) => {
            let parts = usize::from(v4.prefix_len() / 8).clamp(1, 3);
            name.split('.').take(parts).map(|part| format!("{part}.")).collect()
        }
        IpNet::V6(_) => name.trim_end_matches(':').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn every_map_is_a_square_of_at_most_512_cells() {
        for length in 0..=32u8 {
            let cells = cell_length(length);
            assert!(
                cells <= 32 && cells >= length && (cells - length).is_multiple_of(2) && cells - length <= 9,
                "{length}"
            );
        }
        assert_eq!([16, 24, 8].map(cell_length), [24, 32, 16]);
    }

    #[test]
    fn the_rule_of_a_block_is_that_of_its_size() {
        let limits =
            ["192.0.2.0/24", "192.0.2.0/25", "192.0.2.0/30", "192.0.2.7/32", "192.0.0.0/22", "192.0.0.0/20"];
        assert_eq!(
            limits.map(|text| limit_of(&net(text))),
            [Some(4), Some(3), Some(1), Some(1), Some(15), None]
        );
        assert_eq!(limit_of(&net("2001:db8::/64")), None);
    }

    #[test]
    fn a_search_for_a_network_begins_with_its_address() {
        assert_eq!(stem(&net("10.20.0.0/16")), "10.20.");
        assert_eq!(stem(&net("203.0.113.0/24")), "203.0.113.");
        assert_eq!(stem(&net("2001:db8:100::/48")), "2001:db8:100");
    }
}
