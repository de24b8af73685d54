//! `portreeve check`: what would fail, and how to mend it, before anything is started.
//!
//! *In*: the configuration. *Out*: one line for each thing that `watch` will need. Exit 1 where one fails.

use super::failure::{FAILED, Failure, Outcome};
use super::false_alarms::Realised;
use super::inputs::{self, Input, Kind};
use super::running::{self, Running};
use super::{print, read_config, state_directory};
use crate::capture::filter::hidden_wrappings;
use crate::capture::{Fanout, LinkType, Live, LiveSettings};
use crate::config::{CaptureConfig, Config, LogConfig};
use crate::health::condition_codes;
use crate::sandbox::{self, acts};
use crate::sink::{self, SinkConfig};
use crate::store::read::Reader;
use crate::store::{Store, StoreError};
use crate::tail::{Way, bind, follow_journal};
use clap::Args;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a receiver may take to answer.
const RECEIVER_WAIT: Duration = Duration::from_secs(3);

/// How long a link is looked at for what a filter hides.
const LOOK: Duration = Duration::from_secs(1);

/// Check configuration, permissions, interfaces and sinks: what would fail, and how to mend it
#[derive(Args)]
pub struct Arguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An interface to check, beside those of the configuration
    #[arg(short, long, value_name = "NAME")]
    interface: Vec<String>,
    /// A log to check, beside those of the configuration
    #[arg(short, long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// State directory to check
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Try 25 forbidden acts inside the sandbox and say which were denied
    #[arg(long)]
    sandbox: bool,
    /// Used by --sandbox for the process that enters the sandbox: a directory of its own, one of others
    #[arg(long, hide = true, num_args = 2, value_name = "DIR")]
    acts: Vec<PathBuf>,
}

/// What was found about one thing.
enum Finding {
    Good(String),
    /// Works, but a person should know.
    Notice(String),
    Bad(String),
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Outcome {
    let config = read_config(arguments.config.as_deref())?;
    config.company().map_err(Failure::usage)?;
    if let [own, others] = arguments.acts.as_slice() {
        return try_acts(own, others);
    }
    if arguments.sandbox {
        return self_test();
    }
    let mut findings = vec![about_company(&config), about_budget(&config)];
    for capture in &config.source.capture {
        findings.push(about_interface(capture));
    }
    for interface in &arguments.interface {
        findings.push(about_interface(&CaptureConfig::of_interface(interface)));
    }
    for log in &config.source.log {
        findings.push(about_source(log, &config));
    }
    for path in &arguments.log {
        findings.push(about_log(path, None, &config));
    }
    match state_directory(arguments.state.as_ref(), &config) {
        Some(directory) => {
            findings.push(about_state(&directory));
            findings.extend(about_false_alarms(&directory, &config));
        }
        None => findings.push(Finding::Notice(
            "state: none is kept: what is learned is lost at the end; set [state] directory".into(),
        )),
    }
    findings.extend(config.sink.iter().map(about_sink));
    findings.extend(config.sink.iter().flat_map(about_receiver));
    findings.extend(config.metrics.listen.into_iter().flat_map(about_listener));
    findings.push(about_clock());
    findings.push(about_sandbox(&config));
    report(&findings)
}

/// Starts a process that enters the sandbox and tries what is forbidden; tidies up behind it.
fn self_test() -> Outcome {
    let own = tempfile::tempdir().map_err(Failure::running)?;
    let others = tempfile::tempdir().map_err(Failure::running)?;
    std::fs::write(others.path().join(acts::BAIT), "bait").map_err(Failure::running)?;
    let program = std::env::current_exe().map_err(Failure::running)?;
    let status = std::process::Command::new(program)
        .args(["check", "--acts"])
        .args([own.path(), others.path()])
        .status()
        .map_err(Failure::running)?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(FAILED))
}

