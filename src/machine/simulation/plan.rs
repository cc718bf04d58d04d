//! What one history is about: the trouble it is in, how long it is, and what its world allows. All of it is drawn from the seed.
//!
//! Nothing happens here; [`super::history`] makes it happen.

use super::translated;
use super::world::limits;
use crate::machine::partition::{Holes, Limits};

/// What a history is about, besides crashes, cut connections, slow replicas and elections, which are in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Nothing,
    /// Brokers forget the producer id: idle for long, or its records have old timestamps.
    StateExpires,
    /// The target's retention removes everything that was copied.
    TargetEmptied,
    /// The target's cleaner takes records that were copied.
    TargetCompacts,
    /// The target loses committed batches.
    TargetUnclean,
    /// Somebody else writes to the target.
    ForeignWriter,
    /// A newer owner of the mirror writes with a higher epoch.
    NewOwner,
    /// The source has a record that the target never takes.
    SourceHasPoison,
    /// The target takes only small batches.
    TargetTakesSmall,
    /// The source's retention overtakes the mirror.
    SourceRetention,
    /// The source loses what was copied already.
    SourceUnclean,
    /// The source compacts its log while it is copied.
    SourceCompacts,
    /// With translated offsets: the target compacts its log all the time, and its brokers forget the producer id.
    TargetCleaned,
    /// What the mirror has written down is lost.
    MemoryLost,
}

impl Trouble {
    /// Whether brokers forget the producer id again and again.
    pub(super) fn is_forgetful(self) -> bool {
        matches!(self, Trouble::StateExpires | Trouble::TargetCleaned)
    }

    fn changes_source(self) -> bool {
        matches!(self, Trouble::SourceRetention | Trouble::SourceUnclean | Trouble::SourceCompacts)
    }
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) trouble: Trouble,
    /// The step at which it happens.
    pub(super) at: u32,
    pub(super) steps: u32,
    /// The step at which another process of the mirror starts beside the first, if one does.
    pub(super) other_starts_at: Option<u32>,
    /// One of so many times the source grows that it could: the larger, the more often the mirror is idle.
    pub(super) calm: u32,
    /// What is done in one step, by whoever.
    pub(super) pace: u32,
    pub(super) one_at_a_time: bool,
    pub(super) limits: Limits,
    /// Of 1000 steps, how many break something.
    pub(super) faults: u32,
    /// Of 1000 reads, how many fail or say nothing.
    pub(super) unread: u32,
    /// Of 100 batches, how many are such that the target gets markers for them.
    pub(super) holes: u32,
    /// Batches until the source holds what the trouble is about.
    pub(super) clean_batches: usize,
    /// Offsets are translated: others write to the target all the time.
    pub(super) translates: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut fastrand::Rng) -> Self {
        let translates = rng.u32(0..3) == 0;
        let trouble = match rng.u32(0..100) {
            share if translates => translated::trouble(share),
            0..32 => Trouble::Nothing,
            32..38 => Trouble::TargetCompacts,
            38..48 => Trouble::StateExpires,
            48..52 => Trouble::TargetEmptied,
            52..62 => Trouble::TargetUnclean,
            62..72 => Trouble::ForeignWriter,
            72..76 => Trouble::NewOwner,
            76..82 => Trouble::SourceHasPoison,
            82..86 => Trouble::TargetTakesSmall,
            86..93 => Trouble::SourceRetention,
            _ => Trouble::SourceUnclean,
        };
        let steps = rng.u32(60..260);
        let max_in_flight = if rng.bool() { 5 } else { rng.usize(1..=5) };
        let limits = Limits {
            go_on_after_loss: rng.bool(),
            skip_refused: rng.bool(),
            holes: if translates { Holes::Mapped } else { limits(1, 0).holes },
            ..limits(max_in_flight, rng.usize(100..900))
        };
        // Two that find different things at the source, before and after it lost something, cannot agree what is a hole.
        let agree = !trouble.changes_source() || trouble == Trouble::SourceCompacts;
        let others = trouble != Trouble::MemoryLost
            && (rng.u32(0..4) == 0 || (trouble == Trouble::StateExpires && rng.u32(0..4) > 0))
            && agree;
        let other_starts_at = others.then(|| rng.u32(0..steps));
        Plan {
            trouble,
            at: rng.u32(0..steps),
            steps,
            other_starts_at,
            calm: [1, 8][rng.usize(0..2)],
            pace: [4, 8, 16][rng.usize(0..3)],
            one_at_a_time: rng.bool(),
            limits,
            holes: [0, 10, 40, 70][rng.usize(0..4)],
            faults: [0, 15, 50, 120][rng.usize(0..4)],
            unread: [0, 15, 100, 400][rng.usize(0..4)],
            clean_batches: rng.usize(0..12),
            translates,
        }
    }
}
