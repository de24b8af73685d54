//! Mail to people, through a mail server that takes it.
//!
//! *In*: letters. *Out*: one message each, by SMTP. *Bound*: a time limit for each step, [`LINE_BYTES_MAX`] for
//! what the server says. *Spec*: RFC 5321, RFC 3207 (STARTTLS), RFC 4954 (AUTH PLAIN), RFC 8314 (implicit TLS),
//! RFC 5322, RFC 2045, RFC 2047 for the message. Its Message-ID is made of the alert's id, so that a mail that
//! comes twice can be told as one.

use super::dial::{Guard, Tls, TlsSettings, connect};
use super::secret::Secret;
use super::{
    Common, Deliver, Fate, Letter, Opened, Sending, SinkConfig, escaped_start, host_and_port, time_limit,
};
use crate::alert::{Alert, Format, event_at};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Longest reply line that is read, bytes (RFC 5321 section 4.5.3.1.5 allows 512).
const LINE_BYTES_MAX: u64 = 2_048;
/// Most lines of one reply.
const REPLY_LINES_MAX: usize = 100;

/// How the connection to the mail server is kept secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// STARTTLS, and nothing is sent where the server has none.
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Implicit,
    /// None: for a mail server on this machine.
    None,
}

/// Settings of mail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The mail server, `host:port`. Default port: 587; for implicit TLS 465.
    pub server: String,
    /// `starttls`, `implicit` or `none`. Default: starttls.
    #[serde(default)]
    pub security: Security,
    /// Envelope sender and From.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
    /// User name, where the server asks for one.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Environment variable with the same.
    pub password_env: Option<String>,
    /// Name given in EHLO. Default: `localhost`.
    pub helo: Option<String>,
    /// Name under which the store remembers how far this sink has come. Default: type and target.
    pub name: Option<String>,
    /// Form of the alert, see docs/alerts.md. Default: text.
    pub format: Option<String>,
    /// Leaves out what is less severe: `low`, `medium`, `high` or `critical`. Default: everything.
    pub severity_min: Option<String>,
    /// Seconds until an attempt is given up. Default: 10.
    pub timeout_seconds: Option<f64>,
    /// Networks that this sink may connect to beside public addresses. Default: private networks
    /// and this machine; never link-local addresses.
    #[schemars(with = "Option<Vec<String>>")]
    pub allow_networks: Option<super::AllowNetworks>,
    /// Certificates.
    #[serde(default)]
    pub tls: TlsSettings,
}

struct Mailer {
    host: String,
    port: u16,
    security: Security,
    tls: Option<Tls>,
    guard: Guard,
    limit: Duration,
    from: String,
    to: Vec<String>,
    helo: String,
    login: Option<(String, Secret)>,
    format: &'static Format,
}

/// Opens a sink of this kind.
pub fn open(config: &SinkConfig) -> Option<Result<Opened, String>> {
    let SinkConfig::Mail(settings) = config else { return None };
    Some(Common::read(config, "text").and_then(|common| open_mail(settings, common)))
}

fn open_mail(settings: &Settings, common: Common) -> Result<Opened, String> {
    let usual_port = if settings.security == Security::Implicit { 465 } else { 587 };
    let (host, port) = host_and_port(&settings.server, usual_port)?;
    let password =
        Secret::read("password", settings.password_file.as_deref(), settings.password_env.as_deref())?;
    let login = match (&settings.username, password) {
        (Some(user), Some(password)) => Some((user.clone(), password)),
        (None, None) => None,
        _ => return Err("give username and password together".into()),
    };
    if login.is_some() && settings.security == Security::None {
        return Err("a password is not sent in clear: use security = \"starttls\" or \"implicit\"".into());
    }
    if settings.to.is_empty() {
        return Err("to must name somebody".into());
    }
    for address in settings.to.iter().chain([&settings.from]) {
        check_address(address)?;
    }
    let helo = settings.helo.clone().unwrap_or_else(|| "localhost".into());
    if !helo.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.[]:".contains(&b)) || helo.is_empty() {
        return Err(format!("helo {helo:?} is no host name"));
    }
    let mailer = Mailer {
        tls: match settings.security {
            Security::None => None,
            _ => Some(Tls::new(&settings.tls, &host)?),
        },
        host,
        port,
        security: settings.security,
        guard: Guard::or_private(settings.allow_networks.as_deref()),
        limit: time_limit(settings.timeout_seconds)?,
        from: settings.from.clone(),
        to: settings.to.clone(),
        helo,
        login,
        format: common.format,
    };
    Ok(common.opened(format!("mail {} {}", settings.server, settings.to.join(",")), mailer))
}

