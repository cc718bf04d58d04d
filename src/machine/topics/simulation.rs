//! Looks at topics that are deleted and created at any moment, on either side, by anybody: brokers show what was a while ago, answers
//! are lost, processes die between any two steps. Whatever happens, a copy of somebody else is not deleted, no copy holds records of
//! two topics, and in the end the topic that is there is copied, or a sentence says why not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::*;
use crate::config::Properties;

const TOPIC: &str = "t";
const BROKERS: usize = 3;

/// A topic of the target.
#[derive(Debug, Clone, Default)]
struct Copy {
    is_mirrors: bool,
    /// The source topics whose records it holds.
    holds: BTreeSet<u128>,
    has_foreign_records: bool,
}

/// One side: what there was at each time, and how far each broker has come with it.
#[derive(Debug, Default)]
struct Side {
    history: Vec<Option<u128>>,
    brokers: [usize; BROKERS],
}

impl Side {
    fn now(&self) -> Option<u128> {
        self.history.last().copied().flatten()
    }

    fn becomes(&mut self, id: Option<u128>) {
        self.history.push(id);
    }

    fn catch_up(&mut self, random: &mut fastrand::Rng, all: bool) {
        let last = self.history.len().saturating_sub(1);
        for broker in &mut self.brokers {
            *broker = if all { last } else { random.usize((*broker).min(last)..=last) };
        }
    }

    fn view(&self, broker: usize) -> Metadata {
        let id = self.history.get(self.brokers[broker]).copied().flatten();
        let topic = |id| TopicMetadata { id, leaders: vec![1], replication_factor: 1, ..TopicMetadata::default() };
        let topics = id.map(|id| (TOPIC.to_owned(), topic(id))).into_iter().collect();
        Metadata { broker_count: BROKERS, topics, ..Metadata::default() }
    }

    fn views(&self) -> Vec<Metadata> {
        (0..BROKERS).map(|broker| self.view(broker)).collect()
    }
}

struct World {
    random: fastrand::Rng,
    config: Rc<Config>,
    source: Side,
    target: Side,
    copies: BTreeMap<u128, Copy>,
    next_id: u128,
    lives: Lives,
    /// What streams copy now.
    running: Option<TopicIds>,
    /// The internal topic.
    written: (BTreeMap<String, TopicIds>, BTreeMap<String, u128>),
    /// Copies of which no answer said that the mirror has created them.
    unknown: BTreeSet<u128>,
    /// Whether what became of the copy last was somebody else's doing.
    is_somebodys: bool,
    told: Option<String>,
    events: Vec<String>,
    recreated: usize,
    /// A bug that is planted.
    bug: Bug,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    None,
    /// A copy is deleted whoever has created it, and whoever has written to it.
    DeletesAll,
    /// What is remembered is forgotten with the copy.
    Forgets,
    /// A broker that shows another id is believed at once.
    BelievesOne,
}

impl World {
    fn new(seed: u64, bug: Bug, config: Rc<Config>) -> Self {
        World {
            random: fastrand::Rng::with_seed(seed),
            config,
            source: Side { history: vec![None], ..Side::default() },
            target: Side { history: vec![None], ..Side::default() },
            copies: BTreeMap::new(),
            next_id: 1,
            lives: Lives::default(),
            running: None,
            written: Default::default(),
            unknown: BTreeSet::new(),
            is_somebodys: false,
            told: None,
            events: Vec::new(),
            recreated: 0,
            bug,
        }
    }

    fn id(&mut self) -> u128 {
        self.next_id += 1;
        self.next_id
    }

    fn new_copy(&mut self, is_mirrors: bool) -> u128 {
        let id = self.id();
        self.copies.insert(id, Copy { is_mirrors, ..Copy::default() });
        self.is_somebodys = !is_mirrors;
        self.target.becomes(Some(id));
        id
    }

