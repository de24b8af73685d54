//! A log of the configuration, checked and open.
//!
//! *In*: `[[source.log]]`, positions of an earlier run. *Out*: a [`LogInput`] for the thread that reads logs. *Bound*:
//! none.
//!
//! Sockets are opened before rights are given up ([`bind`]), files and programs after, with the rights that are left.

use crate::cli::failure::Failure;
use crate::config::{Config, LogConfig, zone};
use crate::mta::Dialect;
use crate::tail::{Bound, Follower, Inlet, Stream, TailError, Way, bind as bind_listener, follow_journal};
use std::path::PathBuf;

/// A log that is ready to be read.
pub struct LogInput {
    /// Its name in messages and in the state.
    pub name: String,
    /// Where it is followed, if it is a file.
    pub path: Option<PathBuf>,
    pub(super) dialect: Option<&'static Dialect>,
    pub(super) zone: jiff::tz::TimeZone,
    /// The machine of lines that name none.
    pub(super) host: Option<String>,
    /// `None` where the thread reads it already.
    pub(super) inlet: Option<Inlet>,
}

/// How a log is opened.
pub struct Opening<'a> {
    /// All of the configuration.
    pub config: &'a Config,
    /// Where it was read up to.
    pub position: Option<String>,
    /// Whether a log that was never read is read from its beginning.
    pub from_start: bool,
    /// Whether the thread reads it already.
    pub followed: bool,
    /// Its socket, where it is one.
    pub bound: Option<Bound>,
}

/// Opens the socket of a log that is taken from the network; `None` for any other.
pub fn bind(log: &LogConfig) -> Result<Option<Bound>, Failure> {
    match log.way().map_err(Failure::usage)? {
        Way::Listen(settings) => bind_listener(&settings).map(Some).map_err(Failure::usage),
        _ => Ok(None),
    }
}

impl LogInput {
    /// Checks a log, and opens it where it is not followed already.
    pub fn open(log: &LogConfig, opening: Opening<'_>) -> Result<LogInput, Failure> {
        let Opening { config, position, from_start, followed, bound } = opening;
        let zone_name = log.time_zone.as_deref().or(config.company.time_zone.as_deref());
        let dialect = log.dialect.as_deref().map(|name| config.dialect(name)).transpose();
        let way = log.way().map_err(Failure::usage)?;
        let path = if let Way::File(path) = &way { Some(path.clone()) } else { None };
        let inlet = match followed {
            true => None,
            false => Some(open(way, position.as_deref(), from_start, bound).map_err(Failure::usage)?),
        };
        Ok(LogInput {
            name: log.name(),
            path,
            host: log.host.clone(),
            dialect: dialect.map_err(Failure::usage)?,
            zone: zone(zone_name).map_err(Failure::usage)?,
            inlet,
        })
    }
}

/// Opens a way in, at its position where one was kept.
fn open(
    way: Way,
    position: Option<&str>,
    from_start: bool,
    bound: Option<Bound>,
) -> Result<Inlet, TailError> {
    Ok(match way {
        Way::File(path) => Inlet::File(Box::new(match position {
            Some(position) => Follower::resume(&path, position)?,
            None if from_start => Follower::from_start(&path)?,
            None => Follower::from_end(&path)?,
        })),
        Way::Stdin => Inlet::Stream(Stream::stdin()),
        Way::Journal(settings) => Inlet::Stream(follow_journal(&settings, position, from_start)?),
        Way::Listen(settings) => {
            let bound = bound.map_or_else(|| bind_listener(&settings), Ok)?;
            Inlet::Stream(bound.listen())
        }
    })
}
