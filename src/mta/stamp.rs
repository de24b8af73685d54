//! The time of a line: what the stamp says, and which moment that is.
//!
//! *In*: a stamp with or without year, zone and fraction; the zone and the last change of its file.
//! *Out*: a [`Timestamp`]. *Bound*: years 1 to 9999. *Spec*: RFC 3164 section 4.1.2, RFC 3339,
//! RFC 5424 section 6.2.3.

use crate::time::{MICROS_PER_DAY, MICROS_PER_SECOND, Timestamp};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

/// A stamp as a line gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Counted from the epoch.
    Moment(Timestamp),
    /// By calendar and clock.
    Civil(Civil),
}

/// Calendar and clock of a stamp. Ranges are checked when it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// `None` in classic syslog stamps.
    pub year: Option<i16>,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// 0 to 999,999.
    pub micros: u32,
    /// Seconds east of UTC; `None` where the stamp names no offset.
    pub offset_seconds: Option<i32>,
}

/// How far a line may lie before its predecessor and still be taken for the first pass of an hour that
/// the end of daylight saving repeats.
const DISORDER_MICROS: i64 = 2 * MICROS_PER_SECOND;

/// How far apart two lines in a row may lie and still vouch for each other's year.
const NEIGHBOURS_MICROS: i64 = 60 * MICROS_PER_DAY;

/// The clock of one source: turns civil stamps into moments.
///
/// A stamp without a year gets the latest year in which it does not lie more than a day after the present, or, for a
/// finished file, after its last change. Once two lines in a row agree, a finished file's stamps get the year that
/// brings them nearest to those, so that a log runs across New Year in either direction, and a single stray line, as a
/// clock that jumped or a sender's text may make it, moves nothing.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: TimeZone,
    modified_at: Option<Timestamp>,
    now: Option<Timestamp>,
    previous: Option<Timestamp>,
    /// The last line that a neighbour agreed with.
    reference: Option<Timestamp>,
    /// The last hour that was resolved and its first moment: most lines share it with their neighbour.
    hour: Option<(Civil, Timestamp)>,
}

impl Clock {
    /// A clock for a source written in `zone` and last changed at `modified_at`.
    pub fn new(zone: TimeZone, modified_at: Option<Timestamp>) -> Clock {
        Clock { zone, modified_at, now: None, previous: None, reference: None, hour: None }
    }

    /// Says what time it is, for a source that is read as it is written.
    pub fn set_now(&mut self, now: Timestamp) {
        // What was resolved may mean another year after so long.
        if self.now.is_none_or(|before| (now.as_micros() - before.as_micros()).abs() > MICROS_PER_DAY) {
            self.hour = None;
        }
        self.now = Some(now);
    }

    /// The time of the line that was taken last.
    pub fn previous(&self) -> Option<Timestamp> {
        self.previous
    }

    /// Says that a line of this moment was taken.
    pub fn advance(&mut self, at: Timestamp) {
        let agrees = |other: Timestamp| (at.as_micros() - other.as_micros()).abs() <= NEIGHBOURS_MICROS;
        if self.reference.is_some_and(agrees) || self.previous.is_some_and(agrees) {
            self.reference = Some(at);
        }
        self.previous = Some(at);
    }

    /// Which moment a stamp means; `None` where no calendar has it.
    pub fn resolve(&mut self, stamp: Stamp) -> Option<Timestamp> {
        let civil = match stamp {
            Stamp::Moment(at) => return Some(at),
            Stamp::Civil(civil) => civil,
        };
        if civil.minute > 59 || civil.second > 60 || civil.micros > 999_999 {
            return None;
        }
        let within = (i64::from(civil.minute) * 60 + i64::from(civil.second.min(59))) * MICROS_PER_SECOND
            + i64::from(civil.micros);
        let hour = Civil { minute: 0, second: 0, micros: 0, ..civil };
        if let Some((known, begins)) = self.hour
            && known == hour
        {
            return Some(Timestamp::from_micros(begins.as_micros().saturating_add(within)));
        }
        let at = match civil.year {
            Some(year) => self.in_year(civil, year)?,
            None => self.nearest_year(civil)?,
        };
        let begins = Timestamp::from_micros(at.as_micros().saturating_sub(within));
        if civil.offset_seconds.is_some() || self.is_plain_hour(begins) {
            self.hour = Some((hour, begins));
        }
        Some(at)
    }

