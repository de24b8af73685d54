//! A disk that loses what was not forced: the calls of a real run, taken down by strace, played onto a model.
//!
//! The model keeps, for each file, what is durable and what was written since; and for the directory, which names
//! are durable. A cut keeps any part of what was not forced: each write whole, torn at a sector, or not at all, in any
//! order; names as the journal of a filesystem might have them. A file's durability does not make its name
//! durable: that takes an fsync of the directory. Nothing in the program knows of it.

#![allow(clippy::unwrap_used)] // a test fails loudly

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What is written at once.
const SECTOR_BYTES: usize = 512;

/// One call that matters to a disk, or a word of the program about what is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// A file was opened; `created` where it was not there, `emptied` with O_TRUNC.
    Open { name: String, created: bool, emptied: bool },
    /// Bytes at an offset; `None` at the end (O_APPEND).
    Write { name: String, offset: Option<u64>, bytes: Vec<u8> },
    /// A new length.
    Truncate { name: String, length: u64 },
    /// The file, or with an empty name the directory, was forced to disk.
    Sync { name: String },
    /// A new name.
    Rename { from: String, to: String },
    /// A name less.
    Unlink { name: String },
    /// A line of standard output.
    Said(String),
}

/// Runs a command under strace and returns its calls below `directory`, in order.
pub fn trace(command: &Command, directory: &Path) -> Vec<Call> {
    let out = tempfile::NamedTempFile::new_in(super::quick_place()).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-x", "-s", "1000000", "-o"]).arg(out.path());
    strace.args(["-e", "trace=openat,write,pwrite64,lseek,fsync,fdatasync,ftruncate,rename,unlink"]);
    strace.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        strace.env(name, value.unwrap_or_default());
    }
    let output = strace.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&std::fs::read_to_string(out.path()).unwrap(), directory.to_str().unwrap())
}

/// Reads strace's lines. Calls that were interrupted by others count when they end.
fn parse(text: &str, directory: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, String> = BTreeMap::new();
    let mut reader =
        Reader { directory, appending: BTreeMap::new(), offsets: BTreeMap::new(), known: Vec::new() };
    let mut calls = Vec::new();
    for line in text.lines() {
        let (process, rest) = line.split_once(' ').unwrap();
        let rest = rest.trim_start();
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(process, start.to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let (_, end) = resumed.split_once(" resumed>").unwrap();
                unfinished.remove(process).unwrap() + end
            }
            None => rest.to_owned(),
        };
        calls.extend(reader.call(&whole));
    }
    calls
}

struct Reader<'a> {
    directory: &'a str,
    /// Descriptor → opened with O_APPEND.
    appending: BTreeMap<u32, bool>,
    /// Descriptor → where the next write goes.
    offsets: BTreeMap<u32, u64>,
    known: Vec<String>,
}

