//! Files that browsers load beside the pages. They are part of the program; nothing comes from elsewhere.
//!
//! *In*: a name. *Out*: the file, kept by browsers for ever under a path that changes with its content.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::PreEscaped;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// The sign in the corner.
pub const MARK: PreEscaped<&str> = super::page::own(include_str!("assets/mark.svg"));

/// Name, media type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("assets/style.css")),
    ("script.js", "text/javascript; charset=utf-8", include_str!("assets/script.js")),
    ("mark.svg", "image/svg+xml", include_str!("assets/mark.svg")),
];

/// Changes with every change of any file.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    for (_, _, content) in FILES {
        digest.update(content.as_bytes());
    }
    digest.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect()
});

/// Where a file is.
pub fn path(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

/// Serves one.
pub async fn file(Path((version, name)): Path<(String, String)>) -> Response {
    match FILES.iter().find(|(known, _, _)| *known == name && version == *VERSION) {
        Some((_, kind, content)) => (
            [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "max-age=31536000, immutable")],
            *content,
        )
            .into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