/// Enters the sandbox of a plain service and tries every act.
fn try_acts(own: &Path, others: &Path) -> Outcome {
    let needs = sandbox::Needs { writes: vec![own.to_owned()], ..sandbox::Needs::default() };
    let state = sandbox::enter(&needs).map_err(Failure::running)?;
    let mut findings = vec![Finding::Good(state.describe())];
    let mut denied = 0;
    for act in acts::ACTS {
        findings.push(match act.attempt(others) {
            acts::Outcome::Denied => {
                denied += 1;
                Finding::Good(format!("denied: {}", act.name))
            }
            acts::Outcome::Possible(why) => Finding::Bad(format!("possible: {}: {why}", act.name)),
        });
    }
    let written = std::fs::write(own.join("own"), "own");
    findings.push(match written {
        Ok(()) => Finding::Good("allowed: write into the state directory".into()),
        Err(error) => Finding::Bad(format!("denied: write into the state directory: {error}")),
    });
    findings.push(Finding::Good(format!("{denied} of {} forbidden acts denied", acts::ACTS.len())));
    report(&findings)
}

fn report(findings: &[Finding]) -> Outcome {
    let mut bad = 0;
    let mut text = String::new();
    for finding in findings {
        let (mark, says) = match finding {
            Finding::Good(says) => ("ok     ", says),
            Finding::Notice(says) => ("note   ", says),
            Finding::Bad(says) => {
                bad += 1;
                ("FAILS  ", says)
            }
        };
        text.push_str(&format!("{mark}{says}\n"));
    }
    print(&text)?;
    Ok(if bad == 0 { 0 } else { FAILED })
}

fn about_company(config: &Config) -> Finding {
    let networks = &config.company.networks;
    if networks.is_empty() {
        return Finding::Notice(
            "company: no networks declared: private addresses are taken to be ours; set [company] networks"
                .into(),
        );
    }
    let list: Vec<String> = networks.iter().map(ToString::to_string).collect();
    Finding::Good(format!("company: {}; {} hosts declared", list.join(", "), config.host.len()))
}

fn about_budget(config: &Config) -> Finding {
    let budget = config.detect.false_alarms_per_1000_sender_days;
    Finding::Good(format!(
        "budget: {budget} false alarms in 1,000 sender-days: with 300 senders, one in {:.0} days by chance",
        1000.0 / budget / 300.0
    ))
}

/// The promise beside what people said; `None` where there is no state yet, or it cannot be read.
fn about_false_alarms(directory: &Path, config: &Config) -> Option<Finding> {
    let counters = Reader::open(directory).ok()?.counters().ok()?;
    let realised = Realised::new(&counters, config.detect.false_alarms_per_1000_sender_days);
    let says = realised.sentence();
    Some(if realised.exceeds() { Finding::Notice(says) } else { Finding::Good(says) })
}

fn about_interface(capture: &CaptureConfig) -> Finding {
    let (name, filter) = (&capture.interface, capture.filter.clone());
    let ports = capture.ports.clone().unwrap_or_else(|| vec![25]);
    let port = ports.first().copied().unwrap_or(25);
    let fanout = (capture.threads > 1).then(Fanout::default);
    let settings = LiveSettings { ports, filter: filter.clone(), fanout, ..LiveSettings::default() };
    sandbox::take_up_capture();
    let live = match Live::open(name, &settings) {
        Ok(live) => live,
        Err(error) => return Finding::Bad(format!("interface {error}")),
    };
    let good = format!("interface {name}: can be captured (link type {})", live.link().0);
    let ethernet = live.link() == LinkType::ETHERNET;
    drop(live);
    let hidden =
        filter.filter(|_| ethernet).map(|filter| hidden_wrappings(&filter, port)).unwrap_or_default();
    if hidden.is_empty() {
        return Finding::Good(good);
    }
    let seen = wrapped_frames(name, &LiveSettings { filter: None, fanout: None, ..settings });
    let seen = match seen {
        0 => format!("none came by in {} s", LOOK.as_secs()),
        seen => format!("{seen} frames that may be such came by in {} s", LOOK.as_secs()),
    };
    Finding::Notice(format!(
        "{good}, but its filter lets no mail through in {}; {seen}. Without `filter` the built-in one sees all of it",
        hidden.join(", ")
    ))
}

