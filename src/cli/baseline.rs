//! `portreeve baseline`: what was learned, as a document; and to forget a sender.
//!
//! *In*: a state directory, a document. *Out*: a document; a state that holds it. *Spec*: docs/operations.md,
//! baselines.

use super::ask::{StateArguments, answer, ask, refused};
use super::failure::{Failure, Outcome};
use super::judge::Judge;
use crate::store::actions::Action;
use crate::store::transfer::Baselines;
use crate::store::{Store, in_use};
use clap::{Args, Subcommand};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Export, import and forget what was learned
#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    state: StateArguments,
}

#[derive(Subcommand)]
enum Command {
    /// Write everything that was learned as a JSON document; also while a sensor runs
    Export {
        /// File to write; by default standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Replace everything that was learned by a document of the same install; the sensor must be stopped
    Import {
        /// The document; `-` is standard input
        document: PathBuf,
    },
    /// Forget what was learned about one sender; also while a sensor runs
    Forget {
        /// An address, a prefix, an account, or host:NAME
        sender: String,
        /// Who wants it; by default the user
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let (config, directory) = arguments.state.place()?;
    match &arguments.command {
        Command::Export { output } => export(&directory, output.as_deref())?,
        Command::Import { document } => {
            let baselines = read(document)?;
            let mut store = Store::open(&directory).map_err(refused)?;
            let company = Arc::new(config.company().map_err(Failure::usage)?);
            let mut engine = super::judge::new_engine(&config, company, store.key)?;
            store.import(&baselines, &mut engine).map_err(refused)?;
            let count = baselines.senders.len();
            let said = serde_json::json!({ "senders": count });
            arguments.state.print(&said, || format!("{count} senders\n"))?;
        }
        Command::Forget { sender, by } => {
            let action = Action::Forget { sender: sender.clone() };
            let mut row = ask(&directory, &action, by.as_deref())?;
            if row.obeyed_at.is_none() && !in_use(&directory) {
                // No sensor runs: what was asked is done here and now.
                let company = Arc::new(config.company().map_err(Failure::usage)?);
                Judge::new(&config, company, Some(&directory))?.commit(&[])?;
                let reader = arguments.state.reader()?;
                row = reader.action(row.number).map_err(refused)?.unwrap_or(row);
            }
            arguments.state.print(&row, || answer(&row))?;
        }
    }
    Ok(0)
}

fn export(directory: &Path, output: Option<&Path>) -> Result<(), Failure> {
    let baselines = Store::open_to_read(directory).and_then(|store| store.export()).map_err(refused)?;
    let text = serde_json::to_string_pretty(&baselines).map_err(Failure::running)? + "\n";
    match output {
        None => super::print(&text),
        Some(path) => crate::store::write_whole(path, text.as_bytes()).map_err(Failure::running),
    }
}

fn read(path: &Path) -> Result<Baselines, Failure> {
    let name = path.display();
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| {
        Failure::usage(format!("{name}: {error}: name a document that `baseline export` wrote"))
    })?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("{name}: {error}: this is no document of `baseline export`")))
}
