//! Configuration: TOML → checked [`Config`]. Every default stands here. Unknown keys are refused with the
//! nearest known one and the line.

use crate::alert::budget::Rate;
use crate::company::{Company, Host, Role};
use crate::engine::Settings;
use crate::engine::planned::Planned;
use crate::engine::sender::SenderId;
use crate::limits::CAPTURE_THREADS_MAX;
use crate::mta::{DIALECTS, Dialect, Patterns, custom_dialect, dialect_named};
pub use crate::sink::SinkConfig;
use crate::smtp::WireSettings;
use crate::store::keep::Retention;
use crate::store::transfer::sender_named;
pub use crate::tail::LogConfig;
use crate::time::{CivilClock, Timestamp};
use crate::web::WebConfig;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What the user may say. All of it is optional.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whose mail is watched.
    pub company: CompanyConfig,
    /// Declared hosts.
    pub host: Vec<HostConfig>,
    /// Where to look.
    pub source: SourceConfig,
    /// Bulk mailings announced in advance.
    pub planned: Vec<PlannedConfig>,
    /// Log dialects of your own.
    pub dialect: Vec<DialectConfig>,
    /// How to judge.
    pub detect: DetectConfig,
    /// Where to remember.
    pub state: StateConfig,
    /// How many alerts may leave.
    pub alerts: AlertsConfig,
    /// What is kept about people.
    pub privacy: PrivacyConfig,
    /// What is read of messages on the wire.
    pub content: ContentConfig,
    /// Who reports.
    pub sensor: Option<SensorConfig>,
    /// Where alerts go.
    pub sink: Vec<SinkConfig>,
    /// The dashboard.
    pub web: WebConfig,
    /// What the service tells about itself.
    pub metrics: MetricsConfig,
    /// What the service gives up before it reads anything.
    pub sandbox: SandboxConfig,
}

/// Whose mail is watched.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CompanyConfig {
    /// Networks of the company in CIDR form. Default: private ranges, and on the wire the originator where both ends are public.
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<IpNet>,
    /// The company's own mail domains. Default: learned.
    pub domains: Vec<String>,
    /// IANA time zone that people of the company live by. Default: UTC.
    pub time_zone: Option<String>,
}

/// A declared host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Name as its log prints it.
    pub name: String,
    /// Address that its mail leaves from.
    pub address: IpAddr,
    /// What it is for. Default: learned.
    pub role: Option<Role>,
}

/// Where to look.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Interfaces with mirrored traffic.
    pub capture: Vec<CaptureConfig>,
    /// Logs to read.
    pub log: Vec<LogConfig>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureConfig {
    /// Its name.
    pub interface: String,
    /// A libpcap filter in place of the built one.
    pub filter: Option<String>,
    /// SMTP ports. Default: 25.
    pub ports: Option<Vec<u16>>,
    /// Threads that share its connections, 1 to 64. Default: 1.
    #[serde(default = "one")]
    pub threads: usize,
}

fn one() -> usize {
    1
}

impl CaptureConfig {
    /// An interface with nothing said about it.
    pub fn of_interface(name: &str) -> CaptureConfig {
        CaptureConfig { interface: name.to_owned(), filter: None, ports: None, threads: one() }
    }
}

/// A bulk mailing announced in advance: its sender is not judged by it, up to its bound and its end.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedConfig {
    /// Who sends it: an address, a prefix, an account, or the name of a declared host.
    pub sender: String,
    /// From when on (RFC 3339).
    #[schemars(with = "String")]
    pub from: toml::value::Datetime,
    /// Until when (RFC 3339).
    #[schemars(with = "String")]
    pub until: toml::value::Datetime,
    /// Most recipients.
    pub recipients_max: u64,
}

/// A log dialect of your own: see docs/dialects.md.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DialectConfig {
    /// What `source.log.dialect` and `--as` call it.
    pub name: String,
    /// Regular expressions, each for a whole line, with named groups.
    pub lines: Vec<String>,
    /// Whether lines have syslog's head, which is taken off before. Default: no; then a group `time` is needed.
    #[serde(default)]
    pub syslog: bool,
}

/// How to judge.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DetectConfig {
    /// False alarms accepted in 1,000 sender-days. Default: 1.
    pub false_alarms_per_1000_sender_days: f64,
    /// Alarms of the second tier (more mail in an hour than habits explain, nothing else) accepted in 1,000
    /// sender-days, where every mailing is announced. Default: 0, the tier is off.
    pub volume_alarms_per_1000_sender_days: f64,
    /// Days a new install needs before it calls anything new or foreign. Default: 3.
    pub settling_days: f64,
    /// Hours of quiet after which an incident is closed. Default: 6.
    pub close_after_hours: f64,
}

