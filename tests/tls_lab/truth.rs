//! What the servers' own logs say of each session.

use super::places::{Mta, Server};
use super::servers::Log;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// What a server logged of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Ends of data that were answered.
    pub messages: u32,
    /// Forward-paths offered.
    pub recipients: u32,
    pub refused: u32,
}

/// Sessions in the order in which they began, by client and server: a port may serve again.
pub type Truths = BTreeMap<(SocketAddr, Server), Vec<Truth>>;

pub fn read(log: &Log, truths: &mut Truths) {
    let text = String::from_utf8_lossy(&std::fs::read(&log.path).unwrap()).into_owned();
    match log.mta {
        Mta::Postfix => postfix(&text, truths),
        Mta::Exim => exim(&text, truths),
        Mta::OpenSmtpd => opensmtpd(&text, truths),
    }
}

/// `s12/smtpd[7]: disconnect from unknown[192.0.2.11]:41234 ehlo=2 starttls=1 mail=2 rcpt=3/5 data=2 quit=1`; the
/// message counts as soon as it has a queue id, so whether its end came is asked of qmgr and of the refusals. A client
/// that sends a whole message in one chunk behind recipients that are all refused has its end of data answered too; that
/// is in the transcript alone (`debug_peer_list`).
fn postfix(log: &str, truths: &mut Truths) {
    let mut in_chunk = "";
    let mut ended = BTreeSet::new();
    for line in log.lines() {
        let Some(text) = line.split_once("]: ").map(|(_, text)| text) else { continue };
        if line.contains("(queue active)") || text.contains("reject: END-OF-MESSAGE") {
            ended.extend(text.split_once(": ").map(|(id, _)| id));
        }
    }
    for line in log.lines() {
        let Some((head, text)) = line.split_once("]: ") else { continue };
        let server = |server: &Server| head.contains(&format!(" s{}/smtpd[", server.octet()));
        let Some(server) = Server::all().into_iter().find(server) else { continue };
        let client = |mark: &str| {
            let (_, rest) = text.split_once(mark)?.1.split_once('[')?;
            let (address, rest) = rest.split_once("]:")?;
            let port = rest.split([' ', ':', ',']).next()?;
            Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
        };
        if let Some(client) = client("connect from ").filter(|_| text.starts_with("connect")) {
            truths.entry((client, server)).or_default().push(Truth::default());
        } else if let Some((id, client)) = text.split_once(": ").map(|(id, _)| id).zip(client(": client=")) {
            if let Some(truth) = truths.get_mut(&(client, server)).and_then(|all| all.last_mut()) {
                truth.messages += u32::from(ended.contains(id));
            }
        } else if let Some(client) = client("disconnect from ") {
            let count = |key: &str| {
                let word = text.split(' ').find_map(|word| word.strip_prefix(key)).unwrap_or("0");
                let (accepted, all) = word.split_once('/').unwrap_or((word, word));
                (accepted.parse::<u32>().unwrap(), all.parse::<u32>().unwrap())
            };
            let Some(truth) = truths.get_mut(&(client, server)).and_then(|all| all.last_mut()) else {
                continue;
            };
            let (accepted, all) = count("rcpt=");
            (truth.recipients, truth.refused) = (all, all - accepted);
        } else if let Some(client) =
            client("> ").filter(|_| text.contains("no valid recipients") && in_chunk == head)
        {
            if let Some(truth) = truths.get_mut(&(client, server)).and_then(|all| all.last_mut()) {
                truth.messages += 1;
            }
        }
        if text.starts_with("< ") {
            in_chunk = if text.contains(": BDAT ") && text.ends_with(" LAST") { head } else { "" };
        }
    }
}

/// Exim's own account of what it does, each line with its process: `3245   lab connect 192.0.2.30 41234 203.0.113.22` and
/// `3245   lab refused` are written by the ACLs at connect, RCPT and the end of the data. Chunks behind recipients that are all refused come to
/// no ACL, but are in the transcript: `3245 SMTP<< BDAT 918 LAST`.
fn exim(log: &str, truths: &mut Truths) {
    let (mut sessions, mut in_last_chunk) = (BTreeMap::new(), BTreeSet::new());
    for line in log.lines() {
        let Some((process, text)) = line.trim_start().split_once(' ') else { continue };
        if let Some(command) = text.strip_prefix("SMTP<< ") {
            in_last_chunk.remove(process);
            if command.starts_with("BDAT ") && command.ends_with(" LAST") {
                in_last_chunk.insert(process);
            }
            continue;
        }
        let event = match text.split_once(" lab ") {
            Some((_, event)) => event,
            None if text.contains("must precede BDAT") && in_last_chunk.contains(process) => "end",
            None => continue,
        };
        let words: Vec<_> = event.split(' ').collect();
        if let ["connect", address, port, server] = words.as_slice() {
            let client = SocketAddr::new(address.parse().unwrap(), port.parse().unwrap());
            let Some(server) = Server::at(server.parse().unwrap()) else { continue };
            truths.entry((client, server)).or_default().push(Truth::default());
            sessions.insert(process, (client, server));
        }
        let Some(truth) = sessions.get(process).and_then(|key| truths.get_mut(key)?.last_mut()) else {
            continue;
        };
        truth.messages += u32::from(words[0] == "end");
        truth.recipients += u32::from(words[0] == "accepted" || words[0] == "refused");
        truth.refused += u32::from(words[0] == "refused");
    }
}

/// smtpd's reports: `report|0.6|1764331200.1|smtp-in|link-connect|<session>||pass|192.0.2.30:41234|203.0.113.32:25`, then
/// `tx-rcpt|<session>|<message>|ok|<forward-path>`, `tx-data|<session>|<message>|ok`; a transaction that is rolled back
/// behind its data was refused.
fn opensmtpd(log: &str, truths: &mut Truths) {
    let (mut sessions, mut in_data) = (BTreeMap::new(), BTreeSet::new());
    for line in log.lines().filter(|line| line.starts_with("report|")) {
        let words: Vec<_> = line.split('|').skip(4).collect();
        let (event, session) = (words[0], words[1]);
        if event == "link-connect" {
            let client: SocketAddr = words[4].parse().unwrap();
            let server: SocketAddr = words[5].parse().unwrap();
            let Some(server) = Server::at(server.ip()) else { continue };
            truths.entry((client, server)).or_default().push(Truth::default());
            sessions.insert(session, (client, server));
        }
        let Some(truth) = sessions.get(session).and_then(|key| truths.get_mut(key)?.last_mut()) else {
            continue;
        };
        match event {
            "tx-rcpt" => {
                truth.recipients += 1;
                truth.refused += u32::from(words[3] != "ok");
            }
            "tx-data" if words[3] == "ok" => {
                in_data.insert(session);
            }
            "tx-commit" | "tx-rollback" => truth.messages += u32::from(in_data.remove(session)),
            _ => {}
        }
    }
}
