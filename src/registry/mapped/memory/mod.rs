//! The memory of a target whose registry cannot be listed: one row per record, in a file that outlives the process.
//!
//! | moment | the record's row |
//! | --- | --- |
//! | before a put is sent | exists, with the change that is on its way: the registry may hold the record |
//! | after its acknowledgement | has the fingerprint of what was acknowledged |
//! | after a clear refusal | is as before |
//! | before a deletion is sent | has the deletion that is on its way |
//! | after its acknowledgement | is gone |
//!
//! A request waits until its row is on the disk. What a crash leaves on its way is sent again, with the same change id
//! and the same content. What had no clear answer stays on its way until the registry acknowledges something.
//!
//! A file that is deleted, cut or overwritten while it is used is written again. One that was replaced is left as it
//! is, and the target waits.
//!
//! [`RowStore`] keeps the rows: [`file::MemoryFile`] in SQLite. The client reads them once per term, and then knows
//! them as if it had read a list.

pub mod file;
mod rows;
mod schema;

use std::path::PathBuf;

use futures::future::BoxFuture;

use crate::{
    model::{digest::Fingerprint, ids::Version, uid::Uid},
    reconcile::deletion::Removal,
};

/// Why a memory cannot be used. The target waits, and tries it again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or created.
    #[error(
        "cannot open the memory file {path}: {source}; give `memory` a path in a folder that this process may write"
    )]
    Open { path: PathBuf, source: rusqlite::Error },
    /// The file cannot be read.
    #[error("cannot read the memory file {path}: {source}; give this process the right to read and write it")]
    Read { path: PathBuf, source: std::io::Error },
    /// Another process holds its lock.
    #[error(
        "another process uses the memory file {path}; it is free when that process ends or stops leading. Give each \
         target of each installation a path of its own"
    )]
    InUse { path: PathBuf },
    #[error("the file {path} was not written as a memory file; give `memory` another path")]
    NotOurs { path: PathBuf },
    #[error(
        "the memory file {path} has version {found}, and this release knows {known}; use the release that wrote it, or \
         move the file away to begin without it"
    )]
    Newer { path: PathBuf, found: i64, known: usize },
    /// It was written for something else.
    #[error(
        "the memory file {path} belongs to the {what} {found:?}, and this is {ours:?}; give each target a path of its \
         own. If this target was changed on purpose, move the file away: all records are written again, and records \
         whose pods are gone stay"
    )]
    Other { path: PathBuf, what: &'static str, found: String, ours: String },
    /// SQLite or a value in it is damaged.
    #[error(
        "the memory file {path} is damaged: {what}; restore it from a backup, or move it away: all records are written \
         again, and records whose pods are gone stay"
    )]
    Damaged { path: PathBuf, what: String },
    /// There is no file.
    #[error("there is no memory file {path} here; run this command where the volume of the controller is mounted")]
    Missing { path: PathBuf },
    /// It was deleted or moved away, and writing it again failed.
    #[error("the memory file {path} was deleted while this process uses it, and cannot be written again: {cause}")]
    Deleted { path: PathBuf, cause: String },
    /// Another file is in its place.
    #[error(
        "another file is in the place of the memory file {path}, which this process uses; remove that file, and the \
         memory is written there again, or restart this process to use that file"
    )]
    Replaced { path: PathBuf },
    /// Another program cut or overwrote it. The next write that follows [`RowStore::renew`] begins it again.
    #[error(
        "the memory file {path} was changed while this process uses it; leave it to this process, which writes it again"
    )]
    Overwritten { path: PathBuf },
    /// The disk is full, broken or read-only. Nothing of this write is in the file.
    #[error("cannot write the memory file {path}: {cause}; {fix}")]
    Write { path: PathBuf, cause: String, fix: &'static str },
    #[error("cannot start the thread of the memory: {0}; check the limits on threads and memory")]
    Thread(std::io::Error),
    /// It was closed because the term ended.
    #[error("the memory file is not open")]
    Closed,
}

/// What a memory is for. That of something else is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryOwner {
    pub target: String,
    pub cluster: String,
    /// The owner mark.
    pub mark: String,
    pub url: String,
}

/// What is remembered of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRow {
    /// The name of its kind. None if the target has no `kinds`.
    pub kind: Option<String>,
    /// The key of the record that it belongs to.
    pub parent: Option<Uid>,
    /// None if it is the key.
    pub id: Option<String>,
    /// JSON.
    pub remote: Option<String>,
    /// JSON.
    pub seen: Option<String>,
    /// The content that the registry acknowledged last.
    pub held: Option<Fingerprint>,
    pub attempt: Option<StoredAttempt>,
}

/// A change that may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredAttempt {
    pub content: ChangeContent,
    /// Of the first attempt.
    pub version: Version,
    /// When the first attempt began, in milliseconds since 1970.
    pub began: i64,
}

/// What a change makes of a record. The id of a change names one content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeContent {
    Put(Fingerprint),
    /// Why it is removed. None if an earlier release noted the deletion.
    Delete(Option<Removal>),
}

/// What became of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundNote {
    /// It began. If it does not end, the next process begins another one.
    Begun,
    /// It ended, at milliseconds since 1970.
    Ended(i64),
}

/// The row of a key. None: there is none.
pub type RowChange = (Uid, Option<StoredRow>);

/// The rows at the begin of a term.
#[derive(Debug, Default)]
pub struct Recalled {
    pub rows: Vec<(Uid, StoredRow)>,
    /// The last term that used the memory. None if the memory is new.
    pub last_term: Option<u64>,
    /// When the last round ended, in milliseconds since 1970. None if it did not.
    pub last_round: Option<i64>,
    /// Whether there was a file without content.
    pub was_empty: bool,
}

/// Keeps rows for longer than the process lives. Calls after `close` fail until the next `open`.
pub trait RowStore: Send + Sync + 'static {
    /// Opens the store for a term, for this process alone.
    fn open(&self, term: u64) -> BoxFuture<'_, Result<Recalled, Error>>;

    /// Changes rows, and notes what became of a round. Calls are applied in their order, and each ends after its rows
    /// are kept. They are kept even if the caller does not wait for that.
    fn write(&self, rows: Vec<RowChange>, round: Option<RoundNote>) -> BoxFuture<'static, Result<(), Error>>;

    /// The rows were lost, and the next write has all of them: it may begin with none.
    fn renew(&self) {}

    /// Lets another process use it.
    fn close(&self);
}
