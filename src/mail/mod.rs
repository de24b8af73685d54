//! Nouns of mail, without state: text a sender wrote, paths, replies, verdicts, domains.

pub mod domain;
pub mod path;
pub mod redact;
pub mod reply;
pub mod text;

pub use domain::registrable_domain;
pub use path::{Mailbox, ReversePath};
pub use redact::{redact_reply, redact_reverse_path};
pub use reply::{EnhancedStatus, Reply, Verdict};
pub use text::Untrusted;
