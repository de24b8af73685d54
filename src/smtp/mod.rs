//! ★ SMTP on the wire: packets become observations.
//!
//! *In*: [`Packet`]s in the order of the capture. *Out*: [`Observation`]s. *Bound*: the flow table's and
//! each session's, see `flow` and `session`; all state is in [`WireRoad`]. *Spec*: RFC 5321 and its
//! extensions.
//!
//! ```text
//!  packet ─ link ─▶ IP ─▶ segment ─▶ connection ─▶ octets in order, gaps ─▶ session ─▶ transaction
//! ```
//!
//! Time is the packets': the same packets give the same observations.

mod answer;
pub mod attachment;
pub mod auth;
mod chunk;
pub mod command;
pub mod content;
mod counters;
pub mod data;
mod end;
mod hello;
pub mod line;
pub mod opaque;
mod pending;
mod proxy;
pub mod reply;
pub mod session;
mod starttls;
mod step;
pub mod transaction;

use crate::capture::fragments::Fragments;
use crate::capture::link::{Found, FragmentSlice, IpSlice, TUNNELS_MAX, decode};
use crate::capture::{Packet, Undecodable};
use crate::company::Company;
use crate::flow::connection::Surroundings;
use crate::flow::table::{Class, FlowKey, Place, Table};
use crate::flow::{Budget, Connection, Event, Flags, Phase, Segment, Side};
use crate::limits;
use crate::observation::{
    Attempt, AttemptOutcome, Delivery, Fact, Message, Observation, Oddity, SenderKeys, SessionEnd, Vantage,
};
use crate::time::Timestamp;
pub use counters::WireCounters;
use opaque::replies;
use session::Session;
use std::net::IpAddr;
use std::sync::Arc;

/// Silence after which an SMTP session is over, seconds. RFC 5321 section 4.5.3.2 lets a client wait ten
/// minutes for the answer to end-of-data.
const SESSION_IDLE_SECONDS: f64 = 900.0;
/// Silence after which a SYN is unanswered, and a closed connection is forgotten, seconds: as long as
/// Linux tries.
const FLEETING_IDLE_SECONDS: f64 = 130.0;
/// Protocol number of TCP.
const TCP: u8 = 6;

/// What the wire road is told.
#[derive(Clone, Debug)]
pub struct WireSettings {
    /// Ports of responders that speak SMTP.
    pub ports: Vec<u16>,
    /// Octets of each message that are read for what it carries; 0 for none.
    pub content_bytes_max: usize,
}

impl Default for WireSettings {
    fn default() -> WireSettings {
        WireSettings { ports: vec![25], content_bytes_max: 64 << 10 }
    }
}

/// Where a session puts what it finds.
pub struct Outlet<'a> {
    /// When the packet was captured that settles what is found now.
    pub at: Timestamp,
    /// Only the client's side is captured.
    pub one_sided: bool,
    /// Whether anything of the client was captured.
    pub originator_seen: bool,
    /// What the road was told.
    pub settings: &'a WireSettings,
    /// Octets that all excerpts hold.
    pub held: &'a content::Held,
    /// How long the replies of servers are.
    pub replies: &'a mut replies::Servers,
    /// What was found.
    pub out: &'a mut Vec<Observation>,
    /// What is counted.
    pub counters: &'a mut WireCounters,
}

impl Outlet<'_> {
    fn push(&mut self, at: Timestamp, fact: Fact) {
        // The session signs with the sender's keys when it is done.
        self.out.push(Observation { at, vantage: Vantage::Wire, sender: SenderKeys::default(), fact });
    }

    fn deliver(&mut self, delivery: Delivery) {
        self.push(self.at, Fact::Delivery(delivery));
    }

    fn deliver_at(&mut self, at: Timestamp, delivery: Delivery) {
        self.push(at, Fact::Delivery(delivery));
    }

    fn message(&mut self, message: Message) {
        self.push(self.at, Fact::Message(message));
    }
}

/// One connection of the company.
#[derive(Debug)]
struct WireFlow {
    originator: IpAddr,
    responder: (IpAddr, u16),
    connection: Connection,
    /// Shape of its SYN.
    syn: Option<u64>,
    session: Option<Box<Session>>,
}

