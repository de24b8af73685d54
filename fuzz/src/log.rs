//! What the fuzz targets of the log do with their input.
//!
//! Beside "no panic, no overflow", each target holds a law: every line has exactly one fate, and the same bytes
//! give the same observations however they are cut.

#![allow(dead_code)] // each target uses one of them

use portreeve::company::Company;
use portreeve::limits;
use portreeve::mta::{DIALECTS, Dialect, LogCounters, LogRoad, LogSettings, LogSource, syslog};
use portreeve::observation::Observation;
use portreeve::tail::LogFile;
use portreeve::time::CivilClock;
use std::io::{Cursor, Read};
use std::sync::Arc;

/// A dialect, by the first byte; the rest is its log.
pub fn dialect(data: &[u8]) {
    let Some((choice, log)) = data.split_first() else { return };
    let dialect = DIALECTS.get(usize::from(*choice) % (DIALECTS.len() + 1));
    let whole = read(Cursor::new(log.to_vec()), dialect);
    let halves = Cursor::new(log[..log.len() / 2].to_vec()).chain(Cursor::new(log[log.len() / 2..].to_vec()));
    assert_eq!(whole, read(halves, dialect), "cut in the middle");
}

/// The head of a syslog line: what it calls host, program and text lies inside the line.
pub fn syslog_head(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Some(head) = syslog::split(line) {
            assert!(line.ends_with(head.text));
            assert!(head.program.len() + head.host.map_or(0, <[u8]>::len) <= line.len());
        }
        syslog::is_surely(line);
    }
}

/// Tables: a header and rows, by every dialect that has columns.
pub fn table(data: &[u8]) {
    for name in ["exchange", "exchange-protocol", "microsoft365", "powermta", "mailenable", "zeek"] {
        read(Cursor::new(data.to_vec()), portreeve::mta::dialect_named(name));
    }
}

fn read(
    reader: impl Read + Send + 'static,
    dialect: Option<&'static Dialect>,
) -> (LogCounters, Vec<Observation>) {
    let company = Arc::new(Company::new(Vec::new(), &[], Vec::new(), CivilClock::utc()));
    let mut road = LogRoad::new(company, LogSettings::default());
    let source = road.add_source(LogSource {
        name: "x".into(),
        dialect,
        zone: jiff::tz::TimeZone::UTC,
        modified_at: None,
    });
    let mut out = Vec::new();
    if let Ok(mut file) = LogFile::from_reader(reader, "x") {
        while let Ok(Some(line)) = file.next_line() {
            road.stamp(source, line);
            road.line(source, line, &mut out);
        }
    }
    let counters = road.counters().clone();
    assert_eq!(counters.lines, counters.parsed + counters.ignored + counters.unparsed);
    assert!(counters.unparsed_samples.len() <= limits::UNPARSED_SAMPLES_MAX);
    (counters, out)
}
