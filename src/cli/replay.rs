//! `portreeve replay`: captures and logs in event time, as the live sensor would have judged them.
//!
//! *In*: files or standard input. *Out*: alerts, and a summary on standard error. With `--state`, a replay
//! that was cut off goes on where it was committed: inputs are read again from their beginning, and the
//! observations that were judged before are passed over, so that nothing counts twice.

use super::failure::{ALERTED, FAILED, Failure, Outcome};
use super::inputs::{self, Input, Kind};
use super::judge::{Judge, format_named};
use super::roads::{RoadReport, RoadSettings, Roads};
use super::summary;
use super::{read_config, state_directory};
use crate::alert::Format;
use crate::config::{Config, zone};
use crate::observation::digest;
use crate::sink::{Sink, SinkConfig, file, stdout};
use crate::tail::Packing;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long the sinks may take at the end.
const DELIVERY_WAIT: Duration = Duration::from_secs(10);
/// Observations between two commits.
const COMMIT_EVERY: u64 = 250_000;

/// Judge captures and MTA logs, in event time
#[derive(Args)]
pub struct Arguments {
    /// Captures (pcap, pcapng) and logs, plain, gzip or zstd, in any order; `-` is standard input
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<String>,
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory to keep state in between runs
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Only learn: raise no alerts. For a history that is known to be clean
    #[arg(long)]
    learn: bool,
    /// Form of the alerts: ndjson, ecs, ocsf, cef, leef, rfc5424, xarf or text
    #[arg(short, long, default_value = "ndjson")]
    format: String,
    /// Write alerts to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the inputs are, where their content does not tell: `capture` or a log dialect
    #[arg(long = "as", value_name = "DIALECT")]
    kind: Option<String>,
    /// Threads to use; the alerts are the same with any number
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
    /// Exit with 3 where an alert was raised
    #[arg(long)]
    exit_code: bool,
    /// No summary and no progress on standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let config = read_config(arguments.config.as_deref())?;
    let format = format_named(&arguments.format)?;
    let kind = arguments.kind.as_deref().map(|name| Kind::parse(name, &config)).transpose()?;
    let opened = open_all(&arguments.inputs, kind)?;
    let company = Arc::new(config.company().map_err(Failure::usage)?);
    let state = state_directory(arguments.state.as_ref(), &config);
    let mut judge = Judge::new(&config, Arc::clone(&company), state.as_deref())?;
    if arguments.learn {
        judge.only_learn();
    }
    direct_output(arguments, &mut judge, format, state.as_deref())?;
    let settings = road_settings(&config, arguments.threads)?;
    let mut roads = Roads::new(&company, settings, opened);
    let progress = progress(&arguments.inputs, arguments.quiet);
    let name = state.is_some().then(|| name_of(&arguments.inputs)).flatten();
    play(&mut judge, &mut roads, name.as_deref(), &progress)?;
    progress.finish_and_clear();
    let undelivered =
        judge.close_sinks(DELIVERY_WAIT).into_iter().filter_map(|status| status.trouble).collect();
    let report = roads.into_report();
    if !arguments.quiet {
        eprint!("{}", summary::of(&judge, &report, &company, &config));
    }
    Ok(exit_code(arguments, &judge, &report, undelivered))
}

/// Without state, alerts are written as they come. With state they go through its outbox, so that a run that
/// was cut off neither loses nor repeats one.
fn direct_output(
    arguments: &Arguments,
    judge: &mut Judge,
    format: &'static Format,
    state: Option<&Path>,
) -> Result<(), Failure> {
    let Some(state) = state else {
        let (name, sink) = match &arguments.output {
            None => ("standard output".to_owned(), Ok(Sink::stdout(format))),
            Some(path) => (path.display().to_string(), Sink::new_file(path, format)),
        };
        let sink = sink.map_err(|error| {
            Failure::usage(format!("{name}: {error}; give -o a path in a writable directory"))
        })?;
        judge.write_to(&name, sink);
        return Ok(());
    };
    let (name, severity_min, format) = (None, None, Some(arguments.format.clone()));
    let sink = match &arguments.output {
        None => SinkConfig::Stdout(stdout::Settings { name, format, severity_min }),
        Some(path) => SinkConfig::File(file::Settings { path: path.clone(), name, format, severity_min }),
    };
    judge.deliver_to(state, &[sink])
}

