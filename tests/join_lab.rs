//! Real MTAs deliver to real MTAs over a veth: what passes there and what the senders write into their logs are joined.
//!
//! Which message a view is of stands in its reverse-path, unique for each, which both roads have and the join does not
//! look at. Recipients are few and shared by all messages, so that a wrong pair is possible and is found: proven is that
//! no two views of different messages are matched, and none twice. Not proven is the same of two attempts of one message,
//! which do not occur here, nor which of the sessions under TLS a line belongs to, only that it was sent under TLS.
//!
//! Exact is what the receiver's answer, the Message-ID, or server, forward-path and second say. A refusal may hold no id at
//! all (Exim's `550 Unrouteable address`), and comes before a Message-ID passes: server, forward-path and second are then
//! all there is. Mail that was taken must be told by its answer or Message-ID alone.
//!
//! Needs root, `unshare`, `ip`, `openssl`, Python and Postfix; Exim, OpenSMTPD and Sendmail are fetched and unpacked below
//! /var/cache/portreeve-lab, and left out where they cannot be had. `PORTREEVE_JOIN_SESSIONS` (2) visits a pair of client
//! and server, in clear and again under TLS, `PORTREEVE_JOIN_SEED` (1).

#![allow(clippy::unwrap_used)] // a test fails loudly

mod servers_support;
mod tls_lab;

use portreeve::observation::{Reconciled, View};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use servers_support::{INSIDE, number};
use std::collections::{BTreeMap, BTreeSet};
use tls_lab::clients::{self, Mode};
use tls_lab::joined::{self, Joined, Message};
use tls_lab::lab::{self, Lab};
use tls_lab::mix::{self, Visit};
use tls_lab::places::{Client, Server};

/// Those that write logs, each from one address or from such as the log names.
const CLIENTS: [Client; 4] = [Client::Postfix, Client::Exim, Client::OpenSmtpd, Client::Sendmail];
/// Names a place in the list of recipients is drawn from.
const NAMES: u32 = 6;

#[test]
fn wire_and_log_of_real_servers_are_joined() {
    if std::env::var_os(INSIDE).is_none() {
        return lab::enter("wire_and_log_of_real_servers_are_joined");
    }
    let folder = lab::folder();
    lab::lay_network();
    let lab = Lab::start(folder.path(), &CLIENTS);
    let watched = lab::watched(
        || false,
        || {
            for mode in [Mode::Plain, Mode::Tls] {
                lab.converse(mode, &|client, server| visits(client, server, mode));
            }
        },
    );
    let joined = joined::join(&lab, watched.observations);
    let sums = print(&joined);
    println!("{:?}", joined.counters);
    for wrong in &joined.wrong {
        println!("wrong: {wrong}");
    }
    for piece in &joined.log_only {
        println!("log only: {piece:?}");
    }
    for fact in &joined.wire_only {
        println!("wire only: {fact:?}");
    }
    assert!(sums.clear.both > 0 && sums.tls.messages > 0, "nothing was sent");
    let exact = sums.clear.exact_percent();
    assert!(exact >= 99.5, "{exact:.2} % of the deliveries in clear are matched exactly");
    let certain = sums.clear.certain_percent();
    assert!(
        certain >= 99.5,
        "{certain:.2} % of the mail taken in clear is matched by its answer or Message-ID"
    );
    let matched = sums.tls.messages_percent();
    assert!(matched >= 98.0, "{matched:.2} % of the messages under TLS are matched");
    assert!(joined.wrong.is_empty(), "{} false matches", joined.wrong.len());
    assert!(joined.twins.is_empty(), "refusals of another message: {:#?}", joined.twins);
    assert!(joined.laid_at_tls.is_empty(), "sent in clear, matched to TLS: {:?}", joined.laid_at_tls);
    assert!(joined.wire_only.is_empty(), "{} told as never logged", joined.wire_only.len());
    assert!(joined.log_only.is_empty(), "{} told as never passed", joined.log_only.len());
}

/// One frame in so many is lost to the sensor.
const LOST_OF: u32 = 100;

