//! The log road: lines of any number of sources in, observations out.
//!
//! *In*: sources, then their lines. *Out*: [`Observation`]s with the vantage `Log`, and [`LogCounters`].
//! *Bound*: see [`super::queue`]; host names `HOSTS_MAX`; samples `limits::UNPARSED_SAMPLES_MAX`.
//! *Spec*: docs/architecture.md, logs.

use super::joining::Joining;
use super::kept::{self, KeptSource, Note};
use super::queue::Queue;
use super::stamp::Clock;
use super::{DIALECTS, Dialect, Fate, Line, Memory, fields};
use crate::company::Company;
use crate::limits;
use crate::mail::Untrusted;
use crate::observation::Observation;
use crate::time::{MICROS_PER_HOUR, Timestamp};
use jiff::tz::TimeZone;
use serde::Serialize;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Names of machines whose address is remembered; more are looked up each time.
const HOSTS_MAX: usize = 4_096;

/// One input of lines.
pub struct LogSource {
    /// Its name; where lines name no machine, also the machine's.
    pub name: String,
    /// Its dialect; `None` where it is to be recognised by content.
    pub dialect: Option<&'static Dialect>,
    /// The zone of stamps that name none.
    pub zone: TimeZone,
    /// When the input was last changed: gives the first stamp its year where it has none.
    pub modified_at: Option<Timestamp>,
}

/// Which source a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(usize);

/// What the user may set.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// How far after the present (see [`LogRoad::set_now`]) a stamp may lie, seconds. What lies farther is
    /// not believed.
    pub future_seconds_max: f64,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings { future_seconds_max: (MICROS_PER_HOUR / crate::time::MICROS_PER_SECOND) as f64 }
    }
}

/// What was read and what became of it. `lines == parsed + ignored + unparsed`, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogCounters {
    /// Lines handed in.
    pub lines: u64,
    /// Lines that said something about a message or a login.
    pub parsed: u64,
    /// Lines of no interest, or of other programs.
    pub ignored: u64,
    /// Lines that could not be read, or whose time was not believed.
    pub unparsed: u64,
    /// Parsed lines in which a sender's text allows two readings; the doubtful fields were left out.
    pub ambiguous: u64,
    /// Unparsed lines whose stamp lies in the future.
    pub quarantined: u64,
    /// Messages that left for other servers.
    pub messages: u64,
    /// Recipients delivered, wherever to.
    pub delivered: u64,
    /// Attempts put off, wherever to.
    pub deferred: u64,
    /// Recipients given up, wherever to.
    pub bounced: u64,
    /// Messages or recipients given up after their time in the queue.
    pub expired: u64,
    /// Recipients dropped by configuration.
    pub discarded: u64,
    /// Refusals of our own servers.
    pub rejected: u64,
    /// Attempts to local mailboxes (not outbound).
    pub local: u64,
    /// Attempts to servers of ours: filters, relays, mailbox stores (not outbound).
    pub inward: u64,
    /// Outbound attempts that were tried before.
    pub retries: u64,
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins that failed.
    pub logins_failed: u64,
    /// Messages that took over client and account from the message a filter or relay of ours passed on.
    pub inherited: u64,
    /// Messages forgotten between their lines because too many were under way.
    pub joins_evicted: u64,
    /// Deferred recipients forgotten because there were too many.
    pub deferrals_evicted: u64,
    /// The first unparsed lines, escaped; bounded in number and length.
    pub unparsed_samples: Vec<String>,
}

struct Source {
    dialect: Option<&'static Dialect>,
    /// The dialect that read the last line of a source without a declared one.
    recognised: Option<&'static Dialect>,
    clock: Clock,
    memory: Memory,
    name: Box<[u8]>,
    /// The machine of lines that name none.
    machine: Box<[u8]>,
}

/// The machine a line speaks for.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) name: Untrusted,
    pub(super) address: Option<IpAddr>,
    /// Under what its messages are remembered: the declared name, however a log abbreviates it.
    pub(super) joins_as: Box<[u8]>,
}