/// The road from packets to observations.
pub struct WireRoad {
    company: Arc<Company>,
    settings: WireSettings,
    fragments: Fragments,
    table: Table<WireFlow>,
    budget: Budget,
    held: content::Held,
    replies: replies::Servers,
    counters: WireCounters,
}

impl WireRoad {
    /// A road for the mail of one company.
    pub fn new(company: Arc<Company>, settings: WireSettings) -> WireRoad {
        WireRoad {
            company,
            settings,
            fragments: Fragments::default(),
            table: Table::default(),
            budget: Budget::default(),
            held: content::Held::default(),
            replies: replies::Servers::default(),
            counters: WireCounters::default(),
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> &WireCounters {
        &self.counters
    }

    /// Takes one frame and adds what it settles.
    pub fn packet(&mut self, packet: &Packet<'_>, out: &mut Vec<Observation>) {
        self.counters.packets += 1;
        self.counters.bytes += packet.bytes.len() as u64;
        match decode(packet) {
            Ok(Found::Whole(ip)) => self.datagram(&ip, packet.at, out),
            Ok(Found::Fragment(piece)) => self.fragment(&piece, packet.at, out),
            Err(reason) => self.counters.undecodable.count(reason),
        }
        self.expire(packet.at, out);
    }

    fn datagram(&mut self, ip: &IpSlice<'_>, at: Timestamp, out: &mut Vec<Observation>) {
        if ip.protocol != TCP {
            return self.counters.undecodable.count(Undecodable::NotTcp);
        }
        match Segment::read(ip) {
            Some(segment) => self.segment(&segment, at, out),
            None => self.counters.undecodable.count(Undecodable::BadTcp),
        }
    }

    fn fragment(&mut self, piece: &FragmentSlice<'_>, at: Timestamp, out: &mut Vec<Observation>) {
        self.counters.undecodable.count(Undecodable::Fragment);
        let mut whole = self.fragments.add(piece, at);
        // What was put together may be a tunnel with fragments in it.
        for _ in 0..TUNNELS_MAX {
            let Some(assembled) = whole else { break };
            whole = match assembled.found() {
                Ok(Found::Whole(ip)) => {
                    self.datagram(&ip, at, out);
                    None
                }
                Ok(Found::Fragment(piece)) => self.fragments.add(&piece, at),
                Err(reason) => {
                    self.counters.undecodable.count(reason);
                    None
                }
            };
        }
        self.counters.fragments = self.fragments.counters();
    }

    /// Says that nothing more comes from before `now`, though no packet says so: what was silent for too long ends.
    pub fn quiet_until(&mut self, now: Timestamp, out: &mut Vec<Observation>) {
        self.expire(now, out);
    }

    /// From the next connection on, another company's mail is looked for.
    pub fn set_company(&mut self, company: Arc<Company>) {
        self.company = company;
    }

    /// From the next packet on, these settings hold.
    pub fn set_settings(&mut self, settings: WireSettings) {
        self.settings = settings;
    }

    /// The input ended: closes what is open.
    pub fn finish(&mut self, out: &mut Vec<Observation>) {
        for class in [Class::Established, Class::Fleeting] {
            while let Some((place, at)) = self.table.oldest(class) {
                self.close(place, at, SessionEnd::InputEnded, out);
            }
        }
    }

    fn segment(&mut self, segment: &Segment<'_>, at: Timestamp, out: &mut Vec<Observation>) {
        self.counters.undecodable.cut_segments += u64::from(segment.cut_bytes > 0);
        let Some((place, side)) = self.find(segment, at, out) else { return };
        let Some(flow) = self.table.touch(place, at) else { return };
        std::hint::black_box(flow.session.as_deref().map(Session::warm));
        if segment.flags.has(Flags::SYN) && side == Side::Originator && !segment.flags.has(Flags::ACK) {
            flow.syn = Some(segment.syn_digest());
        }
        let WireFlow { originator, responder, connection, syn, session } = flow;
        let before = connection.phase();
        let conflicts = self.counters.flow.conflicting_overlaps;
        // Both counters are borrowed apart while the segment is taken.
        let mut flow_counters = std::mem::take(&mut self.counters.flow);
        let mut around = Surroundings { at, budget: &mut self.budget, counters: &mut flow_counters };
        let one_sided = connection.is_alone(Side::Originator);
        let originator_seen = side == Side::Originator || connection.is_seen(Side::Originator);
        let mut outlet = Outlet {
            at,
            one_sided,
            originator_seen,
            settings: &self.settings,
            held: &self.held,
            replies: &mut self.replies,
            out,
            counters: &mut self.counters,
        };
        let midstream = connection.is_midstream();
        connection.segment(side, segment, &mut around, &mut |event| {
            let session = session.get_or_insert_with(|| {
                Box::new(if midstream {
                    Session::midstream(*originator, *responder, at, &mut outlet)
                } else {
                    Session::new(*originator, *responder, *syn, at)
                })
            });
            session.event(event, &mut outlet);
        });
        if flow_counters.conflicting_overlaps > conflicts
            && let Some(session) = session
        {
            session.note(Oddity::ConflictingOverlap, &mut outlet);
        }
        self.counters.flow = flow_counters;
        self.progress(place, before, at, out);
    }

    /// The connection of a segment, new where need be, and which end sent it.
    fn find(
        &mut self,
        segment: &Segment<'_>,
        at: Timestamp,
        out: &mut Vec<Observation>,
    ) -> Option<(Place, Side)> {
        let source = (segment.source, segment.source_port);
        let destination = (segment.destination, segment.destination_port);
        let to_server = self.settings.ports.contains(&destination.1);
        let from_server = self.settings.ports.contains(&source.1);
        if !to_server && !from_server {
            self.counters.other_ports += 1;
            return None;
        }
        let opens = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        if to_server && let Some(place) = self.table.find(&FlowKey::new(source, destination)) {
            if !(opens && self.is_over(place)) {
                return Some((place, Side::Originator));
            }
            self.close(place, at, SessionEnd::Closed, out);
        }
        if from_server && let Some(place) = self.table.find(&FlowKey::new(destination, source)) {
            let superseded = self
                .table
                .peek(place)
                .is_some_and(|flow| flow.connection.is_superseded_by(Side::Responder, segment));
            if !superseded {
                return Some((place, Side::Responder));
            }
            self.close(place, at, SessionEnd::Closed, out);
        }
        // With a server's port on both sides, SYN tells who opened; else the lower of both is the server's.
        let answers = segment.flags.has(Flags::SYN) && segment.flags.has(Flags::ACK);
        let side = if to_server && !(from_server && (answers || (!opens && source.1 < destination.1))) {
            Side::Originator
        } else {
            Side::Responder
        };
        let (originator, responder) =
            if side == Side::Originator { (source, destination) } else { (destination, source) };
        if !self.company.sends(originator.0, responder.0) {
            self.counters.foreign += 1;
            return None;
        }
        if segment.flags.has(Flags::RST) || (segment.payload.is_empty() && !segment.flags.has(Flags::SYN)) {
            self.counters.stray += 1;
            return None;
        }
        let connection = Connection::new(side, segment);
        self.counters.flows += 1;
        self.counters.flows_midstream += u64::from(connection.is_midstream());
        self.make_room(Class::Fleeting, limits::FLOWS_HALF_OPEN_MAX, out);
        let flow = WireFlow { originator: originator.0, responder, connection, syn: None, session: None };
        let key = FlowKey::new(originator, responder);
        Some((self.table.insert(key, Class::Fleeting, at, flow), side))
    }

    fn is_over(&mut self, place: Place) -> bool {
        self.table
            .peek(place)
            .is_some_and(|flow| matches!(flow.connection.phase(), Phase::Closed | Phase::Refused))
    }

    /// Follows what a segment did to its connection.
    fn progress(&mut self, place: Place, before: Phase, at: Timestamp, out: &mut Vec<Observation>) {
        let Some(flow) = self.table.peek(place) else { return };
        let (phase, two_way) = (flow.connection.phase(), flow.connection.is_two_way());
        if before == phase
            && (phase != Phase::Open || two_way == (self.table.class(place) == Class::Established))
        {
            return;
        }
        match phase {
            Phase::Refused => {
                self.counters.refused += 1;
                out.push(attempt(flow, at, AttemptOutcome::Refused));
            }
            Phase::Open | Phase::Closed
                if matches!(before, Phase::SynSent | Phase::SynReceived) && phase == Phase::Open =>
            {
                self.counters.answered += 1;
                out.push(attempt(flow, at, AttemptOutcome::Answered));
            }
            _ => {}
        }
        match phase {
            Phase::Open if two_way => {
                self.make_room(Class::Established, limits::FLOWS_MAX, out);
                self.table.reclassify(place, Class::Established);
            }
            Phase::Closed => {
                let ended = if flow.connection.saw_reset() { SessionEnd::Reset } else { SessionEnd::Closed };
                self.end_session(place, at, ended, out);
                self.make_room(Class::Fleeting, limits::FLOWS_HALF_OPEN_MAX, out);
                self.table.reclassify(place, Class::Fleeting);
            }
            _ => {}
        }
    }

    fn make_room(&mut self, class: Class, flows_max: usize, out: &mut Vec<Observation>) {
        while self.table.length(class) >= flows_max {
            let Some((place, at)) = self.table.oldest(class) else { return };
            match class {
                Class::Fleeting => self.counters.evicted_half_open += 1,
                Class::Established => self.counters.evicted_open += 1,
            }
            self.end_session(place, at, SessionEnd::Expired, out);
            self.table.remove(place);
        }
    }

    /// Closes what has been silent for too long.
    fn expire(&mut self, now: Timestamp, out: &mut Vec<Observation>) {
        for (class, idle) in
            [(Class::Fleeting, FLEETING_IDLE_SECONDS), (Class::Established, SESSION_IDLE_SECONDS)]
        {
            while let Some((place, last)) = self.table.oldest(class) {
                if now.seconds_since(last) < idle {
                    break;
                }
                self.close(place, last.plus_seconds(idle), SessionEnd::Expired, out);
            }
        }
    }

    /// Takes a connection out of the table.
    fn close(&mut self, place: Place, at: Timestamp, ended: SessionEnd, out: &mut Vec<Observation>) {
        self.end_session(place, at, ended, out);
        if let Some(flow) = self.table.remove(place)
            && flow.connection.phase() == Phase::SynSent
        {
            self.counters.unanswered += 1;
            out.push(attempt(&flow, at, AttemptOutcome::Unanswered));
        }
    }

    fn end_session(&mut self, place: Place, at: Timestamp, ended: SessionEnd, out: &mut Vec<Observation>) {
        let Some(flow) = self.table.peek_mut(place) else { return };
        let ended = match ended {
            SessionEnd::Expired if flow.connection.saw_reset() => SessionEnd::Reset,
            SessionEnd::Expired | SessionEnd::InputEnded if flow.connection.saw_finish() => {
                SessionEnd::Closed
            }
            ended => ended,
        };
        let WireFlow { connection, session, .. } = flow;
        let mut flow_counters = std::mem::take(&mut self.counters.flow);
        let mut around = Surroundings { at, budget: &mut self.budget, counters: &mut flow_counters };
        let mut outlet = Outlet {
            at,
            one_sided: !connection.is_seen(Side::Responder),
            originator_seen: connection.is_seen(Side::Originator),
            settings: &self.settings,
            held: &self.held,
            replies: &mut self.replies,
            out,
            counters: &mut self.counters,
        };
        connection.flush(&mut around, &mut |event: Event<'_>| {
            if let Some(session) = session.as_mut() {
                session.event(event, &mut outlet);
            }
        });
        if let Some(session) = session.take() {
            let counters = &mut outlet.counters;
            *match (connection.is_seen(Side::Originator), connection.is_seen(Side::Responder)) {
                (true, false) => &mut counters.flows_originator_only,
                (false, true) => &mut counters.flows_responder_only,
                _ => &mut counters.flows_two_way,
            } += 1;
            session.finish(ended, &mut outlet);
        }
        self.counters.flow = flow_counters;
    }
}

fn attempt(flow: &WireFlow, at: Timestamp, outcome: AttemptOutcome) -> Observation {
    let machine = crate::observation::Machine { helo: None, syn: flow.syn };
    Observation {
        at,
        vantage: Vantage::Wire,
        sender: SenderKeys { address: Some(flow.originator), machine, ..SenderKeys::default() },
        fact: Fact::Attempt(Attempt { responder: flow.responder.0, outcome }),
    }
}
