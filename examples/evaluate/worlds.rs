//! The same comparison on whole simulated worlds: from captures and logs, not from marks.
//!
//! *In*: scenario and seeds. *Out*: a table. *Bound*: one world at a time, in a temporary directory. Peers are asked
//! at their published thresholds and speak of one sender at most once in six hours.

use crate::peers::{Judge, PEERS, Seen};
use crate::score::quantile;
use portreeve::alert::{Alert, IncidentRef, SenderName, SenderRef, Times};
use portreeve::cli::replay::{open_all, road_settings};
use portreeve::cli::roads::Roads;
use portreeve::company::{Company, Role};
use portreeve::config::Config;
use portreeve::engine::Engine;
use portreeve::engine::incident::Kind;
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::sender::SenderId;
use portreeve::observation::{Delivery, Fact, Observation, Vantage, digest};
use portreeve::simulate::score::{Score, score};
use portreeve::simulate::truth::Truth;
use portreeve::simulate::{SimulateSettings, simulate};
use portreeve::time::Timestamp;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A peer says nothing of a sender again for so long, seconds.
const SILENCE_SECONDS: f64 = 6.0 * 3_600.0;

/// One peer's judges, by sender.
#[derive(Default)]
struct Desk {
    judges: BTreeMap<(Vantage, SenderId), (Judge, Option<Timestamp>)>,
    alerts: Vec<Alert>,
}

/// Prints the table.
pub fn compare(model: &Model, scenario: &str, seed: u64, worlds: u64) {
    if worlds == 0 {
        return;
    }
    let mut scores: Vec<Vec<Score>> = (0..1 + PEERS.len()).map(|_| Vec::new()).collect();
    let mut sender_days = 0;
    for world in 0..worlds {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            SimulateSettings { seed: seed + world, scenario: scenario.into(), days: None, accounts: None };
        let truth = simulate(&settings, folder.path()).unwrap().truth;
        sender_days += truth.sender_days;
        for (list, alerts) in scores.iter_mut().zip(replay(model, folder.path(), &truth)) {
            list.push(score(&truth, &alerts));
        }
    }
    println!(
        "\n{worlds} worlds of scenario {scenario}, seeds from {seed}, {sender_days} sender-days; peers as published"
    );
    println!(
        "{:<24} {:>9} {:>9} {:>9} {:>10} {:>10} {:>7} {:>12} {:>14}",
        "", "found", "msg p50", "msg p90", "s p50", "s p90", "leaked", "false/1000 d", "burst alarms"
    );
    for (name, of_peer) in crate::tables::names().zip(&scores) {
        row(name, of_peer, sender_days);
    }
}

fn row(name: &str, scores: &[Score], sender_days: u64) {
    let hijacks: Vec<_> = scores.iter().flat_map(|score| &score.hijacks).collect();
    let found = hijacks.iter().filter(|hijack| hijack.alert.is_some()).count();
    let sorted = |of: &dyn Fn(&portreeve::simulate::score::HijackScore) -> Option<f64>| {
        let mut list: Vec<f64> = hijacks.iter().map(|row| of(row).unwrap_or(f64::INFINITY)).collect();
        list.sort_by(f64::total_cmp);
        [0.5, 0.9].map(|share| {
            let value = quantile(&list, share);
            if value.is_finite() { format!("{value:.0}") } else { "-".into() }
        })
    };
    let messages = sorted(&|row| row.delay_messages.map(|n| n as f64));
    let seconds = sorted(&|row| row.delay_seconds);
    let leaked = hijacks.iter().map(|row| row.leaked_share).sum::<f64>() / hijacks.len().max(1) as f64;
    let wrong: u64 = scores.iter().map(|score| score.false_alarms).sum();
    let bursts: u64 = scores.iter().flat_map(|score| &score.benign).map(|burst| burst.alerts).sum();
    println!(
        "{name:<24} {:>9} {:>9} {:>9} {:>10} {:>10} {:>6.1}% {:>12.2} {bursts:>14}",
        format!("{found}/{}", hijacks.len()),
        messages[0],
        messages[1],
        seconds[0],
        seconds[1],
        100.0 * leaked,
        1_000.0 * wrong as f64 / sender_days.max(1) as f64
    );
}