impl Reader<'_> {
    fn call(&mut self, line: &str) -> Option<Call> {
        let (function, rest) = line.split_once('(')?;
        let equals = rest.rfind(" = ")?;
        let (arguments, result) = (rest[..equals].trim_end().strip_suffix(')')?, &rest[equals + 3..]);
        if result.starts_with('-') || result.starts_with('?') {
            return None;
        }
        let fields = split(arguments);
        match function {
            "openat" => self.open(&fields, result),
            "rename" => Some(Call::Rename {
                from: self.name(&string(&fields[0]))?,
                to: self.name(&string(&fields[1]))?,
            }),
            "unlink" => {
                let name = self.name(&string(&fields[0]))?;
                self.known.retain(|known| *known != name);
                Some(Call::Unlink { name })
            }
            _ => self.on_descriptor(function, &fields),
        }
    }

    fn open(&mut self, fields: &[String], result: &str) -> Option<Call> {
        let name = self.name(&string(&fields[1]))?;
        let descriptor = result.split('<').next()?.parse().ok()?;
        let flag = |flag: &str| fields[2].split('|').any(|f| f == flag);
        self.appending.insert(descriptor, flag("O_APPEND"));
        self.offsets.insert(descriptor, 0);
        if name.is_empty() {
            return None;
        }
        let created = flag("O_CREAT") && !self.known.contains(&name);
        if created {
            self.known.push(name.clone());
        }
        Some(Call::Open { name, created, emptied: flag("O_TRUNC") })
    }

    fn on_descriptor(&mut self, function: &str, fields: &[String]) -> Option<Call> {
        let (descriptor, path) = fields[0].split_once('<')?;
        let descriptor: u32 = descriptor.parse().ok()?;
        if function == "write" && descriptor == 1 {
            let said = String::from_utf8(string(&fields[1])).ok()?;
            return Some(Call::Said(said.trim_end().to_owned()));
        }
        let name = self.name(path.strip_suffix('>')?.as_bytes())?;
        let number = |field: &str| field.parse::<u64>().unwrap();
        match function {
            "write" => {
                let bytes = string(&fields[1]);
                let at = self.offsets.entry(descriptor).or_default();
                let offset = *at;
                *at += bytes.len() as u64;
                let appending = self.appending.get(&descriptor).copied().unwrap_or(false);
                Some(Call::Write { name, offset: (!appending).then_some(offset), bytes })
            }
            "pwrite64" => {
                Some(Call::Write { name, offset: Some(number(&fields[3])), bytes: string(&fields[1]) })
            }
            "lseek" => {
                self.offsets.insert(descriptor, number(&fields[1]));
                None
            }
            "fsync" | "fdatasync" => Some(Call::Sync { name }),
            "ftruncate" => Some(Call::Truncate { name, length: number(&fields[1]) }),
            _ => None,
        }
    }

    /// The name of a path in the directory, empty for the directory itself. What is shared memory only is no file.
    fn name(&self, path: &[u8]) -> Option<String> {
        let path = std::str::from_utf8(path).ok()?;
        let name = path.strip_prefix(self.directory)?.trim_start_matches('/');
        (!name.ends_with("-shm") && !name.contains('/')).then(|| name.to_owned())
    }
}

/// Splits at commas outside of strings and brackets.
fn split(arguments: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted, mut chars) =
        (Vec::new(), String::new(), false, arguments.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                field.push(c);
                field.extend(chars.next());
            }
            '"' => {
                quoted = !quoted;
                field.push(c);
            }
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            ' ' if !quoted && field.is_empty() => {}
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// The bytes of a C string as strace prints it.
fn string(field: &str) -> Vec<u8> {
    let inner = field.strip_prefix('"').and_then(|field| field.strip_suffix('"')).expect("a whole string");
    let (mut out, mut chars) = (Vec::new(), inner.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.to_string().as_bytes());
            continue;
        }
        match chars.next().unwrap() {
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            'r' => out.push(b'\r'),
            'v' => out.push(0x0b),
            'f' => out.push(0x0c),
            'x' => {
                let digits: String = [chars.next().unwrap(), chars.next().unwrap()].iter().collect();
                out.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            digit @ '0'..='7' => {
                let mut value = digit.to_digit(8).unwrap();
                for _ in 0..2 {
                    let Some(next) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    value = value * 8 + next;
                    chars.next();
                }
                out.push(value as u8);
            }
            other => out.push(other as u8),
        }
    }
    out
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    length: u64,
}

#[derive(Clone, Debug)]
enum NameChange {
    Bind(String, usize),
    Move(String, String, usize),
    Drop(String),
}

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<NameChange>,
}

