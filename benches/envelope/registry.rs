//! The reference registry as the driver sees it: a process with a database file, and what that file holds.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, params};

use crate::{
    error::{Error, Result},
    http::{Client, listen},
    pods::read_uuid,
    process::{Process, Reaper},
};

/// How long it may take to begin.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long a lock is waited for.
const BUSY: Duration = Duration::from_secs(20);

/// A running registry.
pub(crate) struct Registry {
    process: Option<Process>,
    program: PathBuf,
    folder: PathBuf,
    database: PathBuf,
    reaper: Reaper,
    /// Where it is served.
    pub(crate) address: SocketAddr,
}

/// What is known of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The pod's version from which the record was made.
    pub(crate) version: u64,
}

/// A free port of loopback, which is taken again soon.
pub(crate) async fn free_address() -> Result<SocketAddr> {
    listen(0).await.map(|(_, address)| address)
}

impl Registry {
    /// Starts an empty one, with its database in a folder.
    pub(crate) async fn start(program: &Path, folder: &Path, logs: &Path, reaper: &Reaper) -> Result<Self> {
        let mut registry = Self {
            process: None,
            program: program.to_owned(),
            folder: logs.to_owned(),
            database: folder.join(format!("registry-{}.db", fastrand::u32(..))),
            reaper: reaper.clone(),
            address: free_address().await?,
        };
        registry.resume().await?;
        Ok(registry)
    }

    /// Starts it again with what it holds.
    pub(crate) async fn resume(&mut self) -> Result<()> {
        let listen = self.address.to_string();
        let database = self.database.to_string_lossy().into_owned();
        let arguments = ["registry", "--listen", &listen, "--database", &database];
        let mut process = Process::start("registry", &self.program, arguments, &self.folder, &self.reaper)?;
        let client = Client::new();
        let url = format!("http://{listen}/v1/capabilities");
        process.until("the registry", STARTS_WITHIN, async || client.get(&url).await.map(Ok)).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it; what it holds stays.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// How long it has had a processor since it was started last.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        self.process.as_ref().map_or(Ok(Duration::ZERO), Process::processor_time)
    }

    /// Every record, by the pod.
    pub(crate) async fn held(&self) -> Result<HashMap<u128, Held>> {
        let database = self.database.clone();
        let read = tokio::task::spawn_blocking(move || read_held(&database)).await;
        read.map_err(|error| Error::Serve(std::io::Error::other(error)))?.map_err(Error::from)
    }

    /// Makes records differ while it is stopped, anywhere among all: half of them are lost, the others are of another
    /// content. Gives the pods that they are about.
    pub(crate) fn spoil(&self, records: usize) -> Result<Vec<u128>> {
        let mut connection = Connection::open(&self.database)?;
        connection.busy_timeout(BUSY)?;
        let spoil = connection.transaction()?;
        let chosen: Vec<(u64, String)> = spoil
            .prepare("SELECT writer, id FROM records ORDER BY digest LIMIT ?1")?
            .query_map([records], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (index, (writer, id)) in chosen.iter().enumerate() {
            let row = params![writer, id];
            if index < records / 2 {
                spoil.execute("DELETE FROM bodies WHERE writer = ?1 AND id = ?2", row)?;
                spoil.execute("DELETE FROM records WHERE writer = ?1 AND id = ?2", row)?;
            } else {
                spoil.execute("UPDATE records SET digest = randomblob(32) WHERE writer = ?1 AND id = ?2", row)?;
            }
        }
        spoil.commit()?;
        Ok(chosen.iter().filter_map(|(_, id)| read_uuid(id.as_bytes())).collect())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process = None;
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", self.database.display()));
        }
    }
}

fn read_held(database: &Path) -> rusqlite::Result<HashMap<u128, Held>> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY)?;
    let mut query = connection.prepare(
        "SELECT records.id, json_extract(bodies.body, '$.version.resourceVersion') FROM records \
         JOIN bodies ON bodies.writer = records.writer AND bodies.id = records.id",
    )?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?;
    let mut held = HashMap::new();
    for row in rows {
        let (id, version) = row?;
        // An id that is no UUID is no pod's of ours: it counts as an invented one.
        let uid = read_uuid(id.as_bytes()).unwrap_or_default();
        held.insert(uid, Held { version: version.and_then(|version| version.parse().ok()).unwrap_or_default() });
    }
    Ok(held)
}
