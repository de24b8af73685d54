//! What operators do on pages: a verdict on an incident, a mailing announced or called off.
//!
//! *In*: a form, whose token the guard has checked. *Out*: a row that the sensor obeys at its next commit, and the
//! way back to the page. *Bound*: `store::actions::TEXT_BYTES_MAX`.

use super::reading::Trouble;
use super::{Dashboard, Viewer, page};
use crate::store::actions::Action;
use crate::time::Timestamp;
use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use serde::Deserialize;
use std::sync::Arc;

/// A verdict's form.
#[derive(Deserialize)]
pub struct Review {
    /// Why.
    pub reason: String,
}

/// The action of a verdict's name.
pub fn verdict(name: &str, incident: String, reason: String) -> Result<Action, Trouble> {
    if reason.trim().is_empty() {
        return Err(Trouble::Refused("Give a reason, for whoever looks later.".into()));
    }
    let reason = reason.trim().to_owned();
    match name {
        "confirm" => Ok(Action::Confirm { incident, reason }),
        "dismiss" => Ok(Action::Dismiss { incident, reason }),
        _ => Err(Trouble::Nothing("A verdict is confirm or dismiss.")),
    }
}

/// `POST /incident/{id}/{verdict}`.
pub async fn review(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Path((id, name)): Path<(String, String)>,
    Form(review): Form<Review>,
) -> Result<Redirect, Trouble> {
    let back = format!("/incident/{}#verdict", page::encoded(&id));
    dashboard.reading.act(verdict(&name, id, review.reason)?, viewer.name()).await?;
    Ok(Redirect::to(&back))
}

/// A mailing's form. Times are the viewer's civil times, as `<input type="datetime-local">` gives them.
#[derive(Deserialize)]
pub struct Announcement {
    sender: String,
    from: String,
    until: String,
    recipients_max: u64,
    reason: String,
    /// Minutes that the viewer's clock is ahead of UTC; 0 without scripts.
    #[serde(default)]
    offset_minutes: i64,
}

/// `POST /planned`.
pub async fn announce(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Form(form): Form<Announcement>,
) -> Result<Redirect, Trouble> {
    let moment = |text: &str| {
        local(text, form.offset_minutes)
            .ok_or_else(|| Trouble::Refused(format!("{text:?} is not a date and a time of day.")))
    };
    let (from, until) = (moment(&form.from)?.as_micros(), moment(&form.until)?.as_micros());
    let Announcement { sender, recipients_max, reason, .. } = form;
    let sender = sender.trim().to_owned();
    let action = Action::Announce { sender, from, until, recipients_max, reason: reason.trim().to_owned() };
    dashboard.reading.act(action, viewer.name()).await?;
    Ok(Redirect::to("/planned"))
}

/// `2026-12-01T08:00` on a clock so many minutes ahead of UTC.
fn local(text: &str, offset_minutes: i64) -> Option<Timestamp> {
    let seconds = if text.len() == 16 { ":00" } else { "" };
    let utc = Timestamp::parse_rfc3339(&format!("{text}{seconds}Z"))?;
    (offset_minutes.abs() <= 24 * 60).then(|| utc.plus_seconds(-60.0 * offset_minutes as f64))
}

/// `POST /planned/{number}/cancel`.
pub async fn cancel(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    Path(number): Path<i64>,
) -> Result<Redirect, Trouble> {
    dashboard.reading.act(Action::Cancel { mailing: number }, viewer.name()).await?;
    Ok(Redirect::to("/planned"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_times_of_a_viewer_become_moments() {
        let at = |text| Timestamp::parse_rfc3339(text);
        assert_eq!(local("2026-12-01T08:00", 60), at("2026-12-01T07:00:00Z"));
        assert_eq!(local("2026-12-01T08:00:30", 0), at("2026-12-01T08:00:30Z"));
        assert_eq!((local("tomorrow", 0), local("2026-12-01T08:00", i64::MAX / 2)), (None, None));
    }

    #[test]
    fn a_verdict_needs_a_reason_and_a_name() {
        assert!(verdict("confirm", "1".into(), " ".into()).is_err());
        assert!(verdict("delete", "1".into(), "x".into()).is_err());
        assert!(
            matches!(verdict("dismiss", "1".into(), " x ".into()), Ok(Action::Dismiss { reason, .. }) if reason == "x")
        );
    }
}