/// How many frames with tags, labels or tunnels the built-in filter lets through in a short while.
fn wrapped_frames(name: &str, settings: &LiveSettings) -> u64 {
    let Ok(mut live) = Live::open(name, settings) else { return 0 };
    let (began, mut seen) = (Instant::now(), 0);
    while began.elapsed() < LOOK {
        let Ok(Some(packet)) = live.next() else { continue };
        let plain = matches!(packet.bytes.get(12..14), Some([8, 0] | [0x86, 0xdd]));
        let tcp = packet.bytes.get(12..14) == Some(&[8, 0]) && packet.bytes.get(23) == Some(&6)
            || packet.bytes.get(12..14) == Some(&[0x86, 0xdd]) && packet.bytes.get(20) == Some(&6);
        seen += u64::from(!(plain && tcp));
    }
    seen
}

fn about_source(log: &LogConfig, config: &Config) -> Finding {
    let name = log.name();
    match log.way() {
        Err(error) => Finding::Bad(error),
        Ok(Way::File(path)) => about_log(&path, log.dialect.as_deref(), config),
        Ok(Way::Stdin) => Finding::Notice(format!("log {name}: cannot be read again after a restart")),
        Ok(Way::Journal(settings)) => match follow_journal(&settings, None, false) {
            Ok(_) => Finding::Good(format!("log {name}: can be read")),
            Err(error) => Finding::Bad(format!("log {name}: {error}")),
        },
        Ok(Way::Listen(settings)) => match bind(&settings) {
            Ok(_) => Finding::Good(format!("log {name}: can be listened on")),
            Err(error) => {
                Finding::Bad(format!("log {name}: {error}; where a sensor runs already, that is it"))
            }
        },
    }
}

fn about_log(path: &Path, dialect: Option<&str>, config: &Config) -> Finding {
    let name = path.display();
    let kind = match dialect.map(|name| Kind::parse(name, config)).transpose() {
        Ok(kind) => kind,
        Err(failure) => return Finding::Bad(format!("log {name}: {}", failure.text)),
    };
    match inputs::open(&name.to_string(), kind) {
        Ok(Input::Log(log)) => match log.dialect {
            Some(dialect) => Finding::Good(format!("log {name}: can be read, dialect {}", dialect.name)),
            None => Finding::Notice(format!(
                "log {name}: is empty: its dialect will be told from its first lines"
            )),
        },
        Ok(Input::Capture(_)) => Finding::Bad(format!("log {name}: is a capture; give it to `replay`")),
        Err(failure) => Finding::Bad(format!("log {}", failure.text)),
    }
}

/// Opens the state as `watch` would, but makes none.
fn about_state(directory: &Path) -> Finding {
    let name = directory.display();
    if !directory.exists() {
        let parent =
            directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return match tempfile::tempfile_in(parent) {
            Ok(_) => Finding::Good(format!("state {name}: will be made")),
            Err(error) => Finding::Bad(format!(
                "state {name}: cannot be made: {error}; make it and give it to this user"
            )),
        };
    }
    match Store::open(directory) {
        Ok(_) => Finding::Good(format!("state {name}: opens")),
        Err(error @ StoreError::InUse { .. }) => Finding::Notice(format!("state {error}")),
        Err(error) => Finding::Bad(format!("state {error}")),
    }
}

