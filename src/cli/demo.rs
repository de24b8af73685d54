//! `portreeve demo`: a bundled world, made on the spot, judged, and scored against its truth.
//!
//! *In*: nothing. *Out*: the alerts for people, then how each hijack and each benign burst came out. Exit 1
//! where a hijack was missed or ordinary mail was accused.

use super::failure::{FAILED, Failure, Outcome};
use super::judge::{Judge, format_named};
use super::replay::{open_all, play, road_settings};
use super::roads::Roads;
use super::score::read_truth;
use super::{print, summary};
use crate::config::Config;
use crate::simulate::{SimulateSettings, score::score, simulate};
use crate::sink::Sink;
use clap::Args;
use indicatif::ProgressBar;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Try it: make a small world of mail, learn it, find the hijacks in it. Needs no configuration
#[derive(Args)]
pub struct Arguments {
    /// Seed of the world: another one, another world
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Keep the world in this directory, to look at it or to replay it
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
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
