//! What waits of one road, numbered as it came, so that it can be found, taken out and stored in pieces.
//!
//! *In*: views, sessions. *Out*: the same. *Bound*: the caller's; numbers never return. *Spec*: none.

use super::view::{Seen, Story, Traits};
use crate::limits;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

/// Things that are stored together: a commit writes the pieces in which something came or went.
const PIECE_ITEMS: u64 = 32;

/// Things in the order in which they came, each with its number.
#[derive(Debug)]
pub struct Numbered<T> {
    items: VecDeque<Option<T>>,
    /// Number of the first place in `items`.
    first: u64,
    /// Pieces that changed since they were last taken; `None` where nobody stores them.
    changed: Option<BTreeSet<u64>>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Numbered<T> {
        Numbered { items: VecDeque::new(), first: 0, changed: None }
    }
}

impl<T> Numbered<T> {
    fn touch(&mut self, number: u64) {
        if let Some(changed) = &mut self.changed {
            changed.insert(number / PIECE_ITEMS);
        }
    }

    /// Adds at the end; returns its number.
    pub fn push(&mut self, item: T) -> u64 {
        let number = self.next();
        self.items.push_back(Some(item));
        self.touch(number);
        number
    }

    /// Places between the oldest that waits and the end.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// The number that the next one will bear.
    pub fn next(&self) -> u64 {
        self.first + self.items.len() as u64
    }

    /// The oldest one.
    pub fn front(&mut self) -> Option<&T> {
        while let Some(None) = self.items.front() {
            self.items.pop_front();
            self.first += 1;
        }
        self.items.front().and_then(Option::as_ref)
    }

    /// Takes out the oldest one.
    pub fn pop(&mut self) -> Option<T> {
        self.front()?;
        self.take(self.first)
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    /// Takes out one.
    pub fn take(&mut self, number: u64) -> Option<T> {
        let place = self.place(number)?;
        let item = self.items.get_mut(place)?.take()?;
        self.touch(number);
        Some(item)
    }

    /// One of them.
    pub fn get(&self, number: u64) -> Option<&T> {
        self.items.get(self.place(number)?)?.as_ref()
    }

    /// One of them, to be changed.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        self.touch(number);
        let place = self.place(number)?;
        self.items.get_mut(place)?.as_mut()
    }

    /// All of them with their numbers, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        (self.first..).zip(&self.items).filter_map(|(number, item)| Some((number, item.as_ref()?)))
    }

    /// From now on, what changed can be taken; the first time, that is all there is.
    pub fn keep_changes(&mut self) {
        let all = || self.items.iter().zip(self.first..).map(|(_, number)| number / PIECE_ITEMS).collect();
        self.changed.get_or_insert_with(all);
    }

    /// Numbers of the first place and of the next one: what [`Numbered::restore`] needs beside the pieces.
    pub fn bounds(&self) -> (u64, u64) {
        (self.first, self.next())
    }
}

impl<T: Serialize + for<'a> Deserialize<'a>> Numbered<T> {
    /// Pieces that changed, by number; empty where nothing of one waits any more. `reduced` makes of each what may
    /// be stored.
    pub fn take_changed(&mut self, reduced: impl Fn(&T) -> T) -> Vec<(u64, Vec<u8>)> {
        let changed = self.changed.as_mut().map(std::mem::take).unwrap_or_default();
        let piece = |piece: u64| {
            let numbers = piece * PIECE_ITEMS..(piece + 1) * PIECE_ITEMS;
            let items: Vec<(u64, T)> =
                numbers.filter_map(|number| Some((number, reduced(self.get(number)?)))).collect();
            let stored = if items.is_empty() { None } else { postcard::to_allocvec(&items).ok() };
            (piece, stored.unwrap_or_default())
        };
        changed.into_iter().map(piece).collect()
    }

