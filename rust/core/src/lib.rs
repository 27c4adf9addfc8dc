//! The execution kernel of stepwell: states, actions and the journal of one execution.
//!
//! No I/O, no clock and no randomness of its own: times, ids and entropy are given to it. Payloads are JSON text that it
//! embeds and checks, but never interprets. A refused action is a value of [`Error`] and changes nothing.
#![forbid(unsafe_code)]

mod bulk;
mod chunks;
pub mod clock;
mod column;
mod error;
mod execution;
mod fields;
mod id;
mod json;
mod limits;
mod names;
mod payload;
mod pending;
mod places;
mod read;
mod reducer;
mod replay;
mod snapshot;
#[allow(clippy::match_like_matches_macro, clippy::too_many_lines)]
pub mod spec;
mod step;
mod steps;
mod table;
mod text;
mod write;

pub use bulk::{Each, Many, Targets};
pub use error::{Error, ReplayFault};
pub use execution::{Execution, Header, Link, Status};
pub use fields::{Bulk, Fields, HeaderFields, check_label, check_note, check_path};
pub use id::{Id, IdSource, Run, runs_of};
pub use json::{JsonFault, is_plain, push_string};
pub use limits::{Limits, Warning};
pub use places::Places;
pub use read::read_action;
pub use reducer::Touched;
pub use replay::{Beside, Drained, Replay};
pub use step::{Past, StepView};
pub use steps::Steps;
pub use table::Wanted;
