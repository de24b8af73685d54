//! The drivers: each sink on a thread of its own, from its cursor to the end of the outbox, for ever.
//!
//! *In*: a state directory whose store is open, opened sinks. *Out*: cursors that move, dead letters, a status.
//! *Bound*: one batch a sink in memory; everything else waits on disk. *Spec*: docs/architecture.md, state.
//!
//! A failed attempt is repeated after a growing, jittered pause, for as long as it takes. Only where a receiver
//! answers, and goes on saying no to one letter alone, is that letter put aside so that the others get through.

use super::batch::{Batch, Settled};
use super::{Fate, Opened};
use crate::store::StoreError;
use crate::store::outbox::{Cursor, DeadLetter, Outbox};
use crate::time::Timestamp;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How patient a driver is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Pause after the first failure; it doubles with each further one.
    pub pause_first: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// How long a receiver may go on refusing one letter before it is put aside.
    pub refusals_for: Duration,
    /// Seed of the jitter that keeps many sensors from knocking at once.
    pub seed: u64,
    /// The clock, for the stamp of dead letters.
    pub now: fn() -> Timestamp,
}

impl Patience {
    /// The usual patience, with a seed and a clock.
    pub fn usual(seed: u64, now: fn() -> Timestamp) -> Patience {
        Patience {
            pause_first: Duration::from_millis(500),
            pause_max: Duration::from_secs(120),
            refusals_for: Duration::from_secs(600),
            seed,
            now,
        }
    }
}

/// How a sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Place in the outbox up to which all is done.
    pub cursor: i64,
    /// Alerts that the receiver has.
    pub delivered: u64,
    /// Alerts that were sent without a receipt.
    pub unconfirmed: u64,
    /// Alerts left out because they are not severe enough.
    pub left_out: u64,
    /// Alerts put aside.
    pub dead: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// What the last failed attempt said; `None` once one succeeds.
    pub trouble: Option<String>,
}

/// What drivers are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Orders {
    commits: u64,
    reopens: u64,
    /// Stop when the outbox is empty, or at this moment.
    finish_by: Option<Instant>,
}

/// Running drivers.
pub struct Delivery {
    orders: watch::Sender<Orders>,
    threads: Vec<std::thread::JoinHandle<()>>,
    statuses: Vec<Arc<Mutex<SinkStatus>>>,
}

impl Delivery {
    /// Starts a driver for each sink. Cursors of sinks that are not among them are forgotten.
    pub fn start(directory: &Path, sinks: Vec<Opened>, patience: Patience) -> Result<Delivery, StoreError> {
        let names: Vec<&str> = sinks.iter().map(|sink| sink.name.as_str()).collect();
        Outbox::open(directory)?.forget_all_but(&names)?;
        let (orders, _) = watch::channel(Orders::default());
        let mut delivery = Delivery { orders, threads: Vec::new(), statuses: Vec::new() };
        for (index, sink) in sinks.into_iter().enumerate() {
            let mut outbox = Outbox::open(directory)?;
            let cursor = outbox.register(&sink.name)?;
            let status = Arc::new(Mutex::new(SinkStatus {
                name: sink.name.clone(),
                cursor: cursor.seq,
                ..SinkStatus::default()
            }));
            let driver = Driver {
                outbox,
                cursor,
                orders: delivery.orders.subscribe(),
                status: status.clone(),
                patience,
                jitter: ChaCha8Rng::seed_from_u64(patience.seed.wrapping_add(index as u64)),
                failures: 0,
                refused_since: None,
                narrow: false,
                sink,
            };
            delivery.statuses.push(status);
            let thread = std::thread::Builder::new().name(format!("sink-{index}")).spawn(|| driver.run());
            delivery.threads.push(thread.map_err(StoreError::file(directory))?);
        }
        Ok(delivery)
    }

    /// Says that the store committed alerts.
    pub fn committed(&self) {
        self.orders.send_modify(|orders| orders.commits += 1);
    }

    /// Opens files anew: after a rotation.
    pub fn reopen(&self) {
        self.orders.send_modify(|orders| orders.reopens += 1);
    }

    /// How all sinks are doing, in the order in which they were given.
    pub fn statuses(&self) -> Vec<SinkStatus> {
        let read =
            |status: &Arc<Mutex<SinkStatus>>| status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.statuses.iter().map(read).collect()
    }