/// Reads the logs of all sources and joins their lines.
pub struct LogRoad {
    company: Arc<Company>,
    settings: LogSettings,
    sources: Vec<Source>,
    machines: HashMap<Box<[u8]>, Arc<Machine>>,
    queue: Queue,
    counters: LogCounters,
    now: Option<Timestamp>,
    /// Room for the key of the message at hand.
    key: Vec<u8>,
}

impl LogRoad {
    /// A road without sources.
    pub fn new(company: Arc<Company>, settings: LogSettings) -> LogRoad {
        LogRoad {
            company,
            settings,
            sources: Vec::new(),
            machines: HashMap::new(),
            queue: Queue::default(),
            counters: LogCounters::default(),
            now: None,
            key: Vec::new(),
        }
    }

    /// Adds an input.
    pub fn add_source(&mut self, source: LogSource) -> SourceId {
        self.sources.push(Source::of(source));
        SourceId(self.sources.len() - 1)
    }

    /// Reads an input in another way from the next line on.
    pub fn replace_source(&mut self, id: SourceId, source: LogSource) {
        if let Some(old) = self.sources.get_mut(id.0) {
            *old = Source::of(source);
            old.memory.sessions.keep();
        }
    }

    /// Says whose log a source is, for lines that do not name their machine.
    pub fn name_machine(&mut self, source: SourceId, host: &str) {
        if let Some(source) = self.sources.get_mut(source.0) {
            source.machine = host.as_bytes().into();
        }
    }

