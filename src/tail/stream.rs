//! Lines that come by themselves, from another thread: standard input, the journal, the network.
//!
//! *In*: arrivals. *Out*: lines, one at a time. *Bound*: `limits::LINES_WAITING_MAX` lines that wait. *Spec*: none.

use super::TailError;
use crate::limits;
use serde::Serialize;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

/// What a thread brings.
pub(super) enum Arrival {
    /// A line, and the position after it where there is such a thing.
    Line(Vec<u8>, Option<String>),
    /// Something that a person should mend.
    Trouble(TailError),
}

/// What was lost on the way.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Lines that found no room.
    pub(super) dropped: AtomicU64,
    /// Datagrams and connections of those that may not send.
    pub(super) refused: AtomicU64,
    /// Connections beyond the bound.
    pub(super) crowded_out: AtomicU64,
    /// Lines that were longer than is kept.
    pub(super) overlong: AtomicU64,
}

/// What came and what was lost, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamCounters {
    /// Lines handed out.
    pub lines: u64,
    /// Lines that found no room: they came faster than they were judged, and cannot be asked for again.
    pub dropped: u64,
    /// Datagrams and connections of those that may not send.
    pub refused: u64,
    /// Connections beyond the bound.
    pub crowded_out: u64,
    /// Lines that were longer than is kept.
    pub overlong_lines: u64,
}

/// Lines out of another thread.
pub struct Stream {
    arrivals: Receiver<Arrival>,
    head: Option<(Vec<u8>, Option<String>)>,
    position: Option<String>,
    lines: u64,
    losses: Arc<Losses>,
    ended: bool,
    /// Ends the thread, and what it started, when dropped.
    _guard: Option<Box<dyn Send>>,
}

impl Stream {
    /// A stream that begins at a position, and what its thread needs.
    pub(super) fn new(position: Option<String>) -> (Stream, SyncSender<Arrival>, Arc<Losses>) {
        let (sender, arrivals) = sync_channel(limits::LINES_WAITING_MAX);
        let losses = Arc::new(Losses::default());
        let stream = Stream {
            arrivals,
            head: None,
            position,
            lines: 0,
            losses: Arc::clone(&losses),
            ended: false,
            _guard: None,
        };
        (stream, sender, losses)
    }

    /// Ties something to the life of the stream.
    pub(super) fn guarded(self, guard: impl Send + 'static) -> Stream {
        Stream { _guard: Some(Box::new(guard)), ..self }
    }

    /// Standard input.
    pub fn stdin() -> Stream {
        Stream::of_reader(std::io::stdin())
    }

    /// Lines of any reader, until it ends.
    pub fn of_reader(reader: impl Read + Send + 'static) -> Stream {
        let (stream, sender, losses) = Stream::new(None);
        std::thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            while let Some((line, overlong)) = bounded_line(&mut reader, limits::LOG_LINE_BYTES_MAX) {
                losses.overlong.fetch_add(u64::from(overlong), Ordering::Relaxed);
                if sender.send(Arrival::Line(line, None)).is_err() {
                    break;
                }
            }
        });
        stream
    }

    /// The next line, without taking it; `None` where there is none yet, or none any more.
    pub fn peek(&mut self) -> Result<Option<&[u8]>, TailError> {
        if self.head.is_none() {
            match self.arrivals.try_recv() {
                Ok(Arrival::Line(line, position)) => self.head = Some((line, position)),
                Ok(Arrival::Trouble(error)) => return Err(error),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.ended = true,
            }
        }
        Ok(self.head.as_ref().map(|(line, _)| &line[..]))
    }

    /// Takes the line that [`Stream::peek`] showed.
    pub fn take(&mut self) {
        if let Some((_, position)) = self.head.take() {
            self.lines += 1;
            self.position = position.or(self.position.take());
        }
    }

    /// Where it was read to; `None` for what cannot be read again.
    pub fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    /// Whether nothing will come any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What came and what was lost so far.
    pub fn counters(&self) -> StreamCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StreamCounters {
            lines: self.lines,
            dropped: read(&self.losses.dropped),
            refused: read(&self.losses.refused),
            crowded_out: read(&self.losses.crowded_out),
            overlong_lines: read(&self.losses.overlong),
        }
    }
}

/// A line without its end, cut at `most` bytes, and whether it was longer. `None` at the end of the input. A line
/// that the input's end cuts short counts.
pub(super) fn bounded_line(reader: &mut impl BufRead, most: usize) -> Option<(Vec<u8>, bool)> {
    let (mut line, mut bytes, mut any) = (Vec::new(), 0usize, false);
    loop {
        let available = match reader.fill_buf() {
            Ok(available) => available,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => &[],
        };
        let ended = available.is_empty();
        any |= !ended;
        let end = memchr::memchr(b'\n', available);
        let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        // One byte more than is kept, for the CR.
        let room = (most + 1 - line.len()).min(piece.len());
        line.extend_from_slice(piece.get(..room).unwrap_or_default());
        bytes = bytes.saturating_add(piece.len());
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if ended || end.is_some() {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            let overlong = bytes > most + 1 || line.len() > most;
            line.truncate(most);
            return any.then_some((line, overlong));
        }
    }
}
