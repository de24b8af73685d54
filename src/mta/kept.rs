//! What the log road keeps over a restart, so that a message that was half-way keeps its first lines.
//!
//! *In*: changes of the road between two looks. *Out*: notes, small and named, to be stored together with the
//! positions that the lines were read to; given back, they make the road what it was. *Bound*: that of the
//! queue; between two looks only what changed is written. *Spec*: none.
//!
//! ```text
//!  q          which generations are at hand, and the key of the digests
//!  m/HEX      one message, with its generation
//!  d/GEN/N    recipients that were deferred in a generation, N-th piece
//!  s/NAME     one source: the time it has reached, and its dialect
//!  t/HEX/NAME one session of a source that is under way
//! ```

use super::queue::{OpenMessage, Queue};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};

/// A note: its name, and what it says; nothing removes it.
pub type Note = (String, Vec<u8>);

/// What changed since changes were last taken.
#[derive(Debug, Default)]
pub(super) struct Changes {
    changed: Vec<Box<[u8]>>,
    /// Messages that are gone, of those that are stored.
    pub(super) removed: Vec<Box<[u8]>>,
    /// Newly deferred recipients, with their generation.
    pub(super) deferred: Vec<(u64, u64)>,
    /// Stored pieces of each generation of deferred recipients.
    pieces: BTreeMap<u64, u64>,
    header: Option<Header>,
    sources: BTreeMap<String, KeptSource>,
}

/// Which generations are at hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    key: (u64, u64),
    messages: (u64, Option<Timestamp>),
    deferred: (u64, Option<Timestamp>),
}

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptSource {
    pub(super) previous: Option<Timestamp>,
    pub(super) dialect: Option<String>,
    /// What its dialect remembers between lines.
    pub(super) memory: Vec<u8>,
}

impl Changes {
    /// A message is about to change.
    pub(super) fn message(&mut self, key: &[u8], message: &mut OpenMessage) {
        if !std::mem::replace(&mut message.dirty, true) {
            self.changed.push(key.into());
        }
    }

    /// A whole generation was forgotten.
    pub(super) fn forgotten(&mut self, messages: HashMap<Box<[u8]>, OpenMessage>) {
        self.removed.extend(messages.into_iter().filter(|(_, message)| message.stored).map(|(key, _)| key));
    }
}

/// Takes what changed in the queue and its sources, as notes.
pub(super) fn take(queue: &mut Queue, sources: impl Iterator<Item = (String, KeptSource)>) -> Vec<Note> {
    let Some(mut changes) = queue.changes.take() else { return Vec::new() };
    let mut notes: Vec<Note> =
        changes.removed.drain(..).map(|key| (message_name(&key), Vec::new())).collect();
    for key in changes.changed.drain(..) {
        let number = queue.messages.number;
        let found = match queue.messages.young.get_mut(&key) {
            Some(message) => Some((number, message)),
            None => queue.messages.old.get_mut(&key).map(|message| (number.saturating_sub(1), message)),
        };
        let Some((number, message)) = found else { continue };
        if std::mem::take(&mut message.dirty) {
            message.stored = true;
            notes.push((message_name(&key), encode(&(number, &*message))));
        }
    }
    deferred_notes(queue.deferred.number, &mut changes, &mut notes);
    let header = header_of(queue);
    if changes.header.as_ref() != Some(&header) {
        notes.push(("q".into(), encode(&header)));
        changes.header = Some(header);
    }
    for (name, source) in sources {
        if changes.sources.get(&name) != Some(&source) {
            notes.push((format!("s/{name}"), encode(&source)));
            changes.sources.insert(name, source);
        }
    }
    queue.changes = Some(changes);
    notes
}

