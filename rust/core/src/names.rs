//! The names of steps, each kept once.

use std::collections::HashMap;
use std::sync::Arc;

/// Names, each kept once.
#[derive(Debug)]
pub(crate) struct Names {
    pub all: Vec<Arc<str>>,
    index: HashMap<Arc<str>, u32>,
    /// Numbers of names that were asked for lately: most executions use few.
    near: [u32; NEAR],
}

const NEAR: usize = 64;

impl Default for Names {
    fn default() -> Names {
        Names { all: Vec::new(), index: HashMap::new(), near: [0; NEAR] }
    }
}

impl Names {
    /// The number of a name.
    pub fn intern(&mut self, name: &str) -> u32 {
        let beginning = name.bytes().take(12);
        let slot = beginning.fold(name.len(), |sum, byte| sum * 31 + usize::from(byte)) % NEAR;
        let near = self.near[slot];
        if self.all.get(near as usize).is_some_and(|text| **text == *name) {
            return near;
        }
        let number = match self.index.get(name) {
            Some(found) => *found,
            None => {
                let shared: Arc<str> = name.into();
                let number = self.all.len() as u32;
                self.all.push(Arc::clone(&shared));
                self.index.insert(shared, number);
                number
            }
        };
        self.near[slot] = number;
        number
    }

    /// The number of a name that was given before.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.index.get(name).copied()
    }

    /// Forgets all but the first ones.
    pub fn truncate(&mut self, len: usize) {
        for name in self.all.drain(len.min(self.all.len())..) {
            self.index.remove(&name);
        }
    }
}
