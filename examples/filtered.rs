//! Runs a program under the filters of the service, without the right to new privileges: as a runner for `cargo test` it
//! holds the whole suite to them. `make filtered`.
//!
//! Tests also play the neighbours: they listen, make links, and run programs that they wrote. What else only tests do (raw
//! sockets, namespaces, mounts, another user) is refused: the tests that need it say so and skip, as they do without root.

use portreeve::sandbox::{Needs, enter};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let program = PathBuf::from(arguments.next().unwrap_or_else(|| refuse("which program?")));
    let here = std::env::current_dir().unwrap_or_else(|error| refuse(&error.to_string()));
    let target = program.ancestors().nth(3).map(PathBuf::from).unwrap_or_else(|| here.clone());
    let (temporary, memory) = (std::env::temp_dir(), PathBuf::from("/dev/shm"));
    let needs = Needs {
        reads: vec![PathBuf::from("/")],
        writes: vec![temporary.clone(), memory.clone(), target.clone()],
        ports: (1..=u16::MAX).collect(),
        runs: vec![program.clone(), target, here, temporary.clone(), memory],
        plays: true,
        ..Needs::default()
    };
    let state = enter(&needs).unwrap_or_else(|error| refuse(&error));
    eprintln!("{}", state.describe());
    // A browser keeps its things at home, where nothing may be written.
    refuse(&Command::new(&program).args(arguments).env("HOME", temporary).exec().to_string())
}

fn refuse(why: &str) -> ! {
    eprintln!("filtered: {why}");
    std::process::exit(125)
}
