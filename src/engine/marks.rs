//! What is novel, refused or foreign about one delivery. `None` where it cannot be seen.

/// Verdict classes of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerdictClass {
    /// Accepted.
    Accepted = 0,
    /// No such recipient.
    NoSuchRecipient = 1,
    /// Refused by blocklist or policy.
    Policy = 2,
    /// Deferred.
    Deferred = 3,
}

/// Reverse-path classes of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePathClass {
    /// A domain of ours, or one this sender is known to use.
    Own = 0,
    /// A domain never used here.
    Unknown = 1,
    /// Null.
    Null = 2,
}

/// The marks of one delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Marks {
    /// Recipient (under TLS: destination) never written to before.
    pub novel: Option<bool>,
    /// What the receiver said.
    pub verdict: Option<VerdictClass>,
    /// Whose reverse-path it bears.
    pub reverse_path: Option<ReversePathClass>,
    /// Whether it comes from a machine or network never seen for this sender.
    pub foreign: Option<bool>,
}
