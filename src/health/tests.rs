//! Blindness is told once, with patience, and its end too; a rhythm is learned before silence means anything.

use super::*;

const MINUTE: f64 = 60.0;

fn monday() -> Timestamp {
    Timestamp::parse_rfc3339("2026-06-01T00:00:00Z").unwrap()
}

fn capture(change: impl FnOnce(&mut SourceReading)) -> Reading {
    let mut source = SourceReading::of("span0", SourceKind::Capture);
    change(&mut source);
    Reading { sources: vec![source], ..Reading::default() }
}

fn log(change: impl FnOnce(&mut SourceReading)) -> Reading {
    let mut source = SourceReading::of("/var/log/mail.log", SourceKind::Log);
    change(&mut source);
    Reading { sources: vec![source], ..Reading::default() }
}

/// Takes readings second by second and gives what was told, as code and whether it ends.
fn told(
    health: &mut Health,
    from: f64,
    seconds: u32,
    reading: impl Fn(u32) -> Reading,
) -> Vec<(String, bool)> {
    let mut told = Vec::new();
    for second in 0..seconds {
        let at = monday().plus_seconds(from + f64::from(second));
        let notices = health.take(at, &reading(second));
        told.extend(notices.into_iter().map(|notice| (notice.code.to_owned(), notice.ends)));
    }
    told
}

#[test]
fn lost_packets_are_told_once_and_their_end_after_calm() {
    let mut health = Health::default();
    let busy = |second: u32, dropped: u64| {
        capture(|source| (source.taken, source.dropped_by_kernel) = (1_000 * u64::from(second), dropped))
    };
    assert_eq!(told(&mut health, 0.0, 60, |second| busy(second, 0)), vec![]);
    let lossy = told(&mut health, 60.0, 60, |second| busy(60 + second, 50 * u64::from(second)));
    assert_eq!(lossy, vec![("packets_dropped".to_owned(), false)]);
    let share = health.coverage().frames_dropped_share.unwrap();
    assert!((0.01..0.05).contains(&share), "{share}");
    assert_eq!(health.holding().len(), 1);
    let after = told(&mut health, 120.0, 1_000, |second| busy(120 + second, 2_950));
    assert_eq!(after, vec![("packets_dropped".to_owned(), true)]);
    assert_eq!(health.coverage().frames_dropped_share, Some(0.0));
}

#[test]
fn a_thousandth_of_loss_is_borne() {
    let mut health = Health::default();
    let reading = |second: u32| {
        let taken = 10_000 * u64::from(second);
        capture(|source| (source.taken, source.dropped_by_kernel) = (taken, taken / 2_000))
    };
    assert_eq!(told(&mut health, 0.0, 400, reading), vec![]);
}

#[test]
fn a_mirror_of_one_direction_is_told_from_either_side() {
    let outward = |second: u32| {
        capture(|source| {
            source.taken = 100 * u64::from(second);
            source.flows_originator_only = u64::from(second);
            source.flows_two_way = u64::from(second) / 20;
        })
    };
    let inward = |second: u32| {
        capture(|source| {
            source.taken = 100 * u64::from(second);
            source.flows_responder_only = u64::from(second);
        })
    };
    let both = |second: u32| {
        capture(|source| {
            source.taken = 100 * u64::from(second);
            source.flows_two_way = u64::from(second);
            source.flows_originator_only = 2 * u64::from(second);
        })
    };
    let halves = |second: u32| {
        capture(|source| {
            source.taken = 100 * u64::from(second);
            source.flows_two_way = u64::from(second) / 2;
            (source.flows_originator_only, source.flows_responder_only) =
                (u64::from(second) / 2, u64::from(second) / 2);
        })
    };
    assert_eq!(told(&mut Health::default(), 0.0, 300, outward), vec![("one_way_mirror".into(), false)]);
    assert_eq!(told(&mut Health::default(), 0.0, 300, inward), vec![("one_way_mirror".into(), false)]);
    assert_eq!(told(&mut Health::default(), 0.0, 300, halves), vec![("one_way_mirror".into(), false)]);
    assert_eq!(told(&mut Health::default(), 0.0, 300, both), vec![]);
}

