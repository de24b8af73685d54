//! How receivers speak: one row for each make of server.
//!
//! *Out*: [`STYLES`]. A reply is written as its lines without line ends, `|` between the lines of one
//! reply, with `{host}`, `{client}`, `{ip}`, `{rcpt}` and `{id}` to be filled in. *Spec*: RFC 5321 section
//! 4.2, RFC 3463; forms as real servers print them.

/// One make of server.
pub(super) struct Style {
    /// Its name, for the truth file and for debugging.
    pub(super) name: &'static str,
    /// Greeting after the connection is made.
    pub(super) banner: &'static str,
    /// Answer to EHLO; `250-STARTTLS` and `250-PIPELINING` are put in where the server offers them.
    pub(super) ehlo: &'static str,
    /// Answer to HELO.
    pub(super) helo: &'static str,
    /// MAIL taken.
    pub(super) mail_ok: &'static str,
    /// RCPT taken.
    pub(super) rcpt_ok: &'static str,
    /// DATA: go ahead.
    pub(super) go_ahead: &'static str,
    /// Message taken.
    pub(super) queued: &'static str,
    /// Good bye.
    pub(super) bye: &'static str,
    /// No such mailbox.
    pub(super) unknown: &'static str,
    /// Our address is on a list.
    pub(super) listed: &'static str,
    /// The content is taken for spam.
    pub(super) content: &'static str,
    /// Come back later: greylisting.
    pub(super) greylisted: &'static str,
    /// Come back later: load or limits.
    pub(super) busy: &'static str,
    /// Mailbox full.
    pub(super) full: &'static str,
    /// DATA without a recipient that was taken.
    pub(super) no_recipients: &'static str,
}

