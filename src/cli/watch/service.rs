//! The life of the service: start, judge, reload, drain.
//!
//! *In*: batches, signals, the beat of a second. *Out*: state and alerts. *Bound*: a second between two commits;
//! [`DRAIN_WAIT`] and [`DELIVERY_WAIT`] at the end.

use super::beat::{self, Beat};
use super::board::Board;
use super::pages::Pages;
use super::plan::Plan;
use super::signals::{Signal, Signals};
use super::sources::Sources;
use super::{Arguments, Batch, wall_clock};
use crate::cli::failure::{Failure, Outcome};
use crate::cli::judge::Judge;
use crate::cli::summary;
use crate::sandbox::{self, Needs, State};
use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Receiver;

/// How often state is committed and health looked at.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long the sources may drain after a signal.
const DRAIN_WAIT: Duration = Duration::from_secs(2);
/// How long the sinks may take after that.
const DELIVERY_WAIT: Duration = Duration::from_secs(2);
/// How long the sinks of the old configuration may take for what is under way. What is cut off leaves again, with
/// the same id, through the new ones.
const EXCHANGE_WAIT: Duration = Duration::from_millis(500);
/// After how much silence of all sources time goes on by the clock.
const SILENCE: Duration = Duration::from_secs(60);
/// How far behind the clock time goes on then: what was written earlier has been read by now.
const LATENESS_SECONDS: f64 = 60.0;
/// Alerts kept for the closing summary.
const ALERTS_KEPT_MAX: usize = 100;

/// Everything that runs.
struct Service<'a> {
    arguments: &'a Arguments,
    plan: Plan,
    /// What was not given up at the start: a reload must do with it.
    needs: Needs,
    /// Where state is kept, if only for this run.
    directory: PathBuf,
    judge: Judge,
    sources: Sources,
    board: Arc<Board>,
    beat: Beat,
    pages: Pages,
    positions: BTreeMap<String, String>,
    /// Whether anything waits for a commit.
    changed: bool,
    /// Whether anything came since the last beat.
    came: bool,
    /// Why the last commit failed. Until one succeeds, nothing more is judged.
    blocked: Option<String>,
    heard_at: Instant,
}

/// Runs until a signal ends it.
pub fn run(arguments: &Arguments) -> Outcome {
    let began = Instant::now();
    let plan = Plan::read(arguments)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::running)?;
    let signals = Signals::caught(&runtime)?;
    // Sinks are fed from the outbox of a state, so a run without one gets a state that ends with it.
    let passing = plan.state.is_none().then(tempfile::tempdir).transpose().map_err(Failure::running)?;
    let passing_path = || passing.as_ref().map(|passing| passing.path().to_owned());
    let directory = plan.state.clone().or_else(passing_path).unwrap_or_default();
    let board = Arc::new(Board::default());
    let (sources, batches) = Sources::new(Arc::clone(&board));
    let mut opened = sources.open(&plan)?;
    let pages = Pages::open(&plan.config)?;
    make_directory(&directory)?;
    let needs = plan.needs(arguments, &directory);
    let sandbox = give_up(&plan, &needs)?;
    let judge = Judge::new(&plan.config, Arc::clone(&plan.company), Some(&directory))?;
    let beat = Beat::new(&judge, sandbox);
    let mut service = Service {
        arguments,
        plan,
        needs,
        directory,
        judge,
        sources,
        board,
        beat,
        pages,
        positions: BTreeMap::new(),
        changed: true,
        came: false,
        blocked: None,
        heard_at: Instant::now(),
    };
    service.judge.keep_alerts(ALERTS_KEPT_MAX);
    service.judge.deliver_to(&service.directory, &service.plan.config.sink)?;
    let logs = service.sources.open_logs(&service.plan, &mut opened, &service.judge, arguments.from_start)?;
    // A log that was never read begins where it ends now. If that were kept with the first lines only, whoever is killed
    // before them would begin behind them.
    service.positions.extend(logs.positions());
    service.commit();
    service.pages.serve(&service.plan.config, &service.directory, &service.beat.published())?;
    service.say_what_is_watched();
    service.sources.swap(&service.plan, opened, logs);
    let senders = service.judge.engine().sender_count();
    tracing::info!("watching, {} ms after the start, {senders} senders known", began.elapsed().as_millis());
    beat::ready();
    runtime.block_on(service.serve(batches, signals));
    service.end()
}

