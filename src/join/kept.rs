//! What the join keeps over a restart: mail in flight, and what is known of each server.
//!
//! *In*: changes between two looks. *Out*: notes, small and named, to be stored together with the positions that
//! the roads were read to; given back, they make the join what it was. *Bound*: that of the join; between two looks
//! only pieces in which something came or went are written. Recipients' names are not, unless they are asked for.
//! *Spec*: none.
//!
//! ```text
//!  join/FORM/all             how far the wire got
//!  join/FORM/ADDRESS         one server: its skew, its coverage, the bounds of what waits
//!  join/FORM/ADDRESS/ROAD/N  N-th piece of what waits: w(ire), l(og), s(essions), t(old sessions)
//! ```

use super::Join;
use super::coverage::Silences;
use super::server::{Server, Standing};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the names of all notes of the join begin with.
pub const PREFIX: &str = "join/";

/// Form of these notes. Those of another one are passed over and removed.
const FORM: &str = "2/";

/// A note: its name, and what it says; nothing removes it.
pub type Note = (String, Vec<u8>);

/// What is not a server's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Common {
    wire_reached: Timestamp,
    silences: Silences,
}

/// One server beside the pieces.
#[derive(Serialize, Deserialize)]
struct Header {
    standing: Standing,
    bounds: [(u64, u64); 4],
}

impl Join {
    /// Takes what changed since the last call, as notes. The first call gives all there is, and from then on changes
    /// are kept.
    pub fn take_notes(&mut self) -> Vec<Note> {
        let mut notes: Vec<Note> = self.outdated.drain(..).map(|name| (name, Vec::new())).collect();
        let named = self.recipients_named;
        for (address, server) in &mut self.servers {
            server.keep_changes();
            if std::mem::take(&mut server.changed) {
                server.take_notes(*address, named, &mut notes);
            }
        }
        if notes.iter().any(|(_, note)| !note.is_empty()) {
            let common = Common { wire_reached: self.wire_reached, silences: self.silences.clone() };
            notes.push((note_name("all"), encode(&common)));
        }
        notes
    }

    /// Makes a join that has seen nothing what it was. Notes that cannot be read are passed over.
    pub fn restore(&mut self, notes: &[Note]) {
        let mut pieces: BTreeMap<(IpAddr, &str), Vec<&[u8]>> = BTreeMap::new();
        let mut headers = Vec::new();
        for (name, note) in notes {
            let known = name.strip_prefix(PREFIX).and_then(|name| name.strip_prefix(FORM));
            let Some(known) = known else {
                self.outdated.push(name.clone());
                continue;
            };
            let mut parts = known.split('/');
            let (first, road) = (parts.next().unwrap_or_default(), parts.next());
            match (first.parse::<IpAddr>(), road) {
                (Ok(address), Some(road)) => pieces.entry((address, road)).or_default().push(note),
                (Ok(address), None) => headers.push((address, note)),
                (Err(_), _) => {
                    if let Ok(common) = postcard::from_bytes::<Common>(note) {
                        (self.wire_reached, self.silences) = (common.wire_reached, common.silences);
                    }
                }
            }
        }
        for (address, header) in headers {
            let Ok(Header { standing, bounds }) = postcard::from_bytes::<Header>(header) else { continue };
            let of = |road| pieces.get(&(address, road)).into_iter().flatten().copied();
            let mut server = Server::new(address);
            server.standing = standing;
            let [wire, log, sessions, told] = bounds;
            server.wire.restore(wire, of("w"));
            server.log.restore(log, of("l"));
            server.sessions.restore(sessions, of("s"));
            server.settled_sessions.restore(told, of("t"));
            server.keep_changes();
            self.servers.insert(address, server);
        }
    }
}

impl Server {
    fn keep_changes(&mut self) {
        self.wire.views.keep_changes();
        self.log.views.keep_changes();
        self.sessions.keep_changes();
        self.settled_sessions.keep_changes();
    }

    fn take_notes(&mut self, address: IpAddr, recipients_named: bool, notes: &mut Vec<Note>) {
        let bounds = [
            self.wire.views.bounds(),
            self.log.views.bounds(),
            self.sessions.bounds(),
            self.settled_sessions.bounds(),
        ];
        let header = Header { standing: self.standing.clone(), bounds };
        notes.push((note_name(address), encode(&header)));
        let reduced = |seen: &super::view::Seen| seen.reduced(recipients_named);
        for (road, pieces) in [
            ("w", self.wire.views.take_changed(reduced)),
            ("l", self.log.views.take_changed(reduced)),
            ("s", self.sessions.take_changed(Clone::clone)),
            ("t", self.settled_sessions.take_changed(Clone::clone)),
        ] {
            let name = |piece: u64| note_name(format_args!("{address}/{road}/{piece}"));
            notes.extend(pieces.into_iter().map(|(piece, note)| (name(piece), note)));
        }
    }
}

fn note_name(what: impl std::fmt::Display) -> String {
    format!("{PREFIX}{FORM}{what}")
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}
