//! The life of a topic: seen, created, refused, let go, gone, made anew. One look at both clusters after the other.
//!
//! A topic's name says little: the topic behind it may be deleted and created again at any time on either side, and a broker may show
//! what was a while ago. So everything here goes by topic ids, and three rules keep copies apart:
//!
//! - The ids that the internal topic remembers are those of the last copy, until a new copy exists. A source topic with another id is
//!   never copied onto the remembered copy, however long it was gone, and whoever forgot what in between.
//! - A copy is deleted only if the mirror has created this very topic, by its id, and nobody else has written to it.
//! - Before a copy is deleted it is let go at one look and deleted at the next: what the streams had under way has arrived by then.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, TopicIds, created_again, plan_topic, selects};
use crate::config::{Config, OnTopicReset};
use crate::error::{Error, ErrorKind};
use crate::terms::broker_error::BrokerError;
use crate::terms::topic::{Metadata, TopicMetadata};

/// A topic that is missing in so many looks in a row is gone.
const GONE_AFTER: u32 = 3;
/// A topic that stays away at the source for so many looks in a row is dropped, and is new when it comes back.
const FORGOTTEN_AFTER: u32 = 12;

/// A topic that is mirrored, or that is about to be mirrored anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mirrored {
    /// Its ids.
    pub ids: TopicIds,
    /// How many of its partitions are assigned to streams.
    pub partitions: usize,
    /// Whether the target's topic was found to hold what somebody else has written.
    pub has_other_writer: bool,
    stage: Stage,
    /// Looks in a row that did not show it, on one of both sides.
    missing: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its partitions are copied.
    Runs,
    /// Its partitions are stopped until the source shows it again.
    Gone,
    /// Its partitions are stopped until the target shows its copy again.
    CopyGone,
    /// Its partitions are stopped until somebody sees to it.
    Parked,
    /// No stream has it any more.
    LetGo,
}

impl Mirrored {
    /// One whose partitions are copied.
    pub fn new(ids: TopicIds, partitions: usize) -> Self {
        Mirrored { ids, partitions, has_other_writer: false, stage: Stage::Runs, missing: 0 }
    }
}

/// What is known of all topics from one look to the next.
#[derive(Debug, Clone, Default)]
pub struct Lives {
    mirrored: BTreeMap<String, Mirrored>,
    /// The ids of the last copy of each topic, by the internal topic.
    remembered: BTreeMap<String, TopicIds>,
    /// The ids on the target of the copies that the mirror has created; nil where the target has no ids.
    created: BTreeMap<String, u128>,
    /// The ids of copies that were deleted on the target. Brokers may still show them.
    dead: BTreeSet<u128>,
    /// Topics that were dropped to be copied anew, until they are mirrored or it is said why not.
    awaited: BTreeSet<String>,
}

impl Lives {
    /// What a start finds in the internal topic.
    pub fn restored(remembered: BTreeMap<String, TopicIds>, created: BTreeMap<String, u128>) -> Self {
        Lives { remembered, created, ..Lives::default() }
    }

    /// A topic that is mirrored or about to be.
    pub fn get(&self, topic: &str) -> Option<&Mirrored> {
        self.mirrored.get(topic)
    }

