//! The memory of one instance: all of it together stays within a limit.

use wasmtime::ResourceLimiter;

use super::engine::{CORE_INSTANCES, MEMORIES, TABLES};

/// What is left for an instance, in bytes: its memories and its tables take
/// from it as they grow, and give nothing back before the instance ends.
pub(super) struct Limits {
    left: usize,
}

impl Limits {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// Whether something may grow, which it does, then.
    fn take(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
        unit: usize,
    ) -> bool {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        let bytes = desired.saturating_sub(current).saturating_mul(unit);
        let Some(left) = self.left.checked_sub(bytes) else {
            return false;
        };
        self.left = left;
        true
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take(current, desired, maximum, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.take(current, desired, maximum, size_of::<usize>()))
    }

    // A pool has its own numbers; these hold where there is none.
    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_grow_within_one_limit() {
        let mut limits = Limits::new(1 << 20);
        assert!(limits.memory_growing(0, 512 << 10, None).unwrap());
        assert!(limits.memory_growing(0, 256 << 10, None).unwrap());
        assert!(!limits.memory_growing(0, 512 << 10, None).unwrap());
        assert!(!limits.table_growing(0, 1 << 20, None).unwrap());
        assert!(!limits.table_growing(0, 2, Some(1)).unwrap());
        assert!(limits.table_growing(0, 16 << 10, None).unwrap());
        let left = (1 << 20) - (768 << 10) - size_of::<usize>() * (16 << 10);
        assert!(!limits.memory_growing(0, left + 1, None).unwrap());
        assert!(limits.memory_growing(0, left, None).unwrap());
    }
}
