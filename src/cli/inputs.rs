//! Inputs of `replay`: files and standard input, recognised by content, never by name alone.
//!
//! *In*: paths, `-`, and what `--as` says. *Out*: open captures and logs. *Bound*: [`HEAD_BYTES`] are looked at.

use super::failure::Failure;
use crate::capture::{CaptureFile, looks_like_capture};
use crate::config::Config;
use crate::mta::{DIALECTS, Dialect, LogRoad};
use crate::tail::{LogFile, Packing};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

/// Bytes of an input, after decompression, by which it is recognised.
const HEAD_BYTES: u64 = 64 << 10;

/// What `--as` says about the inputs.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Captures.
    Capture,
    /// Logs of one dialect.
    Log(&'static Dialect),
}

impl Kind {
    /// Reads the value of `--as`: `capture`, or a dialect that is built in or the configuration's own.
    pub fn parse(name: &str, config: &Config) -> Result<Kind, Failure> {
        if name == "capture" {
            return Ok(Kind::Capture);
        }
        config.dialect(name).map(Kind::Log).map_err(|error| Failure::usage(format!("--as {name}: {error}")))
    }
}

/// An open input.
pub enum Input {
    /// A capture.
    Capture(CaptureFile),
    /// A log.
    Log(LogInput),
}

/// An open log.
pub struct LogInput {
    /// Its path as given.
    pub name: String,
    /// Its lines.
    pub file: LogFile,
    /// Its dialect; `None` for a log that is still empty.
    pub dialect: Option<&'static Dialect>,
}

/// Opens one input.
pub fn open(name: &str, kind: Option<Kind>) -> Result<Input, Failure> {
    if name == "-" {
        return open_stdin(kind);
    }
    let path = Path::new(name);
    match kind {
        Some(Kind::Capture) => open_capture(path),
        Some(Kind::Log(dialect)) => open_log(path, Some(dialect)),
        None => {
            let head = head_of(path)?;
            if looks_like_capture(&head) {
                return open_capture(path);
            }
            match LogRoad::looks_like(&head) {
                Some(dialect) => open_log(path, Some(dialect)),
                None if head.is_empty() => open_log(path, None),
                None => Err(not_recognised(name)),
            }
        }
    }
}

fn not_recognised(name: &str) -> Failure {
    let names: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
    Failure::usage(format!(
        "{name}: not a capture, and not a log of a known mail server; if it is one, say which with --as ({})",
        names.join(", ")
    ))
}

fn open_capture(path: &Path) -> Result<Input, Failure> {
    CaptureFile::open(path).map(Input::Capture).map_err(Failure::usage)
}

fn open_log(path: &Path, dialect: Option<&'static Dialect>) -> Result<Input, Failure> {
    let file = LogFile::open(path).map_err(Failure::usage)?;
    Ok(Input::Log(LogInput { name: path.display().to_string(), file, dialect }))
}

fn open_stdin(kind: Option<Kind>) -> Result<Input, Failure> {
    let name = "standard input";
    let mut stdin = io::stdin();
    let mut raw = Vec::new();
    stdin
        .by_ref()
        .take(HEAD_BYTES)
        .read_to_end(&mut raw)
        .map_err(|error| Failure::running(format!("{name}: {error}")))?;
    let head = decompressed(Cursor::new(&raw), &raw);
    let reader = Cursor::new(raw).chain(stdin);
    let as_log = |dialect, reader| {
        let file = LogFile::from_reader(reader, name).map_err(Failure::usage)?;
        Ok(Input::Log(LogInput { name: name.into(), file, dialect }))
    };
    match kind {
        Some(Kind::Log(dialect)) => as_log(Some(dialect), reader),
        None if !looks_like_capture(&head) => match LogRoad::looks_like(&head) {
            Some(dialect) => as_log(Some(dialect), reader),
            None if head.is_empty() => as_log(None, reader),
            None => Err(not_recognised(name)),
        },
        _ => CaptureFile::from_reader(reader, name).map(Input::Capture).map_err(Failure::usage),
    }
}

/// The first bytes of a file, decompressed where it is compressed.
fn head_of(path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let explain = |error: io::Error| {
        Failure::usage(match error.kind() {
            io::ErrorKind::NotFound => format!("{name}: no such file; check the path"),
            io::ErrorKind::PermissionDenied => {
                format!("{name}: may not be read; run as a user who may, or change the file's mode")
            }
            io::ErrorKind::IsADirectory => format!("{name}: is a directory; give the files inside it"),
            _ => format!("{name}: {error}"),
        })
    };
    let mut file = File::open(path).map_err(explain)?;
    let meta = file.metadata().map_err(explain)?;
    if meta.is_dir() {
        return Err(explain(io::ErrorKind::IsADirectory.into()));
    }
    if !meta.is_file() {
        return Err(Failure::usage(format!(
            "{name}: not a regular file; pipe it in and give - as the input, with --as"
        )));
    }
    let mut raw = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut raw).map_err(explain)?;
    let rest = Cursor::new(raw.clone()).chain(file);
    Ok(decompressed(rest, &raw))
}

/// What can be had of the first [`HEAD_BYTES`] after decompression. A damaged file gives what comes before
/// the damage: opening it for good says what is wrong.
fn decompressed(reader: impl Read + Send, raw: &[u8]) -> Vec<u8> {
    let Some(packing) = Packing::of(raw) else { return raw.to_vec() };
    let mut head = Vec::new();
    let Ok(decoder) = packing.unpack(BufReader::new(reader)) else { return head };
    let mut decoder = decoder.take(HEAD_BYTES);
    let mut chunk = [0; 4096];
    while let Ok(read) = decoder.read(&mut chunk) {
        if read == 0 {
            break;
        }
        head.extend_from_slice(&chunk[..read]);
    }
    head
}