/// Makes the state directory while that is still allowed: later, only what lies in it may be written.
fn make_directory(directory: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| {
        Failure::usage(format!(
            "{}: {error}: the state directory must exist or be creatable, and be writable by this user",
            directory.display()
        ))
    })
}

/// From here on the process can do little else than its work. The first hostile byte comes later.
fn give_up(plan: &Plan, needs: &Needs) -> Result<State, Failure> {
    if plan.config.sandbox.enabled {
        sandbox::enter(needs).map_err(Failure::running)
    } else {
        Ok(State::off())
    }
}

impl Service<'_> {
    /// Judges what comes until every source has ended: after a signal they drain and end by themselves.
    async fn serve(&mut self, mut batches: Receiver<Batch>, mut signals: Signals) {
        let mut clock = tokio::time::interval(BEAT_EVERY);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut drain_until: Option<tokio::time::Instant> = None;
        loop {
            let drained = tokio::time::sleep_until(drain_until.unwrap_or_else(clock_far));
            tokio::select! {
                biased;
                signal = signals.next() => match signal {
                    Signal::Reload => self.reload(),
                    Signal::End if drain_until.is_none() => {
                        beat::stopping();
                        self.sources.stop();
                        drain_until = Some(tokio::time::Instant::now() + DRAIN_WAIT);
                    }
                    // Asked twice: what is still on its way is given up.
                    Signal::End => break,
                },
                () = drained, if drain_until.is_some() => break,
                _ = clock.tick() => {
                    self.tick();
                    if drain_until.is_none() && self.sources.over() {
                        self.sources.stop();
                        drain_until = Some(tokio::time::Instant::now() + DRAIN_WAIT);
                    }
                }
                batch = batches.recv(), if self.blocked.is_none() => match batch {
                    Some(batch) => self.judge_batch(batch),
                    None => break,
                },
            }
        }
        self.settle();
        self.judge.end();
        self.commit();
    }

    fn judge_batch(&mut self, batch: Batch) {
        self.heard_at = Instant::now();
        (self.changed, self.came) = (true, true);
        for observation in batch.observations {
            // Alerts wait for the commit, so there is nothing here that can fail.
            if let Err(failure) = self.judge.observe(observation) {
                tracing::error!("{}", failure.text);
            }
        }
        self.positions.extend(batch.positions);
        self.judge.keep_notes(batch.notes);
        if self.judge.waits() {
            self.commit();
        }
    }

    /// Once a second.
    fn tick(&mut self) {
        if !std::mem::take(&mut self.came) {
            self.settle();
        }
        let silent = self.heard_at.elapsed() >= SILENCE && self.blocked.is_none();
        if silent && self.board.read().iter().all(|source| source.caught_up || source.failed.is_some()) {
            self.advance();
        }
        for name in self.sources.ended() {
            self.board.ended(&name);
        }
        let notices = self.beat.tick(&mut self.judge, &self.board, self.blocked.as_deref());
        self.changed |= notices;
        if self.changed || self.blocked.is_some() || self.judge.is_asked() {
            self.commit();
        }
    }

    /// Nothing came for a while, or nothing more will come: what waits for its turn in event time is judged.
    fn settle(&mut self) {
        match self.judge.settle() {
            Ok(waited) => self.changed |= waited,
            Err(failure) => tracing::error!("{}", failure.text),
        }
    }

    /// No source has anything: time goes on by the clock, so that incidents close.
    fn advance(&mut self) {
        if let Err(failure) = self.judge.advance(wall_clock().plus_seconds(-LATENESS_SECONDS)) {
            tracing::error!("{}", failure.text);
        }
        self.changed |= self.judge.waits();
    }

    /// Commits what changed. Where that fails, nothing more is taken until it succeeds: logs wait, captures drop
    /// and count.
    fn commit(&mut self) {
        let list: Vec<_> = std::mem::take(&mut self.positions).into_iter().collect();
        match self.judge.commit(&list) {
            Ok(()) => {
                if self.blocked.take().is_some() {
                    tracing::info!("state is written again");
                }
                self.changed = false;
            }
            Err(failure) => {
                if self.blocked.is_none() {
                    tracing::error!("{}", failure.text);
                }
                self.blocked = Some(failure.text);
            }
        }
    }

    /// Takes over the configuration as it is now, whole, or says why not and goes on with the old one.
    fn reload(&mut self) {
        beat::reloading();
        match self.try_reload() {
            Ok(()) => {
                self.beat.reloaded(true);
                tracing::info!("configuration taken over");
                self.say_what_is_watched();
            }
            Err(failure) => {
                self.beat.reloaded(false);
                tracing::error!("configuration refused, the old one stays in force: {}", failure.text);
                self.judge.reopen_sinks();
            }
        }
        beat::ready();
    }

    fn try_reload(&mut self) -> Result<(), Failure> {
        let plan = Plan::read(self.arguments)?;
        if plan.state != self.plan.state {
            return Err(Failure::usage("state.directory cannot change while running: restart the service"));
        }
        let (new, old) = (&plan.config, &self.plan.config);
        if (&new.metrics, &new.sandbox, &new.web) != (&old.metrics, &old.sandbox, &old.web) {
            return Err(Failure::usage(
                "metrics, sandbox and web cannot change while running: restart the service",
            ));
        }
        if self.plan.config.sandbox.enabled
            && let Some(lacks) = self.needs.lacks(&plan.needs(self.arguments, &self.directory))
        {
            return Err(Failure::usage(format!("since the start, {lacks}: restart the service")));
        }
        let mut opened = self.sources.open(&plan)?;
        let logs = self.sources.open_logs(&plan, &mut opened, &self.judge, self.arguments.from_start)?;
        crate::sink::open_all(&plan.config.sink).map_err(Failure::usage)?;
        // From here on nothing fails for a reason that the configuration gives.
        self.commit();
        self.judge.close_sinks(EXCHANGE_WAIT);
        self.judge.reconfigure(&plan.config, Arc::clone(&plan.company));
        let delivering = self.judge.deliver_to(&self.directory, &plan.config.sink);
        self.sources.swap(&plan, opened, logs);
        self.plan = plan;
        let shown = self.pages.serve(&self.plan.config, &self.directory, &self.beat.published());
        delivering.and(shown)
    }

    fn say_what_is_watched(&self) {
        for capture in &self.plan.config.source.capture {
            tracing::info!("watching interface {}", capture.interface);
        }
        for log in &self.plan.config.source.log {
            tracing::info!("following {}", log.name());
        }
        tracing::info!("{}", self.beat.sandbox().describe());
        for assumed in &self.plan.assumed {
            tracing::info!("{assumed}");
        }
        if self.plan.state.is_none() {
            tracing::warn!("no state directory: what is learned is lost at the end; give --state DIR");
        }
    }

    /// Lets the alerts leave, and says what was done.
    fn end(mut self) -> Outcome {
        for status in self.judge.close_sinks(DELIVERY_WAIT) {
            if let Some(trouble) = status.trouble {
                tracing::warn!(
                    "{}: {trouble}; what it did not take waits in the state for the next run",
                    status.name
                );
            }
        }
        for source in self.board.read() {
            if source.dropped_by_queue > 0 {
                tracing::warn!(
                    "{}: {} observations were dropped because judging fell behind",
                    source.name,
                    source.dropped_by_queue
                );
            }
        }
        eprint!("{}", summary::of_engine(&self.judge, &self.plan.config));
        match self.blocked {
            None => Ok(0),
            Some(why) => Err(Failure::running(format!("the last moments could not be written: {why}"))),
        }
    }
}

/// A moment that never comes.
fn clock_far() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(86_400)
}
