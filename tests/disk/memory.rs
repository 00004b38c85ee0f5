//! The memory of an instance, which can run out on demand.

use wasmtime::{ResourceLimiter, Result};

/// A limit on how often the instance's memory may grow.
#[derive(Clone, Copy, Default)]
pub struct Memory {
    /// How often the memory has grown.
    pub growths: u64,
    /// How often the memory may grow; `None` for no limit.
    pub most: Option<u64>,
    /// Whether a refused growth traps; otherwise the component's allocator gets no memory.
    pub traps: bool,
    /// Whether a growth was refused in an earlier instance.
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
