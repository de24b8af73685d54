//! The test and the learning agree with the reference model of detection.md: every register, in nats, to 1e-9.
//!
//! `tests/data/judge_vectors.py` writes the histories and what the reference model says to them.

#![allow(clippy::unwrap_used)] // a test fails loudly

use portreeve::company::Role;
use portreeve::engine::course::{self, Course};
use portreeve::engine::detector::{Detector, Expected};
use portreeve::engine::marks::{Marks, ReversePathClass, VerdictClass};
use portreeve::engine::memory::Traits;
use portreeve::engine::model::{MarkLaw, Model, RolePrior};
use portreeve::engine::season::Weather;
use portreeve::time::{CivilClock, MICROS_PER_HOUR, Timestamp};
use std::io::Read;

/// 1970-01-05 was a Monday.
const MONDAY_SECONDS: f64 = 4.0 * 86_400.0;
const NATS: f64 = 1e-9;
/// The first three templates are the reference model's.
const REFERENCE_TEMPLATES: u8 = 0b111;
const REFERENCE_REGIMES: usize = 8;

struct Message {
    at: Timestamp,
    marks: Marks,
    registers: Vec<f64>,
    expected: Option<Expected>,
}

struct History {
    name: String,
    learned: bool,
    law: MarkLaw,
    profile: Vec<f64>,
    messages: Vec<Message>,
}

fn law(p: &[f64]) -> MarkLaw {
    MarkLaw {
        novel: p[0],
        verdict: [p[1], p[2], p[3], p[4]],
        reverse_path: [p[5], p[6], p[7]],
        foreign: p[8],
    }
}

fn marks(fields: &[f64]) -> Marks {
    use VerdictClass::*;
    Marks {
        novel: Some(fields[0] == 1.0),
        verdict: Some([Accepted, NoSuchRecipient, Policy, Deferred][fields[1] as usize]),
        reverse_path: Some(
            [ReversePathClass::Own, ReversePathClass::Unknown, ReversePathClass::Null][fields[2] as usize],
        ),
        foreign: Some(fields[3] == 1.0),
        ..Marks::default()
    }
}

fn histories() -> Vec<History> {
    let mut text = String::new();
    let file = std::fs::File::open("tests/data/judge_vectors.txt.gz").unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut list: Vec<History> = Vec::new();
    let mut expected = None;
    for line in text.lines() {
        let (kind, rest) = line.split_at(2);
        if kind == "S " {
            let (name, mode) = rest.split_once(' ').unwrap();
            list.push(History {
                name: name.into(),
                learned: mode == "learned",
                law: law(&[0.1; 9]),
                profile: Vec::new(),
                messages: Vec::new(),
            });
            continue;
        }
        let numbers: Vec<f64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
        let history = list.last_mut().unwrap();
        match kind {
            "P " => {
                history.law = law(&numbers[..9]);
                history.profile = numbers[9..].to_vec();
            }
            "E " => {
                let law = law(&numbers[2..]);
                expected = Some(Expected {
                    rate: numbers[0],
                    dispersion: numbers[1],
                    law,
                    side: [0.5; 8],
                    templates: REFERENCE_TEMPLATES,
                });
            }
            _ => history.messages.push(Message {
                at: Timestamp::from_seconds(0).plus_seconds(MONDAY_SECONDS + numbers[0]),
                marks: marks(&numbers[1..5]),
                registers: numbers[5..].to_vec(),
                expected: if history.learned { None } else { expected },
            }),
        }
    }
    list
}

fn worst(model: &Model, test: &Detector, registers: &[f64]) -> f64 {
    test.registers_nats(model).iter().zip(registers).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The test alone: what is expected comes from the file.
fn given(model: &Model, history: &History) -> (f64, usize) {
    let mut test = Detector::default();
    let mut clock = Timestamp::from_seconds(0).plus_seconds(MONDAY_SECONDS);
    let mut last_at = clock;
    let none = Expected {
        rate: 0.0,
        dispersion: 2.0,
        law: history.law,
        side: [0.5; 8],
        templates: REFERENCE_TEMPLATES,
    };
    let (mut before, mut most, mut compared) = (none, 0.0f64, 0);
    for (index, message) in history.messages.iter().enumerate() {
        while clock.hour_index() < message.at.hour_index() {
            let end = Timestamp::from_micros((clock.hour_index() + 1) * MICROS_PER_HOUR);
            test.wait(model, &before, end.seconds_since(clock));
            clock = end;
        }
        let expected = message.expected.unwrap();
        test.wait(model, &expected, message.at.seconds_since(clock));
        let weight = course::weight(model, index as u32, last_at, message.at);
        test.deliver(model, &expected, &message.marks, weight);
        (clock, last_at, before) = (message.at, message.at, expected);
        if !message.registers.is_empty() {
            most = most.max(worst(model, &test, &message.registers));
            compared += 1;
        }
    }
    (most, compared)
}

/// Test and learning: only the messages come from the file.
fn learned(model: &Model, history: &History) -> (f64, usize) {
    let prior = RolePrior {
        law: history.law,
        profile: history.profile.clone().try_into().unwrap(),
        ..model.prior(Role::Unused).clone()
    };
    let clock = CivilClock::utc();
    let start = Timestamp::from_seconds(0).plus_seconds(MONDAY_SECONDS);
    let mut course = Course::new(model, &prior, &clock, start);
    let mut traits = Traits::default();
    let (mut most, mut compared) = (0.0f64, 0);
    for message in &history.messages {
        course.advance(model, &prior, &clock, Weather::PLAIN, message.at, &mut traits);
        course.deliver(model, message.at, &message.marks);
        if !message.registers.is_empty() {
            most = most.max(worst(model, &course.test, &message.registers));
            compared += 1;
        }
    }
    (most, compared)
}

#[test]
fn every_register_agrees_with_the_reference_model() {
    let mut model = Model::shipped().unwrap();
    // The regimes and templates that the reference model has come first.
    model.regimes.truncate(REFERENCE_REGIMES);
    model.templates.truncate(REFERENCE_TEMPLATES.count_ones() as usize);
    let histories = histories();
    assert!(histories.iter().any(|history| history.learned) && histories.len() >= 10);
    for history in &histories {
        let (most, compared) =
            if history.learned { learned(&model, history) } else { given(&model, history) };
        println!(
            "{}: {compared} of {} messages compared, worst {most:.1e} nats",
            history.name,
            history.messages.len()
        );
        assert!(compared > 15, "{}: nothing compared", history.name);
        assert!(most < NATS, "{}: {most} nats apart", history.name);
    }
}
