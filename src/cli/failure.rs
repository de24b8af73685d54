//! How a command ends: the exit code and the one line that says what to do.
//!
//! *In*: errors of every stage. *Out*: [`Failure`]. *Spec*: README.md, commands.

/// Exit code of a run that failed while running.
pub const FAILED: u8 = 1;
/// Exit code of wrong usage or configuration.
pub const WRONG_USAGE: u8 = 2;
/// Exit code of `replay --exit-code` where an alert was raised.
pub const ALERTED: u8 = 3;

/// Why a command ended early. One line.
#[derive(Debug)]
pub struct Failure {
    /// Exit code of the process.
    pub code: u8,
    /// One line that says what to do; empty where silence is right (the reader of our output went away).
    pub text: String,
}

impl Failure {
    /// Wrong usage or configuration: nothing was begun.
    pub fn usage(text: impl ToString) -> Failure {
        Failure { code: WRONG_USAGE, text: text.to_string() }
    }

    /// Something failed while running.
    pub fn running(text: impl ToString) -> Failure {
        Failure { code: FAILED, text: text.to_string() }
    }

    /// A failed write to our output. Whoever closed the pipe has read enough: that is no failure to speak of.
    pub fn output(name: &str, error: &std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure { code: 0, text: String::new() };
        }
        Failure::running(format!("{name}: {error}; check the disk and the permissions"))
    }
}

/// What a command gives back: its exit code.
pub type Outcome = Result<u8, Failure>;