#[test]
fn what_tls_hides_is_told_only_where_no_log_helps() {
    let hidden = |second: u32, log: bool| {
        let mut reading = capture(|source| {
            let sessions = u64::from(second);
            (source.taken, source.flows, source.flows_two_way) = (50 * sessions, sessions, sessions);
            (source.sessions, source.sessions_hidden) = (sessions, sessions);
        });
        if log {
            reading.sources.push(SourceReading::of("mail.log", SourceKind::Log));
        }
        reading
    };
    let code = ("mostly_hidden_by_tls".to_owned(), false);
    assert_eq!(told(&mut Health::default(), 0.0, 600, |second| hidden(second, false)), vec![code]);
    assert_eq!(told(&mut Health::default(), 0.0, 600, |second| hidden(second, true)), vec![]);
}

#[test]
fn a_sudden_rise_of_tls_is_told_beside_a_log_and_after_a_restart_too() {
    let hour = |from: u32, share: u64| {
        move |second: u32| {
            let sessions = u64::from(from + second) / 5;
            let mut reading = capture(|source| {
                (source.taken, source.sessions) = (50 * sessions, sessions);
                source.sessions_hidden = sessions * share / 100;
            });
            let log = SourceReading::of("mail.log", SourceKind::Log);
            reading.sources.push(SourceReading { taken: u64::from(second), ..log });
            reading
        }
    };
    let mut health = Health::default();
    assert_eq!(told(&mut health, 0.0, 4 * 3_600, hour(0, 10)), vec![]);
    let kept = serde_json::to_vec(health.habits()).unwrap();
    let mut again = Health::new(serde_json::from_slice(&kept).unwrap());
    let risen = told(&mut again, 14_400.0, 1_200, hour(0, 60));
    assert_eq!(risen, vec![("sudden_tls".into(), false)]);
    assert!(again.holding()[0].says.contains("60 % of the sessions"), "{:?}", again.holding());
    // What an earlier version kept knows of rhythms only.
    let old = serde_json::json!({ "span0": serde_json::to_value(Canary::default()).unwrap() });
    let habits: BTreeMap<String, Habit> = serde_json::from_value(old).unwrap();
    assert_eq!(habits["span0"], Habit::default());
}

#[test]
fn a_log_that_comes_late_is_told_but_not_one_that_is_caught_up_with() {
    let late = |second: u32, caught_up: bool| {
        log(|source| {
            source.taken = 10 * u64::from(second);
            (source.behind_seconds, source.caught_up) = (Some(900.0), caught_up);
        })
    };
    let code = ("log_late".to_owned(), false);
    assert_eq!(told(&mut Health::default(), 0.0, 900, |second| late(second, true)), vec![code]);
    assert_eq!(told(&mut Health::default(), 0.0, 900, |second| late(second, false)), vec![]);
    let mut health = Health::default();
    let ahead =
        |second| log(|s| (s.taken, s.behind_seconds, s.caught_up) = (u64::from(second), Some(-90.0), true));
    assert_eq!(told(&mut health, 0.0, 600, ahead), vec![("clock_ahead".into(), false)]);
}

#[test]
fn lines_that_are_not_understood_gaps_faults_and_set_clocks_are_told() {
    let reading = |second: u32| {
        let mut reading = log(|source| {
            (source.taken, source.unparsed) = (10 * u64::from(second), 4 * u64::from(second));
            source.gaps = u64::from(second / 30);
            source.panics = u64::from(second / 40);
        });
        reading.clock_step_seconds = if second == 5 { -3_600.0 } else { 0.0 };
        reading
    };
    let codes: Vec<String> =
        told(&mut Health::default(), 0.0, 60, reading).into_iter().map(|(c, _)| c).collect();
    assert_eq!(codes, ["clock_set", "log_not_understood", "lines_possibly_lost", "fault"]);
}

