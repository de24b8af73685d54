//! A program of the user's: the alert on its standard input.
//!
//! *In*: letters. *Out*: one run of the program each. *Bound*: a time limit for each run. *Spec*: exit status 0
//! means taken, 75 (EX_TEMPFAIL, sysexits.h) means later, anything else means refused.
//!
//! The program is started by its argument vector, never by a shell, with an empty environment but `PATH`; nothing
//! of an alert ever stands in an argument, where other users of the machine could read it.

use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig, escaped_start, time_limit};
use crate::alert::Format;
use schemars::JsonSchema;
use serde::Deserialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// EX_TEMPFAIL of sysexits.h.
const TEMPORARY_FAILURE: i32 = 75;
/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Settings of a program.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The program and its arguments, such as `["/usr/local/bin/page", "--team", "mail"]`.
    pub argv: Vec<String>,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: ndjson.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
    /// Seconds until a run is stopped. Default: 10.
    pub timeout_seconds: Option<f64>,
}

struct Program {
    argv: Vec<String>,
    limit: Duration,
    format: &'static Format,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Command(settings) = config else { return None };
    Some(Common::read(config, "ndjson").and_then(|common| open_program(settings, common)))
}

fn open_program(settings: &Settings, common: Common) -> Result<Opened, String> {
    let Some(program) = settings.argv.first().filter(|program| !program.is_empty()) else {
        return Err("argv must name a program".into());
    };
    let target = format!("command {program}");
    let limit = time_limit(settings.timeout_seconds)?;
    let program = Program { argv: settings.argv.clone(), limit, format: common.format };
    Ok(common.opened(target, program))
}

impl Deliver for Program {
    fn batch_max(&self) -> usize {
        20
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        Box::pin(async move {
            let mut fates = Vec::new();
            for letter in letters {
                let fate = self.run(&(self.format.encode)(&letter.alert)).await;
                let stop = matches!(fate, Fate::Later { .. });
                fates.push(fate);
                if stop {
                    break;
                }
            }
            fates
        })
    }
}

impl Program {
    async fn run(&self, record: &str) -> Fate {
        let child = Command::new(&self.argv[0])
            .args(&self.argv[1..])
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Fate::unreachable(format!("{}: {error}", self.argv[0])),
        };
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let run = async {
            // A program that reads nothing breaks the pipe; its exit status says what it thinks.
            let feed = async move {
                if let Some(mut stdin) = stdin {
                    let _ = stdin.write_all(record.as_bytes()).await;
                }
            };
            let complaint = async move {
                let mut text = Vec::new();
                if let Some(mut stderr) = stderr {
                    let mut start = [0u8; 200];
                    while let Ok(bytes @ 1..) = stderr.read(&mut start).await {
                        if text.len() < start.len() {
                            text.extend_from_slice(&start[..bytes]);
                        }
                    }
                }
                text
            };
            let (_, complaint) = tokio::join!(feed, complaint);
            (child.wait().await, complaint)
        };
        let Ok((status, complaint)) = tokio::time::timeout(self.limit, run).await else {
            return Fate::unreachable("stopped: it took too long");
        };
        let status = match status {
            Ok(status) if status.success() => return Fate::Delivered,
            Ok(status) => status,
            Err(error) => return Fate::unreachable(error.to_string()),
        };
        let reason = format!("{status}: {}", escaped_start(&complaint));
        let refused = status.code().is_some_and(|code| code != TEMPORARY_FAILURE);
        Fate::Later { reason, after: None, refused }
    }
}
