//! Entry point; the commands are in `portreeve::cli`.
fn main() {}