/// Whether the receiver's port answers. Nothing is sent.
fn about_receiver(sink: &SinkConfig) -> Vec<Finding> {
    let Some((host, port)) = sink.receiver() else { return Vec::new() };
    let name = format!("{host}:{port}");
    let addresses = match (host.as_str(), port).to_socket_addrs() {
        Ok(addresses) => addresses.collect::<Vec<_>>(),
        Err(error) => {
            return vec![Finding::Bad(format!("receiver {name}: no address: {error}; look at the name"))];
        }
    };
    let reached = addresses.iter().find(|address| TcpStream::connect_timeout(address, RECEIVER_WAIT).is_ok());
    vec![match reached {
        Some(address) => Finding::Good(format!("receiver {name}: answers at {address}")),
        None => Finding::Bad(format!(
            "receiver {name}: does not answer; alerts would wait in the state directory; look at the receiver and at firewalls"
        )),
    }]
}

fn about_listener(address: SocketAddr) -> Vec<Finding> {
    match TcpListener::bind(address) {
        Ok(_) => vec![Finding::Good(format!("metrics: {address} is free"))],
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => match running::ask(address) {
            Some(sensor) => about_running(address, &sensor),
            None => vec![Finding::Bad(format!(
                "metrics: {address} is in use, and not by a portreeve; choose another address or port"
            ))],
        },
        Err(error) => {
            vec![Finding::Bad(format!("metrics: {address}: {error}; choose another address or port"))]
        }
    }
}

/// What the sensor that runs knows of itself.
fn about_running(address: SocketAddr, sensor: &Running) -> Vec<Finding> {
    let looked_for = condition_codes().collect::<Vec<_>>().join(", ");
    let mut findings = vec![match sensor.status.as_str() {
        "ok" => Finding::Good(format!("sensor: runs, answers at {address}; found none of {looked_for}")),
        "starting" => Finding::Notice(format!("sensor: is starting, answers at {address}")),
        status => Finding::Bad(format!("sensor: runs, answers at {address}: {status}")),
    }];
    findings.extend(sensor.conditions.iter().map(|condition| {
        Finding::Bad(format!("sensor: {} since {}: {}", condition.code, condition.since, condition.says))
    }));
    findings
}

/// Event time is compared with stamps of others, so the clock must be right. The kernel knows whether it is kept so.
fn about_clock() -> Finding {
    match std::fs::metadata("/run/systemd/timesync/synchronized") {
        Ok(_) => Finding::Good("clock: kept by NTP".into()),
        Err(_) => {
            let now = super::judge::wall_clock().to_rfc3339();
            Finding::Notice(format!(
                "clock: it is {now}; whether NTP keeps it so cannot be told here: see `timedatectl`"
            ))
        }
    }
}

fn about_sandbox(config: &Config) -> Finding {
    if !config.sandbox.enabled {
        return Finding::Notice("sandbox: switched off; remove [sandbox] enabled = false".into());
    }
    if let Some(user) = &config.sandbox.user
        && nix::unistd::User::from_name(user).ok().flatten().is_none()
    {
        return Finding::Bad(format!("sandbox: user {user} is unknown: make it, or name another"));
    }
    Finding::Good("sandbox: on; `portreeve check --sandbox` tries it".into())
}

/// Opens the sink as `watch` would, without sending anything.
fn about_sink(sink: &SinkConfig) -> Finding {
    let opened = match sink::open(sink) {
        Ok(opened) => opened,
        Err(error) => return Finding::Bad(error),
    };
    let SinkConfig::File(settings) = sink else {
        return Finding::Good(format!("sink {}: set up", opened.name));
    };
    let path = &settings.path;
    let name = path.display();
    let says = |error: std::io::Error| {
        Finding::Bad(format!("sink {name}: {error}; make it, or its directory, writable by this user"))
    };
    match std::fs::OpenOptions::new().append(true).open(path) {
        Ok(_) => Finding::Good(format!("sink {name}: can be appended to")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            tempfile::tempfile_in(parent)
                .map_or_else(says, |_| Finding::Good(format!("sink {name}: will be made")))
        }
        Err(error) => says(error),
    }
}
