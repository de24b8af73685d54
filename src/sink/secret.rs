//! Secrets of sinks: read from a file or the environment, printed nowhere.
//!
//! *In*: a file's path or a variable's name. *Out*: [`Secret`], which has no `Display`, no `Serialize`, and a
//! `Debug` that hides it. They are never written to the store, to logs or to another process's arguments.

use std::path::Path;
use zeroize::Zeroizing;

/// Longest secret read, bytes: a file given by mistake must not be swallowed whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Something that must not be shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Reads `NAME_file` or `NAME_env` of a sink; `None` where neither is set.
    pub fn read(name: &str, file: Option<&Path>, variable: Option<&str>) -> Result<Option<Secret>, String> {
        let text = match (file, variable) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(format!("give {name}_file or {name}_env, not both"));
            }
            (Some(path), None) => {
                let size = std::fs::metadata(path).map(|metadata| metadata.len());
                if size.is_ok_and(|bytes| bytes > SECRET_BYTES_MAX) {
                    return Err(format!("{name}_file {}: this is too large for a secret", path.display()));
                }
                std::fs::read_to_string(path)
                    .map_err(|error| format!("{name}_file {}: {error}", path.display()))?
            }
            (None, Some(variable)) => std::env::var(variable)
                .map_err(|_| format!("{name}_env: the variable {variable} is not set, or not UTF-8"))?,
        };
        let text = Zeroizing::new(text);
        let trimmed = text.trim_end_matches(['\r', '\n']);
        if trimmed.is_empty() || trimmed.contains(['\r', '\n', '\0']) {
            return Err(format!("{name}: the secret must be one line of text"));
        }
        Ok(Some(Secret(Zeroizing::new(trimmed.to_owned()))))
    }

    /// As [`Secret::read`], for one that must be there.
    pub fn required(name: &str, file: Option<&Path>, variable: Option<&str>) -> Result<Secret, String> {
        Secret::read(name, file, variable)?.ok_or_else(|| format!("{name}_file or {name}_env must be given"))
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_and_shows_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "canary-1234\r\n").unwrap();
        let secret = Secret::required("token", Some(file.path()), None).unwrap();
        assert_eq!(secret.expose(), "canary-1234");
        assert!(!format!("{secret:?}").contains("canary"));
        std::fs::write(file.path(), "two\nlines\n").unwrap();
        let error = Secret::required("token", Some(file.path()), None).unwrap_err();
        assert!(!error.contains("two"), "{error}");
        assert!(Secret::required("token", None, None).is_err());
        assert!(Secret::read("token", None, None).unwrap().is_none());
    }
}