/// All makes.
pub(super) const STYLES: &[Style] = &[
    Style {
        name: "postfix",
        banner: "220 {host} ESMTP Postfix",
        ehlo: "250-{host}|250-SIZE 52428800|250-ENHANCEDSTATUSCODES|250-8BITMIME|250 DSN",
        helo: "250 {host}",
        mail_ok: "250 2.1.0 Ok",
        rcpt_ok: "250 2.1.5 Ok",
        go_ahead: "354 End data with <CR><LF>.<CR><LF>",
        queued: "250 2.0.0 Ok: queued as {id}",
        bye: "221 2.0.0 Bye",
        unknown: "550 5.1.1 <{rcpt}>: Recipient address rejected: User unknown in virtual mailbox table",
        listed: "554 5.7.1 Service unavailable; Client host [{ip}] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/{ip}",
        content: "550 5.7.1 Message content rejected, id={id}",
        greylisted: "450 4.2.0 <{rcpt}>: Recipient address rejected: Greylisted, see the postmaster page for help",
        busy: "451 4.3.0 <{rcpt}>: Temporary lookup failure",
        full: "552 5.2.2 <{rcpt}>: mailbox is full",
        no_recipients: "554 5.5.1 Error: no valid recipients",
    },
    Style {
        name: "exim",
        banner: "220 {host} ESMTP Exim 4.96 ready",
        ehlo: "250-{host} Hello {client} [{ip}]|250-SIZE 52428800|250-8BITMIME|250 HELP",
        helo: "250 {host} Hello {client} [{ip}]",
        mail_ok: "250 OK",
        rcpt_ok: "250 Accepted",
        go_ahead: "354 Enter message, ending with \".\" on a line by itself",
        queued: "250 OK id=1r{id}",
        bye: "221 {host} closing connection",
        unknown: "550 Unrouteable address",
        listed: "550-Your address {ip} is listed in bl.spamcop.net|550 see the list's web page for how to be removed",
        content: "550 This message scored 14.2 spam points.",
        greylisted: "451 Temporarily deferred, please try again in a few minutes",
        busy: "451 {host}: too many messages from {ip} at once",
        full: "452 Mailbox of <{rcpt}> is over quota",
        no_recipients: "503-All RCPT commands were rejected|503 valid RCPT command must precede DATA",
    },
    Style {
        name: "exchange",
        banner: "220 {host} Microsoft ESMTP MAIL Service ready",
        ehlo: "250-{host} Hello [{ip}]|250-SIZE 36700160|250-DSN|250-ENHANCEDSTATUSCODES|250-8BITMIME|250 CHUNKING",
        helo: "250 {host} Hello [{ip}]",
        mail_ok: "250 2.1.0 Sender OK",
        rcpt_ok: "250 2.1.5 Recipient OK",
        go_ahead: "354 Start mail input; end with <CRLF>.<CRLF>",
        queued: "250 2.6.0 <{id}@{host}> [InternalId={id}] Queued mail for delivery",
        bye: "221 2.0.0 Service closing transmission channel",
        unknown: "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient <{rcpt}> not found by SMTP address lookup",
        listed: "550 5.7.606 Access denied, banned sending IP [{ip}]. To request removal from this list use the delisting portal",
        content: "554 5.7.1 Message rejected due to content restrictions",
        greylisted: "451 4.7.500 Server busy. Please try again later from [{ip}]",
        busy: "452 4.3.1 Insufficient system resources",
        full: "550 5.2.2 STOREDRV.Deliver; mailbox of <{rcpt}> is full",
        no_recipients: "503 5.5.2 Need rcpt command",
    },
    Style {
        name: "webmail",
        banner: "220 {host} ESMTP {id} - gs",
        ehlo: "250-{host} at your service, [{ip}]|250-SIZE 157286400|250-8BITMIME|250-ENHANCEDSTATUSCODES|250 SMTPUTF8",
        helo: "250 {host} at your service",
        mail_ok: "250 2.1.0 OK {id} - gs",
        rcpt_ok: "250 2.1.5 OK {id} - gs",
        go_ahead: "354 Go ahead {id} - gs",
        queued: "250 2.0.0 OK  {id} - gs",
        bye: "221 2.0.0 closing connection {id} - gs",
        unknown: "550-5.1.1 The mail account that you wrote to does not exist. Please check|550-5.1.1 the recipient's address for typos or unnecessary spaces.|550 5.1.1 {id} - gs",
        listed: "550-5.7.1 [{ip}] An unusual rate of unsolicited mail comes from your IP|550-5.7.1 address. To protect our users, mail from your IP address|550 5.7.1 is blocked. {id} - gs",
        content: "550-5.7.1 This message is likely unsolicited mail. To reduce spam,|550 5.7.1 it was blocked. {id} - gs",
        greylisted: "450-4.7.0 [{ip}] Our system has detected an unusual rate of mail|450 4.7.0 from your IP address; try again later. {id} - gs",
        busy: "450-4.2.1 The user you are trying to contact is receiving mail at a rate that|450 4.2.1 prevents further messages. {id} - gs",
        full: "452 4.2.2 The recipient's inbox is out of storage space. {id} - gs",
        no_recipients: "503 5.5.1 RCPT first. {id} - gs",
    },
    Style {
        name: "sendmail",
        banner: "220 {host} ESMTP Sendmail 8.15.2/8.15.2; ready",
        ehlo: "250-{host} Hello {client} [{ip}], pleased to meet you|250-ENHANCEDSTATUSCODES|250-8BITMIME|250-SIZE|250-DSN|250 HELP",
        helo: "250 {host} Hello {client} [{ip}], pleased to meet you",
        mail_ok: "250 2.1.0 Sender ok",
        rcpt_ok: "250 2.1.5 <{rcpt}>... Recipient ok",
        go_ahead: "354 Enter mail, end with \".\" on a line by itself",
        queued: "250 2.0.0 {id} Message accepted for delivery",
        bye: "221 2.0.0 {host} closing connection",
        unknown: "550 5.1.1 <{rcpt}>... User unknown",
        listed: "554 5.7.1 Rejected: {ip} listed at b.barracudacentral.org",
        content: "554 5.7.1 Spam message rejected by the milter",
        greylisted: "451 4.7.1 Greylisting in action, please come back later",
        busy: "452 4.4.5 Insufficient disk space; try again later",
        full: "552 5.2.2 <{rcpt}>... Mailbox full",
        no_recipients: "503 5.0.0 Need RCPT (recipient)",
    },
    Style {
        name: "plain",
        banner: "220 {host} ESMTP",
        ehlo: "250-{host}|250 8BITMIME",
        helo: "250 {host}",
        mail_ok: "250 ok",
        rcpt_ok: "250 ok",
        go_ahead: "354 go ahead",
        queued: "250 ok {id} qp",
        bye: "221 {host}",
        unknown: "550 sorry, no mailbox here by that name",
        listed: "553 Mail from {ip} refused, your IP is on a blacklist",
        content: "554 mail server permanently rejected message, it looks like spam",
        greylisted: "451 greylisted, try again later",
        busy: "451 mail server temporarily rejected message",
        full: "552 mailbox quota exceeded",
        no_recipients: "503 RCPT first",
    },
];