fn apply(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

impl Disk {
    /// A disk that holds what stands in a directory, durably.
    pub fn of(directory: &Path) -> Disk {
        let mut disk = Disk::default();
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let content = std::fs::read(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            disk.names.insert(name.clone(), disk.files.len());
            disk.durable_names.insert(name, disk.files.len());
            disk.files.push(File { length: content.len() as u64, durable: content, pending: Vec::new() });
        }
        disk
    }

    /// One call happens.
    pub fn happen(&mut self, call: &Call) {
        match call {
            Call::Open { name, emptied, .. } => {
                let file = match self.names.get(name) {
                    Some(file) => *file,
                    None => {
                        let file = self.files.len();
                        self.files.push(File::default());
                        self.names.insert(name.clone(), file);
                        self.pending_names.push(NameChange::Bind(name.clone(), file));
                        file
                    }
                };
                if *emptied && self.files[file].length > 0 {
                    self.files[file].pending.push(Change::Length(0));
                    self.files[file].length = 0;
                }
            }
            Call::Write { name, offset, bytes } => {
                let Some(file) = self.names.get(name) else { return };
                let file = &mut self.files[*file];
                let offset = offset.unwrap_or(file.length);
                file.length = file.length.max(offset + bytes.len() as u64);
                file.pending.push(Change::Write(offset, bytes.clone()));
            }
            Call::Truncate { name, length } => {
                let Some(file) = self.names.get(name) else { return };
                let file = &mut self.files[*file];
                file.length = *length;
                file.pending.push(Change::Length(*length));
            }
            Call::Sync { name } if name.is_empty() => {
                self.durable_names = self.names.clone();
                self.pending_names.clear();
            }
            Call::Sync { name } => {
                let Some(file) = self.names.get(name) else { return };
                let file = &mut self.files[*file];
                for change in file.pending.drain(..) {
                    match change {
                        Change::Write(offset, bytes) => apply(&mut file.durable, offset, &bytes),
                        Change::Length(length) => file.durable.resize(length as usize, 0),
                    }
                }
            }
            Call::Rename { from, to } => {
                let Some(file) = self.names.remove(from) else { return };
                self.names.insert(to.clone(), file);
                self.pending_names.push(NameChange::Move(from.clone(), to.clone(), file));
            }
            Call::Unlink { name } => {
                if self.names.remove(name).is_some() {
                    self.pending_names.push(NameChange::Drop(name.clone()));
                }
            }
            Call::Said(_) => {}
        }
    }

    /// What a process leaves that is killed now: all that it wrote.
    pub fn now(&self) -> BTreeMap<String, Vec<u8>> {
        let whole = |file: &File| {
            let mut content = file.durable.clone();
            for change in &file.pending {
                match change {
                    Change::Length(length) => content.resize(*length as usize, 0),
                    Change::Write(offset, bytes) => apply(&mut content, *offset, bytes),
                }
            }
            content
        };
        self.names.iter().map(|(name, file)| (name.clone(), whole(&self.files[*file]))).collect()
    }

    /// What stands on the disk when the power is cut now.
    pub fn cut(&self, rng: &mut ChaCha8Rng) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.durable_names.clone();
        // Half the time as a journal has it, a beginning of the changes; else any of them.
        let upto = rng.random_range(0..=self.pending_names.len());
        let in_order = rng.random_bool(0.5);
        for (n, change) in self.pending_names.iter().enumerate() {
            if if in_order { n >= upto } else { rng.random_bool(0.5) } {
                continue;
            }
            match change {
                NameChange::Bind(name, file) => drop(names.insert(name.clone(), *file)),
                NameChange::Drop(name) => drop(names.remove(name)),
                NameChange::Move(from, to, file) => {
                    names.remove(from);
                    names.insert(to.clone(), *file);
                }
            }
        }
        names.into_iter().map(|(name, file)| (name, self.files[file].cut(rng))).collect()
    }
}

impl File {
    fn cut(&self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        let mood = rng.random_range(0..4);
        for change in &self.pending {
            let keep = match mood {
                0 => false,
                1 => true,
                _ => rng.random_bool(0.5),
            };
            match change {
                Change::Length(length) if keep => content.resize(*length as usize, 0),
                Change::Write(offset, bytes) if keep && (mood != 3 || rng.random_bool(0.7)) => {
                    apply(&mut content, *offset, bytes);
                }
                Change::Write(offset, bytes) if keep => {
                    // Torn: some of its sectors.
                    let first = *offset as usize / SECTOR_BYTES * SECTOR_BYTES;
                    let end = *offset as usize + bytes.len();
                    for sector in (first..end).step_by(SECTOR_BYTES) {
                        if rng.random_bool(0.5) {
                            let from = sector.max(*offset as usize);
                            let until = (sector + SECTOR_BYTES).min(end);
                            let part = &bytes[from - *offset as usize..until - *offset as usize];
                            apply(&mut content, from as u64, part);
                        }
                    }
                }
                _ => {}
            }
        }
        content
    }
}
