//! What was attached to a message.
//!
//! *In*: a decoded part. *Out*: [`Attachment`]. *Bound*: the part, which is part of a bounded excerpt.
//! *Spec*: RFC 2183; file signatures (by infer), APPNOTE 4.4.4 for ZIP, the RAR 5 and 7z formats for
//! encryption, MS-OVBA for macros.

use crate::limits;
use crate::mail::Untrusted;
use crate::observation::Attachment;
use mail_parser::{MessagePart, MimeHeaders};
use memchr::memmem::find;
use sha2::{Digest, Sha256};

/// Names that Windows runs, mounts or hands to a script host when they are opened.
const EXECUTABLE_ENDINGS: &[&str] = &[
    "exe",
    "scr",
    "com",
    "pif",
    "cpl",
    "dll",
    "bat",
    "cmd",
    "ps1",
    "vbs",
    "vbe",
    "js",
    "jse",
    "wsf",
    "wsh",
    "hta",
    "msi",
    "msp",
    "lnk",
    "url",
    "reg",
    "chm",
    "jar",
    "iso",
    "img",
    "vhd",
    "vhdx",
    "application",
    "appx",
    "msix",
    "xll",
    "docm",
    "dotm",
    "xlsm",
    "xltm",
    "xlam",
    "pptm",
    "potm",
    "ppam",
    "one",
    "library-ms",
    "search-ms",
];

/// The facts of a part; `whole` says that nothing of it is missing.
pub fn of(part: &MessagePart<'_>, whole: bool) -> Attachment {
    let bytes = part.contents();
    let name = part.attachment_name().filter(|name| !name.is_empty());
    Attachment {
        name: name.map(|name| Untrusted::bounded(name.as_bytes(), limits::HEADER_BYTES_MAX)),
        mime_type: Untrusted::bounded(mime_type(part, bytes).as_bytes(), limits::HEADER_BYTES_MAX),
        size_bytes: bytes.len() as u64,
        sha256: whole.then(|| Sha256::digest(bytes).into()),
        executable: name.is_some_and(runs_by_name) || runs(bytes),
        encrypted: is_encrypted(bytes),
    }
}

fn mime_type(part: &MessagePart<'_>, bytes: &[u8]) -> String {
    if let Some(kind) = infer::get(bytes) {
        return kind.mime_type().to_owned();
    }
    let declared = part.content_type().map(|kind| match kind.subtype() {
        Some(subtype) => format!("{}/{subtype}", kind.ctype()),
        None => kind.ctype().to_owned(),
    });
    declared.unwrap_or_else(|| "application/octet-stream".to_owned()).to_ascii_lowercase()
}

fn runs_by_name(name: &str) -> bool {
    let name = name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    EXECUTABLE_ENDINGS.contains(&ending)
}

