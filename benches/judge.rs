//! What the judge costs: deliveries a second, bytes a sender, and how both grow with the senders.
//!
//! Beside it, in the same run, the micro-benchmark that the design was measured with: 12 registers and 26 hidden
//! states in `f32` and nothing else (no recipients, no hashing, no storage), which is the yardstick.
//! `cargo bench --bench judge`; `SENDERS=100000` bounds the largest table.

#![allow(clippy::unwrap_used)] // a tool for developers: it fails loudly

use portreeve::company::{Company, Host, Role};
use portreeve::engine::marks::{Marks, ReversePathClass, VerdictClass};
use portreeve::engine::memory::InstallKey;
use portreeve::engine::model::Model;
use portreeve::engine::sender::Sender;
use portreeve::engine::{Engine, Settings};
use portreeve::mail::{Mailbox, Reply, ReversePath};
use portreeve::observation::{Delivery, Fact, Observation, SenderKeys, Vantage};
use portreeve::time::{CivilClock, Timestamp};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

const DELIVERIES: u64 = 1_000_000;
const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 1));
/// Set in the process that makes one table: its mix and its senders.
const TABLE: &str = "PORTREEVE_BENCH_TABLE";

fn main() {
    if let Some((mix, senders)) = wanted_table() {
        return tell(mix, senders);
    }
    let yardstick = yardstick();
    let hot = hot_sender();
    println!(
        "yardstick {:.2} million/s; test and learning of one hot sender {:.2} million/s ({:.2} of it)",
        yardstick,
        hot,
        hot / yardstick
    );
    let most: u32 = std::env::var("SENDERS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    for mix in [Mix::Ordinary, Mix::Rush] {
        println!("{}", mix.says());
        for senders in [1_000u32, 10_000, 100_000, 1_000_000].into_iter().filter(|n| *n <= most) {
            table_of(mix, senders);
        }
    }
}

/// One table in a process of its own, which holds no memory of another one.
fn table_of(mix: Mix, senders: u32) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let done = child.env(TABLE, format!("{}/{senders}", mix as u8)).status().unwrap();
    assert!(done.success());
}

/// What [`table_of`] asked for.
fn wanted_table() -> Option<(Mix, u32)> {
    let text = std::env::var(TABLE).ok()?;
    let (mix, senders) = text.split_once('/')?;
    let mix = if mix == (Mix::Rush as u8).to_string() { Mix::Rush } else { Mix::Ordinary };
    Some((mix, senders.parse().unwrap()))
}

fn tell(mix: Mix, senders: u32) {
    let (nanos, bytes, resident, suspected) = engine_of(mix, senders);
    println!(
        "{senders:>9} senders: {nanos:>6.0} ns a delivery through the engine ({:.2} million/s), {bytes:.0} B a sender, \
         {resident} MiB resident, {:.0} % of the senders keep an episode",
        1_000.0 / nanos,
        100.0 * suspected
    );
}

/// How the senders of a table send.
#[derive(Clone, Copy, PartialEq)]
enum Mix {
    /// Accounts behind one relay, known for six days: ten messages a day each in the mean, half of all from an eighth of
    /// them, each to eight people it knows.
    Ordinary,
    /// All begin at once, a thousand messages a second, to strangers: they are suspected, and remember what they sent.
    Rush,
}

impl Mix {
    fn says(self) -> &'static str {
        match self {
            Mix::Ordinary => {
                "ordinary: accounts of one relay, ten messages a day each, half of all from an eighth of them, to known people"
            }
            Mix::Rush => "rush, the worst case: all begin at once",
        }
    }

    /// Time from one message to the next, over all senders.
    fn step_micros(self, senders: u32) -> i64 {
        match self {
            Mix::Ordinary => 8_640_000_000 / i64::from(senders),
            Mix::Rush => 1_000,
        }
    }

    /// The same while everybody sends first messages.
    fn first_step_micros(self, senders: u32) -> i64 {
        match self {
            Mix::Ordinary => 2 * 86_400_000_000 / i64::from(senders),
            Mix::Rush => self.step_micros(senders),
        }
    }

    fn delivery(self, sender: u32, recipient: u64, micros: i64) -> Observation {
        let mut one = delivery(sender, recipient, micros);
        if self == Mix::Ordinary {
            one.vantage = Vantage::Log;
            one.sender.client = one.sender.address;
            one.sender.address = Some(RELAY);
            one.sender.account = Some(format!("user{sender}").as_str().into());
        }
        one
    }

    fn recipient(self, drawn: u64, sender: u32) -> u64 {
        match self {
            Mix::Ordinary => u64::from(sender) * 8 + (drawn >> 40) % 8,
            Mix::Rush => drawn >> 40,
        }
    }

    fn sender(self, drawn: u64, senders: u32) -> u32 {
        let place = (drawn % 1_000_003) as f64 / 1_000_003.0;
        match self {
            Mix::Ordinary => (place.powi(3) * f64::from(senders)) as u32,
            Mix::Rush => (drawn % u64::from(senders)) as u32,
        }
    }
}

