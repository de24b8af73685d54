//! Baselines as a JSON document: to look at, to keep, to move to another machine of the same install.
//!
//! *In*: an open store. *Out*: [`Baselines`]. *Spec*: docs/architecture.md, state.
//!
//! The states themselves are opaque: base64 of the engine's form [`STATE_FORM`]. What they remember is keyed by
//! the install's key, which is a secret and is not exported; so a document is only taken back beside that key.

use super::{STATE_FORM, Store, StoreError, put_meta, tables};
use crate::alert::SenderName;
use crate::engine::Engine;
use crate::engine::sender::{SenderId, SenderKey};
use crate::mail::Untrusted;
use crate::observation::Vantage;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::{Connection, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

/// Version of the document.
const DOCUMENT_VERSION: u32 = 1;

/// Everything that was learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baselines {
    /// Always `portreeve-baselines`.
    pub format: String,
    /// Version of this document.
    pub version: u32,
    /// Form of the states.
    pub state_form: i64,
    /// Tells installs apart: 16 hexadecimal digits derived from the install's key.
    pub install: String,
    /// What the company's roads remember: base64.
    pub shared: Option<String>,
    /// One entry a sender and road, in a stable order.
    pub senders: Vec<SenderBaseline>,
}

/// What was learned about one sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SenderBaseline {
    /// `wire` or `log`.
    pub vantage: Vantage,
    /// `address`, `account`, `block` or `host`.
    pub kind: String,
    /// Its name, for people. Where it holds bytes that cannot be printed, `key` says exactly who it is.
    pub name: String,
    /// Who it is: base64.
    pub key: String,
    /// What was learned: base64.
    pub state: String,
}

impl Store {
    /// Exports everything that is committed.
    pub fn export(&self) -> Result<Baselines, StoreError> {
        let senders = self.export_senders().map_err(StoreError::database(&self.path))?;
        Ok(Baselines {
            format: "portreeve-baselines".into(),
            version: DOCUMENT_VERSION,
            state_form: STATE_FORM,
            install: self.install(),
            shared: self.meta("shared")?.map(|shared| STANDARD.encode(shared)),
            senders,
        })
    }

    fn export_senders(&self) -> rusqlite::Result<Vec<SenderBaseline>> {
        let mut statement = self.connection.prepare("SELECT key, state FROM sender ORDER BY key")?;
        let mut rows = statement.query([])?;
        let mut senders = Vec::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_blob()?;
            let state = tables::unsealed(&self.key, name, row.get_ref(1)?.as_blob()?);
            let (Ok(key), Some(state)) = (postcard::from_bytes::<SenderKey>(name), state) else { continue };
            let printed = SenderName::of(&key.id);
            senders.push(SenderBaseline {
                vantage: key.vantage,
                kind: printed.kind,
                name: printed.name,
                key: STANDARD.encode(name),
                state: STANDARD.encode(state),
            });
        }
        Ok(senders)
    }

    /// Replaces everything that was learned by a document. Nothing changes where it does not fit. The engine
    /// given is filled as by [`Store::load`] and must be new.
    pub fn import(&mut self, baselines: &Baselines, engine: &mut Engine) -> Result<(), StoreError> {
        let refuse = |text: String| Err(StoreError::Import(text));
        if baselines.format != "portreeve-baselines" || baselines.version != DOCUMENT_VERSION {
            return refuse(format!(
                "this is not a baselines document of version {DOCUMENT_VERSION}: it says {:?} version {}",
                baselines.format, baselines.version
            ));
        }
        if baselines.state_form != STATE_FORM {
            return refuse(format!(
                "the baselines have form {}, this version reads form {STATE_FORM}: export them again with the same version",
                baselines.state_form
            ));
        }
        if baselines.install != self.install() {
            return refuse(
                "the baselines come from another install: copy its install.key (a secret) into the state directory first".into(),
            );
        }
        let bad = || StoreError::Import("the baselines document is damaged".into());
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| bad());
        let shared = baselines.shared.as_deref().map(decode).transpose()?;
        let mut senders = Vec::with_capacity(baselines.senders.len());
        for sender in &baselines.senders {
            let (name, state) = (decode(&sender.key)?, decode(&sender.state)?);
            let key: SenderKey = postcard::from_bytes(&name).map_err(|_| bad())?;
            if !engine.import_sender(key, &state) {
                return Err(bad());
            }
            senders.push((name, state));
        }
        if let Some(shared) = &shared
            && !engine.import_shared(shared)
        {
            return Err(bad());
        }
        self.replace(shared, senders).map_err(StoreError::database(&self.path))?;
        self.shared_on_disk = None;
        Ok(())
    }

    fn replace(&mut self, shared: Option<Vec<u8>>, senders: Vec<(Vec<u8>, Vec<u8>)>) -> rusqlite::Result<()> {
        let key = self.key;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute("DELETE FROM sender", [])?;
        transaction.execute("DELETE FROM meta WHERE name = 'shared'", [])?;
        for (name, state) in senders {
            let state = tables::sealed(&key, &name, state);
            transaction
                .prepare_cached("INSERT INTO sender (key, state) VALUES (?1, ?2)")?
                .execute(params![name, state])?;
        }
        if let Some(shared) = shared {
            put_meta(&transaction, &key, "shared", shared)?;
            put_meta(&transaction, &key, "state_form", STATE_FORM.to_string().into_bytes())?;
        }
        super::summary::rebuild(&transaction, &key)?;
        transaction.commit()
    }

    /// Forgets what was learned about one sender, on both roads. Returns whether there was something.
    pub fn forget(&mut self, id: &SenderId) -> Result<bool, StoreError> {
        let rows = delete_sender(&self.connection, id).map_err(StoreError::database(&self.path))?;
        Ok(rows > 0)
    }

    fn install(&self) -> String {
        format!("{:016x}", self.key.digest(&[b"install"]))
    }
}

/// Deletes what was learned about a sender on both roads; gives how many rows.
pub(super) fn delete_sender(connection: &Connection, id: &SenderId) -> rusqlite::Result<usize> {
    let mut rows = 0;
    for vantage in [Vantage::Wire, Vantage::Log] {
        let name = postcard::to_allocvec(&SenderKey { vantage, id: id.clone() }).unwrap_or_default();
        rows += connection.prepare_cached("DELETE FROM sender WHERE key = ?1")?.execute([name])?;
    }
    Ok(rows)
}

/// The sender of a name as people write it: an address, a prefix, or else an account; `host:NAME` for a mail
/// server known by its name only.
pub fn sender_named(text: &str) -> SenderId {
    let lower = |text: &str| Untrusted::from(text.to_ascii_lowercase().as_str());
    if let Ok(address) = text.parse() {
        return SenderId::Address(address);
    }
    if let Ok(block) = text.parse() {
        return SenderId::Block(block);
    }
    match text.strip_prefix("host:") {
        Some(host) => SenderId::Host(lower(host)),
        None => SenderId::Account(lower(text)),
    }
}

/// The sender of an alert, by kind and name; `None` for the sensor itself.
pub fn sender_of(kind: &str, name: &str) -> Option<SenderId> {
    let lower = || Untrusted::from(name.to_ascii_lowercase().as_str());
    match kind {
        "address" => name.parse().ok().map(SenderId::Address),
        "block" => name.parse().ok().map(SenderId::Block),
        "account" => Some(SenderId::Account(lower())),
        "host" => Some(SenderId::Host(lower())),
        _ => None,
    }
}
