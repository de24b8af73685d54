//! Where the state stands: its newest mail, whether anything changed, and every address at a glance.

use super::Reader;
use crate::observation::Vantage;
use crate::store::error::StoreError;
use crate::store::volume::series_name;
use serde::Serialize;
use std::net::IpAddr;

/// An address that sent mail, in few numbers: there may be a great many.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Activity {
    /// The address.
    pub address: IpAddr,
    /// Deliveries ever.
    pub messages: u64,
    /// Usual messages a day.
    pub usual_per_day: f64,
    /// Greatest evidence for a hijack at the last delivery, nats.
    pub evidence_nats: f64,
    /// Last delivery, µs.
    pub last_at: i64,
}

impl Reader {
    /// Event time that judging has reached, µs: of the newest alert or the newest hour with mail, whichever is
    /// later. `None` where nothing was seen.
    pub fn newest(&self) -> Result<Option<i64>, StoreError> {
        self.read(|| {
            let newest = "SELECT MAX(at) FROM (SELECT MAX(event_at) AS at FROM alert
                UNION ALL SELECT MAX(at) FROM history WHERE series = ?1
                UNION ALL SELECT MAX(at) FROM history WHERE series = ?2)";
            let names = [Vantage::Wire, Vantage::Log].map(|road| series_name(road, "deliveries"));
            self.connection.prepare_cached(newest)?.query_row(names, |row| row.get(0))
        })
    }

    /// A number that is another one whenever there is a new alert, a new action or a new answer to one.
    pub fn version(&self) -> Result<i64, StoreError> {
        self.read(|| {
            let version = "SELECT COALESCE((SELECT MAX(seq) FROM alert), 0) * 1000003
                + COALESCE((SELECT MAX(seq) FROM action), 0) * 1009
                - (SELECT COUNT(*) FROM action WHERE obeyed_at IS NULL)";
            self.connection.prepare_cached(version)?.query_row([], |row| row.get(0))
        })
    }

    /// Every address that was seen, by road.
    pub fn activity(&self) -> Result<Vec<Activity>, StoreError> {
        self.read(|| {
            let all = "SELECT name, messages, usual_per_day, evidence_nats, last_at FROM sender_summary
                WHERE kind = 'address'";
            let mut statement = self.connection.prepare_cached(all)?;
            let mut rows = statement.query([])?;
            let mut list = Vec::new();
            while let Some(row) = rows.next()? {
                let Ok(address) = row.get_ref(0)?.as_str()?.parse() else { continue };
                let messages = row.get::<_, i64>(1)?.max(0) as u64;
                let (usual_per_day, evidence_nats, last_at) = (row.get(2)?, row.get(3)?, row.get(4)?);
                list.push(Activity { address, messages, usual_per_day, evidence_nats, last_at });
            }
            Ok(list)
        })
    }
}