#[test]
fn unlogged_mail_is_told_and_lost_frames_accuse_nobody() {
    if std::env::var_os(INSIDE).is_none() {
        return lab::enter("unlogged_mail_is_told_and_lost_frames_accuse_nobody");
    }
    let folder = lab::folder();
    lab::lay_network();
    let lab = Lab::start(folder.path(), &CLIENTS);
    let mut dice = ChaCha8Rng::seed_from_u64(number("PORTREEVE_JOIN_SEED", 1));
    let watched = lab::watched(
        move || dice.random_range(0..LOST_OF) == 0,
        || {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    lab.converse(Mode::Plain, &|client, server| visits(client, server, Mode::Plain));
                });
                for server in lab.servers() {
                    clients::past_the_log(lab.folder, Client::Postfix, server, &unlogged(server));
                }
            });
            lab.converse(Mode::Tls, &|client, server| visits(client, server, Mode::Tls));
        },
    );
    let joined = joined::join(&lab, watched.observations);
    print(&joined);
    println!("{:?}", joined.counters);
    // Known by its recipients: a lost `MAIL` leaves it without a reverse-path.
    let targets: BTreeSet<u64> = (0..100).map(|at| joined::digest_of(&target(at))).collect();
    let seen = joined.passed.iter().filter(|path| targets.contains(path)).count();
    let told = |fact: &&Reconciled| fact.recipient.is_some_and(|path| targets.contains(&path));
    let (unlogged, ordinary): (Vec<_>, Vec<_>) = joined.wire_only.iter().partition(told);
    println!(
        "unlogged: {} told of {seen} seen; {} others told as never logged",
        unlogged.len(),
        ordinary.len()
    );
    // A line whose frames were lost may fit a session under TLS, or the refusal of another message to the same recipient in
    // the same words: neither holds an id, and both are only told.
    println!(
        "{} lines of mail in clear given to sessions under TLS, {} refusals to their twins",
        joined.laid_at_tls.len(),
        joined.twins.len()
    );
    assert!(joined.wrong.is_empty(), "{:#?}", joined.wrong);
    assert!(seen > 0, "nothing passed the log");
    assert_eq!(unlogged.len(), seen, "unlogged mail told");
    assert!(ordinary.is_empty(), "{ordinary:#?}");
}

/// The recipients of unlogged mail are nobody else's.
fn target(at: usize) -> String {
    format!("n{at}-target@example.org")
}

/// One message in about sixty of all, by a program that writes no log, to people of its own.
fn unlogged(server: Server) -> Vec<Visit> {
    let count = number("PORTREEVE_JOIN_SESSIONS", 2).div_ceil(2);
    let of_its_own = |mut visit: Visit| {
        visit.truncate(1);
        for (at, to) in visit.iter_mut().flat_map(|letter| &mut letter.to).enumerate() {
            *to = target(at);
        }
        visit
    };
    let mut drawn = visits(Client::Python, server, Mode::Plain);
    drawn.truncate(count as usize);
    drawn.into_iter().map(of_its_own).collect()
}

/// What a client is to say to a server, the same whenever it is asked.
fn visits(client: Client, server: Server, mode: Mode) -> Vec<Visit> {
    let parts = [server.octet(), client as u8, mode as u8].map(u64::from);
    let seed =
        parts.iter().fold(number("PORTREEVE_JOIN_SEED", 1), |seed, part| seed.wrapping_mul(100) + part);
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut visits = mix::visits(number("PORTREEVE_JOIN_SESSIONS", 2), false, &mut dice);
    for (number, letter) in visits.iter_mut().flatten().enumerate() {
        let tag = Message { client, server, mode, number }.tag();
        let refused = if letter.from.starts_with("refused-") { "refused-" } else { "" };
        letter.from = format!("{refused}route-{tag}@client.example.net");
        for (at, to) in letter.to.iter_mut().enumerate() {
            let known = if to.starts_with("unknown") { "unknown" } else { "n" };
            *to = format!("{known}{at}-{}@example.org", dice.random_range(0..NAMES));
        }
    }
    visits
}

/// What became of the deliveries of a row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// Deliveries that passed in clear.
    wire: usize,
    /// Deliveries that the log has.
    log: usize,
    /// Deliveries that both have.
    both: usize,
    /// Deliveries that both have and the server took, and those of them matched by the answer or the Message-ID.
    taken: [usize; 2],
    /// Matched by the answer, the Message-ID, place and second, a session.
    ways: [usize; 4],
    /// Messages that the log has.
    messages: usize,
    /// Messages all of whose lines are matched by a session.
    messages_matched: usize,
}

