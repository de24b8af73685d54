//! `portreeve demo`: a bundled world, made on the spot, judged, and scored against its truth.
//!
//! *In*: nothing. *Out*: the alerts for people, then how each hijack and each benign burst came out. Exit 1
//! where a hijack was missed or ordinary mail was accused.

use super::failure::{FAILED, Failure, Outcome};
use super::judge::{Judge, STATELESS_KEY, format_named};
use super::replay::{open_all, play, road_settings};
use super::roads::Roads;
use super::score::read_truth;
use super::{dashboard, print, summary};
use crate::alert::{Alert, event_at};
use crate::config::Config;
use crate::engine::incident::Change;
use crate::simulate::{SimulateSettings, score::score, simulate};
use crate::sink::Sink;
use crate::time::Timestamp;
use crate::web::Settings;
use clap::Args;
use indicatif::ProgressBar;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Try it: make a small world of mail, learn it, find the hijacks in it. Needs no configuration
#[derive(Args)]
pub struct Arguments {
    /// Seed of the world: another one, another world
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Keep the world in this directory, to look at it or to replay it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Then show the world in the browser, stopped while most incidents are open, until Ctrl-C
    #[arg(long, value_name = "ADDRESS:PORT", num_args = 0..=1, default_missing_value = dashboard::USUAL_PLACE)]
    web: Option<SocketAddr>,
    /// Form of the alerts: text, ndjson or ecs
    #[arg(short, long, default_value = "text")]
    format: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let format = format_named(&arguments.format)?;
    let temporary = tempfile::tempdir().map_err(Failure::running)?;
    let world = arguments.keep.clone().unwrap_or_else(|| temporary.path().join("world"));
    let settings =
        SimulateSettings { seed: arguments.seed, scenario: "demo".into(), days: None, accounts: None };
    eprintln!("making a small world of mail (seed {}) …", arguments.seed);
    let made = simulate(&settings, &world).map_err(Failure::running)?;
    eprintln!("{}", super::simulate::says(&made));

    let config = Config::read(&world.join("portreeve.toml")).map_err(Failure::running)?;
    let company = Arc::new(config.company().map_err(Failure::running)?);
    let mut judge = Judge::new(&config, Arc::clone(&company), None)?;
    judge.write_to("standard output", Sink::stdout(format));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let inputs = open_all(&files_below(&world)?, None)?;
    eprintln!("learning and judging it …\n");
    let mut roads = Roads::new(&company, road_settings(&config, threads)?, inputs);
    play(&mut judge, &mut roads, None, &ProgressBar::hidden())?;
    let report = roads.into_report();
    for failure in &report.failures {
        eprintln!("portreeve: {failure}");
    }
    eprint!("{}", summary::of(&judge, &report, &company, &config));

    let result = score(&read_truth(&world.join("truth.json"))?, judge.alerts());
    print(&format!("\n{}", result.to_text()))?;
    if let Some(directory) = &arguments.keep {
        eprintln!("\nthe world is kept in {}", directory.display());
    }
    if let Some(listen) = arguments.web {
        let moment = busiest(judge.alerts()).ok_or_else(|| Failure::running("nothing was found to show"))?;
        show(&world, &config, listen, moment, &temporary.path().join("state"))?;
    }
    Ok(
        if result.false_alarms == 0
            && result.found == result.hijacks.len() as u64
            && report.failures.is_empty()
        {
            0
        } else {
            FAILED
        },
    )
}

/// The moment at which most incidents are open: the last such opening, and a quarter of an hour more where none closes.
fn busiest(alerts: &[Alert]) -> Option<Timestamp> {
    let mut steps: Vec<(Timestamp, i32)> = Vec::new();
    for alert in alerts {
        let step = match alert.change {
            Change::Opened => 1,
            Change::Closed => -1,
            Change::Updated => continue,
        };
        steps.extend(event_at(alert).map(|at| (at, step)));
    }
    steps.sort_unstable();
    let (mut open, mut most, mut best) = (0, 0, None);
    for (index, (at, step)) in steps.iter().enumerate() {
        open += step;
        if *step > 0 && open >= most {
            most = open;
            let room = steps.get(index + 1).map_or(f64::MAX, |(next, _)| next.seconds_since(*at));
            best = Some(at.plus_seconds((room / 2.0).min(900.0)));
        }
    }
    best
}

/// Judges the world up to a moment with a state of its own, and serves it. What is done on the pages takes effect.
fn show(
    world: &Path,
    config: &Config,
    listen: SocketAddr,
    moment: Timestamp,
    state: &Path,
) -> Result<(), Failure> {
    // The key of the run above, so that incidents have the ids that its report named.
    std::fs::create_dir_all(state)
        .and_then(|()| std::fs::write(state.join("install.key"), STATELESS_KEY.0))
        .map_err(Failure::running)?;
    let company = Arc::new(config.company().map_err(Failure::running)?);
    let mut judge = Judge::new(config, Arc::clone(&company), Some(state))?;
    let inputs = open_all(&files_below(world)?, None)?;
    let mut roads = Roads::new(&company, road_settings(config, 1)?, inputs);
    while let Some(observation) = roads.next()? {
        if observation.at > moment {
            break;
        }
        judge.observe(observation)?;
        if judge.waits() {
            judge.commit(&[])?;
        }
    }
    judge.settle()?;
    judge.commit(&[])?;
    let mut web = config.web.clone();
    web.listen = Some(listen);
    let settings = web.settings().map_err(Failure::usage)?.unwrap_or_else(|| Settings::loopback(0));
    let _running = dashboard::serve(settings, config, state, false)?;
    eprintln!("the demo world stands still at {}; Ctrl-C ends it", moment.to_rfc3339());
    loop {
        std::thread::sleep(Duration::from_secs(1));
        judge.commit(&[])?;
    }
}

/// The logs and captures of a world, sorted by name.
pub fn files_below(world: &Path) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    let mut directories = vec![world.join("logs"), world.join("captures")];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory)
            .map_err(|error| Failure::running(format!("{}: {error}", directory.display())))?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() { directories.push(path) } else { files.push(path.display().to_string()) }
        }
    }
    files.sort();
    Ok(files)
}
