//! Input for measuring speed: a large capture with many connections at once, a long log.
//!
//! *In*: how much. *Out*: one capture, or one log. The dialogues and lines are those of the simulated worlds;
//! messages have the sizes of real mail, so that most octets are bodies.

use super::calendar::Calendar;
use super::captures::Captures;
use super::content::{Address, Kind, Letter, compose};
use super::dialogue::{Caller, MTA, Offer, hold};
use super::draw::Dice;
use super::frames::{End, SHAPES};
use super::lines::{Lines, Stamp};
use super::receivers::{Life, Receivers, Reputation};
use super::world::{RELAY_1, RELAY_2, link_address};
use super::{Director, SimulateError, scenario};
use jiff::civil::date;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// Median size of a message, octets, and the spread of its logarithm: most mail is some kilobytes, some of
/// it is megabytes.
const BODY_OCTETS: (f64, f64) = (6_000.0, 1.1);
/// Largest message, octets.
const BODY_OCTETS_MAX: usize = 2 << 20;
/// Bodies that are made once and sent again and again.
const BODIES: usize = 256;
/// Mean length of a session, microseconds: sets how many begin in a second.
const SESSION_US: f64 = 450_000.0;
/// Accounts of the company whose log is long.
const ACCOUNTS: u32 = 2_000;

/// Lines that they cause on a mean day, at the least.
const LINES_A_DAY_MIN: u64 = 50_000;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The file.
    pub path: PathBuf,
    /// Sessions of the capture; 0 for a log.
    pub sessions: u64,
    /// Frames of the capture; lines of the log.
    pub records: u64,
    /// Size of the file, octets.
    pub bytes: u64,
}

/// One capture of at least `bytes` octets in `out`, with about `concurrent` connections open at a time, from
/// 500 addresses of 203.0.113.0/24 and 10.20.0.0/16.
pub fn wire(seed: u64, out: &Path, bytes: u64, concurrent: u32) -> Result<Load, SimulateError> {
    std::fs::create_dir_all(out).map_err(SimulateError::Write)?;
    let calendar = Calendar::new(date(2026, 3, 23), 30)?;
    let mut dice = Dice::new(seed, "load");
    let mut receivers = Receivers::new(seed, 600, 0.33);
    let mut captures = Captures::new(out, Vec::new(), u64::MAX);
    let bodies: Vec<Vec<u8>> = (0..BODIES).map(|_| body(&mut dice)).collect();
    let (mut at, mut sessions) = (calendar.at(0, 8.0), 0);
    while captures.octets < bytes {
        captures.write_until(at)?;
        let source = match sessions % 5 {
            0 => IpAddr::V4(Ipv4Addr::new(203, 0, 113, dice.whole(1, 100) as u8)),
            _ => IpAddr::V4(Ipv4Addr::new(10, 20, dice.whole(1, 2) as u8, dice.whole(1, 200) as u8)),
        };
        session(&mut captures, &mut receivers, &mut dice, &bodies, source, at, sessions);
        sessions += 1;
        at += dice.exponential(SESSION_US / f64::from(concurrent.max(1))) as i64;
    }
    captures.finish()?;
    Ok(Load { path: out.join("span0-01.pcap"), sessions, records: captures.frames, bytes: captures.octets })
}

fn session(
    captures: &mut Captures,
    receivers: &mut Receivers,
    dice: &mut Dice,
    bodies: &[Vec<u8>],
    source: IpAddr,
    at: i64,
    number: u64,
) {
    let first = receivers.draw_where(dice, true, |provider| provider.life == Life::Answers);
    let mut offers = Vec::new();
    for _ in 0..1 + dice.poisson(0.3) {
        let mut to = vec![first];
        for _ in 0..dice.poisson(0.2) {
            to.push(receivers.draw_of(dice, first.domain, true));
        }
        let from = "someone@nordwind.example";
        let judgement = receivers.judge(dice, source, from, &to, &Reputation { refused: 0.01 });
        let recipients = to.iter().map(|recipient| receivers.address(*recipient)).collect();
        offers.push(Offer {
            reverse_path: from,
            recipients,
            judgement,
            body: &bodies[dice.below(bodies.len())],
        });
    }
    let provider = receivers.provider_of(first);
    let responder = provider.v4[0];
    let client = End {
        ip: source,
        port: 32_768 + (number % 28_000) as u16,
        mac: link_address(source),
        shape: &SHAPES[dice.below(3)],
        hops: 0,
    };
    let server = End { ip: responder, port: 25, mac: [2, 0, 0, 0, 0, 1], shape: &SHAPES[0], hops: 9 };
    let caller = Caller { end: client, helo: "out.nordwind.example", manners: MTA };
    captures.add(hold(&caller, provider, server, at, offers, dice).talk);
}

/// A message of everyday size: a letter, and an attachment in base64 where it is to be larger.
fn body(dice: &mut Dice) -> Vec<u8> {
    let octets = (dice.lognormal(BODY_OCTETS.0, BODY_OCTETS.1) as usize).min(BODY_OCTETS_MAX);
    let address = Address {
        company: "nordwind",
        from: "someone@nordwind.example",
        to: "somebody@elsewhere.example",
        date: "Mon, 23 Mar 2026 08:00:00 +0100",
        trace: "",
        message_id: "load@nordwind.example",
    };
    let kind = if octets > 3_000 { Kind::Invoice } else { Kind::Personal };
    let mut message = compose(Letter { kind, template: 0 }, &address, dice);
    while message.len() < octets {
        message.extend_from_slice(super::content::base64(76, dice).as_bytes());
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// One Postfix log of at least `lines` lines in `out`: a company of 2,000 accounts, two mail servers' lines in
/// one file.
pub fn log(seed: u64, out: &Path, lines: u64) -> Result<Load, SimulateError> {
    let mut settings = scenario("company")?.clone();
    settings.accounts = ACCOUNTS;
    settings.hijacks_of_a_kind = 0;
    settings.days = (lines / LINES_A_DAY_MIN + 7).min(366) as u32;
    std::fs::create_dir_all(out).map_err(SimulateError::Write)?;
    let mut director = Director::new(seed, settings, out)?;
    director.captures.mute();
    director.lines_max = lines;
    director.logs = vec![Lines::new(out, "mx-out1", Stamp::Rfc3339, Vec::new())];
    for relay in [RELAY_1, RELAY_2] {
        director.world.machines[relay].log = Some(0);
    }
    director.plan(seed);
    director.play()?;
    let path = out.join("mail.log");
    let bytes = path.metadata().map_err(SimulateError::Write)?.len();
    Ok(Load { path, sessions: 0, records: director.log_lines(), bytes })
}
