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
    let (mut ended, mut last_chunk_of) = (BTreeSet::new(), "");
    for line in log.lines() {
        let Some((_, text)) = line.split_once("]: ") else { continue };
        if line.contains("(queue active)") || text.contains("reject: END-OF-MESSAGE") {
            ended.extend(text.split_once(": ").map(|(id, _)| id));
        }
    }
    for line in log.lines() {
        let Some((process, text)) = line.split_once("]: ") else { continue };
        let of = |server: &Server| process.contains(&format!(" s{}/smtpd[", server.octet()));
        let Some((client, server)) = postfix_client(text).zip(Server::all().into_iter().find(of)) else {
            continue;
        };
        let all = truths.entry((client, server)).or_default();
        if text.starts_with("connect from ") {
            all.push(Truth::default());
        }
        let Some(truth) = all.last_mut() else { continue };
        if let Some((id, _)) = text.split_once(": client=") {
            truth.messages += u32::from(ended.contains(id));
        } else if text.starts_with("disconnect from ") {
            let rcpt = text.split(' ').find_map(|word| word.strip_prefix("rcpt=")).unwrap_or("0");
            let (accepted, all) = rcpt.split_once('/').unwrap_or((rcpt, rcpt));
            let [accepted, all] = [accepted, all].map(|count| count.parse::<u32>().unwrap());
            (truth.recipients, truth.refused) = (all, all - accepted);
        } else if text.starts_with("< ") {
            let last = text.contains(": BDAT ") && text.ends_with(" LAST");
            last_chunk_of = if last { process } else { "" };
        } else if text.starts_with("> ") && last_chunk_of == process {
            truth.messages += u32::from(text.ends_with("no valid recipients"));
        }
    }
}

/// `unknown[192.0.2.11]:41234` at the beginning of a line, or behind `from ` or `client=`.
fn postfix_client(text: &str) -> Option<SocketAddr> {
    let from = ["connect from ", "disconnect from ", "< ", "> "];
    let from = from.into_iter().find_map(|begins| text.strip_prefix(begins));
    let (_, host) = from.or_else(|| Some(text.split_once(": client=")?.1))?.split_once('[')?;
    let (address, rest) = host.split_once("]:")?;
    let port = rest.split([' ', ':', ',']).next()?;
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
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
