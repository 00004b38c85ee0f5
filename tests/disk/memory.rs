//! The memory of an instance, which can run out on demand.

use wasmtime::{ResourceLimiter, Result};

/// How the instance's memory may grow.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    /// How often it has grown.
    pub growths: u64,
    /// How often it may grow; without limit if none.
    pub most: Option<u64>,
    /// Whether a growth that is refused traps; otherwise the allocator of the component
    /// finds no memory.
    pub traps: bool,
    /// Whether a growth was refused in an instance before this one.
    pub was_short: bool,
}

impl Memory {
    /// Whether a growth was refused.
    pub fn is_short(&self) -> bool {
        self.most.is_some_and(|most| self.growths > most)
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        self.growths += 1;
        let refused = self.is_short() || desired > 128 << 20;
        match refused && self.traps {
            true => Err(wasmtime::Error::msg("out of memory")),
            false => Ok(!refused),
        }
    }

    fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> Result<bool> {
        Ok(true)
    }
}