    /// Whether one offset holds for this hour and the hours around it, so that it may be remembered.
    fn is_plain_hour(&self, begins: Timestamp) -> bool {
        let offset = |hours: i64| {
            let seconds = begins.as_micros().div_euclid(MICROS_PER_SECOND).saturating_add(hours * 3_600);
            jiff::Timestamp::from_second(seconds).ok().map(|at| self.zone.to_offset(at))
        };
        let here = offset(0);
        here.is_some() && [-2, -1, 1, 2].iter().all(|hours| offset(*hours) == here)
    }

    fn nearest_year(&self, civil: Civil) -> Option<Timestamp> {
        let reference = self.reference.filter(|_| self.now.is_none());
        let bound = self.now.or(self.modified_at);
        let around = reference.or(bound).or(self.previous);
        let Some(around) = around else { return self.in_year(civil, YEAR_UNKNOWN) };
        let year = self.zone.to_datetime(jiff::Timestamp::from_microsecond(around.as_micros()).ok()?).year();
        let latest = bound.map_or(i64::MAX, |bound| bound.as_micros().saturating_add(MICROS_PER_DAY));
        let candidates = || {
            let years = [year - 1, year, year + 1].into_iter();
            years.filter_map(|year| self.in_year(civil, year)).filter(|at| at.as_micros() <= latest)
        };
        let distance = |at: &Timestamp| at.as_micros().abs_diff(around.as_micros());
        let best = match reference.is_some() || bound.is_none() {
            true => candidates().min_by_key(distance),
            false => candidates().max(),
        };
        // 29 February may lie up to eight years back.
        best.or_else(|| (2..=8).find_map(|years| self.in_year(civil, year - years)))
    }

    fn in_year(&self, civil: Civil, year: i16) -> Option<Timestamp> {
        let Civil { month, day, hour, minute, second, micros, .. } = civil;
        let small = |value: u8| i8::try_from(value).ok();
        let date_time = DateTime::new(
            year,
            small(month)?,
            small(day)?,
            small(hour)?,
            small(minute)?,
            small(second.min(59))?,
            i32::try_from(micros).ok()? * 1_000,
        )
        .ok()?;
        let micros = |stamp: jiff::Timestamp| Timestamp::from_micros(stamp.as_microsecond());
        if let Some(offset) = civil.offset_seconds {
            return jiff::tz::Offset::from_seconds(offset).ok()?.to_timestamp(date_time).ok().map(micros);
        }
        let ambiguous = self.zone.to_ambiguous_timestamp(date_time);
        if !matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. }) {
            return ambiguous.compatible().ok().map(micros);
        }
        let (earlier, later) = (ambiguous.earlier().ok().map(micros)?, ambiguous.later().ok().map(micros)?);
        match self.previous {
            Some(previous) if earlier.as_micros() < previous.as_micros().saturating_sub(DISORDER_MICROS) => {
                Some(later)
            }
            _ => Some(earlier),
        }
    }
}

/// The year of stamps that name none, from a source of which nothing is known. A leap year.
const YEAR_UNKNOWN: i16 = 2000;

/// Reads a stamp at the start of a line: RFC 3339 (also with a blank for the `T`, and without offset),
/// classic (`Nov 24 20:14:01`), year first (`2013 Jun 10 06:27:30.123`) or with the year after the day.
/// Returns it with what follows, blanks skipped.
pub fn take_stamp(line: &[u8]) -> Option<(Stamp, &[u8])> {
    if line.first() == Some(&b'@') {
        return take_tai64n(line);
    }
    if line.first()?.is_ascii_digit() {
        if line.get(4) == Some(&b'-') {
            return take_iso(line);
        }
        let (year, rest) = take_number(line, 4, 4)?;
        return take_classic(rest.strip_prefix(b" ")?, i16::try_from(year).ok());
    }
    take_classic(line, None)
}

