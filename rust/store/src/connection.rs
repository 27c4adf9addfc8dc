//! One connection to a store's file: how it is opened, and what is checked and set.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::trouble::{Trouble, is_busy};

pub const APPLICATION_ID: i64 = 0x5357_5731; // "SWW1"; never changes
const PATIENCE: Duration = Duration::from_millis(100);
const LONGEST: i32 = 512 * 1024 * 1024;
const CACHE_KIB: i64 = 16 * 1024;

/// The statements of a store: those that are asked for, by number, and what makes and renews its tables.
pub struct Script {
    pub queries: Vec<String>,
    /// Which of them reads the limits of the format.
    pub format: usize,
    /// Which of them makes a transaction that changed nothing else wait for the disk.
    pub touch: usize,
    pub schema: Vec<String>,
    pub migrations: Vec<Vec<String>>,
}

impl Script {
    fn newest(&self) -> i64 {
        i64::try_from(self.migrations.len()).unwrap_or(i64::MAX - 1) + 1
    }
}

/// Where the file is, and how it is to be opened.
pub struct Place {
    pub path: PathBuf,
    /// Device and inode.
    pub identity: (u64, u64),
    pub busy: Duration,
    pub read_only: bool,
}

impl Place {
    /// The file was not moved, deleted or replaced.
    pub fn check(&self) -> Result<(), Trouble> {
        let found = std::fs::metadata(&self.path).map_err(|_| Trouble::new("moved"))?;
        if identity(&found).is_some_and(|found| found != self.identity) {
            return Err(Trouble::new("replaced"));
        }
        Ok(())
    }

    /// Opens and checks the file; makes its tables where it is new.
    pub fn open(&self, script: &Script) -> Result<Connection, Trouble> {
        self.check()?;
        let access = if self.read_only {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        } else {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        };
        let db = Connection::open_with_flags(&self.path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        db.busy_timeout(PATIENCE)?;
        let opening = Opening { db: &db, place: self, script };
        opening.prepare()?;
        Ok(db)
    }

    /// Tries again while another process holds the file, at uneven moments, until the time-out.
    pub fn patient<T>(
        &self,
        mut work: impl FnMut() -> Result<T, rusqlite::Error>,
    ) -> Result<T, Trouble> {
        let mut start = None;
        loop {
            match work() {
                Err(error) if is_busy(&error) => {
                    let start = *start.get_or_insert_with(|| Instant::now() - PATIENCE);
                    if start.elapsed() >= self.busy {
                        return Err(Trouble::busy(start.elapsed().as_secs_f64()));
                    }
                    sleep(Duration::from_micros(1_000 + uneven() % 19_000));
                }
                done => return done.map_err(Trouble::from),
            }
        }
    }
}

/// Some number: who waits for the same file must not ask in step.
fn uneven() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(unix)]
fn identity(found: &std::fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((found.dev(), found.ino()))
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> Option<(u64, u64)> {
    None
}

struct Opening<'a> {
    db: &'a Connection,
    place: &'a Place,
    script: &'a Script,
}