#[test]
fn a_stuck_sink_is_told_after_a_minute_and_its_end_at_once() {
    let sink = |trouble: Option<&str>| Reading {
        sinks: vec![SinkReading {
            name: "siem".into(),
            waiting: 7,
            trouble: trouble.map(str::to_owned),
            ..SinkReading::default()
        }],
        ..Reading::default()
    };
    let mut health = Health::default();
    assert_eq!(told(&mut health, 0.0, 30, |_| sink(Some("refused"))), vec![]);
    assert_eq!(told(&mut health, 30.0, 5, |_| sink(None)), vec![]);
    let stuck = told(&mut health, 35.0, 90, |_| sink(Some("refused")));
    assert_eq!(stuck, vec![("sink_stuck".into(), false)]);
    assert!(health.holding()[0].says.contains("7 alerts wait: refused"));
    assert_eq!(told(&mut health, 125.0, 5, |_| sink(None)), vec![("sink_stuck".into(), true)]);
}

#[test]
fn a_notice_is_an_alert_whose_end_belongs_to_the_same_incident() {
    let mut health = Health::default();
    let failed = |failed: bool| capture(|source| source.failed = failed.then(|| "gone".into()));
    let mut alerts = Vec::new();
    for second in 0..60 {
        let notices = health.take(monday().plus_seconds(f64::from(second)), &failed(second < 30));
        alerts.extend(notices.iter().map(Notice::alert));
    }
    assert_eq!(alerts.len(), 2);
    assert_eq!(alerts[0].incident.id, alerts[1].incident.id);
    assert_ne!(alerts[0].id, alerts[1].id);
    assert_eq!((alerts[0].change, alerts[1].change), (Change::Opened, Change::Closed));
    assert_eq!(alerts[0].sender.kind, "sensor");
}

/// The minute at which the office opens on Monday: a source that never talked is missed after an hour.
const OPENS: i64 = 8 * 60;

/// Whether anything comes in a minute of the week: an office that rests at night and at the weekend.
fn office(minute: i64) -> bool {
    let (day, hour) = (minute.div_euclid(1_440) % 7, minute.div_euclid(60) % 24);
    day < 5 && (8..18).contains(&hour) && minute % 3 != 0
}

/// Plays minutes into a canary and gives the first moment at which it is silent against its habit.
fn first_silence(
    canary: &mut Canary,
    minutes: std::ops::Range<i64>,
    came: impl Fn(i64) -> bool,
) -> Option<i64> {
    for minute in minutes {
        let at = monday().plus_seconds(minute as f64 * MINUTE);
        canary.listen(at, came(minute));
        if canary.silent_since(at).is_some() {
            return Some(minute);
        }
    }
    None
}

#[test]
fn a_source_that_rests_at_night_is_missed_within_minutes_by_day() {
    let mut canary = Canary::default();
    let weeks = 2 * 7 * 1_440;
    assert_eq!(first_silence(&mut canary, OPENS..weeks, office), None, "nights and weekends are no silence");
    let ten = weeks + 10 * 60;
    assert_eq!(first_silence(&mut canary, weeks..ten, office), None);
    let noticed = first_silence(&mut canary, ten..ten + 600, |_| false).unwrap();
    assert!((5..30).contains(&(noticed - ten)), "noticed after {} min", noticed - ten);
    let back = first_silence(&mut canary, noticed + 1..noticed + 60, |_| true);
    assert_eq!(back, None);
}

#[test]
fn a_source_of_rare_bursts_is_given_time() {
    let mut canary = Canary::default();
    let bursts = |minute: i64| minute % 240 < 10;
    assert_eq!(first_silence(&mut canary, 0..10 * 1_440, bursts), None);
    let noticed = first_silence(&mut canary, 14_400..24_000, |_| false).unwrap() - 14_400;
    assert!((240..2_000).contains(&noticed), "a whole period is missed first: {noticed}");
}

#[test]
fn a_source_that_never_talked_is_told_after_an_hour_and_rhythms_survive_a_restart() {
    let mut canary = Canary::default();
    assert_eq!(first_silence(&mut canary, 0..120, |_| false), Some(60));
    let mut canary = Canary::default();
    assert_eq!(first_silence(&mut canary, OPENS..10_080, office), None);
    let kept = serde_json::to_string(&canary).unwrap();
    let mut again: Canary = serde_json::from_str(&kept).unwrap();
    // Two days off: what was not listened to is no silence.
    let tuesday = 10_080 + 1_440 + 600;
    assert_eq!(first_silence(&mut again, tuesday..tuesday + 4, |_| false), None);
    assert!(first_silence(&mut again, tuesday + 4..tuesday + 60, |_| false).is_some());
}
