//! Lines of a table: values between commas or tabs, after a header that names the columns or without one.
//!
//! *In*: a line. *Out*: its fields. *Bound*: `limits::LOG_COLUMNS_MAX` columns; linear in the line.
//! *Spec*: RFC 4180 for commas and quotes; tables of Zeek and MailEnable have tabs and no quotes.

use crate::limits;
use csv::{ByteRecord, ReaderBuilder};

/// The fields of one line.
#[derive(Debug)]
pub(super) struct Row(ByteRecord);

impl Row {
    /// Reads values between commas, quoted where they hold some.
    pub(super) fn commas(line: &[u8]) -> Option<Row> {
        Row::read(line, b',', true)
    }

    /// Reads values between tabs; quotes mean nothing.
    pub(super) fn tabs(line: &[u8]) -> Option<Row> {
        Row::read(line, b'\t', false)
    }

    fn read(line: &[u8], delimiter: u8, quotes: bool) -> Option<Row> {
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .quoting(quotes)
            .buffer_capacity(line.len().max(1))
            .from_reader(line);
        let mut record = ByteRecord::new();
        let found = reader.read_byte_record(&mut record).ok()?;
        (found && record.len() <= limits::LOG_COLUMNS_MAX).then_some(Row(record))
    }

    /// How many fields there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The field at a place, unless it is empty.
    pub(super) fn at(&self, place: usize) -> Option<&[u8]> {
        self.0.get(place).map(<[u8]>::trim_ascii).filter(|field| !field.is_empty())
    }

    /// The field of a column, unless it is empty.
    pub(super) fn named(&self, columns: &Columns, name: &str) -> Option<&[u8]> {
        self.at(columns.place(name)?)
    }
}

/// What the columns of a table are called: lower case, `-` for `_`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns(Vec<Box<[u8]>>);

impl Columns {
    /// Takes the names of a header.
    pub(super) fn of(header: &Row) -> Columns {
        Columns(header.0.iter().map(column_name).collect())
    }

    /// Takes names that are known without a header.
    pub(super) fn known(names: &[&str]) -> Columns {
        Columns(names.iter().map(|name| column_name(name.as_bytes())).collect())
    }

    /// Whether no header was seen.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The place of a column.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| **known == *name.as_bytes())
    }
}

fn column_name(name: &[u8]) -> Box<[u8]> {
    let name = name.trim_ascii();
    let name = name.get(..name.len().min(limits::HEADER_BYTES_MAX)).unwrap_or_default();
    name.to_ascii_lowercase().iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect()
}

/// The values of a list that is written into one field.
pub(super) fn list(field: Option<&[u8]>, separator: u8) -> impl Iterator<Item = &[u8]> {
    field
        .unwrap_or_default()
        .split(move |byte| *byte == separator)
        .map(<[u8]>::trim_ascii)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_by_place_and_by_name() {
        let columns = Columns::of(&Row::commas(b"Date-Time,client_ip,x").unwrap());
        let row = Row::commas(br#"a,,"b, ""c""""#).unwrap();
        assert_eq!(row.named(&columns, "date-time"), Some(&b"a"[..]));
        assert_eq!(row.named(&columns, "client-ip"), None);
        assert_eq!(row.at(2), Some(&br#"b, "c""#[..]));
        assert_eq!(Row::tabs(b"\"a\t\"b").unwrap().at(0), Some(&b"\"a"[..]));
        assert!(Row::commas(&b",".repeat(limits::LOG_COLUMNS_MAX + 1)).is_none());
        assert!(Row::commas(b"").is_none());
        assert_eq!(list(Some(b"a; b;;"), b';').collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
