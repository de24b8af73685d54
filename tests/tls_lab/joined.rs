//! Both roads' observations of the lab laid side by side by the join, and what it told held against which message each
//! view really is of.

use super::clients::Mode;
use super::lab::Lab;
use super::places::{Client, Server};
use portreeve::company::{Company, Host};
use portreeve::join::{Join, JoinCounters};
use portreeve::mail::Verdict;
use portreeve::mta::{LogRoad, LogSettings, LogSource};
use portreeve::observation::*;
use portreeve::tail::LogFile;
use portreeve::time::{CivilClock, Timestamp};
use siphasher::sip::SipHasher13;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::Hasher;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KEY: [u8; 16] = [7; 16];
/// Nothing waits any longer then.
const AFTERWARDS_SECONDS: i32 = 3_600;
const HEARTBEAT_SECONDS: usize = 60;

/// Which message of the lab: its reverse-path says so, on the wire as in the log, and the join does not look at that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub client: Client,
    pub server: Server,
    pub mode: Mode,
    pub number: usize,
}

impl Message {
    /// What stands in its reverse-path.
    pub fn tag(self) -> String {
        format!("x{}x{}x{}x{}x", self.client as u8, self.server.octet(), self.mode as u8, self.number)
    }

    pub fn of(delivery: &Delivery) -> Option<Message> {
        let from = delivery.reverse_path.as_ref()?.mailbox()?.address().to_lossy();
        let parts: Vec<_> = from.split('@').next()?.rsplit('-').next()?.split('x').collect();
        let ["", client, server, mode, number, ""] = parts.as_slice() else { return None };
        let [client, server, mode] = [client, server, mode].map(|part| part.parse::<u8>().ok());
        Some(Message {
            client: Client::ALL.into_iter().find(|one| Some(*one as u8) == client)?,
            server: Server::all().into_iter().find(|one| Some(one.octet()) == server)?,
            mode: [Mode::Plain, Mode::Tls].into_iter().find(|one| Some(*one as u8) == mode)?,
            number: number.parse().ok()?,
        })
    }
}

/// A message and the keyed digest of one of its forward-paths: one delivery, as far as nothing is sent twice.
pub type Piece = (Message, u64);

/// What passed, by sender, moment and forward-path. Several may be settled in one moment, when what they waited for is
/// given up; a message whose `MAIL` was lost is `None`.
type Passed = BTreeMap<(Option<IpAddr>, Timestamp, u64), BTreeSet<Option<Message>>>;

/// What was seen, and what the join made of it.
pub struct Joined {
    pub wire: Vec<Piece>,
    /// The forward-paths of all that passed and was answered, whosever it was, once its address had written a line:
    /// before, nobody can say that its log leaves something away.
    pub passed: Vec<u64>,
    pub log: Vec<Piece>,
    /// Whether the server took each piece of `log`.
    pub taken: Vec<bool>,
    /// Deliveries matched, by the place of their line in `log`.
    pub matched: BTreeMap<usize, View>,
    /// What was told wrongly, in words.
    pub wrong: Vec<String>,
    /// The same of refusals: another message to the same recipient was refused in the same words.
    pub twins: Vec<String>,
    /// Lines of mail sent in clear that were given to a session under TLS.
    pub laid_at_tls: Vec<Piece>,
    pub wire_only: Vec<Reconciled>,
    pub log_only: Vec<Piece>,
    pub counters: JoinCounters,
}

/// Reads the clients' logs: the name of the machine, and the file.
fn logs(lab: &Path) -> Vec<(String, PathBuf)> {
    let mut list = vec![
        ("postfix".to_owned(), lab.join("postfix-client/log/mail.log")),
        ("syslog".to_owned(), lab.join("syslog")),
    ];
    for entry in fs::read_dir(lab).unwrap().flatten() {
        let log = entry.path().join("spool/mainlog");
        if entry.file_name().to_string_lossy().starts_with("exim-client") && log.exists() {
            list.push(("exim".to_owned(), log));
        }
    }
    list
}

/// Each machine's name, as its log has it, and the address that its mail leaves from.
fn hosts(lab: &Path) -> Vec<Host> {
    let postfix = fs::read_to_string(lab.join("postfix-client/log/mail.log")).unwrap();
    let postfix = postfix.split_whitespace().nth(3).unwrap().to_owned();
    let names = [
        (postfix, Client::Postfix),
        ("exim".to_owned(), Client::Exim),
        ("smtpd".to_owned(), Client::OpenSmtpd),
        ("sendmail".to_owned(), Client::Sendmail),
    ];
    let host =
        |(name, client): (String, Client)| Host { name, address: client.address(0).into(), role: None };
    names.into_iter().map(host).collect()
}

fn read_logs(lab: &Path) -> Vec<Observation> {
    let networks = vec!["192.0.2.0/24".parse().unwrap()];
    let company = Company::new(networks, &[], hosts(lab), CivilClock::utc());
    let mut road = LogRoad::new(Arc::new(company), LogSettings::default());
    let mut observations = Vec::new();
    for (name, path) in logs(lab) {
        let mut file = LogFile::open(&path).unwrap();
        let source = road.add_source(LogSource {
            name,
            dialect: None,
            zone: jiff::tz::TimeZone::system(),
            modified_at: file.modified_at(),
        });
        while let Some(line) = file.next_line().unwrap() {
            road.line(source, line, &mut observations);
        }
    }
    road.finish(&mut observations);
    let counters = road.counters();
    assert_eq!(counters.unparsed, 0, "{:?}", counters.unparsed_samples);
    observations
}

