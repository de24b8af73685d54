//! What can go wrong with the state directory, and trouble that is worth an alert.

use crate::alert::Alert;
use crate::time::Timestamp;
use std::path::{Path, PathBuf};

/// A store that cannot be used. The text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory or a file in it.
    #[error("{path}: {source}: the state directory must exist or be creatable, and be writable by this user")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite: a full disk, an unreadable device, a lock.
    #[error("{path}: {source}: nothing was lost; free space or mend the disk, and it goes on")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// Written by a later version.
    #[error(
        "{path}: written by a newer portreeve (tables {found}, this one knows {known}): use that version, or another --state directory"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Another process works with the same directory.
    #[error("{path}: in use by another portreeve: stop that one, or give another --state directory")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// No state here.
    #[error(
        "{path}: there is no state yet: name the sensor's state directory with --state DIR or [state] directory"
    )]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// Something that was asked for and cannot be.
    #[error("{0}")]
    Refused(String),
    /// An exported file that does not fit.
    #[error("{0}")]
    Import(String),
}

impl StoreError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::File { path, source }
    }

    pub(super) fn database(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Database { path: path.clone(), source }
    }
}

/// Trouble that the store got over, but that a person must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The file was damaged. It was set aside; what could be read of positions, alerts and cursors was kept.
    Damaged {
        /// Where the damaged file lies now.
        aside: PathBuf,
        /// What was found.
        what: String,
        /// Alerts taken over.
        alerts_kept: u64,
    },
    /// The engine's state has a form that this version cannot read. A copy was set aside.
    Unreadable {
        /// Where the copy lies.
        aside: PathBuf,
        /// Form of the stored state.
        found: i64,
        /// Form that this version reads.
        known: i64,
    },
}

impl Trouble {
    /// The alert that says so, at the moment at which the caller found it.
    pub fn alert(&self, at: Timestamp) -> Alert {
        match self {
            Trouble::Damaged { aside, what, alerts_kept } => Alert::of_trouble(
                "baselines_lost",
                &aside.to_string_lossy(),
                at,
                &format!(
                    "Baselines were lost: the state file was damaged ({what}) and lies now at {}; {alerts_kept} alerts were kept, learning starts anew.",
                    aside.display()
                ),
                "Look at the disk (kernel log, SMART). A backup can be put back with the sensor stopped.",
            ),
            Trouble::Unreadable { aside, found, known } => Alert::of_trouble(
                "baselines_unreadable",
                &aside.to_string_lossy(),
                at,
                &format!(
                    "Baselines cannot be used: they have form {found}, this version reads form {known}. A copy lies at {}; learning starts anew.",
                    aside.display()
                ),
                "To keep the baselines, go back to the version that wrote them.",
            ),
        }
    }
}