/// `2022-01-08T19:42:12.572958+00:00`, `2012-02-13 14:39:22.123 +0100`, `…Z`.
pub fn take_iso(line: &[u8]) -> Option<(Stamp, &[u8])> {
    let (year, rest) = take_number(line, 4, 4)?;
    let (month, rest) = take_number(rest.strip_prefix(b"-")?, 2, 2)?;
    let (day, rest) = take_number(rest.strip_prefix(b"-")?, 2, 2)?;
    let rest = match rest.split_first()? {
        (b'T' | b't' | b' ' | b',', rest) => rest,
        _ => return None,
    };
    let (clock, rest) = take_clock(rest)?;
    let (offset_seconds, rest) = take_offset(rest);
    let civil = Civil {
        year: i16::try_from(year).ok(),
        month: u8::try_from(month).ok()?,
        day: u8::try_from(day).ok()?,
        offset_seconds,
        ..clock
    };
    Some((Stamp::Civil(civil), skip_blanks(rest)))
}

/// TAI is ahead of UTC by ten seconds in libtai's reckoning, whatever leap seconds came since.
const TAI_OFFSET_SECONDS: u64 = 10;

/// `@400000004c91b044077a9e94 text`: multilog's TAI64N label (seconds from 2^62 on, then nanoseconds).
pub fn take_tai64n(line: &[u8]) -> Option<(Stamp, &[u8])> {
    let (label, text) = line.strip_prefix(b"@")?.split_at_checked(24)?;
    let hexadecimal = |text: &[u8]| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok();
    if !label.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let seconds = hexadecimal(label.get(..16)?)?.checked_sub((1 << 62) + TAI_OFFSET_SECONDS)?;
    let nanos = hexadecimal(label.get(16..)?)?;
    let micros = i64::try_from(seconds).ok()?.checked_mul(MICROS_PER_SECOND)?;
    let at = Timestamp::from_micros(micros.checked_add(i64::try_from(nanos / 1_000).ok()?)?);
    Some((Stamp::Moment(at), text.strip_prefix(b" ")?))
}

fn take_classic(line: &[u8], year: Option<i16>) -> Option<(Stamp, &[u8])> {
    let (month, rest) = take_month(line)?;
    let (day, rest) = take_number(skip_blanks(rest), 1, 2)?;
    let rest = skip_blanks(rest.strip_prefix(b" ")?);
    let (year, rest) = match take_number(rest, 4, 4) {
        Some((after, rest)) if year.is_none() && rest.first() == Some(&b' ') => {
            (i16::try_from(after).ok(), skip_blanks(rest))
        }
        _ => (year, rest),
    };
    let (clock, rest) = take_clock(rest)?;
    if !matches!(rest.first(), Some(b' ' | b':') | None) {
        return None;
    }
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    Some((Stamp::Civil(Civil { year, month, day: u8::try_from(day).ok()?, ..clock }), skip_blanks(rest)))
}

/// `19:42:12`, with a fraction after a dot or a comma of any length; microseconds are kept.
fn take_clock(text: &[u8]) -> Option<(Civil, &[u8])> {
    let (hour, rest) = take_number(text, 1, 2)?;
    let (minute, rest) = take_number(rest.strip_prefix(b":")?, 2, 2)?;
    let (second, rest) = take_number(rest.strip_prefix(b":")?, 2, 2)?;
    let (mut micros, mut rest) = (0, rest);
    if let Some((b'.' | b',', fraction)) = rest.split_first()
        && fraction.first().is_some_and(u8::is_ascii_digit)
    {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let mut unit = 100_000;
        for digit in fraction.iter().take(digits.min(6)) {
            micros += u32::from(digit - b'0') * unit;
            unit /= 10;
        }
        rest = fraction.get(digits..).unwrap_or_default();
    }
    let small = |value: u32| u8::try_from(value).ok();
    let clock = Civil {
        year: None,
        month: 0,
        day: 0,
        hour: small(hour)?,
        minute: small(minute)?,
        second: small(second)?,
        micros,
        offset_seconds: None,
    };
    Some((clock, rest))
}