/// xorshift.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// The arithmetic of the test in `f32`, states and registers in one place, nothing else. Million a second.
fn yardstick() -> f64 {
    let (mut registers, mut states) = ([0f32; 12], [1.0f32 / 26.0; 26]);
    let mut dice = Dice(88_172_645_463_325_252);
    let laws =
        [[0.8f32, 0.5, 0.7], [0.85, 0.45, 0.02], [0.7, 0.7, 0.02], [0.18, 0.9, 0.01], [0.5, 0.83, 0.01]];
    let rates = [6f32, 40.0, 300.0, 2_500.0];
    let began = Instant::now();
    for _ in 0..5 * DELIVERIES {
        let drawn = dice.next();
        let (novel, refused, foreign) = (drawn & 31 == 0, drawn >> 5 & 127 < 2, drawn >> 22 & 1_023 == 0);
        let ratio = |law: &[f32; 3]| {
            let of = |p: f32, set: bool| if set { p } else { 1.0 - p };
            of(law[0], novel) * of(1.0 - law[1], refused) * of(law[2], foreign)
        };
        let own = 1.0 / ratio(&[0.05, 0.97, 0.002]);
        let mut total = 0.0;
        for (index, state) in states.iter_mut().enumerate() {
            let rate = rates[index % 4];
            let share = rate / (rate + 10.0);
            *state *= (1.0 - share + share * ratio(&laws[3 + index % 2]) * own) * (10.0 + rate) / 12.0;
            total += *state;
        }
        let scale = 0.98 / total;
        states.iter_mut().for_each(|state| *state = *state * scale + 0.02 / 26.0);
        let log_total = total.ln();
        for (index, register) in registers.iter_mut().enumerate() {
            let rate = rates[index % 4];
            let share = rate / (rate + 10.0);
            let gain = (1.0 - share + share * ratio(&laws[index / 4]) * own) * (10.0 + rate) / 12.0;
            *register = (*register + (gain.ln() - log_total).clamp(-2.5, 3.0)).clamp(0.0, 80.0);
        }
        black_box(&registers);
    }
    5.0 * DELIVERIES as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// One sender's test and learning, in storage between deliveries. Million a second.
fn hot_sender() -> f64 {
    let (model, clock) = (Model::shipped().unwrap(), CivilClock::utc());
    let mut sender = Sender::new(&model, Role::MailRelay, Timestamp::from_seconds(0), &clock);
    let mut dice = Dice(7);
    let began = Instant::now();
    for n in 0..DELIVERIES {
        let drawn = dice.next();
        let at = Timestamp::from_micros(n as i64 * 2_000_000);
        let marks = Marks {
            novel: Some(drawn & 31 == 0),
            verdict: Some(if drawn >> 5 & 127 < 2 {
                VerdictClass::NoSuchRecipient
            } else {
                VerdictClass::Accepted
            }),
            reverse_path: Some(ReversePathClass::Own),
            foreign: Some(drawn >> 22 & 1_023 == 0),
            ..Marks::default()
        };
        sender.advance(&model, &clock, model.amber, at);
        black_box(sender.deliver(&model, model.amber, at, &marks));
    }
    DELIVERIES as f64 / began.elapsed().as_secs_f64() / 1e6
}

/// Nanoseconds a delivery, bytes a sender, resident memory in MiB, share of the senders that keep an episode: most do after their last message, until the next one clears it.
fn engine_of(mix: Mix, senders: u32) -> (f64, f64, u64, f64) {
    let relay = Host { name: "relay".into(), address: RELAY, role: Some(Role::MailRelay) };
    let company = Company::new(vec!["10.0.0.0/8".parse().unwrap()], &[], vec![relay], CivilClock::utc());
    let mut engine =
        Engine::new(Arc::new(company), Model::shipped().unwrap(), Settings::default(), InstallKey([3; 16]));
    let mut out = Vec::new();
    let mut dice = Dice(99);
    // Everybody sends three messages first.
    let mut micros = 0i64;
    for round in 0..3 {
        for sender in 0..senders {
            micros += mix.first_step_micros(senders);
            let recipient = mix.recipient(round << 40, sender);
            engine.observe(&mix.delivery(sender, recipient, micros), &mut out);
            if sender % 1_024 == 0 {
                engine.take_changed(); // as often as the store does
            }
        }
    }
    engine.take_changed();
    let observations: Vec<Observation> = (0..DELIVERIES)
        .map(|_| {
            micros += mix.step_micros(senders);
            let drawn = dice.next();
            let sender = mix.sender(drawn, senders);
            mix.delivery(sender, mix.recipient(drawn, sender), micros)
        })
        .collect();
    let began = Instant::now();
    observations.iter().for_each(|observation| engine.observe(observation, &mut out));
    let nanos = began.elapsed().as_secs_f64() * 1e9 / DELIVERIES as f64;
    // What the benchmark itself keeps is no part of the engine.
    drop(observations);
    let list = engine.senders();
    let bytes = list.iter().map(|(_, sender)| sender.bytes()).sum::<usize>() as f64 / list.len() as f64;
    let suspected = list.iter().filter(|(_, sender)| sender.episode().is_some()).count() as f64;
    (nanos, bytes, resident(), suspected / list.len() as f64)
}

fn delivery(sender: u32, recipient: u64, micros: i64) -> Observation {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + sender));
    Observation {
        at: Timestamp::from_micros(micros),
        vantage: Vantage::Wire,
        sender: SenderKeys { address: Some(address), ..SenderKeys::default() },
        fact: Fact::Delivery(Delivery {
            responder: Some(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 25))),
            reverse_path: Some(ReversePath::parse(b"app@corp.example")),
            forward_path: Mailbox::parse(format!("r{}@example.net", recipient % 500).as_bytes()),
            reply: Some(Reply { code: Some(250), ..Reply::default() }),
            retry: None,
            queue_id: None,
            message_id: None,
        }),
    }
}

/// Resident memory, MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}
