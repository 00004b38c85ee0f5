//! Limits the memory of one instance, all its memories and tables together.

use wasmtime::ResourceLimiter;

/// The maximum number of core instances of one component.
pub(super) const CORE_INSTANCES: u32 = 16;

/// The maximum number of memories of one component.
pub(super) const MEMORIES: u32 = 2;

/// The maximum number of tables of one component.
pub(super) const TABLES: u32 = 8;

/// The bytes by which the memories and tables of one instance may still grow together. They
/// never shrink.
pub(super) struct Limits {
    left: usize,
}

impl Limits {
    pub(super) fn new(bytes: usize) -> Self {
        Self { left: bytes }
    }

    /// Takes the bytes for growth from `current` to `desired` units of `unit` bytes; returns
    /// false if that exceeds the limit or `maximum`.
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

    // The pool enforces its own limits; these are for engines without a pool.
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