/// The join's digest of a forward-path.
fn digest(delivery: &Delivery) -> Option<u64> {
    Some(digest_of(&delivery.forward_path.as_ref()?.address().to_lossy().to_lowercase()))
}

/// The same of a path in lower case.
pub fn digest_of(to: &str) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&KEY);
    hasher.write(to.as_bytes());
    hasher.write_u64(to.len() as u64);
    hasher.finish()
}

/// The piece that a server answered.
fn answered(observation: &Observation) -> Option<Piece> {
    let Fact::Delivery(delivery) = &observation.fact else { return None };
    let reply = delivery.reply.as_ref()?;
    // Sendmail leaves the code of what was taken away.
    let taken = reply.enhanced.is_some_and(|status| status.class == 2) && delivery.responder.is_some();
    if reply.code.is_none() && !taken {
        return None;
    }
    Some((Message::of(delivery)?, digest(delivery)?))
}

fn was_taken(observation: &Observation) -> bool {
    let Fact::Delivery(delivery) = &observation.fact else { return false };
    delivery.reply.as_ref().and_then(|reply| reply.verdict()) == Some(Verdict::Accepted)
}

/// Both roads go on after the last of it, so that all is settled.
fn heartbeats(all: &[Observation]) -> Vec<Observation> {
    let last = all.iter().map(|observation| observation.at).max().unwrap();
    let addresses: BTreeSet<IpAddr> = all.iter().filter_map(|one| one.sender.address).collect();
    let mut list = Vec::new();
    for seconds in (0..=AFTERWARDS_SECONDS).step_by(HEARTBEAT_SECONDS) {
        for (address, vantage) in
            addresses.iter().flat_map(|address| [Vantage::Wire, Vantage::Log].map(|one| (*address, one)))
        {
            let sender = SenderKeys { address: Some(address), ..SenderKeys::default() };
            let fact = Fact::Attempt(Attempt { responder: address, outcome: AttemptOutcome::Answered });
            list.push(Observation { at: last.plus_seconds(seconds.into()), vantage, sender, fact });
        }
    }
    list
}

/// Runs the join over what the sensor saw and what the clients wrote.
pub fn join(lab: &Lab<'_>, wire: Vec<Observation>) -> Joined {
    let mut all = read_logs(lab.folder);
    all.extend(wire);
    all.extend(heartbeats(&all));
    all.sort_by_key(|observation| observation.at);
    let mut seen = Passed::new();
    let (mut wire, mut log, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    let (mut passed, mut writes) = (Vec::new(), BTreeSet::new());
    for observation in &mut all {
        let Fact::Delivery(delivery) = &observation.fact else { continue };
        if observation.vantage == Vantage::Log {
            writes.insert(observation.sender.address);
        } else if writes.contains(&observation.sender.address)
            && delivery.reply.as_ref().is_some_and(|reply| reply.code.is_some())
        {
            passed.extend(digest(delivery));
        }
        if observation.vantage == Vantage::Wire
            && let Some(path) = digest(delivery)
        {
            let key = (observation.sender.address, observation.at, path);
            seen.entry(key).or_default().insert(Message::of(delivery));
        }
        let Some(piece) = answered(observation) else { continue };
        match observation.vantage {
            Vantage::Wire => wire.push(piece),
            // The line says which it is, where the join carries it along and does not look at it.
            Vantage::Log => {
                observation.sender.account = Some(log.len().to_string().as_str().into());
                log.push(piece);
                taken.push(was_taken(observation));
            }
        }
    }
    let (mut join, mut told) = (Join::new(KEY, false), Vec::new());
    all.into_iter().for_each(|observation| join.observe(observation, &mut told));
    let mut joined = Joined {
        wire,
        passed,
        log,
        taken,
        matched: BTreeMap::new(),
        wrong: Vec::new(),
        twins: Vec::new(),
        laid_at_tls: Vec::new(),
        wire_only: Vec::new(),
        log_only: Vec::new(),
        counters: join.counters(),
    };
    told.into_iter().for_each(|piece| joined.take(piece, &seen));
    joined
}

impl Joined {
    fn take(&mut self, told: Observation, seen: &Passed) {
        let Fact::Reconciled(fact) = told.fact else { panic!("{:?}", told.fact) };
        if fact.view == View::WireOnly {
            return self.wire_only.push(fact);
        }
        let place = told.sender.account.as_ref().and_then(|account| account.to_lossy().parse().ok());
        let Some(place) = place else {
            return self.wrong.push(format!("no line of the lab's mail: {fact:?}"));
        };
        let line: Piece = self.log[place];
        if fact.view == View::LogOnly {
            return self.log_only.push(line);
        }
        if fact.view == View::MatchedBySession {
            if line.0.mode != Mode::Tls {
                self.laid_at_tls.push(line);
            }
        } else {
            let passed = fact.recipient.and_then(|path| seen.get(&(told.sender.address, fact.seen_at, path)));
            let fits = |passed: &BTreeSet<_>| passed.contains(&Some(line.0)) || passed.contains(&None);
            if !passed.is_some_and(fits) || fact.recipient != Some(line.1) {
                let kind = if self.taken[place] { &mut self.wrong } else { &mut self.twins };
                kind.push(format!("{:?}: {line:?} is not {passed:?}", fact.view));
            }
        }
        if self.matched.insert(place, fact.view).is_some() {
            self.wrong.push(format!("matched twice: {line:?}"));
        }
    }
}
