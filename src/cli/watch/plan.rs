//! What `watch` is to do: the configuration file and the command line put together, and checked.
//!
//! *In*: arguments, the file they name. *Out*: a [`Plan`], made anew at each reload. *Bound*: none.

use super::Arguments;
use crate::cli::failure::Failure;
use crate::cli::judge::format_named;
use crate::cli::{read_config, state_directory};
use crate::company::Company;
use crate::config::{CaptureConfig, Config, LogConfig};
use crate::sandbox::Needs;
use crate::sink::{self, SinkConfig, stdout};
use crate::tail::Way;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checked configuration.
pub struct Plan {
    /// The file, with what the command line adds.
    pub config: Config,
    /// Whose mail.
    pub company: Arc<Company>,
    /// Where state is kept over a restart.
    pub state: Option<PathBuf>,
    /// What nobody said and was therefore assumed, one sentence each.
    pub assumed: Vec<String>,
}

impl Plan {
    /// Reads and checks. Opens nothing.
    pub fn read(arguments: &Arguments) -> Result<Plan, Failure> {
        let mut config = read_config(arguments.config.as_deref())?;
        let bare = |name: &String| CaptureConfig::of_interface(name);
        config.source.capture.extend(arguments.interface.iter().map(bare));
        config.source.log.extend(arguments.log.iter().cloned().map(LogConfig::of_path));
        let mut assumed = Vec::new();
        let nothing = config.source.capture.is_empty() && config.source.log.is_empty();
        if nothing {
            assumed.extend(usual_log(&mut config));
        }
        if config.source.capture.is_empty() && config.source.log.is_empty() {
            return Err(Failure::usage(
                "nothing to watch: name an interface with -i or a log with -l, or configure [[source.capture]] or [[source.log]]",
            ));
        }
        each_once(&config)?;
        if config.company.networks.is_empty() {
            assumed.push("no [company] networks: private addresses are taken to be ours".into());
        }
        if config.sink.is_empty() {
            format_named(&arguments.format)?;
            let settings = stdout::Settings { format: Some(arguments.format.clone()), ..Default::default() };
            config.sink.push(SinkConfig::Stdout(settings));
            assumed.push(format!("no [[sink]]: alerts go to standard output as {}", arguments.format));
        }
        let state = state_directory(arguments.state.as_ref(), &config);
        let company = Arc::new(config.company().map_err(Failure::usage)?);
        Ok(Plan { config, company, state, assumed })
    }
}

impl Plan {
    /// What the process must still be able to do, with state in this directory.
    pub fn needs(&self, arguments: &Arguments, directory: &Path) -> Needs {
        let config = &self.config;
        let mut sinks = sink::Needs::default();
        config.sink.iter().for_each(|sink| sink.add_needs(&mut sinks));
        let mut reads: Vec<PathBuf> = arguments.config.iter().map(|path| home(path)).collect();
        let mut runs = Vec::new();
        for way in config.source.log.iter().filter_map(|log| log.way().ok()) {
            match way {
                // A log is followed through its rotated files, which lie beside it.
                Way::File(path) => reads.push(home(&path)),
                Way::Journal(settings) => {
                    reads.extend(JOURNALS.iter().map(PathBuf::from).chain(settings.directory));
                    runs.push(PathBuf::from("journalctl"));
                }
                Way::Stdin | Way::Listen(_) => {}
            }
        }
        let web = &config.web;
        reads.extend(web.password_file.iter().chain(&web.token_file).map(|path| home(path)));
        reads.extend(sinks.reads.iter().map(|path| home(path)));
        let about = |capture: &CaptureConfig| PathBuf::from(format!("/sys/class/net/{}", capture.interface));
        reads.extend(config.source.capture.iter().map(about));
        let mut writes = vec![directory.to_owned()];
        writes.extend(sinks.writes);
        let user = config.sandbox.user.clone();
        let empties = vec![std::env::temp_dir()];
        runs.extend(sinks.runs);
        Needs { reads, writes, empties, ports: sinks.ports, runs, user, plays: false }
    }
}

/// Where journald keeps the journal, and what says whose machine's it is.
const JOURNALS: &[&str] = &["/var/log/journal", "/run/log/journal", "/etc/machine-id"];

/// The directory of a file, since a file that is written anew is another file; the file alone where its directory
/// belongs to everybody.
fn home(path: &Path) -> PathBuf {
    const EVERYBODYS: &[&str] = &["/", "/etc", "/root", "/home", "/tmp", "/var", "/var/tmp", "/usr", "/run"];
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) if !EVERYBODYS.iter().any(|known| parent == Path::new(known)) => parent.to_owned(),
        _ => path.to_owned(),
    }
}

/// Where Linux distributions let mail servers log. Read only where nothing at all was configured.
const USUAL_LOGS: &[&str] = &["/var/log/mail.log", "/var/log/maillog", "/var/log/exim4/mainlog"];

/// Follows the machine's own mail log, where there is one that may be read.
fn usual_log(config: &mut Config) -> Option<String> {
    let path = USUAL_LOGS.iter().map(PathBuf::from).find(|path| std::fs::File::open(path).is_ok())?;
    let says = format!("no source named: following the mail log of this machine, {}", path.display());
    config.source.log.push(LogConfig::of_path(path));
    Some(says)
}

/// A source that is named twice would count everything twice.
fn each_once(config: &Config) -> Result<(), Failure> {
    let mut names: Vec<String> = config.source.capture.iter().map(|c| c.interface.clone()).collect();
    names.extend(config.source.log.iter().map(LogConfig::name));
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Failure::usage(format!("source {} is named twice: name it once", pair[0]))),
        None => Ok(()),
    }
}