impl Opening<'_> {
    fn prepare(&self) -> Result<(), Trouble> {
        self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        self.db.set_limit(Limit::SQLITE_LIMIT_LENGTH, LONGEST)?;
        self.run("PRAGMA trusted_schema = OFF")?;
        self.run("PRAGMA cell_size_check = ON")?;
        self.run("PRAGMA foreign_keys = OFF")?;
        self.set_number("cache_size", -CACHE_KIB)?;
        if self.place.read_only {
            self.run("PRAGMA query_only = ON")?;
            return self.check_versions();
        }
        if self.is_new()? {
            self.run("PRAGMA auto_vacuum = INCREMENTAL")?;
            self.set_modes()?;
            self.create()?;
        }
        self.check_versions()?;
        self.set_modes()?;
        self.migrate()
    }

    fn run(&self, statement: &str) -> Result<(), Trouble> {
        self.place.patient(|| {
            let mut prepared = self.db.prepare(statement)?;
            let mut rows = prepared.query(())?;
            while rows.next()?.is_some() {}
            Ok(())
        })
    }

    fn number(&self, statement: &str) -> Result<i64, Trouble> {
        self.place.patient(|| self.db.query_row(statement, (), |row| row.get(0)))
    }

    fn is_new(&self) -> Result<bool, Trouble> {
        Ok(self.number("PRAGMA application_id")? == 0
            && self.number("SELECT count(*) FROM sqlite_master")? == 0)
    }

    /// Makes the tables, unless another process does so at this moment.
    fn create(&self) -> Result<(), Trouble> {
        self.in_transaction(|| {
            if self.is_new()? {
                for statement in &self.script.schema {
                    self.run(statement)?;
                }
                self.set_number("application_id", APPLICATION_ID)?;
                self.set_number("user_version", self.script.newest())?;
            }
            Ok(())
        })
    }

    fn set_number(&self, name: &str, value: i64) -> Result<(), Trouble> {
        self.place.patient(|| self.db.pragma_update(None, name, value))
    }

    /// Brings an older store up to date, one format after the other.
    fn migrate(&self) -> Result<(), Trouble> {
        for version in self.number("PRAGMA user_version")?..self.script.newest() {
            self.in_transaction(|| {
                if self.number("PRAGMA user_version")? == version {
                    let position = usize::try_from(version - 1).unwrap_or(usize::MAX);
                    for statement in self.script.migrations.get(position).into_iter().flatten() {
                        self.run(statement)?;
                    }
                    self.set_number("user_version", version + 1)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn in_transaction(&self, work: impl FnOnce() -> Result<(), Trouble>) -> Result<(), Trouble> {
        self.run("BEGIN IMMEDIATE")?;
        let done = work().and_then(|()| self.run("COMMIT"));
        if done.is_err() && !self.db.is_autocommit() {
            // The connection is given up anyway; the file's own journal undoes the rest.
            let _ = self.run("ROLLBACK");
        }
        done
    }

    fn check_versions(&self) -> Result<(), Trouble> {
        if self.number("PRAGMA application_id")? != APPLICATION_ID {
            return Err(Trouble::new("foreign"));
        }
        let (reader, writer) = self.limits().map_err(|trouble| match trouble.code {
            "damaged" => Trouble::new("lost"),
            _ => trouble,
        })?;
        let needed = if self.place.read_only { reader } else { reader.max(writer) };
        if needed > self.script.newest() {
            return Err(Trouble::about("newer", needed.to_string()));
        }
        let version = self.number("PRAGMA user_version")?;
        if version < 1 {
            return Err(Trouble::new("lost"));
        }
        if self.place.read_only && version < self.script.newest() {
            return Err(Trouble::new("older"));
        }
        let strange: Option<String> = self.place.patient(|| {
            let statement =
                "SELECT type FROM sqlite_master WHERE type NOT IN ('table', 'index') LIMIT 1";
            self.db.query_row(statement, (), |row| row.get(0)).optional()
        })?;
        match strange {
            Some(kind) => Err(Trouble::about("hostile", kind)),
            None => Ok(()),
        }
    }

    /// The oldest format whose readers and writers may use the file.
    fn limits(&self) -> Result<(i64, i64), Trouble> {
        let statement = self.script.queries.get(self.script.format).map_or("", String::as_str);
        let (mut reader, mut writer) = (None, None);
        self.place.patient(|| {
            let mut prepared = self.db.prepare(statement)?;
            let mut rows = prepared.query(())?;
            while let Some(row) = rows.next()? {
                match row.get::<_, String>(0)?.as_str() {
                    "min_reader" => reader = Some(row.get(1)?),
                    "min_writer" => writer = Some(row.get(1)?),
                    _ => {}
                }
            }
            Ok(())
        })?;
        reader.zip(writer).ok_or_else(|| Trouble::new("lost"))
    }

    fn set_modes(&self) -> Result<(), Trouble> {
        let statement = "PRAGMA journal_mode = WAL";
        let found: String =
            self.place.patient(|| self.db.query_row(statement, (), |row| row.get(0)))?;
        self.run("PRAGMA synchronous = FULL")?;
        self.run("PRAGMA journal_size_limit = 67108864")?; // 64 MiB
        if found != "wal" || self.number("PRAGMA synchronous")? != 2 {
            return Err(Trouble::about("modes", found));
        }
        Ok(())
    }
}