    /// Delivers what is there, waits at most so long, and stops. What is left stays in the outbox.
    pub fn finish(mut self, within: Duration) -> Vec<SinkStatus> {
        self.orders.send_modify(|orders| orders.finish_by = Some(Instant::now() + within));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.statuses()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.orders.send_modify(|orders| orders.finish_by = Some(Instant::now()));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Driver {
    sink: Opened,
    outbox: Outbox,
    cursor: Cursor,
    orders: watch::Receiver<Orders>,
    status: Arc<Mutex<SinkStatus>>,
    patience: Patience,
    jitter: ChaCha8Rng,
    /// Failures in a row.
    failures: u32,
    /// Since when the letter behind the cursor is refused, alone.
    refused_since: Option<Instant>,
    /// One letter at a time: the receiver refused a batch, and one of it may be why.
    narrow: bool,
}

/// What to do after a step.
enum Next {
    Go,
    Pause(Duration),
    Idle,
}

/// Waits for an order to finish, however late it comes, and then for its moment.
async fn time_is_up(mut orders: watch::Receiver<Orders>) {
    let ordered = orders.wait_for(|orders| orders.finish_by.is_some()).await;
    if let Some(by) = ordered.ok().and_then(|orders| orders.finish_by) {
        tokio::time::sleep_until(by.into()).await;
    }
}

impl Driver {
    fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.drive()),
            Err(error) => self.note(|status| status.trouble = Some(error.to_string())),
        }
    }

    async fn drive(&mut self) {
        let mut reopens = self.orders.borrow().reopens;
        loop {
            let orders = *self.orders.borrow_and_update();
            if orders.reopens != reopens {
                reopens = orders.reopens;
                self.sink.deliver.reopen();
            }
            if orders.finish_by.is_some_and(|by| Instant::now() >= by) {
                return;
            }
            let out_of_time = time_is_up(self.orders.clone());
            let step = async {
                match self.step().await {
                    Ok(next) => next,
                    Err(error) => self.failed(&error.to_string(), None),
                }
            };
            // What hangs when time is up is dropped; nothing was noted of it, so it is sent again.
            let next = tokio::select! {
                biased;
                next = step => next,
                () = out_of_time => return,
            };
            match next {
                Next::Go => {}
                Next::Idle if orders.finish_by.is_some() => return,
                Next::Idle => {
                    if self.orders.changed().await.is_err() {
                        return;
                    }
                }
                Next::Pause(pause) => self.pause(pause).await,
            }
        }
    }

    /// Waits, but not beyond an order to finish; a new commit does not shorten the wait.
    async fn pause(&mut self, pause: Duration) {
        let until = tokio::time::Instant::now() + pause;
        loop {
            let finish_by = self.orders.borrow_and_update().finish_by;
            let until = finish_by.map_or(until, |by| until.min(by.into()));
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                changed = self.orders.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One batch.
    async fn step(&mut self) -> Result<Next, StoreError> {
        let batch_max = if self.narrow { 1 } else { self.sink.deliver.batch_max() };
        let rows = self.outbox.after(self.cursor.seq, batch_max)?;
        if rows.is_empty() {
            self.narrow = false;
            return Ok(Next::Idle);
        }
        let mut batch = Batch::sort(rows, self.sink.score_min);
        let mut place = self.cursor.place.clone();
        if !batch.letters.is_empty() {
            batch.fates = self.sink.deliver.send(&batch.letters, &mut place).await;
        }
        self.settle(batch, place)
    }

    /// Moves the cursor over what is done, and decides what comes next.
    fn settle(&mut self, batch: Batch, place: String) -> Result<Next, StoreError> {
        let alone = batch.rows.len() == 1;
        let Settled { cursor, dead, counts, later } = batch.settle(self.cursor.seq);
        if cursor != self.cursor.seq || place != self.cursor.place {
            let cursor = Cursor { seq: cursor, place };
            self.outbox.advance(&self.sink.name, &cursor, &dead, (self.patience.now)())?;
            if cursor.seq != self.cursor.seq {
                self.failures = 0;
                self.refused_since = None;
                // The one that was in doubt is through, or aside: all together again.
                self.narrow = false;
            }
            self.cursor = cursor;
        }
        let seq = self.cursor.seq;
        self.note(|status| {
            status.cursor = seq;
            status.delivered += counts.delivered;
            status.unconfirmed += counts.unconfirmed;
            status.left_out += counts.left_out;
            status.dead += counts.dead;
        });
        match later {
            None => {
                self.note(|status| status.trouble = None);
                Ok(Next::Go)
            }
            Some((row, Fate::Later { reason, after, refused })) => {
                if refused && self.give_up(&row, &reason, alone)? {
                    return Ok(Next::Go);
                }
                Ok(self.failed(&reason, after))
            }
            Some(_) => Ok(Next::Go),
        }
    }

    /// Whether a refused letter was put aside now.
    fn give_up(&mut self, row: &(i64, String), reason: &str, alone: bool) -> Result<bool, StoreError> {
        if !alone {
            self.narrow = true;
            return Ok(false);
        }
        let since = *self.refused_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.patience.refusals_for {
            return Ok(false);
        }
        let cursor = Cursor { seq: row.0, place: self.cursor.place.clone() };
        let letter = DeadLetter { seq: row.0, id: row.1.clone(), reason: reason.to_owned() };
        self.outbox.advance(&self.sink.name, &cursor, &[letter], (self.patience.now)())?;
        self.cursor = cursor;
        (self.failures, self.refused_since, self.narrow) = (0, None, false);
        let seq = self.cursor.seq;
        self.note(|status| {
            status.dead += 1;
            status.cursor = seq;
        });
        Ok(true)
    }

    /// Notes a failure and says how long to wait: doubled each time, between half and whole at random.
    fn failed(&mut self, reason: &str, after: Option<Duration>) -> Next {
        let doubled = self.patience.pause_first.saturating_mul(1u32 << self.failures.min(20));
        let pause = doubled.min(self.patience.pause_max).mul_f64(self.jitter.random_range(0.5..=1.0));
        self.failures = self.failures.saturating_add(1);
        self.note(|status| {
            status.failures += 1;
            status.trouble = Some(reason.to_owned());
        });
        Next::Pause(after.map_or(pause, |after| after.max(pause)))
    }

    fn note(&self, change: impl FnOnce(&mut SinkStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
