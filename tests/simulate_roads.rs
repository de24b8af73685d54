//! A simulated world played through both roads: what they observe is what the truth says, to the last count.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use portreeve::capture::file::CaptureFile;
use portreeve::company::Company;
use portreeve::config::{Config, zone};
use portreeve::mail::{ReversePath, Verdict};
use portreeve::mta::{LogRoad, LogSettings, LogSource};
use portreeve::observation::{AttemptOutcome, Delivery, Fact, Observation, Vantage};
use portreeve::simulate::truth::{HijackKind, Tally, Truth};
use portreeve::simulate::{SimulateSettings, simulate};
use portreeve::smtp::{WireRoad, WireSettings};
use portreeve::tail::LogFile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A sender as the truth names it.
type Name = (String, String);

struct Played {
    truth: Truth,
    company: Arc<Company>,
    observations: Vec<Observation>,
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    list.sort();
    list
}

fn play(seed: u64) -> Played {
    let out = tempfile::tempdir().unwrap();
    let settings = SimulateSettings { seed, scenario: "small".into(), days: None, accounts: None };
    let truth = simulate(&settings, out.path()).unwrap().truth;
    let config = Config::read(&out.path().join("portreeve.toml")).unwrap();
    let company = Arc::new(config.company().unwrap());
    let mut observations = Vec::new();
    let mut wire = WireRoad::new(company.clone(), WireSettings::default());
    for path in entries(&out.path().join("captures")) {
        let mut capture = CaptureFile::open(&path).unwrap();
        while let Some(packet) = capture.next().unwrap() {
            wire.packet(&packet, &mut observations);
        }
    }
    wire.finish(&mut observations);
    let mut log = LogRoad::new(company.clone(), LogSettings::default());
    for host in entries(&out.path().join("logs")) {
        let mut files: Vec<LogFile> =
            entries(&host).iter().map(|path| LogFile::open(path).unwrap()).collect();
        files.sort_by_key(LogFile::modified_at);
        for mut file in files {
            let source = log.add_source(LogSource {
                name: file.name().to_owned(),
                dialect: None,
                zone: zone(config.company.time_zone.as_deref()).unwrap(),
                modified_at: file.modified_at(),
            });
            while let Some(line) = file.next_line().unwrap() {
                log.line(source, line, &mut observations);
            }
        }
    }
    log.finish(&mut observations);
    assert_eq!(log.counters().unparsed, 0, "{:?}", log.counters().unparsed_samples);
    Played { truth, company, observations }
}

/// Senders of an observation, as the truth counts them.
fn names(observation: &Observation, company: &Company) -> Vec<Name> {
    let keys = &observation.sender;
    let mut names = Vec::new();
    names.extend(keys.address.map(|address| ("address".to_owned(), address.to_string())));
    names.extend(keys.account.as_ref().map(|account| ("account".to_owned(), account.to_lossy())));
    let client = keys.client.filter(|client| keys.account.is_none() && company.owns(*client));
    names.extend(client.map(|client| ("address".to_owned(), client.to_string())));
    names
}

fn count(tally: &mut Tally, fact: &Fact) {
    match fact {
        Fact::Delivery(delivery) => {
            tally.deliveries += 1;
            match delivery.reply.as_ref().and_then(|reply| reply.verdict()) {
                Some(Verdict::Accepted) => tally.accepted += 1,
                Some(Verdict::NoSuchRecipient) => tally.no_such_recipient += 1,
                Some(Verdict::Blocked | Verdict::Policy) => tally.refused += 1,
                Some(Verdict::OtherPermanent) => tally.other += 1,
                Some(Verdict::Deferred) => tally.deferred += 1,
                None => {}
            }
        }
        Fact::Session(session) => {
            tally.sessions += 1;
            tally.hidden_messages += session.opaque.map_or(0, |opaque| u64::from(opaque.messages_estimated));
        }
        Fact::Attempt(attempt) => match attempt.outcome {
            AttemptOutcome::Unanswered => tally.unanswered += 1,
            AttemptOutcome::Refused => tally.connections_refused += 1,
            AttemptOutcome::Answered => {}
        },
        _ => {}
    }
}

