//! Where log lines come from: files plain or compressed, pipes, files that are still written, the journal, the
//! network.
//!
//! *In*: paths and readers. *Out*: lines, borrowed, without their ends. *Bound*: one line of
//! `limits::LOG_LINE_BYTES_MAX`; compressed input by `limits::UNPACKED_LOG_BYTES_MAX` and
//! `limits::UNPACKED_LOG_RATIO_MAX`. *Spec*: RFC 1952, RFC 8878.

mod belief;
mod current;
mod file;
mod follow;
mod framing;
mod inlet;
mod journal;
mod listen;
mod mark;
mod packing;
mod place;
mod rotated;
mod stream;
mod wake;
mod ways;

pub use belief::Belief;
pub use file::LogFile;
pub use follow::{FollowCounters, Follower};
pub use framing::Framing;
pub use inlet::{Inlet, InletCounters, Merge, TakeLines};
pub use journal::follow as follow_journal;
pub use listen::{Bound, bind, listen};
pub use packing::Packing;
pub use stream::{Stream, StreamCounters};
pub use wake::wake_on_change;
pub use ways::{JournalSettings, ListenSettings, LogConfig, Transport, Way};

/// Why lines could not be read. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The path does not exist.
    #[error("{name}: no such file; check the path")]
    Missing {
        /// The path.
        name: String,
    },
    /// The path is a directory.
    #[error("{name}: is a directory; give the log files inside it")]
    Directory {
        /// The path.
        name: String,
    },
    /// The file may not be read.
    #[error(
        "{name}: may not be read; run as a user who may (group adm on Debian), or change the file's mode"
    )]
    Forbidden {
        /// The path.
        name: String,
    },
    /// Nothing in the input is a log line that is known.
    #[error("{name}: not a log that is known; `--as` names its dialect")]
    NotALog {
        /// The path.
        name: String,
    },
    /// The compressed input ends early; everything before was handed out.
    #[error("{name}: cut off after {lines} lines; what was read before the cut is kept")]
    Truncated {
        /// The path.
        name: String,
        /// Lines handed out.
        lines: u64,
    },
    /// The compressed input is damaged; everything before was handed out.
    #[error("{name}: damaged after {lines} lines ({detail}); what was read before is kept")]
    Damaged {
        /// The path.
        name: String,
        /// Lines handed out.
        lines: u64,
        /// What the decoder said.
        detail: String,
    },
    /// Decompression would exceed the bound; everything before was handed out.
    #[error(
        "{name}: expands beyond the bound for compressed logs after {lines} lines; decompress it by hand"
    )]
    TooLarge {
        /// The path.
        name: String,
        /// Lines handed out.
        lines: u64,
    },
    /// A position that was kept cannot be read.
    #[error("{name}: the kept position cannot be read ({detail}); delete it to follow the log anew")]
    BadPosition {
        /// The path.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else that the system reports.
    #[error("{name}: {detail}")]
    System {
        /// The path.
        name: String,
        /// What the system said.
        detail: String,
    },
}

/// The error of opening or reading a path.
fn file_error(name: &str, error: &std::io::Error) -> TailError {
    let name = name.to_owned();
    match error.kind() {
        std::io::ErrorKind::NotFound => TailError::Missing { name },
        std::io::ErrorKind::PermissionDenied => TailError::Forbidden { name },
        std::io::ErrorKind::IsADirectory => TailError::Directory { name },
        _ => TailError::System { name, detail: error.to_string() },
    }
}
