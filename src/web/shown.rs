//! Settings, to be looked at: the effective configuration, with secrets hidden by whoever made the list.
//!
//! *In*: [`About`](super::About). *Out*: a page.

use super::{Dashboard, Viewer};
use axum::extract::State;
use maud::{Markup, html};
use std::sync::Arc;

/// `GET /settings`.
pub async fn show(State(dashboard): State<Arc<Dashboard>>, viewer: Viewer) -> Markup {
    let content = html! {
        h1 { "Settings" }
        p.lead { "What this sensor goes by, defaults included. To change something, edit the configuration file and start the sensor anew: " code { "portreeve check -c FILE" } " says beforehand what would fail." }
        @for (section, values) in &dashboard.about.configuration {
            section.card {
                h2.mono { (section) }
                div.scroll { table.tight {
                    tbody { @for (name, value) in values { tr { td.mono.label { (name) } td.mono { (value) } } } }
                } }
            }
        }
        @if dashboard.about.configuration.is_empty() { section.card.quiet { h2 { "All defaults." } p { "No configuration file was given." } } }
        section.card {
            h2 { "Program" }
            table.tight { tbody {
                tr { td.label { "Version" } td.mono { (env!("CARGO_PKG_VERSION")) } }
                tr { td.label { "State" } td.mono { (dashboard.about.state.display()) } }
                tr { td.label { "Who is let in" } td { @if dashboard.settings.secrets.is_open() { "everybody on this machine (loopback only)" } @else { "whoever has the password or the token" } } }
                tr { td.label { "Acting" } td { @if dashboard.settings.read_only { "no: this dashboard only shows" } @else { "yes" } } }
            } }
        }
    };
    dashboard.page(&viewer, "Settings", "/settings", &content)
}
