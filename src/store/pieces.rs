//! What is remembered in large sets, in pieces: a commit writes what came and went, not the set.
//!
//! *In*: changes of sets and of open incidents. *Out*: the same whole. *Bound*: [`PIECE_DIGESTS_MAX`] digests a
//! piece; a set of n digests has O(log n) pieces below that. *Spec*: docs/architecture.md, state.
//!
//! A new piece is joined with the last one of its generation while that is less than twice as large: so every digest
//! is written again at most once a doubling, and no commit writes more than a piece or two of full size.

use super::tables::{sealed, unsealed};
use super::{StoreError, put_meta};
use crate::engine::memory::{InstallKey, SetChange, SetStep, StoredSet};
use crate::engine::persist::{SharedChange, StoredShared};
use rusqlite::{Connection, OptionalExtension, params};

/// Digests of one piece at most: 1 MiB.
const PIECE_DIGESTS_MAX: usize = 131_072;

/// One piece: digests that went, then digests that came, both sorted.
struct Piece {
    removed: Vec<u64>,
    added: Vec<u64>,
}

impl Piece {
    fn digests(&self) -> usize {
        self.added.len() + self.removed.len()
    }

    /// The count of those that came, those, then those that went; 8 bytes each, little-endian.
    fn to_bytes(&self) -> Vec<u8> {
        let count = self.added.len() as u64;
        let words = std::iter::once(&count).chain(&self.added).chain(&self.removed);
        words.flat_map(|word| word.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Piece> {
        let (words, []) = bytes.as_chunks::<8>() else { return None };
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let count = usize::try_from(words.next()?).ok()?;
        let added: Vec<u64> = words.by_ref().take(count).collect();
        (added.len() == count).then(|| Piece { added, removed: words.collect() })
    }

    /// This one and then another.
    fn then(self, later: &Piece) -> Piece {
        let joined = |digests: Vec<u64>, other: &[u64]| {
            let mut all = digests;
            all.extend_from_slice(other);
            all.sort_unstable();
            all.dedup();
            all
        };
        let stayed = |digest: &u64| later.removed.binary_search(digest).is_err();
        let added = self.added.into_iter().filter(stayed).collect();
        Piece { removed: joined(self.removed, &later.removed), added: joined(added, &later.added) }
    }
}

/// Writes what changed.
pub fn write(connection: &Connection, key: &InstallKey, change: &SharedChange) -> rusqlite::Result<()> {
    put_meta(connection, key, "shared", change.rest.clone())?;
    for (name, change) in &change.sets {
        write_set(connection, key, name, change)?;
    }
    if change.all_incidents {
        connection.execute("DELETE FROM open_incident", [])?;
    }
    for (sender, state) in &change.incidents {
        match state {
            Some(state) => connection
                .prepare_cached("INSERT OR REPLACE INTO open_incident (sender, state) VALUES (?1, ?2)")?
                .execute(params![sender, sealed(key, sender, state.clone())])?,
            None => {
                connection.prepare_cached("DELETE FROM open_incident WHERE sender = ?1")?.execute([sender])?
            }
        };
    }
    Ok(())
}

fn write_set(
    connection: &Connection,
    key: &InstallKey,
    name: &str,
    change: &SetChange,
) -> rusqlite::Result<()> {
    if change.whole {
        connection.prepare_cached("DELETE FROM remembered WHERE name = ?1")?.execute([name])?;
    }
    for SetStep { generation, added, removed } in &change.steps {
        let oldest = generation.saturating_sub(1) as i64;
        connection
            .prepare_cached("DELETE FROM remembered WHERE name = ?1 AND generation < ?2")?
            .execute(params![name, oldest])?;
        let mut removed = removed.as_slice();
        for added in added.chunks(PIECE_DIGESTS_MAX).chain(added.is_empty().then_some(&[][..])) {
            let piece = Piece { added: added.to_vec(), removed: std::mem::take(&mut removed).to_vec() };
            append(connection, key, name, *generation as i64, piece)?;
        }
    }
    Ok(())
}

fn append(
    connection: &Connection,
    key: &InstallKey,
    name: &str,
    generation: i64,
    mut piece: Piece,
) -> rusqlite::Result<()> {
    let last = |connection: &Connection| {
        connection
            .prepare_cached(
                "SELECT place, length(digests) FROM remembered WHERE name = ?1 AND generation = ?2
                 ORDER BY place DESC LIMIT 1",
            )?
            .query_row(params![name, generation], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
            .optional()
    };
    let mut place = 0;
    while let Some((last_place, bytes)) = last(connection)? {
        place = last_place + 1;
        let digests = usize::try_from(bytes / 8).unwrap_or(usize::MAX).saturating_sub(2);
        if digests >= 2 * piece.digests() || digests + piece.digests() > PIECE_DIGESTS_MAX {
            break;
        }
        let at = params![name, generation, last_place];
        let blob: Vec<u8> = connection
            .prepare_cached(
                "SELECT digests FROM remembered WHERE name = ?1 AND generation = ?2 AND place = ?3",
            )?
            .query_row(at, |row| row.get(0))?;
        // A broken piece is left for the check at the next start to find.
        let earlier = unsealed(key, &label(name, generation, last_place), &blob).and_then(Piece::from_bytes);
        let Some(earlier) = earlier else { break };
        connection
            .prepare_cached("DELETE FROM remembered WHERE name = ?1 AND generation = ?2 AND place = ?3")?
            .execute(at)?;
        (piece, place) = (earlier.then(&piece), last_place);
    }
    connection
        .prepare_cached("INSERT INTO remembered (name, generation, place, digests) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            name,
            generation,
            place,
            sealed(key, &label(name, generation, place), piece.to_bytes())
        ])?;
    Ok(())
}

/// What the seal of a piece covers beside its digests.
fn label(name: &str, generation: i64, place: i64) -> Vec<u8> {
    [name.as_bytes(), &generation.to_le_bytes(), &place.to_le_bytes()].concat()
}

/// All of it, without the small part; what is broken is left out, and said.
pub fn read(connection: &Connection, key: &InstallKey) -> rusqlite::Result<(StoredShared, Option<String>)> {
    let (mut stored, mut broken) = (StoredShared::default(), None);
    let mut statement = connection.prepare(
        "SELECT name, generation, place, digests FROM remembered ORDER BY name, generation, place",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, generation, place): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let blob = row.get_ref(3)?.as_blob()?;
        let Some(piece) = unsealed(key, &label(&name, generation, place), blob).and_then(Piece::from_bytes)
        else {
            broken = Some(format!("the seal of a piece of {name} is broken"));
            continue;
        };
        replay(stored.sets.entry(name).or_default(), generation as u64, piece);
    }
    let mut statement = connection.prepare("SELECT sender, state FROM open_incident ORDER BY sender")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match unsealed(key, row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?) {
            Some(state) => stored.incidents.push(state.to_vec()),
            None => broken = Some("the seal of an open incident is broken".into()),
        }
    }
    Ok((stored, broken))
}

/// Lets a piece take effect on what the earlier ones made.
fn replay(set: &mut StoredSet, generation: u64, piece: Piece) {
    if !piece.removed.is_empty() {
        for digests in set.values_mut() {
            digests.retain(|digest| piece.removed.binary_search(digest).is_err());
        }
    }
    set.entry(generation).or_default().extend(piece.added);
}

/// All of it in one value; `None` where nothing is stored, or it cannot be read.
pub fn read_with_rest(
    connection: &Connection,
    key: &InstallKey,
    rest: Option<Vec<u8>>,
    failed: impl Fn(rusqlite::Error) -> StoreError,
) -> Result<Option<StoredShared>, StoreError> {
    let Some(rest) = rest else { return Ok(None) };
    let (stored, _) = read(connection, key).map_err(failed)?;
    Ok(Some(StoredShared { rest, ..stored }))
}

/// Deletes all of it.
pub fn clear(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM remembered; DELETE FROM open_incident;
         DELETE FROM meta WHERE name IN ('shared', 'state_form');",
    )
}
