//! The engine of a SQLite file. It carries out named statements and knows nothing of executions.
//!
//! One thread holds the connection. It takes all requests that are waiting, answers those that only read, writes the
//! rest in one transaction, and hands all answers on after the commit. Nothing here knows Python or its lock.

#![forbid(unsafe_code)]

mod back;
mod connection;
mod engine;
mod session;
mod trouble;
mod values;

pub use back::Texts;
pub use connection::Script;
pub use engine::{Engine, Job, Waiter, look};
pub use session::{Answer, Change, Page, Request, Work};
pub use trouble::Trouble;
pub use values::{Asked, Values};

/// What comes back.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

pub type Row = Vec<Value>;

/// The version of the bundled SQLite.
pub fn library() -> &'static str {
    rusqlite::version()
}

/// Before it, several connections that checkpoint can corrupt a file in WAL mode.
pub const SAFE_LIBRARY: i32 = 3_051_003;

/// The same as a number: 3 054 001 is 3.54.1.
pub fn library_number() -> i32 {
    rusqlite::version_number()
}
