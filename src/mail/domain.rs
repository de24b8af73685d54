//! Domains: the registrable part by the public suffix list.

/// The registrable domain (`mail.example.co.uk` → `example.co.uk`) in lower case, or the name itself
/// where the list knows no suffix for it (internal names, address literals).
pub fn registrable_domain(name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase();
    match psl::domain(&name) {
        Some(domain) if domain.suffix().is_known() => domain.as_bytes().to_vec(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrable_part() {
        assert_eq!(registrable_domain(b"Mail.Example.CO.uk."), b"example.co.uk");
        assert_eq!(registrable_domain(b"host.internal"), b"host.internal");
        assert_eq!(registrable_domain(b"[192.0.2.1]"), b"[192.0.2.1]");
    }
}
