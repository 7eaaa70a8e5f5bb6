//! A table with 32-bit indices: half the size of pointers, and places are used again.

/// Values in one vector; a removed value's place goes to the next one.
#[derive(Debug)]
pub(super) struct Arena<T> {
    values: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Arena<T> {
    /// An arena whose index 0 holds `first` for ever, so that 0 can mean "none" or "root".
    pub(super) fn new(first: T) -> Self {
        Self { values: vec![first], free: Vec::new() }
    }

    /// Values in use, the one at index 0 not counted.
    pub(super) fn len(&self) -> usize {
        self.values.len() - 1 - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.values[index as usize] = value;
            return index;
        }
        let index = u32::try_from(self.values.len()).expect("4 billion nodes are more than memory holds");
        self.values.push(value);
        index
    }

    /// Empties a place. When it was the last one in use, all memory is given back.
    pub(super) fn remove(&mut self, index: u32) {
        debug_assert!(index != 0, "the first value stays");
        self.values[index as usize] = T::default();
        self.free.push(index);
        if self.len() == 0 {
            self.values.truncate(1);
            self.values.shrink_to_fit();
            self.free = Vec::new();
        }
    }
}

impl<T> std::ops::Index<u32> for Arena<T> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        &self.values[index as usize]
    }
}

impl<T> std::ops::IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.values[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_given_back_at_the_end() {
        let mut arena = Arena::new(0u8);
        let (first, second) = (arena.insert(1), arena.insert(2));
        arena.remove(first);
        assert_eq!(arena.insert(3), first);
        assert_eq!((arena[first], arena[second], arena.len()), (3, 2, 2));
        arena.remove(first);
        arena.remove(second);
        assert_eq!((arena.len(), arena.values.len(), arena.free.capacity()), (0, 1, 0));
    }
}