/// New pieces of the two generations at hand; pieces of older ones are removed.
fn deferred_notes(number: u64, changes: &mut Changes, notes: &mut Vec<Note>) {
    let oldest = number.saturating_sub(1);
    let kept = changes.pieces.split_off(&oldest);
    for (generation, pieces) in std::mem::replace(&mut changes.pieces, kept) {
        notes.extend((0..pieces).map(|piece| (format!("d/{generation}/{piece}"), Vec::new())));
    }
    let mut fresh: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (generation, digest) in changes.deferred.drain(..).filter(|(generation, _)| *generation >= oldest) {
        fresh.entry(generation).or_default().push(digest);
    }
    for (generation, digests) in fresh {
        let piece = changes.pieces.entry(generation).or_default();
        notes.push((format!("d/{generation}/{piece}"), encode(&digests)));
        *piece += 1;
    }
}

fn header_of(queue: &Queue) -> Header {
    Header {
        key: queue.key,
        messages: (queue.messages.number, queue.messages.began),
        deferred: (queue.deferred.number, queue.deferred.began),
    }
}

/// Makes an empty queue what it was, and gives what was known of sources. Notes that cannot be read are passed
/// over. From now on changes are kept.
pub(super) fn restore(queue: &mut Queue, notes: Vec<Note>) -> BTreeMap<String, KeptSource> {
    let mut changes = Changes::default();
    let header: Option<Header> =
        notes.iter().find(|(name, _)| name == "q").and_then(|(_, note)| decode(note));
    if let Some(header) = header {
        queue.key = header.key;
        (queue.messages.number, queue.messages.began) = header.messages;
        (queue.deferred.number, queue.deferred.began) = header.deferred;
        changes.header = Some(header);
    }
    for (name, note) in &notes {
        match name.split_once('/') {
            Some(("m", key)) => restore_message(queue, &mut changes, key, note),
            Some(("d", rest)) => restore_deferred(queue, &mut changes, rest, note),
            Some(("s", name)) => {
                if let Some(source) = decode::<KeptSource>(note) {
                    changes.sources.insert(name.to_owned(), source);
                }
            }
            _ => {}
        }
    }
    let sources = changes.sources.clone();
    queue.changes = Some(changes);
    sources
}

fn restore_message(queue: &mut Queue, changes: &mut Changes, key: &str, note: &[u8]) {
    let Some(key) = bytes_of(key) else { return };
    let number = queue.messages.number;
    match decode::<(u64, OpenMessage)>(note) {
        Some((generation, message)) if generation + 1 >= number => {
            let message = OpenMessage { stored: true, ..message };
            let table =
                if generation == number { &mut queue.messages.young } else { &mut queue.messages.old };
            table.insert(key.into(), message);
        }
        _ => changes.removed.push(key.into()),
    }
}

fn restore_deferred(queue: &mut Queue, changes: &mut Changes, rest: &str, note: &[u8]) {
    let Some((generation, piece)) = rest.split_once('/') else { return };
    let (Ok(generation), Ok(piece)) = (generation.parse::<u64>(), piece.parse::<u64>()) else { return };
    let pieces = changes.pieces.entry(generation).or_default();
    *pieces = (*pieces).max(piece + 1);
    let Some(digests) = decode::<Vec<u64>>(note) else { return };
    if generation == queue.deferred.number {
        queue.deferred.young.extend(digests);
    } else if generation + 1 == queue.deferred.number {
        queue.deferred.old.extend(digests);
    }
}

/// The note of a session.
pub(super) fn session_name(id: &[u8], source: &str) -> String {
    format!("t/{}/{source}", hex_of(id))
}

/// Id and source of a session's note; `None` for other notes.
pub(super) fn session_of(name: &str) -> Option<(Vec<u8>, &str)> {
    let (id, source) = name.strip_prefix("t/")?.split_once('/')?;
    Some((bytes_of(id)?, source))
}

pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_default()
}

pub(super) fn decode<T: DeserializeOwned>(note: &[u8]) -> Option<T> {
    postcard::from_bytes(note).ok()
}

fn message_name(key: &[u8]) -> String {
    format!("m/{}", hex_of(key))
}

fn hex_of(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
