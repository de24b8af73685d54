//! Recipients of an incident, for a list to take along.

use super::Reader;
use crate::engine::reached::Recipient;
use crate::store::error::StoreError;
use crate::store::recipients;
use serde::Serialize;

/// One recipient of an incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RecipientRow {
    /// When, RFC 3339.
    pub at: String,
    /// Who, printable.
    pub recipient: String,
    /// Whether its server took the message; `null` where that was not seen.
    pub accepted: Option<bool>,
    /// Reply code.
    pub reply_code: Option<u16>,
}

impl Reader {
    /// All recipients of an incident that are kept, in the order of their deliveries.
    pub fn recipients(&self, incident: &str) -> Result<Vec<RecipientRow>, StoreError> {
        let rows = self.read(|| recipients::read(&self.connection, &self.key, incident))?;
        Ok(rows.into_iter().map(RecipientRow::of).collect())
    }
}

impl RecipientRow {
    fn of(recipient: Recipient) -> RecipientRow {
        RecipientRow {
            at: recipient.at.to_rfc3339(),
            recipient: recipient.forward_path.escaped(),
            accepted: recipient.accepted,
            reply_code: recipient.code,
        }
    }
}
