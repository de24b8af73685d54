//! The truth beside what portreeve estimates: by session, and summed up by pair.

use super::places::{Client, Server};
use super::truth::{Truth, Truths};
use super::watch::Watched;
use portreeve::observation::{Fact, Opaque, Tls};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;

/// A session under TLS, seen from both sides.
pub struct Compared {
    pub client: Client,
    pub server: Server,
    pub truth: Truth,
    pub estimate: Opaque,
}

/// Joins by the moment at which the connection was opened, then by port. Every connection must be in its server's log.
pub fn join(watched: &Watched, mut truths: Truths) -> Vec<Compared> {
    truths.values_mut().for_each(|all| all.reverse());
    let mut sessions = BTreeMap::new();
    for observation in &watched.observations {
        if let Fact::Session(session) = &observation.fact {
            let key = (session.opened_at, observation.sender.address, session.responder);
            assert!(sessions.insert(key, session).is_none(), "two sessions began at once: {key:?}");
        }
    }
    let mut compared = Vec::new();
    for opened in &watched.opened {
        let Some((client, server)) = Client::at(opened.client.ip()).zip(Server::at(opened.server)) else {
            continue;
        };
        let truth = truths.get_mut(&(opened.client, server)).and_then(Vec::pop);
        let truth =
            truth.unwrap_or_else(|| panic!("{server:?} has not logged a session from {}", opened.client));
        let session = sessions.get(&(opened.at, Some(opened.client.ip()), opened.server));
        let session = session.unwrap_or_else(|| panic!("no session was seen from {}", opened.client));
        if let (Tls::Started, Some(estimate)) = (session.tls, session.opaque) {
            compared.push(Compared { client, server, truth, estimate });
        } else {
            // In clear everything is seen: this is how we know that the logs are read right.
            let seen = Truth {
                messages: session.messages,
                recipients: session.recipients,
                refused: session.recipients_refused,
            };
            assert_eq!(seen, truth, "{client:?} to {server:?} in clear, from {}", opened.client);
        }
    }
    compared
}

/// Writes the truth of each pair beside its capture.
pub fn keep_truths(watched: &Watched, truths: &Truths) {
    let Some(folder) = super::capture_folder() else { return };
    let mut nth: BTreeMap<(SocketAddr, Server), usize> = BTreeMap::new();
    let mut files: BTreeMap<(Client, Server), fs::File> = BTreeMap::new();
    for opened in &watched.opened {
        let Some((client, server)) = Client::at(opened.client.ip()).zip(Server::at(opened.server)) else {
            continue;
        };
        let nth = nth.entry((opened.client, server)).or_default();
        let Some(truth) = truths.get(&(opened.client, server)).and_then(|all| all.get(*nth)) else {
            continue;
        };
        *nth += 1;
        let file = files.entry((client, server)).or_insert_with(|| {
            let path = folder.join(super::pair_name(client, server)).with_extension("csv");
            let mut file = fs::File::create(path).unwrap();
            writeln!(
                file,
                "client,server,tls,client_address,client_port,syn_micros,messages,recipients,refused"
            )
            .unwrap();
            file
        });
        writeln!(
            file,
            "{client:?},{:?},1.{},{},{},{},{},{},{}",
            server.mta,
            server.tls,
            opened.client.ip(),
            opened.client.port(),
            opened.syn_at.as_micros(),
            truth.messages,
            truth.recipients,
            truth.refused
        )
        .unwrap();
    }
}

/// Sums over sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    pub sessions: u32,
    /// Sessions whose number of messages is estimated exactly.
    pub exact: u32,
    pub messages: u32,
    pub messages_estimated: u32,
    pub recipients: u32,
    pub recipients_estimated: u32,
    pub refused: u32,
    /// Refused recipients that were noticed.
    pub noticed: u32,
    /// Refusals told of that never were.
    pub falsely_told: u32,
}

impl Sums {
    pub fn of<'a>(sessions: impl Iterator<Item = &'a Compared>) -> Sums {
        let mut sums = Sums::default();
        for Compared { truth, estimate, .. } in sessions {
            sums.sessions += 1;
            sums.exact += u32::from(truth.messages == estimate.messages_estimated);
            sums.messages += truth.messages;
            sums.messages_estimated += estimate.messages_estimated;
            sums.recipients += truth.recipients;
            sums.recipients_estimated += estimate.recipients_estimated;
            sums.refused += truth.refused;
            sums.noticed += estimate.recipients_refused_estimated.min(truth.refused);
            sums.falsely_told += estimate.recipients_refused_estimated.saturating_sub(truth.refused);
        }
        sums
    }

    /// How far the estimate of all messages is off, signed, percent.
    pub fn messages_error_percent(&self) -> f64 {
        100.0 * (f64::from(self.messages_estimated) / f64::from(self.messages) - 1.0)
    }

    pub fn exact_percent(&self) -> f64 {
        percent(self.exact, self.sessions)
    }

    pub fn noticed_percent(&self) -> f64 {
        percent(self.noticed, self.refused)
    }
}

fn percent(part: u32, whole: u32) -> f64 {
    100.0 * f64::from(part) / f64::from(whole)
}

/// A row for each pair and one for all, of one version of TLS. All.
pub fn print(compared: &[Compared], tls: u8) -> Sums {
    let of_version = || compared.iter().filter(|one| one.server.tls == tls);
    eprintln!(
        "\nTLS 1.{tls}                     sessions  messages estimated  error  exact  recipients estimated  refused \
         noticed  falsely told"
    );
    let mut pairs: Vec<_> = of_version().map(|one| (one.client, one.server)).collect();
    pairs.sort_unstable();
    pairs.dedup();
    for (client, server) in pairs {
        let sums = Sums::of(of_version().filter(|one| (one.client, one.server) == (client, server)));
        row(&format!("{client:?} to {:?}", server.mta), &sums);
    }
    let sums = Sums::of(of_version());
    row("all", &sums);
    sums
}

fn row(name: &str, sums: &Sums) {
    let noticed = if sums.refused == 0 { "-".to_owned() } else { format!("{:.1}%", sums.noticed_percent()) };
    eprintln!(
        "{name:26} {:9} {:9} {:9} {:+5.1}% {:5.1}% {:11} {:9} {:8} {noticed:>7} {:13}",
        sums.sessions,
        sums.messages,
        sums.messages_estimated,
        sums.messages_error_percent(),
        sums.exact_percent(),
        sums.recipients,
        sums.recipients_estimated,
        sums.refused,
        sums.falsely_told,
    );
}
