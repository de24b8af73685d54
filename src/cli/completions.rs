//! `portreeve completions`: what a shell needs to complete commands and options.
//!
//! *In*: a shell's name. *Out*: its script on standard output.

use super::failure::Outcome;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print the completions of a shell
#[derive(Args)]
pub struct Arguments {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
}

/// Runs the command.
pub fn run(arguments: &Arguments, mut program: Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut program, "portreeve", &mut script);
    super::print(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