    /// Something happens to the clusters or to the process.
    fn happen(&mut self) {
        match self.random.u32(0..100) {
            0..12 => {
                let id = if self.source.now().is_some() { None } else { Some(self.id()) };
                self.events.push(format!("source: {id:?}"));
                self.source.becomes(id);
            }
            12..15 => {
                let id = self.id();
                self.events.push(format!("source: at once {id}"));
                self.source.becomes(None);
                self.source.becomes(Some(id));
            }
            15..17 => {
                self.events.push("target: somebody deletes or creates it".to_owned());
                match self.target.now() {
                    Some(_) => {
                        self.target.becomes(None);
                        self.is_somebodys = true;
                    }
                    None => drop(self.new_copy(false)),
                }
            }
            17..19 => {
                let now = self.target.now();
                if let Some(copy) = now.and_then(|id| self.copies.get_mut(&id)) {
                    self.events.push("target: somebody writes".to_owned());
                    copy.has_foreign_records = true;
                }
            }
            19..24 => self.crash(),
            _ => {}
        }
        self.source.catch_up(&mut self.random, false);
        self.target.catch_up(&mut self.random, false);
    }

    fn crash(&mut self) {
        self.events.push("crash".to_owned());
        self.running = None;
        let (remembered, created) = self.written.clone();
        self.lives = Lives::restored(remembered, created);
    }

    /// Streams copy what they were given, as long as both topics are those that they know, and nobody else writes.
    fn copy(&mut self) {
        let Some(ids) = self.running else { return };
        if (self.source.now(), self.target.now()) != (Some(ids.source), Some(ids.target)) {
            return;
        }
        let Some(copy) = self.copies.get_mut(&ids.target) else { return };
        if copy.has_foreign_records {
            if !self.lives.is_stopped(TOPIC) {
                self.lives.handle_other_writer(TOPIC);
            }
            self.told = Some("another writer".to_owned());
            return;
        }
        copy.holds.insert(ids.source);
        assert!(copy.holds.len() <= 1, "records of two topics are mixed: {:#?}", self.events);
    }

    fn look(&mut self) {
        self.copy();
        let source = self.source.view(self.random.usize(0..BROKERS));
        let target = self.target.view(self.random.usize(0..BROKERS));
        let suspicious = self.lives.suspicious(&source, &target, &self.config);
        let in_doubt = match suspicious.is_empty() || self.bug == Bug::BelievesOne {
            true => BTreeSet::new(),
            false => self.lives.in_doubt(&suspicious, &self.source.views(), &self.target.views(), &self.config),
        };
        let mut actions = self.lives.look(&source, &target, &in_doubt, &self.config);
        let Some(action) = actions.remove(TOPIC) else { return };
        let is_refused = matches!(action, Action::Refuse(_) | Action::Park(_) | Action::Gone(_));
        self.events.push(format!("{action:?}"));
        self.apply(action, &source);
        if !is_refused {
            self.told = None;
        }
    }

    fn dies(&mut self) -> bool {
        let dies = self.random.u32(0..25) == 0;
        if dies {
            self.crash();
        }
        dies
    }

    fn apply(&mut self, action: Action, source: &Metadata) {
        match action {
            Action::Create { .. } => self.create(source.topics[TOPIC].id),
            Action::Mirror { ids, to, .. } => {
                if self.write_down(ids) {
                    return;
                }
                self.lives.handle_mirrored(TOPIC, ids, to);
                self.running = Some(ids);
            }
            Action::Refuse(error) | Action::Park(error) => {
                self.told = Some(error.message().to_owned());
                self.running = None;
            }
            Action::Gone(_) | Action::LetGo(_) | Action::Forget { .. } => {
                if let Action::Gone(error) = &action {
                    self.told = Some(error.message().to_owned());
                }
                self.running = None;
                if self.bug == Bug::Forgets && matches!(action, Action::Forget { .. } | Action::LetGo(_)) {
                    self.written = Default::default();
                    self.lives = Lives::default();
                }
            }
            Action::Resume => self.running = self.lives.get(TOPIC).map(|mirrored| mirrored.ids),
            Action::Delete { id, .. } => self.delete(id),
            Action::Grow { .. } => {}
        }
    }