/// `Z`, `+01:00`, `+0100`, each also after one blank.
fn take_offset(text: &[u8]) -> (Option<i32>, &[u8]) {
    if let Some(rest) = text.strip_prefix(b"Z") {
        return (Some(0), rest);
    }
    let signed = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, rest) = match signed.split_first() {
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        _ => return (None, text),
    };
    let read = || {
        let (hours, rest) = take_number(rest, 2, 2)?;
        let (minutes, rest) = take_number(rest.strip_prefix(b":").unwrap_or(rest), 2, 2)?;
        let ends = rest.first().is_none_or(|byte| !byte.is_ascii_alphanumeric());
        ends.then_some((sign * (hours as i32 * 3_600 + minutes as i32 * 60), rest))
    };
    read().map_or((None, text), |(offset, rest)| (Some(offset), rest))
}

fn take_number(text: &[u8], digits_min: usize, digits_max: usize) -> Option<(u32, &[u8])> {
    let digits = text.iter().take(digits_max).take_while(|byte| byte.is_ascii_digit()).count();
    if digits < digits_min {
        return None;
    }
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')), rest))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| **byte == b' ').count();
    text.get(blanks..).unwrap_or_default()
}

/// The name of a month with its blank. English names first; then what other locales of glibc print
/// (`%b`), without their dots.
fn take_month(line: &[u8]) -> Option<(u8, &[u8])> {
    if let Some((name, rest)) = line.split_at_checked(3)
        && rest.first() == Some(&b' ')
        && let Some(index) = ENGLISH_MONTHS.iter().position(|month| name == &month[..])
    {
        return Some((index as u8 + 1, rest));
    }
    let end = memchr::memchr(b' ', line.get(..12).unwrap_or(line))?;
    let (name, rest) = line.split_at(end);
    let name = name.strip_suffix(b".").unwrap_or(name);
    let name = std::str::from_utf8(name).ok()?.to_lowercase();
    let month = LOCAL_MONTHS.iter().find(|(known, _)| *known == name)?.1;
    Some((month, rest))
}

const ENGLISH_MONTHS: [[u8; 3]; 12] = [
    *b"Jan", *b"Feb", *b"Mar", *b"Apr", *b"May", *b"Jun", *b"Jul", *b"Aug", *b"Sep", *b"Oct", *b"Nov",
    *b"Dec",
];

