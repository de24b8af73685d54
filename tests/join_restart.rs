//! A restart at any moment changes nothing of what wire and log say together, and leaves no recipient behind.

#![allow(clippy::unwrap_used)] // a test fails loudly

mod join_support;

use join_support::*;
use portreeve::join::{Join, kept};
use portreeve::observation::Observation;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// A relay's day with some of everything: TLS, loss, mail past the log, a log that stands still, a blind hour.
fn mixed_days() -> Vec<Observation> {
    let mut rng = StdRng::seed_from_u64(3);
    let mut mails = days(&mut rng, 0, 2, 2_000, true, 300);
    mails.extend(days(&mut rng, 1, 1, 60, false, 900));
    for mail in &mut mails {
        let hour = mail.at / 3_600.0;
        mail.logged &= !(30.0..32.0).contains(&hour);
        mail.lost |= (38.0..40.0).contains(&hour) && mail.person % 3 == 0;
    }
    observations(mails)
}

struct Undisturbed {
    told: Vec<Observation>,
    counters: portreeve::join::JoinCounters,
}

fn undisturbed(observations: &[Observation]) -> Undisturbed {
    let (mut join, mut told) = (Join::new([7; 16], false), Vec::new());
    for observation in observations {
        join.observe(observation.clone(), &mut told);
    }
    Undisturbed { told, counters: join.counters() }
}

#[test]
fn a_restart_anywhere_changes_nothing() {
    let observations = mixed_days();
    let plain = undisturbed(&observations);
    assert!(plain.counters.wire_only > 20 && plain.counters.log_only > 50, "{:?}", plain.counters);
    assert!(plain.counters.matched_by_session > 1_000, "{:?}", plain.counters);
    let mut rng = StdRng::seed_from_u64(4);
    let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut join, mut told) = (Join::new([7; 16], false), Vec::new());
    let mut restarts = 0;
    for observation in &observations {
        join.observe(observation.clone(), &mut told);
        // A commit now and then, and at some of them a crash right after it.
        if rng.random_range(0..40) == 0 {
            for (name, note) in join.take_notes() {
                if note.is_empty() {
                    stored.remove(&name)
                } else {
                    stored.insert(name, note)
                };
            }
            if rng.random_range(0..4) == 0 {
                join = Join::new([7; 16], false);
                let notes: Vec<kept::Note> = stored.clone().into_iter().collect();
                join.restore(&notes);
                restarts += 1;
            }
        }
    }
    assert!(restarts > 30, "{restarts}");
    assert_eq!(told.len(), plain.told.len());
    for (one, other) in told.iter().zip(&plain.told) {
        assert_eq!(one, other);
    }
}

#[test]
fn what_is_stored_stays_small_and_names_no_recipient() {
    let observations = mixed_days();
    let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut join, mut told) = (Join::new([7; 16], false), Vec::new());
    let (mut written, mut most) = (0, 0);
    for (count, observation) in observations.iter().enumerate() {
        join.observe(observation.clone(), &mut told);
        if count % 10 == 9 {
            for (name, note) in join.take_notes() {
                written += note.len();
                assert!(memchr::memmem::find(&note, b"person").is_none(), "{name} names a recipient");
                if note.is_empty() {
                    stored.remove(&name)
                } else {
                    stored.insert(name, note)
                };
            }
            most = most.max(stored.values().map(Vec::len).sum::<usize>());
        }
    }
    println!(
        "{} bytes written for {} observations; {most} bytes stored at most",
        written,
        observations.len()
    );
    assert!(written / observations.len() < 2_000, "{written}");
    assert!(most < 100_000, "{most}");
    for piece in &told {
        assert!(!format!("{piece:?}").contains("person"), "{piece:?}");
    }
}

#[test]
fn hostile_notes_are_passed_over() {
    let mut rng = StdRng::seed_from_u64(9);
    let mut join = Join::new([7; 16], false);
    let observations = mixed_days();
    for observation in &observations[..3_000] {
        join.observe(observation.clone(), &mut Vec::new());
    }
    let notes = join.take_notes();
    for _ in 0..300 {
        let mut broken = notes.clone();
        for _ in 0..3 {
            let place = rng.random_range(0..broken.len());
            let note = &mut broken[place].1;
            if !note.is_empty() {
                let byte = rng.random_range(0..note.len());
                note[byte] = rng.random();
                note.truncate(rng.random_range(byte..=note.len()));
            }
        }
        let mut join = Join::new([7; 16], false);
        join.restore(&broken);
        for observation in &observations[3_000..3_100] {
            join.observe(observation.clone(), &mut Vec::new());
        }
    }
}

#[test]
fn notes_of_another_form_are_passed_over_and_removed() {
    let names = ["join/all".to_owned(), format!("join/{RELAY}"), format!("join/{RELAY}/w/0")];
    let old: Vec<kept::Note> = names.iter().map(|name| (name.clone(), vec![1, 2, 3])).collect();
    let mut join = Join::new([7; 16], false);
    join.restore(&old);
    let removed: Vec<kept::Note> = names.into_iter().map(|name| (name, Vec::new())).collect();
    assert_eq!(join.take_notes(), removed);
    assert_eq!(join.take_notes(), []);
}