#[test]
fn both_roads_observe_what_the_truth_says_of_every_sender() {
    for seed in [11, 12] {
        let world = play(seed);
        let mut seen: BTreeMap<Name, [Tally; 2]> = BTreeMap::new();
        for observation in &world.observations {
            for name in names(observation, &world.company) {
                count(&mut seen.entry(name).or_default()[observation.vantage as usize], &observation.fact);
            }
        }
        for sender in &world.truth.senders {
            let name = (sender.sender.kind.clone(), sender.sender.name.clone());
            let [wire, log] = seen.remove(&name).unwrap_or_default();
            assert_eq!(wire, sender.wire, "wire of {name:?}, seed {seed}");
            assert_eq!(log, sender.log, "log of {name:?}, seed {seed}");
        }
        let logins_only = |tallies: &[Tally; 2]| *tallies == [Tally::default(); 2];
        assert!(seen.values().all(logins_only), "senders that nobody simulated: {seen:?}");
    }
}

/// Deliveries of one hijack, told by what only it does.
fn of_hijack(world: &Played, kind: HijackKind, vantage: Vantage) -> Vec<&Observation> {
    let hijack = world.truth.hijacks.iter().find(|hijack| hijack.kind == kind).unwrap();
    let within = |observation: &&Observation| {
        observation.vantage == vantage
            && names(observation, &world.company).iter().any(|(kind, name)| {
                hijack.senders.iter().any(|sender| sender.kind == *kind && sender.name == *name)
            })
    };
    world.observations.iter().filter(within).collect()
}

fn delivery(observation: &Observation) -> Option<&Delivery> {
    match &observation.fact {
        Fact::Delivery(delivery) => Some(delivery),
        _ => None,
    }
}

#[test]
fn hijacks_are_seen_delivery_by_delivery() {
    let world = play(13);
    let hijack = |kind| world.truth.hijacks.iter().find(|hijack| hijack.kind == kind).unwrap();
    // Senders that do nothing else: a silent block, a workstation. Their deliveries are the hijack's, in time too.
    for kind in [HijackKind::DormantBlock, HijackKind::WorkstationDirect] {
        let observed: Vec<_> = of_hijack(&world, kind, Vantage::Wire)
            .into_iter()
            .filter(|observation| delivery(observation).is_some())
            .map(|observation| observation.at)
            .collect();
        assert_eq!(observed, hijack(kind).deliveries, "{kind:?}");
    }
    // An account: what the log says under its name from networks that are not ours and not the person's.
    let truth = hijack(HijackKind::AccountTakeover);
    let account = &truth.senders[0];
    let during = world.observations.iter().filter(|observation| {
        observation.vantage == Vantage::Log
            && observation.sender.account.as_ref().is_some_and(|name| name.to_lossy() == account.name)
            && observation.sender.client.is_some_and(|client| *client.to_string() >= *"198.19.128")
            && delivery(observation).is_some_and(|delivery| {
                delivery.retry == Some(false)
                    && delivery.reply.as_ref().is_some_and(|reply| reply.code.is_some())
            })
    });
    let taken: Vec<&Observation> =
        during.filter(|o| o.at >= truth.start && o.at.seconds_since(truth.end) < 7_200.0).collect();
    assert_eq!(taken.len() as u64, truth.seen_by.log);
    assert!(taken.iter().filter_map(|o| delivery(o)).all(|d| d.reverse_path != Some(ReversePath::Null)));
    // Under STARTTLS nothing but the outside is seen.
    let hidden = of_hijack(&world, HijackKind::StarttlsOnly, Vantage::Wire);
    assert!(hidden.iter().all(|observation| delivery(observation).is_none()) && !hidden.is_empty());
}
