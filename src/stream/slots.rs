//! The partitions of a stream, by numbers that are never given twice: an answer that comes late finds nobody under the number of a
//! partition that was dropped, and cannot be taken for another's.

use super::Slot;

/// All slots. One that was dropped leaves eight bytes behind.
#[derive(Default)]
pub(super) struct Slots(Vec<Option<Box<Slot>>>);

impl Slots {
    /// The number that the next one gets.
    pub(super) fn end(&self) -> usize {
        self.0.len()
    }

    /// The numbers of those that were not dropped.
    pub(super) fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(|(number, _)| number)
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.0.push(Some(Box::new(slot)));
    }

    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<&Slot> {
        self.0.get(number)?.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Slot> {
        self.0.get_mut(number)?.as_deref_mut()
    }

    /// Drops one, with all that it holds.
    pub(super) fn remove(&mut self, number: usize) {
        if let Some(slot) = self.0.get_mut(number) {
            *slot = None;
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Slot)> {
        let numbered = self.0.iter_mut().enumerate();
        numbered.filter_map(|(number, slot)| Some((number, slot.as_deref_mut()?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter().filter_map(Option::as_deref)
    }
}
