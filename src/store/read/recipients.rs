//! Recipients of an incident, for a list to take along.

use super::Reader;
use crate::mail::Untrusted;
use crate::store::error::StoreError;
use crate::store::recipients::seal_of;
use crate::time::Timestamp;
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
    /// All recipients of an incident that are kept, in the order of their deliveries. Of two roads that saw the same
    /// mail it is the one that saw more of it.
    pub fn recipients(&self, incident: &str) -> Result<Vec<RecipientRow>, StoreError> {
        self.read(|| {
            let mut list = self.connection.prepare_cached(
                "SELECT number, at, mailbox, accepted, code, seal FROM recipient
                 WHERE incident = ?1 AND vantage = (
                     SELECT vantage FROM recipient WHERE incident = ?1
                     GROUP BY vantage ORDER BY COUNT(*) DESC, vantage LIMIT 1)
                 ORDER BY number",
            )?;
            let mut rows = list.query([incident])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let mailbox: Vec<u8> = row.get(2)?;
                if row.get::<_, i64>(5)? == seal_of(&self.key, incident, row.get(0)?, &mailbox) {
                    found.push(RecipientRow {
                        at: Timestamp::from_micros(row.get(1)?).to_rfc3339(),
                        recipient: Untrusted::bounded(&mailbox, mailbox.len()).escaped(),
                        accepted: row.get(3)?,
                        reply_code: row.get(4)?,
                    });
                }
            }
            Ok(found)
        })
    }
}