    /// The names at the source of the topics that are mirrored or about to be.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.mirrored.keys()
    }

    /// How many topics are mirrored or about to be.
    pub fn count(&self) -> usize {
        self.mirrored.len()
    }

    /// Whether some topic is about to be copied anew, or may be when it is back.
    pub fn may_be_made_anew(&self, config: &Config) -> bool {
        let recreates = config.on_topic_reset == OnTopicReset::RecreateTarget;
        let may_be = |topic: &Mirrored| topic.stage == Stage::LetGo || (recreates && topic.stage == Stage::Gone);
        !self.awaited.is_empty() || self.mirrored.values().any(may_be)
    }

    /// Whether its partitions are stopped as a whole.
    pub fn is_stopped(&self, topic: &str) -> bool {
        self.mirrored.get(topic).is_some_and(|topic| topic.stage != Stage::Runs)
    }

    /// Whether the mirror has created the copy with this id, as far as it knows.
    pub fn has_created(&self, topic: &str, id: u128) -> bool {
        self.created.get(topic) == Some(&id)
    }

    /// The id on the target of the copy that the mirror has created last for a topic.
    pub fn created_copy_of(&self, topic: &str) -> Option<u128> {
        self.created.get(topic).copied()
    }

    /// Whether the mirror has created the copy to which it copies a topic now.
    pub fn has_created_copy_of(&self, topic: &str) -> bool {
        self.mirrored.get(topic).is_some_and(|mirrored| self.has_created(topic, mirrored.ids.target))
    }

    /// Whether these are the ids that are remembered of a topic already.
    pub fn remembers(&self, topic: &str, ids: TopicIds) -> bool {
        self.remembered.get(topic) == Some(&ids)
    }

    /// The topics whose ids are not those that are known: before anything is made of that, all brokers have to be asked, because one
    /// may show what was a while ago. By their names at the source.
    pub fn suspicious(&self, source: &Metadata, target: &Metadata, config: &Config) -> BTreeSet<String> {
        let is_suspicious = |name: &&String| {
            let Some(ids) = self.known_ids(name) else { return false };
            let there = target.topics.get(&*config.names.on_target(name));
            let differs = |topic: Option<&TopicMetadata>, id| topic.is_some_and(|topic| differ(topic.id, id));
            differs(source.topics.get(*name), ids.source) || differs(there, ids.target)
        };
        let names = self.mirrored.keys().chain(self.remembered.keys());
        names.filter(|name| config.mirrors(name)).filter(is_suspicious).cloned().collect()
    }

    /// Of suspicious topics those of which some broker still shows what is known: nothing is made of them at this look. Takes what
    /// every broker of each side shows of them.
    pub fn in_doubt(
        &self,
        suspicious: &BTreeSet<String>,
        sources: &[Metadata],
        targets: &[Metadata],
        config: &Config,
    ) -> BTreeSet<String> {
        let shown = |views: &[Metadata], name: &str| -> BTreeSet<u128> {
            let ids = views.iter().filter_map(|view| view.topics.get(name)).map(|topic| topic.id);
            ids.filter(|id| *id != 0 && !self.dead.contains(id)).collect()
        };
        let several =
            |name: &&String| shown(sources, name).len() > 1 || shown(targets, &config.names.on_target(name)).len() > 1;
        suspicious.iter().filter(several).cloned().collect()
    }

    fn known_ids(&self, name: &str) -> Option<&TopicIds> {
        self.mirrored.get(name).map(|mirrored| &mirrored.ids).or_else(|| self.remembered.get(name))
    }

    /// What has to be done, for each topic that needs something, given what both sides show. What is in doubt is left alone.
    pub fn look(
        &mut self,
        source: &Metadata,
        target: &Metadata,
        in_doubt: &BTreeSet<String>,
        config: &Config,
    ) -> BTreeMap<String, Action> {
        let mut actions = BTreeMap::new();
        let selected = source.topics.iter().filter(|(name, topic)| selects(config, name, topic));
        for (name, topic) in selected.filter(|(name, _)| !in_doubt.contains(*name)) {
            let there = target.topics.get(&*config.names.on_target(name));
            let there = there.filter(|there| there.id == 0 || !self.dead.contains(&there.id));
            if let Some(action) = self.see(name, topic, (target, there), config) {
                actions.insert(name.clone(), action);
            }
        }
        let is_settled =
            |name: &String| !source.topics.contains_key(name) || matches!(actions.get(name), Some(Action::Refuse(_)));
        self.awaited.retain(|name| !is_settled(name));
        let is_away = |name: &&String| !source.topics.contains_key(*name);
        let away: Vec<String> = self.mirrored.keys().filter(is_away).cloned().collect();
        for name in away.into_iter().filter(|name| !in_doubt.contains(name)) {
            if let Some(action) = self.miss(&name) {
                actions.insert(name, action);
            }
        }
        actions
    }

    /// The source shows a topic.
    fn see(
        &mut self,
        name: &str,
        topic: &TopicMetadata,
        (target, there): (&Metadata, Option<&TopicMetadata>),
        config: &Config,
    ) -> Option<Action> {
        let name_there = config.names.on_target(name);
        if let Some(action) = self.see_reset(name, topic, there, config) {
            return self.take(name, action);
        }
        let missing_there = there.is_none_or(|there| there.error_code == BrokerError::UNKNOWN_PARTITION.code);
        if let Some(known) = self.mirrored.get(name).copied()
            && let Some(action) = self.see_target(name, &name_there, known, there, missing_there)
        {
            return self.take(name, action);
        }
        if let Some(known) = self.mirrored.get_mut(name) {
            known.missing = 0;
            if matches!(known.stage, Stage::Gone | Stage::CopyGone) {
                known.stage = Stage::Runs;
                return Some(Action::Resume);
            }
            if known.stage != Stage::Runs {
                return None;
            }
        }
        let known = self.mirrored.get(name);
        plan_topic([name, &name_there], topic, (target, there), known, self.remembered.get(name), config)
    }

    /// What to do about a topic that was created again at the source: while it was mirrored, or when the mirror ran before.
    fn see_reset(
        &self,
        name: &str,
        topic: &TopicMetadata,
        there: Option<&TopicMetadata>,
        config: &Config,
    ) -> Option<Action> {
        let there = there.filter(|there| there.error_code == 0);
        let known = self.mirrored.get(name);
        // A copy that somebody has deleted on the target, to start anew, says nothing about the topic that is there now.
        let remembered = self.remembered.get(name);
        let remembered = remembered.filter(|ids| there.is_some_and(|there| !differ(ids.target, there.id)));
        let ids = known.map(|known| known.ids).or(remembered.copied())?;
        if topic.error_code != 0 || !differ(topic.id, ids.source) {
            return None;
        }
        let what = created_again(name, topic.id, ids.source);
        let error = |what: String| Error::new(ErrorKind::TopicReset, what).with_topic(name);
        let is_let_go = known.is_some_and(|known| known.stage == Stage::LetGo);
        let copy = there.filter(|there| !differ(there.id, ids.target));
        let Some(copy) = copy else {
            // Its copy is gone, so nothing is in the way of a new one.
            return Some(match is_let_go {
                true => Action::Forget { why: "the topic was created again at the source, and is copied anew" },
                false => Action::LetGo(error(format!("{what}; its copy on the target is gone, and it is copied anew"))),
            });
        };
        let is_ours = copy.id != 0 && self.has_created(name, copy.id);
        let has_other_writer = known.is_some_and(|known| known.has_other_writer);
        let stop = match config.on_topic_reset {
            OnTopicReset::Fail => "the copy on the target is that of the old one: delete it there to start anew",
            OnTopicReset::RecreateTarget if !is_ours => {
                "its copy on the target is not deleted, because this mirror is not known to have created it: delete it there to \
                 start anew"
            }
            OnTopicReset::RecreateTarget if has_other_writer => {
                "its copy on the target is not deleted, because somebody else has written to it: delete it there to start anew"
            }
            OnTopicReset::RecreateTarget => {
                let error = error(format!("{what}; its copy on the target is deleted and made anew"));
                return Some(if is_let_go { Action::Delete { id: copy.id, error } } else { Action::LetGo(error) });
            }
        };
        let stop = error(format!("{what}; {stop}"));
        let has_partitions = known.is_some_and(|known| known.partitions > 0);
        Some(if has_partitions { Action::Park(stop) } else { Action::Refuse(stop) })
    }

    /// What to do about a topic of which the target shows another copy than the one that is mirrored to, or none.
    fn see_target(
        &self,
        name: &str,
        name_there: &str,
        known: Mirrored,
        there: Option<&TopicMetadata>,
        is_missing: bool,
    ) -> Option<Action> {
        let other = there.filter(|there| there.error_code == 0 && differ(there.id, known.ids.target));
        if known.stage == Stage::LetGo {
            // One that only seemed to be gone is looked at as if it were new: what is there decides again.
            let is_done = is_missing || other.is_some() || known.partitions == 0 || known.has_other_writer;
            return is_done
                .then_some(Action::Forget { why: "the target's topic is another one, and it is copied anew" });
        }
        // A broker may have shown an older copy when this process began.
        let is_ours = other.is_some_and(|other| other.id != 0 && self.has_created(name, other.id));
        let fix = match (known.has_other_writer, is_ours) {
            (true, _) => "it is copied anew",
            (false, true) => "this one is the mirror's too, which goes on with it",
            (false, false) => "start the mirror again to copy the topic anew",
        };
        let conflict = |what: String| Error::new(ErrorKind::TargetConflict, format!("{what}; {fix}")).with_topic(name);
        if let Some(other) = other {
            let error = conflict(format!(
                "topic '{name_there}' was deleted and created again on the target while it was mirrored (its id is {:032x}, it was \
                 {:032x})",
                other.id, known.ids.target
            ));
            return Some(if known.has_other_writer || is_ours { Action::LetGo(error) } else { Action::Park(error) });
        }
        (is_missing && known.partitions > 0).then(|| {
            let what = format!(
                "topic '{name_there}' is gone on the target, or the permission to see it, while it is mirrored"
            );
            Action::Gone(conflict(what))
        })
    }

    /// Takes over what is done about a topic that is not what it was. An action that was done before is not done again.
    fn take(&mut self, name: &str, action: Action) -> Option<Action> {
        if let Action::Forget { .. } = action {
            self.mirrored.remove(name);
            self.awaited.insert(name.to_owned());
            return Some(action);
        }
        if let Action::LetGo(_) = action {
            let ids = self.known_ids(name).copied()?;
            let known = self.mirrored.entry(name.to_owned()).or_insert_with(|| Mirrored::new(ids, 0));
            (known.stage, known.missing) = (Stage::LetGo, 0);
            return Some(action);
        }
        let Some(known) = self.mirrored.get_mut(name) else { return Some(action) };
        match action {
            Action::Park(error) => {
                known.missing = 0;
                let before = std::mem::replace(&mut known.stage, Stage::Parked);
                (before != Stage::Parked).then_some(Action::Park(error))
            }
            Action::Gone(error) => {
                known.missing += 1;
                if known.missing < GONE_AFTER || known.stage == Stage::Parked {
                    return None;
                }
                if known.has_other_writer {
                    known.stage = Stage::LetGo;
                    return Some(Action::LetGo(error));
                }
                let before = std::mem::replace(&mut known.stage, Stage::CopyGone);
                (before == Stage::Runs).then_some(Action::Gone(error))
            }
            action => Some(action),
        }
    }

    /// The source does not show a topic that is mirrored.
    fn miss(&mut self, name: &str) -> Option<Action> {
        let known = self.mirrored.get_mut(name)?;
        known.missing += 1;
        if known.missing >= FORGOTTEN_AFTER {
            self.mirrored.remove(name);
            return Some(Action::Forget { why: "the topic stays away at the source; its copy stays on the target" });
        }
        if known.missing < GONE_AFTER || known.stage != Stage::Runs {
            return None;
        }
        known.stage = Stage::Gone;
        let message =
            format!("topic '{name}' is gone at the source, or the permission to see it; its copy stays on the target");
        Some(Action::Gone(Error::new(ErrorKind::Topic, message).with_topic(name)))
    }

    /// The target has created a copy for the mirror, and gave it this id. The one before is no more.
    pub fn handle_created(&mut self, name: &str, id: u128) {
        self.created.insert(name.to_owned(), id);
    }

    /// A copy was deleted on the target.
    pub fn handle_deleted(&mut self, name: &str, id: u128) {
        self.dead.insert(id);
        self.mirrored.remove(name);
        self.awaited.insert(name.to_owned());
    }

    /// Its partitions are stopped for a reason that somebody else has found; `false` if they were stopped before.
    pub fn handle_parked(&mut self, name: &str) -> bool {
        let known = self.mirrored.get_mut(name).filter(|known| known.stage == Stage::Runs);
        known.map(|known| known.stage = Stage::Parked).is_some()
    }

    /// Somebody else has written to a copy, so it is not deleted.
    pub fn handle_other_writer(&mut self, name: &str) {
        if let Some(known) = self.mirrored.get_mut(name) {
            known.has_other_writer = true;
        }
    }

    /// The internal topic says which copy a topic has now.
    pub fn handle_remembered(&mut self, name: &str, ids: TopicIds) {
        self.remembered.insert(name.to_owned(), ids);
    }

    /// Partitions are mirrored now.
    pub fn handle_mirrored(&mut self, name: &str, ids: TopicIds, partitions: usize) {
        self.mirrored.insert(name.to_owned(), Mirrored::new(ids, partitions));
        self.awaited.remove(name);
    }
}

/// Whether these are certainly the ids of two topics.
fn differ(one: u128, other: u128) -> bool {
    one != other && one != 0 && other != 0
}
