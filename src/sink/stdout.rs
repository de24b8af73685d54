//! Standard output.
//!
//! *In*: letters. *Out*: lines on standard output, one flush a batch. A reader of a pipe gives no receipt: after
//! a crash the last batch may come twice, with the same ids.

use super::{Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig};
use crate::alert::Format;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::Write;

/// Settings of a standard output sink.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: ndjson.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
}

struct Stdout {
    format: &'static Format,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Stdout(_) = config else { return None };
    Some(Common::read(config, "ndjson").map(|common| {
        let stdout = Stdout { format: common.format };
        common.opened("stdout".into(), stdout)
    }))
}

impl Deliver for Stdout {
    fn batch_max(&self) -> usize {
        200
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        let text: String = letters.iter().map(|letter| (self.format.encode)(&letter.alert)).collect();
        let mut out = std::io::stdout().lock();
        let fate = match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Fate::Delivered,
            Err(error) => Fate::unreachable(error.to_string()),
        };
        let fates = vec![fate; letters.len()];
        Box::pin(async move { fates })
    }
}