/// Plays a world once, to our engine and to every peer.
fn replay(model: &Model, world: &Path, truth: &Truth) -> Vec<Vec<Alert>> {
    let config = Config::read(&world.join("portreeve.toml")).unwrap();
    let company = Arc::new(config.company().unwrap());
    let mut inputs = Vec::new();
    for folder in ["logs", "captures"] {
        files(&world.join(folder), &mut inputs);
    }
    inputs.sort();
    let roads = open_all(&inputs, None).unwrap_or_else(|failure| panic!("{}", failure.text));
    let settings = road_settings(&config, 1).unwrap_or_else(|failure| panic!("{}", failure.text));
    let mut roads = Roads::new(&company, settings, roads);
    let mut engine =
        Engine::new(Arc::clone(&company), model.clone(), config.settings(), InstallKey(*b"portreeve replay"));
    let (mut changes, mut ours) = (Vec::new(), Vec::new());
    let mut desks: Vec<Desk> = PEERS.iter().map(|_| Desk::default()).collect();
    while let Some(observation) = roads.next().unwrap_or_else(|failure| panic!("{}", failure.text)) {
        engine.observe(&observation, &mut changes);
        ours.extend(changes.drain(..).map(|change| Alert::of(&change)));
        if let Fact::Delivery(delivery) = &observation.fact {
            for (peer, desk) in PEERS.iter().zip(&mut desks) {
                desk.see(peer, &company, truth, &observation, delivery);
            }
        }
    }
    std::iter::once(ours).chain(desks.into_iter().map(|desk| desk.alerts)).collect()
}

fn files(folder: &Path, list: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, list) } else { list.push(path.display().to_string()) }
    }
}

impl Desk {
    fn see(
        &mut self,
        peer: &crate::peers::Peer,
        company: &Company,
        truth: &Truth,
        observation: &Observation,
        delivery: &Delivery,
    ) {
        let keys = &observation.sender;
        let address = keys.address.map(SenderId::Address);
        let account = keys.account.clone().map(SenderId::Account);
        for id in [address, account].into_iter().flatten() {
            let serves = match &id {
                SenderId::Address(address) => {
                    company.host_of(*address).is_some_and(|host| host.role == Some(Role::MailRelay))
                }
                _ => false,
            };
            let hashed = |bytes: Option<&[u8]>| bytes.map_or(0, digest);
            let domain = delivery.forward_path.as_ref().map(|path| path.domain());
            let seen = Seen {
                at: observation.at.seconds_since(truth.start),
                recipient: hashed(delivery.forward_path.as_ref().map(|path| path.address().as_bytes())),
                server: match delivery.responder {
                    Some(responder) => digest(responder.to_string().as_bytes()),
                    None => hashed(domain),
                },
                refused: delivery.reply.as_ref().and_then(|reply| reply.code).is_some_and(|code| code >= 500),
                serves,
            };
            let key = (observation.vantage, id.clone());
            let (judge, spoke) = self.judges.entry(key).or_insert_with(|| ((peer.make)(), None));
            let silent = spoke.is_some_and(|at| observation.at.seconds_since(at) < SILENCE_SECONDS);
            if judge(&seen) >= peer.published && !silent {
                *spoke = Some(observation.at);
                self.alerts.push(alert(&id, observation.at, self.alerts.len()));
            }
        }
    }
}

fn alert(id: &SenderId, at: Timestamp, number: usize) -> Alert {
    let name = SenderName::of(id);
    let (id, time) = (number.to_string(), at.to_rfc3339());
    Alert {
        incident: IncidentRef { id: id.clone(), sequence: 0 },
        times: Times { first: time.clone(), last: time.clone(), event: time.clone(), opened: time },
        sender: SenderRef { kind: name.kind, name: name.name, role: Role::Unused, role_declared: false },
        kind: Kind::Unknown,
        ..Alert::of_trouble("peer", &id, at, "", "")
    }
}
