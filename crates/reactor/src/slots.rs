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

/// What lives in a slot. It keeps its generation itself, where its other fields leave room for
/// that: beside it the generation would cost a slot eight bytes wherever a tenant is aligned to
/// eight.
pub(crate) trait Tenant {
    /// The generation that it was given.
    fn generation(&self) -> u32;
}

/// One place of the table. A vacant one says which generation comes next.
#[derive(Debug)]
pub(crate) enum Slot<T> {
    Vacant { next: u32 },
    Taken(T),
}

impl<T: Tenant> Slot<T> {
    /// The generation of who lives here, if anybody does.
    #[inline]
    fn generation(&self) -> Option<u32> {
        match self {
            Self::Taken(tenant) => Some(tenant.generation()),
            Self::Vacant { .. } => None,
        }
    }
}

/// A table that never grows past its capacity. Its memory is reserved at the start, but pages are
/// touched only as far as the table was ever filled.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    capacity: usize,
}

impl<T: Tenant> Slots<T> {
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

    /// Takes a slot for the tenant that is made for its generation; `None` if there is no slot.
    pub(crate) fn insert(&mut self, tenant: impl FnOnce(u32) -> T) -> Option<Key> {
        let (index, generation) = match self.free.pop() {
            Some(index) => match self.slots[index as usize] {
                Slot::Vacant { next } => (index, next),
                Slot::Taken(_) => unreachable!("a free slot is vacant"),
            },
            None if self.slots.len() == self.capacity => return None,
            None => {
                self.slots.push(Slot::Vacant { next: 0 });
                ((self.slots.len() - 1) as u32, 0)
            }
        };
        self.slots[index as usize] = Slot::Taken(tenant(generation));
        Some(Key { index, generation })
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize)? {
            Slot::Taken(tenant) if tenant.generation() == key.generation => Some(tenant),
            _ => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation() != Some(key.generation) {
            return None;
        }
        let next = key.generation.wrapping_add(1);
        self.free.push(key.index);
        match std::mem::replace(slot, Slot::Vacant { next }) {
            Slot::Taken(tenant) => Some(tenant),
            Slot::Vacant { .. } => None,
        }
    }

    /// The key of slot `index`, if it has a tenant.
    #[inline]
    pub(crate) fn key_at(&self, index: usize) -> Option<Key> {
        let generation = self.slots.get(index)?.generation()?;
        Some(Key { index: index as u32, generation })
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

    /// A tenant that is told from others by its value.
    struct Valued {
        generation: u32,
        value: u16,
    }

    impl Tenant for Valued {
        fn generation(&self) -> u32 {
            self.generation
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_that_never_reuses_a_key(
            steps in prop::collection::vec((any::<bool>(), any::<u16>()), 0..200)
        ) {
            let mut slots = Slots::with_capacity(8);
            let (mut model, mut dead) = (HashMap::new(), Vec::new());
            for (insert, value) in steps {
                if insert {
                    match slots.insert(|generation| Valued { generation, value }) {
                        Some(key) => {
                            prop_assert!(!dead.contains(&key), "a dead key came back");
                            prop_assert!(model.insert(key, value).is_none());
                        }
                        None => prop_assert_eq!(model.len(), 8),
                    }
                } else if let Some(&key) =
                    model.keys().nth(usize::from(value) % model.len().max(1))
                {
                    let removed = slots.remove(key).map(|tenant| tenant.value);
                    prop_assert_eq!(removed, model.remove(&key));
                    prop_assert!(slots.remove(key).is_none());
                    dead.push(key);
                }
                prop_assert_eq!(slots.len(), model.len());
                prop_assert_eq!(slots.is_full(), model.len() == 8);
                prop_assert!(dead.iter().all(|&key| slots.get_mut(key).is_none()));
                let live: Vec<Key> =
                    (0..slots.high_water()).filter_map(|i| slots.key_at(i)).collect();
                prop_assert_eq!(live.len(), model.len());
                for key in live {
                    let found = slots.get_mut(Key::from_bits(key.to_bits()));
                    prop_assert_eq!(found.map(|tenant| tenant.value), model.get(&key).copied());
                }
            }
        }
    }
}