impl Default for DetectConfig {
    fn default() -> DetectConfig {
        let settings = Settings::default();
        DetectConfig {
            false_alarms_per_1000_sender_days: settings.false_alarms_per_1000_sender_days,
            volume_alarms_per_1000_sender_days: settings.volume_alarms_per_1000_sender_days,
            settling_days: settings.settling_days,
            close_after_hours: settings.close_after_hours,
        }
    }
}

/// Where to remember.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateConfig {
    /// A directory of our own. Default: nothing is kept.
    pub directory: Option<PathBuf>,
    /// Days that alerts, incidents and curves are kept. Default: 400.
    pub keep_days: f64,
    /// Bytes that the state file may use; above it the oldest delivered alerts go, then the mildest. Default: 2 GiB.
    pub keep_bytes: u64,
}

impl Default for StateConfig {
    fn default() -> StateConfig {
        let Retention { days_max, bytes_max } = Retention::default();
        StateConfig { directory: None, keep_days: days_max, keep_bytes: bytes_max }
    }
}

impl StateConfig {
    /// What the store needs.
    pub fn retention(&self) -> Retention {
        Retention { days_max: self.keep_days, bytes_max: self.keep_bytes }
    }
}

/// How many alerts may leave: see docs/alerts.md, floods.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// Alerts an hour of event time, in the long run. Default: 600.
    pub per_hour: f64,
    /// Alerts at once after a quiet time. Default: 200.
    pub burst: f64,
}

impl Default for AlertsConfig {
    fn default() -> AlertsConfig {
        let rate = Rate::default();
        AlertsConfig { per_hour: rate.per_hour, burst: rate.burst }
    }
}

impl AlertsConfig {
    /// What the budget needs.
    pub fn rate(&self) -> Rate {
        Rate { per_hour: self.per_hour, burst: self.burst }
    }
}

/// What is kept about people who got mail.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrivacyConfig {
    /// Whether examples in alerts name recipients. Default: no, a keyed digest and the domain stand for them.
    pub recipients: bool,
}

/// What is read of messages on the wire. Facts, counts and digests are kept of it, never its text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContentConfig {
    /// Whether messages are read at all for what they carry. Default: yes.
    pub enabled: bool,
    /// How much of each message is read, KiB, 1 to 1024. Default: 64.
    pub message_max_kib: u32,
}

impl Default for ContentConfig {
    fn default() -> ContentConfig {
        let kib = WireSettings::default().content_bytes_max >> 10;
        ContentConfig { enabled: true, message_max_kib: kib as u32 }
    }
}

impl ContentConfig {
    /// What the wire road is told: ports of its own, or 25.
    pub fn wire(&self, ports: Option<Vec<u16>>) -> WireSettings {
        let usual = WireSettings::default();
        let content_bytes_max = if self.enabled { (self.message_max_kib as usize) << 10 } else { 0 };
        WireSettings { ports: ports.unwrap_or(usual.ports), content_bytes_max }
    }
}

/// Who reports: stands in every alert. Abuse desks (X-ARF) want to know whom to ask.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SensorConfig {
    /// Name of this sensor.
    pub name: String,
    /// Organisation that runs it.
    pub organization: Option<String>,
    /// Mail address to ask about reports.
    pub contact: Option<String>,
    /// Domain of the organisation.
    pub domain: Option<String>,
}

impl From<SensorConfig> for crate::alert::SensorRef {
    fn from(config: SensorConfig) -> crate::alert::SensorRef {
        let SensorConfig { name, organization, contact, domain } = config;
        crate::alert::SensorRef { name, organization, contact, domain }
    }
}

/// What the service tells about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Address and port for `/metrics` (Prometheus) and `/healthz`. Default: none.
    #[schemars(with = "Option<String>")]
    pub listen: Option<std::net::SocketAddr>,
}

/// What the service gives up before it reads anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// Whether capabilities, files, ports and system calls that are not needed are given up. Default: yes.
    pub enabled: bool,
    /// User to become, where the service is started as root. Default: the user that started it.
    pub user: Option<String>,
}

impl Default for SandboxConfig {
    fn default() -> SandboxConfig {
        SandboxConfig { enabled: true, user: None }
    }
}

