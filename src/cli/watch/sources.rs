//! The sources that run: started, exchanged at a reload, ended.
//!
//! *In*: a [`Plan`]. *Out*: threads that feed one bounded channel. *Bound*: [`BATCHES_WAITING`] batches.
//!
//! A reload first opens what is new, which may fail and then changes nothing; only then are the sources exchanged.
//! What stays, goes on without a gap: its thread is told the new settings between two packets or lines.

use super::Batch;
use super::board::Board;
use super::capture::{CaptureOrder, CaptureThread, OpenCapture, OpenLane};
use super::lanes::Lanes;
use super::log_input::{self, LogInput, Opening};
use super::logs::{LogOrder, LogThread, NOTES};
use super::plan::Plan;
use crate::cli::failure::Failure;
use crate::cli::judge::Judge;
use crate::company::Company;
use crate::config::CaptureConfig;
use crate::mta::Note;
use crate::tail::Bound;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender as Orders, channel as orders_channel};
use std::thread::JoinHandle;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Batches that wait for the judge.
const BATCHES_WAITING: usize = 256;

/// Sources that are open, but not yet read.
pub struct Opened {
    /// Interfaces that are new or changed. The others go on as they are.
    captures: BTreeMap<String, OpenCapture>,
    /// Sockets of logs that are taken from the network and are new.
    listeners: BTreeMap<String, Bound>,
}

/// Logs that are open, but not yet read.
pub struct OpenedLogs {
    inputs: Vec<LogInput>,
    /// What an earlier run noted, for a thread that is not there yet.
    notes: Vec<Note>,
}

impl OpenedLogs {
    /// Where each log stands before its first line is read, as far as there is such a place.
    pub fn positions(&self) -> Vec<(String, String)> {
        let position = |input: &LogInput| Some((input.name.clone(), input.inlet.as_ref()?.position()?));
        self.inputs.iter().filter_map(position).filter(|(_, position)| !position.is_empty()).collect()
    }
}

/// Running sources.
pub struct Sources {
    captures: BTreeMap<String, RunningCapture>,
    logs: Option<(Orders<LogOrder>, JoinHandle<()>)>,
    log_names: Vec<String>,
    /// Dropped when the sources are to end by themselves: then the channel closes behind the last of them.
    sender: Option<Sender<Batch>>,
    board: Arc<Board>,
}

struct RunningCapture {
    config: CaptureConfig,
    threads: Vec<(Orders<CaptureOrder>, JoinHandle<OpenLane>)>,
}

impl RunningCapture {
    /// Whether any of its threads has ended: then nobody reads what is dealt to that one.
    fn has_ended(&self) -> bool {
        self.threads.iter().any(|(_, thread)| thread.is_finished())
    }

    /// Whether it can go over to other settings without an end.
    fn can_become(&self, config: &CaptureConfig) -> bool {
        !self.has_ended() && self.config.threads == config.threads
    }

    fn stop(self) {
        for (orders, _) in &self.threads {
            let _ = orders.send(CaptureOrder::Stop);
        }
        // All of them end before the first of what they had open is closed.
        let ended: Vec<_> = self.threads.into_iter().map(|(_, thread)| thread.join()).collect();
        drop(ended);
    }
}

impl Sources {
    /// No sources, and the channel that they will feed.
    pub fn new(board: Arc<Board>) -> (Sources, Receiver<Batch>) {
        let (sender, batches) = channel(BATCHES_WAITING);
        let (captures, logs, log_names) = (BTreeMap::new(), None, Vec::new());
        (Sources { captures, logs, log_names, sender: Some(sender), board }, batches)
    }

    /// Opens the interfaces and sockets that a plan adds or changes. This needs rights that are given up later.
    pub fn open(&self, plan: &Plan) -> Result<Opened, Failure> {
        let (mut captures, mut listeners) = (BTreeMap::new(), BTreeMap::new());
        for config in &plan.config.source.capture {
            let running = self.captures.get(&config.interface);
            if running.is_none_or(|running| running.config != *config || running.has_ended()) {
                captures.insert(config.interface.clone(), OpenCapture::open(config, &plan.config.content)?);
            }
        }
        for log in plan.config.source.log.iter().filter(|log| !self.is_read(&log.name())) {
            listeners.extend(log_input::bind(log)?.map(|bound| (log.name(), bound)));
        }
        Ok(Opened { captures, listeners })
    }

