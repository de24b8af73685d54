//! A writer without memory: one line after another to standard output or a file, for a run that keeps no state.
//!
//! *In*: [`Alert`]s. *Out*: encoded lines. With a state directory, use [`super::delivery`]: it survives crashes.

use crate::alert::{Alert, Format};
use std::io::{self, Write};
use std::path::Path;

/// An open writer.
pub struct Sink {
    writer: Box<dyn Write + Send>,
    format: &'static Format,
}

impl Sink {
    /// Standard output.
    pub fn stdout(format: &'static Format) -> Sink {
        Sink { writer: Box::new(io::stdout()), format }
    }

    /// A file, appended to.
    pub fn file(path: &Path, format: &'static Format) -> io::Result<Sink> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Sink { writer: Box::new(file), format })
    }

    /// A file, begun anew.
    pub fn new_file(path: &Path, format: &'static Format) -> io::Result<Sink> {
        Ok(Sink { writer: Box::new(std::fs::File::create(path)?), format })
    }

    /// Writes one alert in one piece.
    pub fn send(&mut self, alert: &Alert) -> io::Result<()> {
        self.writer.write_all((self.format.encode)(alert).as_bytes())?;
        self.writer.flush()
    }
}