/// A configuration that cannot be used. The text is one line and says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!("{}: {error}: give the configuration's path with -c", path.display()))
        })?;
        Config::parse(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
    }

    /// Parses and checks a text.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| ConfigError(explain(text, &error)))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let detect = &self.detect;
        let fail = |text: String| Err(ConfigError(text));
        if !(1e-6..=1000.0).contains(&detect.false_alarms_per_1000_sender_days) {
            return fail("detect.false_alarms_per_1000_sender_days must be between 0.000001 and 1000".into());
        }
        if !(0.0..=1000.0).contains(&detect.volume_alarms_per_1000_sender_days) {
            return fail("detect.volume_alarms_per_1000_sender_days must be between 0 and 1000".into());
        }
        if !(0.0..=365.0).contains(&detect.settling_days) {
            return fail("detect.settling_days must be between 0 and 365".into());
        }
        if !(0.1..=720.0).contains(&detect.close_after_hours) {
            return fail("detect.close_after_hours must be between 0.1 and 720".into());
        }
        if !(1.0..=1e9).contains(&self.alerts.per_hour) || !(4.0..=1e9).contains(&self.alerts.burst) {
            return fail("alerts.per_hour must be at least 1, alerts.burst at least 4".into());
        }
        if !(1..=1024).contains(&self.content.message_max_kib) {
            return fail(
                "content.message_max_kib must be between 1 and 1024; to read nothing, set enabled = false"
                    .into(),
            );
        }
        if !(1.0..=36_500.0).contains(&self.state.keep_days) || self.state.keep_bytes < 16 << 20 {
            return fail(
                "state.keep_days must be at least 1, state.keep_bytes at least 16 MiB (16777216)".into(),
            );
        }
        zone(self.company.time_zone.as_deref())?;
        self.planned()?;
        if self.source.capture.iter().any(|capture| !(1..=CAPTURE_THREADS_MAX).contains(&capture.threads)) {
            return fail(format!("source.capture.threads must be between 1 and {CAPTURE_THREADS_MAX}"));
        }
        for log in &self.source.log {
            zone(log.time_zone.as_deref())?;
            log.way().map_err(ConfigError)?;
        }
        for sink in &self.sink {
            sink.check().map_err(ConfigError)?;
        }
        self.web.check().map_err(ConfigError)?;
        for (index, dialect) in self.dialect.iter().enumerate() {
            let name = &dialect.name;
            if dialect_named(name).is_some() || name == "capture" || name.is_empty() {
                return fail(format!("dialect.name {name:?} is taken: choose another"));
            }
            if self.dialect[..index].iter().any(|earlier| earlier.name == *name) {
                return fail(format!("dialect.name {name:?} stands twice: choose another"));
            }
            patterns(dialect)?;
        }
        Ok(())
    }

    /// The dialect of a name: one of the configuration's own, or one that is built in.
    pub fn dialect(&self, name: &str) -> Result<&'static Dialect, ConfigError> {
        if let Some(dialect) = dialect_named(name) {
            return Ok(dialect);
        }
        match self.dialect.iter().find(|dialect| dialect.name == name) {
            Some(dialect) => Ok(custom_dialect(name, patterns(dialect)?)),
            None => {
                let own = self.dialect.iter().map(|dialect| dialect.name.as_str());
                let known: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).chain(own).collect();
                Err(ConfigError(format!("dialect {name:?} is unknown: use {}", known.join(", "))))
            }
        }
    }

    /// The company as the rest of the program knows it.
    pub fn company(&self) -> Result<Company, ConfigError> {
        let hosts = self.host.iter().map(|host| Host {
            name: host.name.clone(),
            address: host.address,
            role: host.role,
        });
        let clock = CivilClock::new(zone(self.company.time_zone.as_deref())?);
        Ok(Company::new(self.company.networks.clone(), &self.company.domains, hosts.collect(), clock))
    }

    /// The mailings announced.
    pub fn planned(&self) -> Result<Vec<Planned>, ConfigError> {
        let moment = |time: &toml::value::Datetime, key: &str| {
            Timestamp::parse_rfc3339(&time.to_string()).ok_or_else(|| {
                ConfigError(format!("planned.{key} must be like 2026-12-01T08:00:00Z, not {time}"))
            })
        };
        let planned = |row: &PlannedConfig| {
            let host = self.host.iter().find(|host| host.name.eq_ignore_ascii_case(&row.sender));
            let sender =
                host.map_or_else(|| sender_named(&row.sender), |host| SenderId::Address(host.address));
            let (from, until) = (moment(&row.from, "from")?, moment(&row.until, "until")?);
            if until <= from {
                return Err(ConfigError("planned.until must come after planned.from".into()));
            }
            Ok(Planned { sender, from, until, recipients_max: row.recipients_max })
        };
        self.planned.iter().map(planned).collect()
    }

    /// What the engine needs.
    pub fn settings(&self) -> Settings {
        Settings {
            false_alarms_per_1000_sender_days: self.detect.false_alarms_per_1000_sender_days,
            volume_alarms_per_1000_sender_days: self.detect.volume_alarms_per_1000_sender_days,
            settling_days: self.detect.settling_days,
            close_after_hours: self.detect.close_after_hours,
            recipients_named: self.privacy.recipients,
            ..Settings::default()
        }
    }
}