/// A plain mailbox, `local@domain`, in ASCII and without anything that could end a command.
fn check_address(address: &str) -> Result<(), String> {
    let fits = address.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty()
            && !domain.is_empty()
            && address.bytes().all(|b| b.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&b))
            && !domain.contains('@')
    });
    if fits { Ok(()) } else { Err(format!("{address:?} is not a plain mail address")) }
}

impl Deliver for Mailer {
    fn batch_max(&self) -> usize {
        20
    }

    fn send<'a>(&'a mut self, letters: &'a [Letter], _: &'a mut String) -> Sending<'a> {
        Box::pin(async move {
            match self.session(letters).await {
                Ok(fates) => fates,
                Err(Trouble::Io(reason)) => vec![Fate::unreachable(reason)],
                Err(Trouble::Reply(reply)) => vec![Fate::unreachable(reply.text)],
            }
        })
    }
}

/// Why a session ended early.
enum Trouble {
    Io(String),
    Reply(Reply),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Io(error.to_string())
    }
}

struct Reply {
    code: u16,
    text: String,
    lines: Vec<String>,
}

/// A stream whose kind is decided while running.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Dialogue<S> {
    stream: BufReader<S>,
    limit: Duration,
}

impl Mailer {
    async fn session(&self, letters: &[Letter]) -> Result<Vec<Fate>, Trouble> {
        let text =
            |error: super::dial::DialError| Trouble::Io(format!("{}:{}: {error}", self.host, self.port));
        let limit = self.limit;
        let stream = connect(&self.host, self.port, &self.guard, limit).await.map_err(text)?;
        let stream: Box<dyn Stream> = match (&self.tls, self.security) {
            (Some(tls), Security::Implicit) => Box::new(tls.wrap(stream, limit).await.map_err(text)?),
            (Some(tls), Security::Starttls) => {
                let mut clear = Dialogue { stream: BufReader::new(stream), limit };
                clear.expect(220).await?;
                clear.command(&format!("EHLO {}", self.helo), 250).await?;
                clear.command("STARTTLS", 220).await?;
                if !clear.stream.buffer().is_empty() {
                    return Err(Trouble::Io("the server sent something between STARTTLS and TLS".into()));
                }
                Box::new(tls.wrap(clear.stream.into_inner(), limit).await.map_err(text)?)
            }
            _ => Box::new(stream),
        };
        let mut dialogue = Dialogue { stream: BufReader::new(stream), limit };
        if self.security != Security::Starttls {
            dialogue.expect(220).await?;
        }
        let hello = dialogue.command(&format!("EHLO {}", self.helo), 250).await?;
        if let Some((user, password)) = &self.login {
            if !hello
                .lines
                .iter()
                .any(|line| line.to_ascii_uppercase().starts_with("AUTH ") && line.contains("PLAIN"))
            {
                return Err(Trouble::Io("the server does not offer AUTH PLAIN".into()));
            }
            let response = STANDARD.encode(format!("\0{user}\0{}", password.expose()));
            dialogue.command(&format!("AUTH PLAIN {response}"), 235).await?;
        }
        let mut fates = Vec::new();
        for letter in letters {
            let fate = match dialogue.message(self, &letter.alert).await {
                Ok(()) => Fate::Delivered,
                Err(Trouble::Reply(reply)) => {
                    Fate::Later { refused: reply.code >= 500, reason: reply.text, after: None }
                }
                Err(Trouble::Io(reason)) => Fate::unreachable(reason),
            };
            let stop = matches!(fate, Fate::Later { .. });
            fates.push(fate);
            if stop {
                break;
            }
        }
        let _ = dialogue.command("QUIT", 221).await;
        Ok(fates)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    async fn message(&mut self, mailer: &Mailer, alert: &Alert) -> Result<(), Trouble> {
        self.command(&format!("MAIL FROM:<{}>", mailer.from), 250).await?;
        for address in &mailer.to {
            self.command(&format!("RCPT TO:<{address}>"), 250).await?;
        }
        self.command("DATA", 354).await?;
        let message = compose(mailer, alert);
        let end = format!("{message}.\r\n");
        self.write(end.as_bytes()).await?;
        self.expect(250).await.map(drop)
    }

    /// Sends a line and waits for its reply. The line is not in any error: it may be a password.
    async fn command(&mut self, line: &str, code: u16) -> Result<Reply, Trouble> {
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.expect(code).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        tokio::time::timeout(self.limit, write).await.map_err(|_| late())??;
        Ok(())
    }

    async fn expect(&mut self, code: u16) -> Result<Reply, Trouble> {
        let reply = tokio::time::timeout(self.limit, self.reply()).await.map_err(|_| late())??;
        // 251: the server forwards the mail; it took it (RFC 5321 section 3.4).
        if reply.code == code || (code == 250 && reply.code == 251) {
            Ok(reply)
        } else {
            Err(Trouble::Reply(reply))
        }
    }

    async fn reply(&mut self) -> Result<Reply, Trouble> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            (&mut self.stream).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await?;
            let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit));
            let code = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            let Some(code) = code else {
                let what = if line.is_empty() { "it hung up".into() } else { escaped_start(&line) };
                return Err(Trouble::Io(format!("not an SMTP reply: {what}")));
            };
            lines.push(escaped_start(line.get(4..).unwrap_or_default()));
            if line.get(3) != Some(&b'-') {
                let text = format!("{code} {}", lines.last().map(String::as_str).unwrap_or_default());
                return Ok(Reply { code, text, lines });
            }
            if lines.len() > REPLY_LINES_MAX {
                return Err(Trouble::Io("the server's reply has no end".into()));
            }
        }
    }
}

