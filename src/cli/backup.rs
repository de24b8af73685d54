//! `portreeve backup`: a whole copy of the state, also while a sensor works with it.
//!
//! *In*: a state directory. *Out*: a file that can be put in its place. *Spec*: docs/operations.md, backup.

use super::ask::{StateArguments, refused};
use super::failure::Outcome;
use crate::store::Store;
use clap::Args;
use std::path::PathBuf;

/// Copy the state to a file, also while a sensor runs
#[derive(Args)]
pub struct Arguments {
    /// The file to write; one of this name is replaced
    file: PathBuf,
    #[command(flatten)]
    state: StateArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let (_, directory) = arguments.state.place()?;
    Store::open_to_read(&directory).and_then(|store| store.backup(&arguments.file)).map_err(refused)?;
    let bytes = std::fs::metadata(&arguments.file).map_or(0, |metadata| metadata.len());
    let (file, key) = (super::shown(&arguments.file), super::shown(&directory.join("install.key")));
    let said = serde_json::json!({ "file": file, "bytes": bytes, "key": key });
    arguments.state.print(&said, || {
        format!("{file}: {bytes} bytes; keep {key} beside it, without that key the copy cannot be read\n")
    })?;
    Ok(0)
}
