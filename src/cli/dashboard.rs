//! `portreeve dashboard`: shows a state in the browser, also while a sensor works on it in another process.
//!
//! *In*: a state directory. *Out*: pages on loopback or where the configuration says, until Ctrl-C. It only shows:
//! actions need the dashboard of `watch`. Also what `watch` and `demo` start theirs with.

use super::failure::{Failure, Outcome};
use super::{read_config, state_directory};
use crate::config::{Config, HostConfig, SinkConfig, zone};
use crate::time::CivilClock;
use crate::web::metrics::Published;
use crate::web::{About, Dashboard, Running, Settings};
use axum::Router;
use clap::Args;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Where the dashboard is unless somebody says otherwise.
pub const USUAL_PLACE: &str = "127.0.0.1:8025";

/// Show a state in the browser, without changing it
#[derive(Args)]
pub struct Arguments {
    /// Directory of the state
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Configuration file: for its [web], its networks and its time zone
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on, in place of the configuration's
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut config = read_config(arguments.config.as_deref())?;
    let state = state_directory(arguments.state.as_ref(), &config)
        .ok_or_else(|| Failure::usage("which state? give --state DIR or configure [state] directory"))?;
    config.web.listen = arguments.listen.or(config.web.listen).or_else(|| USUAL_PLACE.parse().ok());
    config.web.read_only = true;
    let Some(running) = start(&config, &state, crate::store::in_use(&state))? else { return Ok(0) };
    running.wait();
    Ok(0)
}

/// Starts the dashboard that a configuration asks for; `None` where it asks for none.
fn start(config: &Config, state: &Path, watched: bool) -> Result<Option<Running>, Failure> {
    let Some(settings) = config.web.settings().map_err(Failure::usage)? else { return Ok(None) };
    serve(settings, config, state, watched).map(Some)
}

/// Starts a dashboard and says where it is.
pub fn serve(settings: Settings, config: &Config, state: &Path, watched: bool) -> Result<Running, Failure> {
    let listener = listen(settings.listen)?;
    serve_on(listener, settings, config, state, watched, Default::default())
}

/// Opens the port of a dashboard.
pub fn listen(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).map_err(|error| {
        Failure::usage(format!(
            "dashboard: {listen}: {error}; is it in use? choose another port with [web] listen"
        ))
    })
}

/// Serves a dashboard on an open port, with routes of other stages, and says where it is.
pub fn serve_on(
    listener: TcpListener,
    settings: Settings,
    config: &Config,
    state: &Path,
    watched: bool,
    more: (Published, Router),
) -> Result<Running, Failure> {
    let (vitals, more) = more;
    let dashboard = Dashboard::new(settings, about(config, state, watched)?).map_err(Failure::usage)?;
    let dashboard = dashboard.with_vitals(vitals);
    let running = dashboard.start_on(listener, more);
    let running = running.map_err(|error| Failure::running(format!("dashboard: {error}")))?;
    eprintln!("dashboard: http://{}/", running.address);
    Ok(running)
}

fn about(config: &Config, state: &Path, watched: bool) -> Result<About, Failure> {
    let zone = zone(config.company.time_zone.as_deref()).map_err(Failure::usage)?;
    Ok(About {
        state: state.to_owned(),
        sensor: config.sensor.as_ref().map(|sensor| sensor.name.clone()).unwrap_or_default(),
        networks: config.company.networks.clone(),
        clock: CivilClock::new(zone),
        configuration: effective(config, state),
        watched,
    })
}

/// The effective configuration for people. Secrets are not in it: the configuration names only where they are, and
/// addresses of web services, which may hold keys, are cut after their host.
fn effective(config: &Config, state: &Path) -> Vec<(String, Vec<(String, String)>)> {
    let mut sections: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut put = |name: &str, values: Vec<(&str, String)>| {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        sections.push((name.to_owned(), values));
    };
    let list =
        |items: Vec<String>, none: &str| if items.is_empty() { none.to_owned() } else { items.join(", ") };
    let company = &config.company;
    put(
        "[company]",
        vec![
            ("networks", list(company.networks.iter().map(ToString::to_string).collect(), "private ranges")),
            ("domains", list(company.domains.clone(), "learned")),
            ("time_zone", company.time_zone.clone().unwrap_or_else(|| "UTC".into())),
        ],
    );
    let host = |host: &HostConfig| {
        let role = host.role.map_or_else(|| "role is learned".into(), |role| role.name().replace('_', " "));
        (host.name.clone(), format!("{} · {role}", host.address))
    };
    if !config.host.is_empty() {
        sections.push(("[[host]]".into(), config.host.iter().map(host).collect()));
    }
    let mut put = |name: &str, values: Vec<(&str, String)>| {
        let values = values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        sections.push((name.to_owned(), values));
    };
    for capture in &config.source.capture {
        let ports = capture.ports.clone().unwrap_or_else(|| vec![25]);
        let ports = list(ports.iter().map(ToString::to_string).collect(), "");
        put("[[source.capture]]", vec![("interface", capture.interface.clone()), ("ports", ports)]);
    }
    for log in &config.source.log {
        let dialect = log.dialect.clone().unwrap_or_else(|| "recognised by content".into());
        let from = match (&log.path, &log.listen) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(listen)) => listen.clone(),
            (None, None) => "journal".into(),
        };
        put("[[source.log]]", vec![("from", from), ("dialect", dialect)]);
    }
    let detect = &config.detect;
    put(
        "[detect]",
        vec![
            ("false_alarms_per_1000_sender_days", detect.false_alarms_per_1000_sender_days.to_string()),
            ("settling_days", detect.settling_days.to_string()),
            ("close_after_hours", detect.close_after_hours.to_string()),
        ],
    );
    put(
        "[alerts]",
        vec![("per_hour", config.alerts.per_hour.to_string()), ("burst", config.alerts.burst.to_string())],
    );
    put("[privacy]", vec![("recipients", config.privacy.recipients.to_string())]);
    put("[state]", vec![("directory", state.display().to_string())]);
    for sink in &config.sink {
        let (kind, to) = destination(sink);
        put("[[sink]]", vec![("type", kind.into()), ("to", to)]);
    }
    sections
}

/// Kind of a sink, and where it goes.
fn destination(sink: &SinkConfig) -> (&'static str, String) {
    let host = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        format!("{scheme}://{host}/…")
    };
    match sink {
        SinkConfig::Stdout(_) => ("stdout", "standard output".into()),
        SinkConfig::File(settings) => ("file", settings.path.display().to_string()),
        SinkConfig::Syslog(settings) => ("syslog", settings.address.clone()),
        SinkConfig::Webhook(settings) => ("webhook", host(&settings.url)),
        SinkConfig::Splunk(settings) => ("splunk", host(&settings.url)),
        SinkConfig::Elastic(settings) => ("elastic", host(&settings.url)),
        SinkConfig::Mail(settings) => ("mail", format!("{} by {}", settings.to.join(", "), settings.server)),
        SinkConfig::Command(settings) => {
            ("command", format!("{} (arguments hidden)", settings.argv.first().cloned().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_configuration_shows_no_key() {
        let config = Config::parse(
            "[[sink]]\ntype = \"webhook\"\nurl = \"https://u:canary@hooks.example/T0/canary?k=canary\"\n\
             [[sink]]\ntype = \"command\"\nargv = [\"/bin/notify\", \"canary\"]\n",
        )
        .unwrap();
        let shown = format!("{:?}", effective(&config, Path::new("/var/lib/portreeve")));
        assert!(shown.contains("hooks.example") && shown.contains("/bin/notify"));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