/// German, French, Spanish, Italian, Portuguese, Dutch, Polish, Swedish and Danish abbreviations that
/// differ from the English ones.
const LOCAL_MONTHS: &[(&str, u8)] = &[
    ("jan", 1),
    ("januar", 1),
    ("jän", 1),
    ("janv", 1),
    ("ene", 1),
    ("gen", 1),
    ("sty", 1),
    ("feb", 2),
    ("febr", 2),
    ("févr", 2),
    ("fév", 2),
    ("fev", 2),
    ("lut", 2),
    ("mar", 3),
    ("mär", 3),
    ("märz", 3),
    ("mars", 3),
    ("mrt", 3),
    ("maart", 3),
    ("apr", 4),
    ("april", 4),
    ("avr", 4),
    ("avril", 4),
    ("abr", 4),
    ("kwi", 4),
    ("may", 5),
    ("mai", 5),
    ("mag", 5),
    ("mei", 5),
    ("maj", 5),
    ("jun", 6),
    ("juin", 6),
    ("giu", 6),
    ("juni", 6),
    ("cze", 6),
    ("jul", 7),
    ("juil", 7),
    ("juillet", 7),
    ("lug", 7),
    ("juli", 7),
    ("lip", 7),
    ("aug", 8),
    ("août", 8),
    ("aout", 8),
    ("ago", 8),
    ("sie", 8),
    ("sep", 9),
    ("sept", 9),
    ("set", 9),
    ("wrz", 9),
    ("oct", 10),
    ("okt", 10),
    ("ott", 10),
    ("out", 10),
    ("paź", 10),
    ("nov", 11),
    ("lis", 11),
    ("dec", 12),
    ("dez", 12),
    ("déc", 12),
    ("dic", 12),
    ("gru", 12),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(zone: &str, modified_at: Option<&str>) -> Clock {
        let at = modified_at.map(|text| Timestamp::parse_rfc3339(text).unwrap());
        Clock::new(TimeZone::get(zone).unwrap(), at)
    }

    fn at(clock: &mut Clock, line: &str) -> String {
        let (stamp, _) = take_stamp(line.as_bytes()).unwrap();
        let at = clock.resolve(stamp).unwrap();
        clock.advance(at);
        at.to_rfc3339().replace(".000000Z", "Z")
    }

    #[test]
    fn every_form_of_the_same_moment() {
        for line in [
            "2026-11-24T20:14:01+00:00 x",
            "2026-11-24T20:14:01Z x",
            "2026-11-24 21:14:01 +0100 x",
            "2026-11-24T15:14:01.000000-05:00 x",
            "2026 Nov 24 20:14:01 x",
            "Nov 24 2026 20:14:01 x",
            "Nov 24 20:14:01 x",
            "nov. 24 20:14:01 x",
        ] {
            let mut clock = clock("UTC", Some("2026-11-25T00:00:00Z"));
            assert_eq!(at(&mut clock, line), "2026-11-24T20:14:01Z", "{line}");
            assert_eq!(take_stamp(line.as_bytes()).unwrap().1, b"x");
        }
        assert_eq!(at(&mut clock("UTC", None), "2013 Jun 10 06:27:30.123 h"), "2013-06-10T06:27:30.123000Z");
    }

    #[test]
    fn a_year_less_log_crosses_new_year_both_ways() {
        let mut clock = clock("UTC", Some("2026-01-02T10:00:00Z"));
        assert_eq!(at(&mut clock, "Dec 30 23:00:00"), "2025-12-30T23:00:00Z");
        assert_eq!(at(&mut clock, "Jan  1 00:00:01"), "2026-01-01T00:00:01Z");
        // A line of another process, late by two seconds.
        assert_eq!(at(&mut clock, "Dec 31 23:59:59"), "2025-12-31T23:59:59Z");
        assert_eq!(at(&mut clock, "Jan  1 00:00:02"), "2026-01-01T00:00:02Z");
        // The file was last changed in January: no line of it is of the summer after.
        assert_eq!(at(&mut clock, "Jul  1 00:00:02"), "2025-07-01T00:00:02Z");
    }

    #[test]
    fn a_stray_line_moves_no_year() {
        let mut clock = clock("UTC", Some("2026-01-20T10:00:00Z"));
        assert_eq!(at(&mut clock, "Dec 30 23:00:00"), "2025-12-30T23:00:00Z");
        assert_eq!(at(&mut clock, "Dec 30 23:00:01"), "2025-12-30T23:00:01Z");
        assert_eq!(at(&mut clock, "Jul 10 00:00:00"), "2025-07-10T00:00:00Z");
        assert_eq!(at(&mut clock, "Jan  3 00:00:00"), "2026-01-03T00:00:00Z");
        assert_eq!(at(&mut clock, "Jan  3 00:00:01"), "2026-01-03T00:00:01Z");
    }

    #[test]
    fn the_present_gives_the_year_of_what_is_written_now() {
        let mut clock = clock("UTC", None);
        let set = |clock: &mut Clock, now| clock.set_now(Timestamp::parse_rfc3339(now).unwrap());
        set(&mut clock, "2026-12-31T23:59:59Z");
        assert_eq!(at(&mut clock, "Dec 31 23:59:59"), "2026-12-31T23:59:59Z");
        // The writer's clock is a little ahead of ours.
        assert_eq!(at(&mut clock, "Jan  1 00:00:01"), "2027-01-01T00:00:01Z");
        assert_eq!(at(&mut clock, "Dec 31 23:59:59"), "2026-12-31T23:59:59Z");
        assert_eq!(at(&mut clock, "Jul  1 00:00:00"), "2026-07-01T00:00:00Z");
        assert_eq!(at(&mut clock, "Jan  3 00:00:00"), "2026-01-03T00:00:00Z");
        set(&mut clock, "2027-12-31T23:30:00Z");
        assert_eq!(at(&mut clock, "Dec 31 23:20:00"), "2027-12-31T23:20:00Z");
    }

    proptest! {
        /// Lines of up to eleven months, anywhere around the years and the zones, with stray stamps between them: no
        /// true line gets a wrong year, whatever the stray ones say.
        #[test]
        fn no_line_gets_a_wrong_year(
            begins in 0i64..20 * 365 * 24,
            gaps in prop::collection::vec(0i64..6 * 24, 2..60),
            strays in prop::collection::vec((0usize..60, 1u8..13, 1u8..29), 0..6),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            live in any::<bool>(),
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let mut hours = 946_684_800 / 3_600 + begins;
            let truth: Vec<i64> = gaps
                .iter()
                .enumerate()
                .map(|(index, gap)| {
                    // The first two lines are neighbours.
                    hours += if index < 2 { 0 } else { *gap };
                    hours * 3_600 + 1_800 + index as i64
                })
                .collect();
            let last = Timestamp::from_seconds(*truth.last().unwrap());
            let mut clock = Clock::new(zone.clone(), (!live).then_some(last));
            for (index, seconds) in truth.iter().enumerate() {
                if live {
                    clock.set_now(Timestamp::from_seconds(seconds + 3));
                }
                for (_, month, day) in strays.iter().filter(|stray| index > 1 && stray.0 == index) {
                    let line = format!("{} {day:2} 12:00:00 ", String::from_utf8_lossy(&ENGLISH_MONTHS[*month as usize - 1]));
                    if let Some(at) = clock.resolve(take_stamp(line.as_bytes()).unwrap().0) {
                        clock.advance(at);
                    }
                }
                let civil = zone.to_datetime(jiff::Timestamp::from_second(*seconds).unwrap());
                let line = civil.strftime("%b %e %H:%M:%S ").to_string();
                let at = clock.resolve(take_stamp(line.as_bytes()).unwrap().0).unwrap();
                clock.advance(at);
                // The hour that daylight saving repeats is told by order, which strays may break.
                prop_assert!(
                    (at.as_seconds_f64() - *seconds as f64).abs() <= 3_600.0,
                    "{line}: {} for {}", at.to_rfc3339(), Timestamp::from_seconds(*seconds).to_rfc3339()
                );
            }
        }
    }

    #[test]
    fn the_first_year_is_the_latest_that_the_file_allows() {
        assert_eq!(
            at(&mut clock("UTC", Some("2026-03-01T00:00:00Z")), "Mar  1 12:00:00"),
            "2026-03-01T12:00:00Z"
        );
        assert_eq!(
            at(&mut clock("UTC", Some("2026-03-01T00:00:00Z")), "Mar  3 12:00:00"),
            "2025-03-03T12:00:00Z"
        );
        assert_eq!(
            at(&mut clock("UTC", Some("2026-03-01T00:00:00Z")), "Feb 29 12:00:00"),
            "2024-02-29T12:00:00Z"
        );
    }

    #[test]
    fn the_repeated_hour_is_told_by_order() {
        let mut clock = clock("Europe/Berlin", Some("2026-10-26T00:00:00Z"));
        assert_eq!(at(&mut clock, "Oct 25 02:10:00"), "2026-10-25T00:10:00Z");
        assert_eq!(at(&mut clock, "Oct 25 02:59:59"), "2026-10-25T00:59:59Z");
        assert_eq!(at(&mut clock, "Oct 25 02:00:00"), "2026-10-25T01:00:00Z");
        assert_eq!(at(&mut clock, "Oct 25 02:30:00"), "2026-10-25T01:30:00Z");
        assert_eq!(at(&mut clock, "Oct 25 02:59:59"), "2026-10-25T01:59:59Z");
        assert_eq!(at(&mut clock, "Oct 25 03:00:00"), "2026-10-25T02:00:00Z");
        // The hour that does not exist in spring is read as if the clock had not been moved yet.
        assert_eq!(at(&mut clock, "2026-03-29 02:30:00"), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn what_no_calendar_has_is_no_stamp() {
        for line in ["Nov 31 00:00:00", "Nov 3 24:00:00", "2026-13-01T00:00:00Z", "2026-11-24T00:60:00Z"] {
            let (stamp, _) = take_stamp(line.as_bytes()).unwrap();
            assert_eq!(clock("UTC", None).resolve(stamp), None, "{line}");
        }
        for line in ["", "Nov", "Foo 1 00:00:00", "2026-1-1T00:00:00", "20260101", "Nov 24 20:14"] {
            assert_eq!(take_stamp(line.as_bytes()), None, "{line}");
        }
    }
}