/// Judges everything that the roads give, from where the last run with this state got to.
pub fn play(
    judge: &mut Judge,
    roads: &mut Roads,
    name: Option<&str>,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    let judged_before = match name {
        Some(name) => judge.position(name)?.and_then(|position| position.parse().ok()).unwrap_or(0u64),
        None => 0,
    };
    let bytes_read = roads.bytes_read();
    let position =
        |count: u64| name.map(|name| (name.to_owned(), count.to_string())).into_iter().collect::<Vec<_>>();
    let mut count = 0u64;
    while let Some(observation) = roads.next()? {
        count += 1;
        if count <= judged_before {
            continue;
        }
        judge.observe(observation)?;
        if count.is_multiple_of(COMMIT_EVERY) {
            judge.commit(&position(count))?;
        }
        if count.is_multiple_of(4_096) {
            progress.set_position(bytes_read.load(Ordering::Relaxed));
        }
    }
    judge.let_go()?;
    judge.commit(&position(count.max(judged_before)))
}

fn exit_code(arguments: &Arguments, judge: &Judge, report: &RoadReport, undelivered: Vec<String>) -> u8 {
    let failures = || report.failures.iter().chain(&undelivered);
    for failure in failures() {
        eprintln!("portreeve: {failure}");
    }
    if failures().next().is_some() {
        FAILED
    } else if arguments.exit_code && judge.opened().next().is_some() {
        ALERTED
    } else {
        0
    }
}

/// Opens every input before anything is judged, so that a mistyped name costs nothing.
pub fn open_all(names: &[String], kind: Option<Kind>) -> Result<Vec<Input>, Failure> {
    names.iter().map(|name| inputs::open(name, kind)).collect()
}

/// How the roads are read, by the configuration.
pub fn road_settings(config: &Config, threads: usize) -> Result<RoadSettings, Failure> {
    let ports = config.source.capture.iter().find_map(|capture| capture.ports.clone());
    Ok(RoadSettings {
        wire: config.content.wire(ports),
        log: Default::default(),
        zone: zone(config.company.time_zone.as_deref()).map_err(Failure::usage)?,
        threads,
    })
}

/// What a set of inputs is called in the state: its paths and how each begins. `None` for standard input,
/// which cannot be read again.
fn name_of(inputs: &[String]) -> Option<String> {
    let mut name = Vec::new();
    for input in inputs {
        let path = std::fs::canonicalize(input).ok().filter(|_| input != "-")?;
        let mut head = Vec::new();
        std::fs::File::open(&path).ok()?.take(256).read_to_end(&mut head).ok()?;
        name.extend_from_slice(path.as_os_str().as_encoded_bytes());
        name.push(0);
        name.extend_from_slice(&digest(&head).to_le_bytes());
    }
    Some(format!("replay-{:016x}", digest(&name)))
}

/// A bar on a terminal, nothing in a pipe.
fn progress(inputs: &[String], quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let sizes: Option<Vec<u64>> = inputs.iter().map(|input| plain_size(Path::new(input))).collect();
    let bar = match sizes {
        Some(sizes) => ProgressBar::new(sizes.iter().sum()),
        None => ProgressBar::new_spinner(),
    };
    let template = if bar.length().is_some() {
        "{bar:30} {percent:>3} %  {bytes}  {bytes_per_sec}  {eta} left"
    } else {
        "{spinner} {bytes}  {bytes_per_sec}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Size of a file that is not compressed.
fn plain_size(path: &Path) -> Option<u64> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic).ok()?;
    if Packing::of(&magic).is_some() { None } else { Some(file.metadata().ok()?.len()) }
}
