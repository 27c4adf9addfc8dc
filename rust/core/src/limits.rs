//! The limits of a tenant that one execution can pass.

use crate::error::Error;

/// What is allowed at most; unset is unlimited. Times are ms, sizes bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    pub max_steps: Option<f64>,
    pub max_wall_time_ms: Option<f64>,
    pub max_tokens: Option<f64>,
    pub max_cost: Option<f64>,
    pub max_payload_bytes: Option<f64>,
}

/// A limit that is nearly used up: its name, what is used, and the maximum.
pub type Warning = (&'static str, f64, f64);

/// The limits of an execution, and which of them were warned of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    pub limits: Option<Limits>,
    pub warned: Vec<&'static str>,
    pub warnings: Vec<Warning>,
}

impl Guard {
    /// Refuses what is over a limit; from 80 % on the limit is to be warned of once.
    pub fn check(
        &mut self,
        limit: &'static str,
        used: f64,
        maximum: Option<f64>,
    ) -> Result<(), Error> {
        let Some(maximum) = maximum else {
            return Ok(());
        };
        if used > maximum {
            return Err(Error::QuotaExceeded { limit, used, maximum });
        }
        if used >= 0.8 * maximum && !self.warned.contains(&limit) {
            self.warned.push(limit);
            self.warnings.push((limit, used, maximum));
        }
        Ok(())
    }

    /// Forgets what was warned of since this many warnings.
    pub fn forget(&mut self, since: usize) {
        for (limit, _, _) in self.warnings.drain(since..) {
            self.warned.retain(|warned| *warned != limit);
        }
    }
}
