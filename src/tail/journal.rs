//! The systemd journal, through `journalctl`: journald's files are its own, its program reads them.
//!
//! *In*: JSON entries of a child process. *Out*: lines in the form of syslog, each with the cursor after it.
//! *Bound*: [`ENTRY_BYTES_MAX`] an entry; what is longer is passed over and counted. *Spec*: journalctl(1),
//! systemd.journal-fields(7), the Journal JSON format.
//!
//! Only fields that journald sets itself say when, where and who, but for the program's name, which is what a
//! program calls itself in any syslog.

use super::stream::{Arrival, Losses, Stream, bounded_line};
use super::ways::JournalSettings;
use super::{TailError, file_error};
use crate::time::Timestamp;
use serde_json::Value;
use std::io::{BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest entry that is read, bytes of JSON. A message of syslog is far below.
const ENTRY_BYTES_MAX: usize = 256 << 10;
/// How long to wait before journalctl is started again.
const RESTART_PAUSE: Duration = Duration::from_secs(2);

/// The child at work, so that it can be ended.
#[derive(Default)]
struct Leash {
    child: Mutex<Option<Child>>,
    over: AtomicBool,
}

/// Ends the child when the stream is dropped.
struct Hold(Arc<Leash>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        if let Ok(mut child) = self.0.child.lock()
            && let Some(mut child) = child.take()
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Follows the journal after a cursor; without one, from its end or its start.
pub fn follow(
    settings: &JournalSettings,
    cursor: Option<&str>,
    from_start: bool,
) -> Result<Stream, TailError> {
    let mut cursor = cursor.map(str::to_owned);
    if cursor.is_none() && !from_start {
        // A place of its own, so that what is written before the first line comes is not lost at a restart.
        cursor = last_cursor(settings)?;
    }
    let (stream, sender, losses) = Stream::new(cursor.clone());
    let leash = Arc::new(Leash::default());
    let output = start(settings, cursor.as_deref(), &leash)?;
    let (settings, held) = (settings.clone(), Arc::clone(&leash));
    std::thread::spawn(move || run(&settings, cursor, output, &sender, &losses, &held));
    Ok(stream.guarded(Hold(leash)))
}

fn command(settings: &JournalSettings) -> Command {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--all", "--quiet", "--no-pager"]).stdin(Stdio::null());
    if let Some(directory) = &settings.directory {
        command.arg("--directory").arg(directory);
    }
    command.args(settings.units.iter().map(|unit| format!("--unit={unit}")));
    command
}

/// The cursor of the journal's last entry; `None` where it is empty.
fn last_cursor(settings: &JournalSettings) -> Result<Option<String>, TailError> {
    let output =
        command(settings).arg("--lines=1").output().map_err(|error| file_error("journalctl", &error))?;
    if !output.status.success() {
        return Err(failed(&output.stderr));
    }
    Ok(output.stdout.split(|byte| *byte == b'\n').find_map(entry).map(|(_, cursor)| cursor))
}

fn failed(said: &[u8]) -> TailError {
    let said = String::from_utf8_lossy(said).trim().replace('\n', "; ");
    TailError::System {
        name: "journalctl".into(),
        detail: format!("{said}; a user of group systemd-journal may read the journal"),
    }
}

fn start(
    settings: &JournalSettings,
    cursor: Option<&str>,
    leash: &Leash,
) -> Result<Option<ChildStdout>, TailError> {
    let mut command = command(settings);
    command.args(["--follow", "--no-tail"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(cursor) = cursor {
        command.arg(format!("--after-cursor={cursor}"));
    }
    let mut child = command.spawn().map_err(|error| file_error("journalctl", &error))?;
    let output = child.stdout.take();
    if let Ok(mut held) = leash.child.lock() {
        *held = Some(child);
    }
    Ok(output)
}

/// Reads one child after the other until the stream is dropped.
fn run(
    settings: &JournalSettings,
    mut cursor: Option<String>,
    mut output: Option<ChildStdout>,
    sender: &SyncSender<Arrival>,
    losses: &Losses,
    leash: &Leash,
) {
    loop {
        if let Some(output) = output.take() {
            read(output, &mut cursor, sender, losses);
        }
        if leash.over.load(Ordering::Relaxed) {
            return;
        }
        let ended = leash.child.lock().ok().and_then(|mut child| child.take());
        let mut said = Vec::new();
        if let Some(mut child) = ended {
            if let Some(errors) = child.stderr.take() {
                let _ = errors.take(1 << 10).read_to_end(&mut said);
            }
            let _ = child.wait();
        }
        if sender.send(Arrival::Trouble(failed(&said))).is_err() {
            return;
        }
        std::thread::sleep(RESTART_PAUSE);
        match start(settings, cursor.as_deref(), leash) {
            Ok(started) => output = started,
            Err(error) => {
                if sender.send(Arrival::Trouble(error)).is_err() {
                    return;
                }
            }
        }
    }
}

fn read(output: ChildStdout, cursor: &mut Option<String>, sender: &SyncSender<Arrival>, losses: &Losses) {
    let mut reader = BufReader::with_capacity(64 << 10, output);
    while let Some((text, overlong)) = bounded_line(&mut reader, ENTRY_BYTES_MAX) {
        if overlong {
            losses.overlong.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let Some((line, after)) = entry(&text) else { continue };
        *cursor = Some(after.clone());
        if sender.send(Arrival::Line(line, Some(after))).is_err() {
            return;
        }
    }
}

/// One entry as a line of syslog (`stamp host program[pid]: text`), and its cursor. An entry without a text gives
/// an empty line, for the sake of its cursor.
fn entry(json: &[u8]) -> Option<(Vec<u8>, String)> {
    let Value::Object(fields) = serde_json::from_slice(json).ok()? else { return None };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let cursor = text("__CURSOR")?.to_owned();
    let message = match fields.get("MESSAGE") {
        Some(Value::String(message)) => message.clone().into_bytes(),
        // Not UTF-8: a list of bytes.
        Some(Value::Array(bytes)) => {
            bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
        }
        _ => return Some((Vec::new(), cursor)),
    };
    let stamp = text("_SOURCE_REALTIME_TIMESTAMP").or_else(|| text("__REALTIME_TIMESTAMP"));
    let at = Timestamp::from_micros(stamp?.parse().ok()?).to_rfc3339();
    let word = |name: &str| text(name).filter(|word| !word.is_empty() && !word.contains([' ', '[', '\n']));
    let host = word("_HOSTNAME").unwrap_or("localhost");
    let program = word("SYSLOG_IDENTIFIER").or_else(|| word("_COMM")).unwrap_or("unknown");
    let pid = word("_PID").or_else(|| word("SYSLOG_PID")).unwrap_or("0");
    let mut line = format!("{at} {host} {program}[{pid}]: ").into_bytes();
    line.extend(message.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }));
    Some((line, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_become_lines_of_syslog() {
        let read =
            |json: &str| entry(json.as_bytes()).map(|(line, _)| String::from_utf8_lossy(&line).into_owned());
        let whole = r#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1700000000000001","_HOSTNAME":"mx1",
            "SYSLOG_IDENTIFIER":"postfix/smtp","_PID":"7","MESSAGE":"A1: to=<x>"}"#;
        assert_eq!(read(whole).unwrap(), "2023-11-14T22:13:20.000001Z mx1 postfix/smtp[7]: A1: to=<x>");
        let bytes = r#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"0","_SOURCE_REALTIME_TIMESTAMP":"1000000",
            "_COMM":"exim4","MESSAGE":[97,10,255]}"#;
        assert_eq!(read(bytes).unwrap(), "1970-01-01T00:00:01.000000Z localhost exim4[0]: a \u{fffd}");
        // A program cannot put a host or a program of another name into its line by its identifier.
        let forged = r#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"0","_COMM":"sh",
            "SYSLOG_IDENTIFIER":"x postfix/smtp[1]:","MESSAGE":"y"}"#;
        assert_eq!(read(forged).unwrap(), "1970-01-01T00:00:00.000000Z localhost sh[0]: y");
        assert_eq!(read(r#"{"__CURSOR":"s=1","MESSAGE":null}"#).unwrap(), "");
        assert_eq!(read("{\"MESSAGE\":\"no cursor\"}"), None);
        assert_eq!(read("no json"), None);
    }
}