/// Programs, scripts, disk images, and office files with macros.
fn runs(bytes: &[u8]) -> bool {
    const PROGRAMS: &[&[u8]] =
        &[b"MZ", b"\x7fELF", b"\xfe\xed\xfa\xce", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!"];
    /// Header of a Windows shortcut, and its class (MS-SHLLINK 2.1).
    const SHORTCUT: &[u8] = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46";
    const DISK_IMAGE: (usize, &[u8]) = (0x8001, b"CD001");
    const COMPOUND_FILE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
    /// `_VBA_PROJECT` as a compound file names its streams.
    const MACROS: &[u8] = b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0";
    PROGRAMS.iter().any(|start| bytes.starts_with(start))
        || bytes.starts_with(SHORTCUT)
        || bytes.get(DISK_IMAGE.0..).is_some_and(|at| at.starts_with(DISK_IMAGE.1))
        || (bytes.starts_with(COMPOUND_FILE) && find(bytes, MACROS).is_some())
        || (bytes.starts_with(b"PK\x03\x04") && find(bytes, b"vbaProject.bin").is_some())
}

/// Archives that ask for a password.
fn is_encrypted(bytes: &[u8]) -> bool {
    if bytes.starts_with(b"PK\x03\x04") {
        // General purpose bit 0 of any local file header.
        return memchr::memmem::find_iter(bytes, b"PK\x03\x04")
            .any(|at| bytes.get(at + 6).is_some_and(|flags| flags & 1 == 1));
    }
    if bytes.starts_with(b"Rar!\x1a\x07\x01\x00") {
        // Block type 4 at the front, or an encryption record (type 1) in a file's extra area, cannot be
        // told apart without walking the blocks: the first block's type is enough for locked headers.
        return rar5_header_type(bytes) == Some(4);
    }
    if bytes.starts_with(b"Rar!\x1a\x07\x00") {
        // RAR 4: flag 0x0080 of the archive header for locked names, 0x0004 of a file header for data.
        let archive = bytes.get(10).is_some_and(|low| low & 0x80 != 0);
        return archive
            || bytes.get(22).zip(bytes.get(23)).is_some_and(|(kind, low)| *kind == 0x74 && low & 4 != 0);
    }
    // 7z: the identifier of AES-256 with SHA-256 as a coder.
    bytes.starts_with(b"7z\xbc\xaf\x27\x1c") && find(bytes, b"\x06\xf1\x07\x01").is_some()
}

/// RAR 5: after the signature a CRC of four octets, the header's size and its type as variable-length numbers.
fn rar5_header_type(bytes: &[u8]) -> Option<u8> {
    let after_crc = bytes.get(12..)?;
    let size_bytes = after_crc.iter().take(3).position(|byte| byte & 0x80 == 0)? + 1;
    after_crc.get(size_bytes).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::MessageParser;

    fn attached(name: &str, bytes: &[u8]) -> Attachment {
        let message = [
            format!(
                "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n\
                 --b\r\nContent-Type: application/x-thing; name=\"{name}\"\r\n\
                 Content-Transfer-Encoding: binary\r\nContent-Disposition: attachment\r\n\r\n"
            )
            .as_bytes(),
            bytes,
            b"\r\n--b--\r\n",
        ]
        .concat();
        let message = MessageParser::default().parse(&message).unwrap();
        of(message.attachments().next().unwrap(), true)
    }

    #[test]
    fn kinds_of_attachments() {
        let zip = |flags: u8| [b"PK\x03\x04\x14\0", &[flags, 0][..], &[0; 22]].concat();
        let macros =
            [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", &[0; 8][..], b"_\0V\0B\0A\0_\0P\0R\0O\0J\0E\0C\0T\0"]
                .concat();
        for (name, bytes, executable, encrypted) in [
            ("invoice.pdf", &b"%PDF-1.7"[..], false, false),
            ("invoice.pdf.exe", b"text", true, false),
            ("invoice.pdf", b"MZ\x90\0", true, false),
            ("run.txt", b"#!/bin/sh", true, false),
            ("a.zip", &zip(0), false, false),
            ("a.zip", &zip(1), false, true),
            ("a.doc", &macros, true, false),
            ("a.rar", b"Rar!\x1a\x07\x01\x00CCCC\x21\x04xxxx", false, true),
            ("a.rar", b"Rar!\x1a\x07\x01\x00CCCC\x21\x01xxxx", false, false),
            ("a.7z", b"7z\xbc\xaf\x27\x1c....\x06\xf1\x07\x01", false, true),
        ] {
            let seen = attached(name, bytes);
            assert_eq!((seen.executable, seen.encrypted), (executable, encrypted), "{name} {bytes:?}");
            assert_eq!(seen.name, Some(name.into()));
            assert_eq!(seen.size_bytes, bytes.len() as u64);
        }
        assert_eq!(attached("x", b"%PDF-1.7").mime_type.as_bytes(), b"application/pdf");
        assert_eq!(attached("x", b"plain").mime_type.as_bytes(), b"application/x-thing");
    }
}