impl Row {
    fn exact_percent(&self) -> f64 {
        100.0 * self.ways[..3].iter().sum::<usize>() as f64 / self.both as f64
    }

    fn certain_percent(&self) -> f64 {
        let [all, certain] = self.taken;
        100.0 * certain as f64 / all as f64
    }

    fn by_answer_percent(&self) -> f64 {
        100.0 * (self.ways[0] + self.ways[1]) as f64 / self.both as f64
    }

    fn messages_percent(&self) -> f64 {
        100.0 * self.messages_matched as f64 / self.messages as f64
    }

    fn add(&mut self, other: &Row) {
        self.wire += other.wire;
        self.log += other.log;
        self.both += other.both;
        self.ways.iter_mut().zip(other.ways).for_each(|(sum, one)| *sum += one);
        self.taken.iter_mut().zip(other.taken).for_each(|(sum, one)| *sum += one);
        self.messages += other.messages;
        self.messages_matched += other.messages_matched;
    }

    fn print(&self, name: &str) {
        let [reply, id, path, session] = self.ways;
        print!("{name:<38} {:>6} {:>6} {:>6}", self.wire, self.log, self.both);
        print!("  {reply:>6} {id:>4} {path:>4} {session:>7}");
        println!("  {:>5} of {:>5}", self.messages_matched, self.messages);
    }
}

struct Sums {
    clear: Row,
    tls: Row,
}

/// Prints a row for each client, server and version; returns the sums.
fn print(joined: &Joined) -> Sums {
    let mut messages: BTreeMap<Message, Row> = BTreeMap::new();
    let mut passed: BTreeMap<_, usize> = BTreeMap::new();
    for piece in &joined.wire {
        messages.entry(piece.0).or_default().wire += 1;
        *passed.entry(piece).or_default() += 1;
    }
    for (place, piece) in joined.log.iter().enumerate() {
        let row = messages.entry(piece.0).or_default();
        row.log += 1;
        if let Some(left) = passed.get_mut(piece).filter(|left| **left > 0) {
            *left -= 1;
            row.both += 1;
            if joined.taken[place] {
                let certain = [View::MatchedByReply, View::MatchedByMessageId].map(Some);
                row.taken[0] += 1;
                row.taken[1] += usize::from(certain.contains(&joined.matched.get(&place).copied()));
            }
        }
        if let Some(view) = joined.matched.get(&place) {
            row.ways[way(*view)] += 1;
        }
    }
    println!(
        "{:<38} {:>6} {:>6} {:>6}  {:>6} {:>4} {:>4} {:>7}  messages by session",
        "", "wire", "log", "both", "answer", "id", "path", "session"
    );
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    let mut sums = Sums { clear: Row::default(), tls: Row::default() };
    for (message, row) in &mut messages {
        row.messages = usize::from(row.log > 0);
        row.messages_matched = usize::from(row.log > 0 && row.ways[3] == row.log);
        let tls = (message.mode == Mode::Tls).then_some(message.server.tls);
        rows.entry((message.client, message.server.mta, tls)).or_default().add(row);
        if tls.is_some() { sums.tls.add(row) } else { sums.clear.add(row) }
    }
    for ((client, mta, tls), row) in &rows {
        let how = tls.map_or("in clear".to_owned(), |minor| format!("under TLS 1.{minor}"));
        row.print(&format!("{client:?} to {mta:?} {how}"));
    }
    sums.clear.print("in clear");
    sums.tls.print("under TLS");
    println!(
        "in clear: {:.2} % matched exactly, {:.2} % by answer or Message-ID, {:.2} % of the mail that was taken; \
         messages under TLS: {:.2} %; false: {}",
        sums.clear.exact_percent(),
        sums.clear.by_answer_percent(),
        sums.clear.certain_percent(),
        sums.tls.messages_percent(),
        joined.wrong.len()
    );
    sums
}

fn way(view: View) -> usize {
    match view {
        View::MatchedByReply => 0,
        View::MatchedByMessageId => 1,
        View::MatchedByPath => 2,
        View::MatchedBySession => 3,
        View::WireOnly | View::LogOnly => panic!("{view:?} is no match"),
    }
}
