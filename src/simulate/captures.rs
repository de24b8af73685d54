//! Captures on disk: frames of many connections in time order.
//!
//! *In*: connections as they begin. *Out*: `span0-NN.pcap` (of several the first one is pcapng), cut by
//! days and size. *Bound*: the connections under way. *Spec*: pcap and pcapng file formats, microseconds.

use super::SimulateError;
use super::talk::Talk;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Link type of Ethernet.
const LINKTYPE_ETHERNET: u32 = 1;
/// A capture file of a world is closed beyond this size, octets.
pub(super) const FILE_OCTETS_MAX: u64 = 256 << 20;

/// All frames of the world, merged by time.
pub(super) struct Captures {
    directory: PathBuf,
    talks: Vec<Option<Talk>>,
    free: Vec<usize>,
    /// Next frame of each connection: time, order of arrival, slot, frame.
    next: BinaryHeap<Reverse<(i64, u64, usize, usize)>>,
    order: u64,
    cuts: Vec<i64>,
    file_octets_max: u64,
    muted: bool,
    file: Option<BufWriter<File>>,
    files: usize,
    file_octets: u64,
    /// Octets written in all files.
    pub(super) octets: u64,
    /// Frames written.
    pub(super) frames: u64,
}

impl Captures {
    /// Captures in `directory`, a new file at each of the moments `cuts` and after so many octets.
    pub(super) fn new(directory: &Path, mut cuts: Vec<i64>, file_octets_max: u64) -> Captures {
        cuts.sort_by_key(|at| Reverse(*at));
        Captures {
            directory: directory.to_owned(),
            talks: Vec::new(),
            free: Vec::new(),
            next: BinaryHeap::new(),
            order: 0,
            cuts,
            file_octets_max,
            muted: false,
            file: None,
            files: 0,
            file_octets: 0,
            octets: 0,
            frames: 0,
        }
    }

    /// Captures nothing: for those who want a log only.
    pub(super) fn mute(&mut self) {
        self.muted = true;
    }

    /// A connection begins.
    pub(super) fn add(&mut self, talk: Talk) {
        let Some((at, _)) = talk.frame(0).filter(|_| !self.muted) else { return };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.talks.push(None);
                self.talks.len() - 1
            }
        };
        self.talks[slot] = Some(talk);
        self.order += 1;
        self.next.push(Reverse((at, self.order, slot, 0)));
    }

    /// Writes all frames before a moment.
    pub(super) fn write_until(&mut self, until: i64) -> Result<(), SimulateError> {
        while let Some(Reverse((at, order, slot, frame))) = self.next.peek().copied() {
            if at >= until {
                break;
            }
            self.next.pop();
            self.prepare_file(at)?;
            let Some(talk) = &self.talks[slot] else { continue };
            let Some((_, bytes)) = talk.frame(frame) else { continue };
            let following = talk.frame(frame + 1).map(|(at, _)| at);
            let (header, tail) = match self.next_generation() {
                true => (ng_packet(at, bytes.len()), ng_tail(bytes.len())),
                false => (packet(at, bytes.len()), Vec::new()),
            };
            let octets = (header.len() + bytes.len() + tail.len()) as u64;
            if let Some(file) = &mut self.file {
                for part in [&header[..], bytes, &tail[..]] {
                    file.write_all(part).map_err(SimulateError::Write)?;
                }
            }
            self.file_octets += octets;
            self.octets += octets;
            self.frames += 1;
            match following {
                Some(at) => self.next.push(Reverse((at, order, slot, frame + 1))),
                None => {
                    self.talks[slot] = None;
                    self.free.push(slot);
                }
            }
        }
        Ok(())
    }

    /// Writes what is left and closes the last file.
    pub(super) fn finish(&mut self) -> Result<(), SimulateError> {
        self.write_until(i64::MAX)?;
        match self.file.take() {
            Some(mut file) => file.flush().map_err(SimulateError::Write),
            None => Ok(()),
        }
    }

    /// Whether the file at hand is pcapng: the first one where several are to be.
    fn next_generation(&self) -> bool {
        self.files == 1 && self.file_octets_max != u64::MAX
    }

    fn prepare_file(&mut self, at: i64) -> Result<(), SimulateError> {
        let mut cut = self.file.is_none() || self.file_octets >= self.file_octets_max;
        while self.cuts.last().is_some_and(|due| *due <= at) {
            self.cuts.pop();
            cut = true;
        }
        if !cut {
            return Ok(());
        }
        if let Some(mut file) = self.file.take() {
            file.flush().map_err(SimulateError::Write)?;
        }
        self.files += 1;
        let (kind, header) = match self.next_generation() {
            true => ("pcapng", ng_header()),
            false => ("pcap", file_header()),
        };
        let path = self.directory.join(format!("span0-{:02}.{kind}", self.files));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(SimulateError::Write)?);
        file.write_all(&header).map_err(SimulateError::Write)?;
        self.file_octets = header.len() as u64;
        self.octets += header.len() as u64;
        self.file = Some(file);
        Ok(())
    }
}

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// File header of pcap: version 2.4, microseconds.
fn file_header() -> Vec<u8> {
    words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, LINKTYPE_ETHERNET])
}

fn packet(at: i64, octets: usize) -> Vec<u8> {
    let (seconds, micros) = (at.div_euclid(1_000_000) as u32, at.rem_euclid(1_000_000) as u32);
    words(&[seconds, micros, octets as u32, octets as u32])
}

/// Section header and one interface description.
fn ng_header() -> Vec<u8> {
    let mut out = words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 0x0000_0001, 0xffff_ffff, 0xffff_ffff, 28]);
    out.extend(words(&[1, 20, LINKTYPE_ETHERNET, 262_144, 20]));
    out
}

fn ng_packet(at: i64, octets: usize) -> Vec<u8> {
    let total = 32 + octets.next_multiple_of(4) as u32;
    let micros = at as u64;
    words(&[6, total, 0, (micros >> 32) as u32, micros as u32, octets as u32, octets as u32])
}

fn ng_tail(octets: usize) -> Vec<u8> {
    let mut out = vec![0; octets.next_multiple_of(4) - octets];
    out.extend(words(&[32 + octets.next_multiple_of(4) as u32]));
    out
}
