//! The reference registry: a process with a database file, and the records in that file.

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
    process::Process,
};

/// Time limit of a start.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Time limit of a database lock.
const BUSY: Duration = Duration::from_secs(20);

const DATABASE: &str = "the registry's database";

pub(crate) struct Registry {
    process: Option<Process>,
    program: PathBuf,
    folder: PathBuf,
    database: PathBuf,
    client: Client,
    pub(crate) address: SocketAddr,
}

/// A free port of loopback.
pub(crate) async fn free_address() -> Result<SocketAddr> {
    listen().await.map(|(_, address)| address)
}

impl Registry {
    /// Starts one with an empty database in the folder.
    pub(crate) async fn start(program: &Path, folder: &Path, logs: &Path) -> Result<Self> {
        let mut registry = Self {
            process: None,
            program: program.to_owned(),
            folder: logs.to_owned(),
            database: folder.join(format!("registry-{}.db", fastrand::u32(..))),
            client: Client::new()?,
            address: free_address().await?,
        };
        registry.resume().await?;
        Ok(registry)
    }

    /// Starts it with its records.
    pub(crate) async fn resume(&mut self) -> Result<()> {
        let listen = self.address.to_string();
        let database = self.database.to_string_lossy().into_owned();
        let arguments = ["registry", "--listen", &listen, "--database", &database];
        let mut process = Process::start("registry", &self.program, arguments, &self.folder)?;
        let url = format!("http://{listen}/v1/capabilities");
        process.until("the registry", STARTS_WITHIN, async || self.client.get(&url).await.map(Ok)).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Stops it. Its records stay.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop().await,
            None => Ok(()),
        }
    }

    /// The records: the UIDs and versions of their pods.
    pub(crate) async fn held(&self) -> Result<HashMap<u128, u64>> {
        let database = self.database.clone();
        let read = tokio::task::spawn_blocking(move || read_held(&database)).await;
        read.map_err(Error::in_step(DATABASE))?.map_err(Error::in_step(DATABASE))
    }

    /// Makes `records` records differ: deletes half of them, and changes the digests of the others. The registry has to
    /// be stopped. Returns the UIDs of their pods.
    pub(crate) fn spoil(&self, records: usize) -> Result<Vec<u128>> {
        self.try_spoil(records).map_err(Error::in_step(DATABASE))
    }

    fn try_spoil(&self, records: usize) -> rusqlite::Result<Vec<u128>> {
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
        Ok(chosen.iter().filter_map(|(_, id)| read_uuid(id)).collect())
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

fn read_held(database: &Path) -> rusqlite::Result<HashMap<u128, u64>> {
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
        // An id that is not a UUID counts as an invented record.
        let uid = read_uuid(&id).unwrap_or_default();
        held.insert(uid, version.and_then(|version| version.parse().ok()).unwrap_or_default());
    }
    Ok(held)
}
