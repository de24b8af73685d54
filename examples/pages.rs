//! Manual pages and shell completions, from the same definitions that the program parses its arguments by.
//!
//! *In*: a directory. *Out*: `man/*.1` and one completion file a shell below it. `make package` runs it:
//! `cargo run --example pages -- target/package`.

use clap_complete::Shell;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let out = std::env::args().nth(1).unwrap_or_else(|| "target/package".into());
    write(Path::new(&out))
}

/// Writes everything below `out`.
fn write(out: &Path) -> std::io::Result<()> {
    let man = out.join("man");
    std::fs::create_dir_all(&man)?;
    clap_mangen::generate_to(portreeve::cli::command(), &man)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut portreeve::cli::command(), "portreeve", out)?;
    }
    Ok(())
}