    /// Checks and opens the logs of a plan.
    pub fn open_logs(
        &self,
        plan: &Plan,
        opened: &mut Opened,
        judge: &Judge,
        from_start: bool,
    ) -> Result<OpenedLogs, Failure> {
        let mut inputs = Vec::new();
        for log in &plan.config.source.log {
            let name = log.name();
            let opening = Opening {
                config: &plan.config,
                position: judge.position(&name)?,
                from_start,
                followed: self.is_read(&name),
                bound: opened.listeners.remove(&name),
            };
            inputs.push(LogInput::open(log, opening)?);
        }
        Ok(OpenedLogs { inputs, notes: judge.notes(NOTES)? })
    }

    /// Whether a log is read already.
    fn is_read(&self, name: &str) -> bool {
        self.log_names.iter().any(|known| known == name)
            && self.logs.as_ref().is_some_and(|(_, thread)| !thread.is_finished())
    }

    /// Goes over to a plan. Cannot fail: all that can was opened before.
    pub fn swap(&mut self, plan: &Plan, opened: Opened, logs: OpenedLogs) {
        let Some(sender) = self.sender.clone() else { return };
        let wanted = |name: &String| plan.config.source.capture.iter().find(|c| c.interface == *name);
        let goes_on = |(name, running): &(&String, &RunningCapture)| {
            wanted(name)
                .is_some_and(|config| running.can_become(config) || !opened.captures.contains_key(*name))
        };
        let gone: Vec<String> =
            self.captures.iter().filter(|pair| !goes_on(pair)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            if let Some(running) = self.captures.remove(&name) {
                running.stop();
                self.board.remove(&name);
            }
        }
        for running in self.captures.values() {
            let wire = plan.config.content.wire(running.config.ports.clone());
            for (orders, _) in &running.threads {
                let _ = orders.send(CaptureOrder::Settings(Arc::clone(&plan.company), wire.clone()));
            }
        }
        for (name, open) in opened.captures {
            let Some(config) = wanted(&name) else { continue };
            match self.captures.get_mut(&name) {
                Some(running) => {
                    running.config = config.clone();
                    for ((orders, _), lane) in running.threads.iter().zip(open.into_lanes()) {
                        let _ = orders.send(CaptureOrder::Replace(Box::new(lane)));
                    }
                }
                None => {
                    let running = self.start_capture(config, open, &plan.company, sender.clone());
                    self.captures.insert(name, running);
                }
            }
        }
        self.swap_logs(plan, logs, sender);
    }

    fn start_capture(
        &self,
        config: &CaptureConfig,
        open: OpenCapture,
        company: &Arc<Company>,
        sender: Sender<Batch>,
    ) -> RunningCapture {
        let lanes = open.into_lanes();
        let shared = Arc::new(Lanes::new(lanes.len(), sender, Arc::clone(&self.board)));
        let start = |(number, lane)| {
            let (orders, receiver) = orders_channel();
            let (name, company) = (&config.interface, Arc::clone(company));
            let thread = CaptureThread::new(name, number, Arc::clone(&shared), lane, company, receiver);
            (orders, std::thread::spawn(move || thread.run()))
        };
        let threads = lanes.into_iter().enumerate().map(start).collect();
        RunningCapture { config: config.clone(), threads }
    }

    fn swap_logs(&mut self, plan: &Plan, logs: OpenedLogs, sender: Sender<Batch>) {
        let OpenedLogs { mut inputs, notes } = logs;
        self.log_names = inputs.iter().map(|log| log.name.clone()).collect();
        let company = Arc::clone(&plan.company);
        if let Some((orders, thread)) = &self.logs {
            match orders.send(LogOrder::Swap(Arc::clone(&company), inputs)) {
                Ok(()) => return thread.thread().unpark(),
                Err(returned) => {
                    let LogOrder::Swap(_, back) = returned.0;
                    inputs = back;
                }
            }
        } else if inputs.is_empty() {
            return;
        }
        let (orders, receiver) = orders_channel();
        let thread = LogThread::new(company, inputs, notes, receiver, sender, Arc::clone(&self.board));
        self.logs = Some((orders, std::thread::spawn(move || thread.run())));
    }

    /// Lets the sources drain and end; the channel closes behind the last one.
    pub fn stop(&mut self) {
        self.board.stop();
        self.sender = None;
        if let Some((_, thread)) = &self.logs {
            thread.thread().unpark();
        }
    }

    /// Whether nothing can come any more, because all there was were streams that ended.
    pub fn over(&self) -> bool {
        self.captures.is_empty() && self.board.logs_over()
    }

    /// Sources whose threads ended though nobody told them to.
    pub fn ended(&self) -> Vec<String> {
        let captures = self.captures.iter().filter(|(_, running)| running.has_ended());
        let mut names: Vec<String> = captures.map(|(name, _)| name.clone()).collect();
        if self.logs.as_ref().is_some_and(|(_, thread)| thread.is_finished()) {
            names.extend(self.log_names.iter().cloned());
        }
        names
    }
}