    /// Says what time it is, for inputs that are read as they are written: stamps later than that by more
    /// than the settings allow are not believed. Replays leave it unset.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = Some(now);
        for source in &mut self.sources {
            source.clock.set_now(now);
        }
    }

    /// From the next line on, another company's mail is looked for.
    pub fn set_company(&mut self, company: Arc<Company>) {
        self.company = company;
        self.machines.clear();
    }

    /// The dialect of an input that begins with `head` (after decompression; a few KiB suffice). `None`
    /// where it is no log that is known, such as a capture.
    pub fn looks_like(head: &[u8]) -> Option<&'static Dialect> {
        let lines =
            || head.split(|byte| *byte == b'\n').map(trim_line).filter(|line| !line.is_empty()).take(200);
        let count = |dialect: &&'static Dialect| lines().filter(|line| (dialect.recognises)(line)).count();
        // Among equals the first wins: the registry lists what holds several programs first.
        let mut best: Option<(&'static Dialect, usize)> = None;
        for dialect in DIALECTS {
            let lines = count(&dialect);
            if lines > best.map_or(0, |(_, most)| most) {
                best = Some((dialect, lines));
            }
        }
        best.map(|(dialect, _)| dialect)
    }

    /// The line's time, without taking it: for merging several inputs in event time. `None` where the
    /// line has none; it then belongs to the one before.
    pub fn stamp(&mut self, source: SourceId, line: &[u8]) -> Option<Timestamp> {
        let source = self.sources.get_mut(source.0)?;
        let line = trim_line(line);
        let dialect = source.dialect_of(line)?;
        let stamp = (dialect.split)(&mut source.memory, line)?.stamp?;
        let (now, most) = (self.now, self.settings.future_seconds_max);
        source.clock.resolve(stamp).filter(|at| !now.is_some_and(|now| at.seconds_since(now) > most))
    }

    /// Takes a line and appends what it says.
    pub fn line(&mut self, source: SourceId, line: &[u8], out: &mut Vec<Observation>) {
        self.counters.lines += 1;
        let line = trim_line(line);
        match self.read(source, line, out) {
            Fate::Parsed => self.counters.parsed += 1,
            Fate::Ignored => self.counters.ignored += 1,
            Fate::Ambiguous => {
                self.counters.parsed += 1;
                self.counters.ambiguous += 1;
            }
            Fate::Unparsed => {
                self.counters.unparsed += 1;
                if self.counters.unparsed_samples.len() < limits::UNPARSED_SAMPLES_MAX {
                    let verbatim = self.sources.get(source.0).is_some_and(Source::is_verbatim);
                    self.counters.unparsed_samples.push(sample(line, verbatim));
                }
            }
        }
        self.counters.joins_evicted = self.queue.messages_evicted;
        self.counters.deferrals_evicted = self.queue.deferred_evicted;
    }

    /// Makes this road, whose sources were added, what an earlier one was, by the notes that were taken there
    /// ([`LogRoad::take_changes`]). Without notes it begins anew. From now on changes are noted.
    pub fn restore(&mut self, notes: Vec<Note>) {
        for source in &mut self.sources {
            source.memory.sessions.keep();
        }
        for (name, note) in &notes {
            let Some((id, source)) = kept::session_of(name) else { continue };
            if let Some(source) = self.sources.iter_mut().find(|known| *known.name == *source.as_bytes()) {
                source.memory.sessions.restore(&id, note);
            }
        }
        let kept = kept::restore(&mut self.queue, notes);
        for source in &mut self.sources {
            let name = String::from_utf8_lossy(&source.name);
            let Some(kept) = kept.get(&*name) else { continue };
            if let Some(previous) = kept.previous {
                source.clock.advance(previous);
            }
            source.recognised = kept.dialect.as_deref().and_then(super::dialect_named);
            source.memory.restore(&kept.memory);
        }
    }

    /// What changed since this was last asked, as notes to be kept with the positions of the sources.
    pub fn take_changes(&mut self) -> Vec<Note> {
        let sources = self.sources.iter().map(|source| {
            let kept = KeptSource {
                previous: source.clock.previous(),
                dialect: source.recognised.map(|dialect| dialect.name.to_owned()),
                memory: source.memory.kept(),
            };
            (String::from_utf8_lossy(&source.name).into_owned(), kept)
        });
        let mut notes = kept::take(&mut self.queue, sources);
        for source in &mut self.sources {
            let name = String::from_utf8_lossy(&source.name);
            let changes = source.memory.sessions.take_changes().into_iter();
            notes.extend(changes.map(|(id, note)| (kept::session_name(&id, &name), note)));
        }
        notes
    }

    /// Says that no more lines come.
    pub fn finish(&mut self, _out: &mut Vec<Observation>) {}

    /// What was read so far.
    pub fn counters(&self) -> &LogCounters {
        &self.counters
    }

    /// Messages that are remembered because more lines may come.
    pub fn open_messages(&self) -> usize {
        self.queue.len()
    }

    fn read(&mut self, source: SourceId, line: &[u8], out: &mut Vec<Observation>) -> Fate {
        if line.is_empty() {
            return Fate::Ignored;
        }
        let Some(source) = self.sources.get_mut(source.0) else { return Fate::Unparsed };
        let Some(dialect) = source.dialect_of(line) else { return Fate::Unparsed };
        let Some(mut head) = (dialect.split)(&mut source.memory, line) else { return Fate::Unparsed };
        let at = match head.stamp {
            Some(stamp) => source.clock.resolve(stamp),
            None => source.clock.previous(),
        };
        let Some(at) = at else {
            // A header may stand before the first time. What says more cannot be placed.
            return match (dialect.read)(&head, &mut source.memory, &mut |_, _| {}) {
                Fate::Ignored => Fate::Ignored,
                _ => Fate::Unparsed,
            };
        };
        if self.now.is_some_and(|now| at.seconds_since(now) > self.settings.future_seconds_max) {
            self.counters.quarantined += 1;
            return Fate::Unparsed;
        }
        source.clock.advance(at);
        let machine = machine_of(&mut self.machines, &self.company, head.host.unwrap_or(&source.machine));
        let mut joining = Joining {
            company: &self.company,
            queue: &mut self.queue,
            counters: &mut self.counters,
            machine: &machine,
            at,
            key: &mut self.key,
            out,
        };
        let times = repeats(&mut head);
        let mut fate = Fate::Ignored;
        for _ in 0..times {
            fate = (dialect.read)(&head, &mut source.memory, &mut |id, part| joining.take(id, part));
        }
        fate
    }
}

impl Source {
    fn of(source: LogSource) -> Source {
        let patterns = source.dialect.and_then(|dialect| dialect.patterns);
        Source {
            dialect: source.dialect,
            recognised: None,
            clock: Clock::new(source.zone, source.modified_at),
            memory: Memory { patterns, ..Memory::default() },
            machine: source.name.as_bytes().into(),
            name: source.name.into_bytes().into(),
        }
    }

