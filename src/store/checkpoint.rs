//! Plays the write-ahead log into the file beside the commits, so that no commit waits for it.
//!
//! *In*: a nudge after each commit. *Out*: a log that stays small. *Bound*: a log above [`LOG_BYTES_MAX`] is
//! played in by the commit itself. *Spec*: SQLite, write-ahead logging, checkpoints.

use super::durable::with_suffix;
use super::tables;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Size of the log from which it is played in beside the commits, bytes.
const LOG_BYTES_USUAL: u64 = 4 << 20;
/// Size of the log from which a commit waits for it, bytes.
const LOG_BYTES_MAX: u64 = 512 << 20;

/// The thread that plays the log in. It ends when this is dropped.
pub struct Checkpointer {
    log: PathBuf,
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// Starts the thread for a database.
    pub fn start(path: &Path) -> Checkpointer {
        let (nudge, nudged) = sync_channel(1);
        let log = with_suffix(path, "-wal");
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn({
            let (path, log) = (path.to_owned(), log.clone());
            move || play_in(&path, &log, &nudged)
        });
        Checkpointer { log, nudge: Some(nudge), thread: thread.ok() }
    }

    /// Says that a commit was made.
    pub fn committed(&self, connection: &Connection) {
        if let Some(nudge) = &self.nudge {
            // A full channel means that it was told already.
            let _ = nudge.try_send(());
        }
        if log_bytes(&self.log) > LOG_BYTES_MAX || self.thread.is_none() {
            // Failing only leaves the log as it is; the next commit tries again.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn play_in(path: &Path, log: &Path, nudged: &Receiver<()>) {
    let mut connection = None;
    while nudged.recv().is_ok() {
        if log_bytes(log) < LOG_BYTES_USUAL {
            continue;
        }
        if connection.is_none() {
            connection = tables::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).ok();
        }
        if let Some(connection) = &connection {
            let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
    }
}

fn log_bytes(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |metadata| metadata.len())
}
