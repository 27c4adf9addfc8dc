//! What can be wrong with the file: a code, for which `stepwell.trouble` has the words.

use rusqlite::ErrorCode;

const DETAIL: usize = 200;

#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    pub code: &'static str,
    pub detail: String,
    /// How long it was waited for.
    pub seconds: f64,
}

impl Trouble {
    pub fn new(code: &'static str) -> Trouble {
        Trouble { code, detail: String::new(), seconds: 0.0 }
    }

    pub fn about(code: &'static str, detail: impl Into<String>) -> Trouble {
        let mut detail: String = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(DETAIL) {
            detail.truncate(end);
        }
        Trouble { code, detail, seconds: 0.0 }
    }

    pub fn busy(seconds: f64) -> Trouble {
        Trouble { code: "busy", detail: String::new(), seconds }
    }

    /// Whether asking again at once can only end the same way.
    pub fn is_lasting(&self) -> bool {
        matches!(self.code, "busy" | "full" | "readonly")
    }
}

/// What an error of SQLite means. `Busy` and `Locked` are waited for before it comes to this.
impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Trouble {
        let rusqlite::Error::SqliteFailure(failure, message) = &error else {
            return Trouble::about("damaged", error.to_string());
        };
        let detail = message.clone().unwrap_or_else(|| failure.to_string());
        match failure.code {
            ErrorCode::DiskFull => Trouble::new("full"),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Trouble::new("readonly"),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Trouble::busy(0.0),
            ErrorCode::CannotOpen => Trouble::new("unopenable"),
            ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::SchemaChanged
            | ErrorCode::Unknown => Trouble::about("damaged", detail),
            _ => Trouble::about("io", detail),
        }
    }
}

pub fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}