    /// Whether its lines may carry passwords.
    fn is_verbatim(&self) -> bool {
        self.dialect.or(self.recognised).is_some_and(|dialect| dialect.verbatim)
    }

    /// The declared dialect, or the one that recognises the line, the last one first.
    fn dialect_of(&mut self, line: &[u8]) -> Option<&'static Dialect> {
        if self.dialect.is_some() {
            return self.dialect;
        }
        if let Some(last) = self.recognised
            && (last.split)(&mut self.memory, line).is_some()
        {
            return Some(last);
        }
        let found = LogRoad::looks_like(line);
        if found.is_some() {
            self.recognised = found;
        }
        found.or(self.recognised)
    }
}

/// `message repeated 3 times: [ … ]`, as rsyslog shortens equal lines: reads the inner text and returns
/// how often it counts.
fn repeats(line: &mut Line) -> u32 {
    let read = |text| {
        let rest = <[u8]>::strip_prefix(text, b"message repeated ")?;
        let (times, rest) = fields::split_once(rest, b" times: [ ")?;
        Some((u32::try_from(fields::number(times)?).ok()?, rest.strip_suffix(b"]").unwrap_or(rest)))
    };
    match read(line.text) {
        Some((times, text)) => {
            line.text = text;
            times.clamp(1, limits::LOG_REPEATS_MAX)
        }
        None => 1,
    }
}

/// A line without its end, and without the NULs that a crash leaves before it.
fn trim_line(line: &[u8]) -> &[u8] {
    let end = line.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
    let line = line.get(..line.len() - end).unwrap_or_default();
    let start = line.iter().take_while(|byte| **byte == 0).count();
    let line = line.get(start..).unwrap_or_default();
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// The beginning of a line, escaped. Lines that may carry credentials are not quoted.
fn sample(line: &[u8], verbatim: bool) -> String {
    let says = |word: &[u8]| line.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
    if verbatim || says(b"auth") || says(b"pass") {
        return format!("(a line of {} bytes that may hold a password, not shown)", line.len());
    }
    let head = line.get(..line.len().min(limits::UNPARSED_SAMPLE_BYTES_MAX)).unwrap_or_default();
    Untrusted::bounded(&masked(head), limits::UNPARSED_SAMPLE_BYTES_MAX).escaped()
}

/// Text whose words are shown only where they cannot be a password or the base64 of one: a line in a wrong
/// dialect may be anybody's.
fn masked(text: &[u8]) -> Vec<u8> {
    let is_word =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-');
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|byte| is_word(byte)).count();
        let (word, after) = rest.split_at(length.max(1));
        rest = after;
        let tail = word.get(1..).unwrap_or_default();
        let opaque = word.len() > 3
            && (tail.iter().any(|byte| byte.is_ascii_uppercase() || *byte == b'=')
                || word.iter().any(u8::is_ascii_digit) && word.iter().any(u8::is_ascii_alphabetic));
        match opaque && is_word(first) {
            true => out.extend_from_slice(b"***"),
            false => out.extend_from_slice(word),
        }
    }
    out
}

fn machine_of(
    machines: &mut HashMap<Box<[u8]>, Arc<Machine>>,
    company: &Company,
    name: &[u8],
) -> Arc<Machine> {
    if let Some(known) = machines.get(name) {
        return Arc::clone(known);
    }
    let declared = company.host_named(name);
    let address = declared
        .map(|host| host.address)
        .or_else(|| fields::address(name).filter(|address| company.owns(*address)));
    let lower = name.get(..name.len().min(limits::HELO_BYTES_MAX)).unwrap_or_default().to_ascii_lowercase();
    let machine = Arc::new(Machine {
        name: Untrusted::bounded(&lower, limits::HELO_BYTES_MAX),
        address,
        joins_as: declared.map_or(lower, |host| host.name.to_ascii_lowercase().into_bytes()).into(),
    });
    if machines.len() < HOSTS_MAX {
        machines.insert(name.into(), Arc::clone(&machine));
    }
    machine
}