fn late() -> Trouble {
    Trouble::Io("no answer in time".into())
}

/// The message, in lines that end in CR LF and of which none begins with a dot: the body is base64.
fn compose(mailer: &Mailer, alert: &Alert) -> String {
    let body = (mailer.format.encode)(alert);
    let domain = mailer.from.rsplit('@').next().unwrap_or("localhost");
    let change = crate::alert::change_name(alert);
    let subject =
        format!("[portreeve] {} {change}: {}", alert.severity.name.to_uppercase(), alert.sender.name);
    let date = event_at(alert).and_then(|at| jiff::Timestamp::from_microsecond(at.as_micros()).ok());
    let date =
        date.map_or(String::new(), |at| format!("Date: {}\r\n", at.strftime("%a, %d %b %Y %H:%M:%S +0000")));
    let mut out = format!(
        "From: portreeve <{}>\r\nTo: {}\r\nSubject: {}\r\n{date}Message-ID: <{}.portreeve@{domain}>\r\n",
        mailer.from,
        mailer.to.join(",\r\n "),
        encoded_words(&subject),
        alert.id
    );
    if alert.incident.sequence > 0 {
        // One incident is one thread: its opening has sequence 0.
        out.push_str(&format!("In-Reply-To: <{}-0.portreeve@{domain}>\r\n", alert.incident.id));
    }
    out.push_str("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
    out.push_str(&format!("Content-Type: {}; charset=utf-8\r\n", mailer.format.media_type));
    out.push_str("Content-Transfer-Encoding: base64\r\n\r\n");
    let encoded = STANDARD.encode(body);
    for line in encoded.as_bytes().chunks(76) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push_str("\r\n");
    }
    out
}

/// RFC 2047 encoded words, each at most 75 characters, folded.
fn encoded_words(text: &str) -> String {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        // 45 bytes are 60 characters in base64; with `=?UTF-8?B?` and `?=` that is 72.
        if word.len() + c.len_utf8() > 45 {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    let words: Vec<String> =
        words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect();
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_folded_into_short_words() {
        let folded = encoded_words(&"é".repeat(60));
        assert!(folded.split("\r\n ").all(|word| word.len() <= 75));
        let text: String = folded
            .split("\r\n ")
            .map(|word| word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap())
            .map(|word| String::from_utf8(STANDARD.decode(word).unwrap()).unwrap())
            .collect();
        assert_eq!(text, "é".repeat(60));
    }

    #[test]
    fn addresses_that_could_say_more_are_refused() {
        assert!(check_address("soc@example.org").is_ok());
        for bad in ["", "soc", "@x", "a@", "a@b@c", "a b@c", "a@b\r\nRCPT TO:<x@y>", "<a@b>", "a@b,c@d"] {
            assert!(check_address(bad).is_err(), "{bad:?}");
        }
    }
}