fn patterns(dialect: &DialectConfig) -> Result<Patterns, ConfigError> {
    Patterns::new(&dialect.lines, dialect.syslog)
        .map_err(|error| ConfigError(format!("dialect {:?}: {error}", dialect.name)))
}

/// A time zone by its IANA name; UTC where none is given.
pub fn zone(name: Option<&str>) -> Result<jiff::tz::TimeZone, ConfigError> {
    let Some(name) = name else { return Ok(jiff::tz::TimeZone::UTC) };
    jiff::tz::TimeZone::get(name).map_err(|_| {
        ConfigError(format!("time_zone {name:?} is unknown: use an IANA name such as \"Europe/Berlin\""))
    })
}

/// One line: where, what, and the nearest known key.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().lines().next().unwrap_or_default().to_owned();
    let place = line.map_or(String::new(), |line| format!("line {line}: "));
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let unknown = [("unknown field", "key"), ("unknown variant", "word")];
    let noun = unknown.iter().find(|(start, _)| message.starts_with(start)).map(|(_, noun)| noun);
    let Some(noun) = noun.filter(|_| quoted.len() > 1) else {
        // The value at fault, where the message does not have it. Never a table: it may hold a password.
        let found = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        let shown = message.starts_with("invalid") && !found.is_empty() && found.len() < 80;
        return match shown && !message.contains(found) && !found.contains(['\n', '{', '[', '=']) {
            true => format!("{place}{message}: {found}"),
            false => format!("{place}{message}"),
        };
    };
    let nearest = quoted[1..].iter().max_by(|a, b| {
        strsim::jaro_winkler(quoted[0], a).total_cmp(&strsim::jaro_winkler(quoted[0], b)).then(b.cmp(a))
    });
    match nearest {
        Some(key) => format!(
            "{place}unknown {noun} `{}`: did you mean `{key}`? (known here: {})",
            quoted[0],
            quoted[1..].join(", ")
        ),
        None => format!("{place}{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_shown_and_a_misspelt_word_has_its_neighbour() {
        for (text, says) in [
            ("[company]\nnetworks = [\"10.0.0.0/99\"]", "line 2: invalid IP address syntax: \"10.0.0.0/99\""),
            ("[[sink]]\ntype = \"filee\"", "line 2: unknown word `filee`: did you mean `file`?"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line_and_its_neighbour() {
        let error = Config::parse("[company]\nnetwroks = []\n").unwrap_err().to_string();
        assert!(error.starts_with("line 2: unknown key `netwroks`: did you mean `networks`?"), "{error}");
        assert!(!error.contains('\n'));
    }

    #[test]
    fn the_empty_configuration_works() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.detect.false_alarms_per_1000_sender_days, 1.0);
        assert!(!config.company().unwrap().networks_declared());
    }

    #[test]
    fn wrong_values_are_refused_with_what_to_do() {
        for (text, says) in [
            ("[company]\ntime_zone = \"Mars/Base\"", "use an IANA name"),
            ("[detect]\nfalse_alarms_per_1000_sender_days = 0", "must be between"),
            ("[content]\nmessage_max_kib = 0", "must be between 1 and 1024"),
            ("[[source.capture]]\ninterface = \"span0\"\nthreads = 0", "must be between 1 and 64"),
            ("[[sink]]\ntype = \"stdout\"\nformat = \"xml\"", "use ndjson, ecs"),
            (
                "[[planned]]\nsender = \"a\"\nfrom = 2026-12-01\nuntil = 2026-12-02T00:00:00Z\nrecipients_max = 1",
                "must be like",
            ),
            ("[[host]]\nname = \"a\"\naddress = \"nowhere\"", "line 3"),
            (
                "[[dialect]]\nname = \"own\"\nlines = [\"(?P<rcpt>x)\"]",
                "unknown group 'rcpt'; known are account",
            ),
            ("[[dialect]]\nname = \"exim\"\nlines = [\"(?P<time>x)\"]", "is taken"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
