//! The table of connections: fixed capacity, and keys that outlive what they name without harm.

/// Names a connection for its whole life: a slot and the generation of its tenant.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as the kernel carries it, in the 64 bits of an event's token.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key in the bits of a token.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }

    /// The slot's number, below the table's capacity: for tables kept beside this one.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    tenant: Option<T>,
}

/// A table that never grows past its capacity. Its memory is reserved at the start, but pages are
/// touched only as far as the table was ever filled.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    capacity: usize,
}

impl<T> Slots<T> {
    /// Slot numbers above this are left for tokens that name no connection.
    pub(crate) const CAPACITY_MAX: usize = 0xffff_0000;

    pub(crate) fn with_capacity(capacity: usize) -> Self {
        assert!(capacity <= Self::CAPACITY_MAX, "more slots than tokens");
        Self { slots: Vec::with_capacity(capacity), free: Vec::new(), capacity }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity
    }

    /// Takes a slot, or gives the tenant back if there is none.
    pub(crate) fn insert(&mut self, tenant: T) -> Result<Key, T> {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.tenant = Some(tenant);
            return Ok(Key { index, generation: slot.generation });
        }
        if self.slots.len() == self.capacity {
            return Err(tenant);
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, tenant: Some(tenant) });
        Ok(Key { index, generation: 0 })
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.tenant.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let tenant = slot.tenant.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(tenant)
    }

    /// The key of slot `index`, if it has a tenant.
    #[inline]
    pub(crate) fn key_at(&self, index: usize) -> Option<Key> {
        let slot = self.slots.get(index)?;
        slot.tenant.as_ref().map(|_| Key { index: index as u32, generation: slot.generation })
    }

    /// One past the highest slot that was ever taken.
    pub(crate) fn high_water(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_map_that_never_reuses_a_key(steps in prop::collection::vec((any::<bool>(), any::<u16>()), 0..200)) {
            let (mut slots, mut model, mut dead) = (Slots::with_capacity(8), HashMap::new(), Vec::new());
            for (insert, value) in steps {
                if insert {
                    match slots.insert(value) {
                        Ok(key) => {
                            prop_assert!(!dead.contains(&key), "a dead key came back");
                            prop_assert!(model.insert(key, value).is_none());
                        }
                        Err(back) => {
                            prop_assert_eq!(back, value);
                            prop_assert_eq!(model.len(), 8);
                        }
                    }
                } else if let Some(&key) = model.keys().nth(usize::from(value) % model.len().max(1)) {
                    prop_assert_eq!(slots.remove(key), model.remove(&key));
                    prop_assert_eq!(slots.remove(key), None);
                    dead.push(key);
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.is_full(), model.len() == 8);
                prop_assert!(dead.iter().all(|&key| slots.get_mut(key).is_none()));
                let live: Vec<Key> = (0..slots.high_water()).filter_map(|i| slots.key_at(i)).collect();
                prop_assert_eq!(live.len(), model.len());
                for key in live {
                    prop_assert_eq!(slots.get_mut(Key::from_bits(key.to_bits())).copied(), model.get(&key).copied());
                }
            }
        }
    }
}