    fn create(&mut self, source_id: u128) {
        if self.dies() || self.target.now().is_some() {
            return;
        }
        let id = self.new_copy(true);
        // The answer may not come, or the process may end before it has written it down.
        if self.dies() || self.random.u32(0..20) == 0 {
            self.unknown.insert(id);
            return;
        }
        self.lives.handle_created(TOPIC, id);
        if self.write_down(TopicIds { source: source_id, target: id }) {
            self.unknown.insert(id);
        }
    }

    /// `true` if the process has ended before.
    fn write_down(&mut self, ids: TopicIds) -> bool {
        if self.lives.remembers(TOPIC, ids) {
            return false;
        }
        if self.dies() {
            return true;
        }
        self.written.0.insert(TOPIC.to_owned(), ids);
        if let Some(id) = self.lives.created_copy_of(TOPIC) {
            self.written.1.insert(TOPIC.to_owned(), id);
        }
        self.lives.handle_remembered(TOPIC, ids);
        self.dies()
    }

    fn delete(&mut self, id: u128) {
        if self.dies() {
            return;
        }
        let copy = &self.copies[&id];
        if copy.has_foreign_records && self.bug != Bug::DeletesAll {
            return self.lives.handle_other_writer(TOPIC);
        }
        assert!(copy.is_mirrors && !copy.has_foreign_records, "a foreign copy is deleted: {:#?}", self.events);
        if self.target.now() == Some(id) {
            self.target.becomes(None);
        }
        if self.dies() {
            return;
        }
        self.recreated += 1;
        self.running = None;
        self.lives.handle_deleted(TOPIC, id);
    }

    fn history(&mut self) {
        for _ in 0..self.random.usize(20..120) {
            self.happen();
            if self.bug == Bug::DeletesAll && self.random.bool() {
                let id = self.target.now().unwrap_or_default();
                self.lives.handle_created(TOPIC, id);
            }
            self.look();
        }
        // From here on nothing happens any more.
        if self.source.now().is_none() {
            let id = self.id();
            self.source.becomes(Some(id));
        }
        for _ in 0..40 {
            self.source.catch_up(&mut self.random, true);
            self.target.catch_up(&mut self.random, true);
            // A process may die here, too, but then somebody starts it again.
            self.look();
        }
        self.copy();
        self.judge();
    }

    fn judge(&self) {
        let wanted = self.source.now().unwrap();
        let there = self.target.now().and_then(|id| Some((id, self.copies.get(&id)?)));
        let is_copied = there.is_some_and(|(id, copy)| {
            copy.holds == BTreeSet::from([wanted]) && self.running == Some(TopicIds { source: wanted, target: id })
        });
        if is_copied {
            return;
        }
        let told = self.told.as_deref().unwrap_or_default();
        // A copy that is certainly the mirror's alone is made anew; only what is not may be left, with a sentence.
        let may_be_left =
            self.is_somebodys || there.is_some_and(|(id, copy)| copy.has_foreign_records || self.unknown.contains(&id));
        assert!(
            may_be_left && !told.is_empty(),
            "neither copied nor told: {there:?} {:?} {told} {:#?}",
            self.lives,
            self.events
        );
    }
}

fn run(seeds: std::ops::Range<u64>, bug: Bug) -> usize {
    let mut recreated = 0;
    let mut properties = Properties::new();
    properties.set("source.bootstrap.servers", "a:1").set("target.bootstrap.servers", "b:1");
    properties.set("on.topic.reset", "recreate-target");
    let config = Rc::new(properties.build().unwrap().0);
    for seed in seeds {
        let mut world = World::new(seed, bug, config.clone());
        world.history();
        recreated += world.recreated;
    }
    recreated
}

#[test]
fn whatever_happens_to_topics_no_foreign_copy_is_deleted_nothing_is_mixed_and_all_ends_well() {
    let recreated = run(0..2_000, Bug::None);
    assert!(recreated > 1_000, "only {recreated} copies were made anew: nothing was tried");
}

#[test]
fn planted_bugs_are_found() {
    for bug in [Bug::DeletesAll, Bug::Forgets, Bug::BelievesOne] {
        let found = std::panic::catch_unwind(|| run(0..2_000, bug));
        assert!(found.is_err(), "{bug:?} is not found");
    }
}