    /// Makes an empty one what it was. Pieces that cannot be read are passed over.
    pub fn restore<'a>(&mut self, bounds: (u64, u64), pieces: impl Iterator<Item = &'a [u8]>) {
        let places = bounds.1.saturating_sub(bounds.0).min(limits::JOIN_WAITING_MAX as u64 + 1);
        self.first = bounds.1.saturating_sub(places);
        self.items = std::iter::repeat_with(|| None).take(places as usize).collect();
        for (number, item) in
            pieces.filter_map(|piece| postcard::from_bytes::<Vec<(u64, T)>>(piece).ok()).flatten()
        {
            let place = self.place(number).and_then(|place| self.items.get_mut(place));
            if let Some(place) = place {
                *place = Some(item);
            }
        }
    }
}

/// Server, moment and number of a view. The server's bits compare faster than the address.
type Place = (u128, Timestamp, u64);

/// Views of one road that wait, and where each forward-path stands among them.
#[derive(Debug, Default)]
pub struct Waiting {
    /// The views.
    pub views: Numbered<Seen>,
    /// Forward-path and number of each that may still be found.
    by_path: BTreeSet<(u64, u64)>,
    /// Where sessions look for them; `None` where none does.
    by_place: Option<BTreeSet<Place>>,
}

impl Waiting {
    /// None yet; sessions will look for them.
    pub fn for_sessions() -> Waiting {
        Waiting { by_place: Some(BTreeSet::new()), ..Waiting::default() }
    }

    /// Returns whether the oldest had to go.
    pub fn push(&mut self, seen: Seen) -> bool {
        let traits = seen.traits;
        let number = self.views.push(seen);
        self.by_path.insert((traits.path, number));
        if let Some((places, place)) = self.by_place.as_mut().zip(place(&traits, number)) {
            places.insert(place);
        }
        self.views.len() > limits::JOIN_WAITING_MAX && self.pop().is_some()
    }

    /// The oldest one, if it still waits.
    pub fn front(&mut self) -> Option<&Seen> {
        self.views.front()
    }

    /// Takes out the oldest one.
    pub fn pop(&mut self) -> Option<Seen> {
        self.front()?;
        self.take(self.views.bounds().0)
    }

    /// Takes out one.
    pub fn take(&mut self, number: u64) -> Option<Seen> {
        let seen = self.views.take(number)?;
        if seen.is_open() {
            self.by_path.remove(&(seen.traits.path, number));
        }
        if let Some((places, place)) = self.by_place.as_mut().zip(place(&seen.traits, number)) {
            places.remove(&place);
        }
        Some(seen)
    }

    /// Those for one forward-path, oldest first.
    pub fn at_path(&self, path: u64) -> impl Iterator<Item = (u64, &Traits)> {
        // One search for the first of them; the last one is seen on the way.
        let found = self.by_path.range((path, 0)..).take_while(move |(other, _)| *other == path);
        found.filter_map(|(_, number)| Some((*number, &self.views.get(*number)?.traits)))
    }

    /// Numbers of the views between two moments that went to a server.
    pub fn between(&self, responder: IpAddr, from: Timestamp, to: Timestamp) -> Vec<u64> {
        let Some(places) = &self.by_place else { return Vec::new() };
        let server = bits(responder);
        let found = places.range((server, from, 0)..).take_while(|place| (place.0, place.1) <= (server, to));
        found.map(|place| place.2).collect()
    }

    /// Takes what is told of a view that found its session. Its place and time stay until its time is over, so that
    /// another session of the same moment does not count as unlogged.
    pub fn mark(&mut self, number: u64) -> Option<(Traits, Box<Story>)> {
        let seen = self.views.get_mut(number)?;
        let (traits, story) = (seen.traits, seen.story.take()?);
        self.by_path.remove(&(traits.path, number));
        Some((traits, story))
    }

    /// Makes an empty one what it was.
    pub fn restore<'a>(&mut self, bounds: (u64, u64), pieces: impl Iterator<Item = &'a [u8]>) {
        self.views.restore(bounds, pieces);
        let open = self.views.iter().filter(|(_, seen)| seen.is_open());
        self.by_path = open.map(|(number, seen)| (seen.traits.path, number)).collect();
        if let Some(places) = &mut self.by_place {
            *places = self.views.iter().filter_map(|(number, seen)| place(&seen.traits, number)).collect();
        }
    }
}

fn place(traits: &Traits, number: u64) -> Option<Place> {
    Some((bits(traits.responder?), traits.at, number))
}

/// An address, IPv4 as IPv6 writes it.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}
