//! Reads files of MirrorMaker 2: which mirrors they are about, and what of them each mirror gets.
//!
//! A file is about several clusters, and every flow from one to another that is enabled is a mirror of its own. For
//! each of them the file is translated, line by line (`translate`), into what a file of kmirror would say, and then built as
//! such a file is: what the values mean is decided there. Defaults are MirrorMaker 2's where its own keys are concerned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::collect::{Entry, Item, Origin, Place, Properties};
use super::problems::Warning;
use super::{Config, properties, resolve, value};
use crate::error::{Error, ErrorKind, Result};
use keys::{Reading, Verdict};
use translate::{Translated, Translator};

mod document;
mod keys;
#[cfg(test)]
mod tests;
mod translate;

pub use document::markdown;

/// A direction in which a file of MirrorMaker 2 mirrors: `a->b`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    source: String,
    target: String,
}

impl Flow {
    /// The alias of the cluster where records are read.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The alias of the cluster where records are written.
    pub fn target(&self) -> &str {
        &self.target
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}->{}", self.source, self.target)
    }
}

impl FromStr for Flow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (source, target) = text.split_once("->").ok_or("a flow is written as source->target")?;
        Ok(Flow { source: source.trim().to_owned(), target: target.trim().to_owned() })
    }
}

/// What MirrorMaker 2 never mirrors, as patterns.
const INTERNAL: &str = r".*[\-\.]internal, \..*, __.*";

impl Properties {
    /// Whether it is, in part at least, a file of MirrorMaker 2.
    pub(super) fn is_of_mirror_maker_2(&self) -> bool {
        self.entries().any(|entry| {
            entry.place == Place::MirrorMaker2
                || (entry.place == Place::Call && resolve::is_of_mirror_maker_2(&entry.key))
        })
    }

    /// The flows that a file of MirrorMaker 2 enables, in the order of its `clusters`; none if it is no such file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if what says which flows there are is wrong.
    pub fn flows(&self) -> Result<Vec<Flow>> {
        if !self.is_of_mirror_maker_2() {
            return Ok(Vec::new());
        }
        let clusters = self.clusters()?;
        let pairs = clusters.iter().flat_map(|source| clusters.iter().map(move |target| (source, target)));
        let mut flows = Vec::new();
        for (source, target) in pairs.filter(|(source, target)| source != target) {
            let flow = Flow { source: source.clone(), target: target.clone() };
            let entry = self.last(&format!("{flow}.enabled")).or_else(|| self.last("enabled"));
            let Some(entry) = entry else { continue };
            match entry.value.trim().to_ascii_lowercase().as_str() {
                "true" => flows.push(flow),
                "false" | "" => {}
                _ => {
                    let (value, hint) = (value::quote(&entry.value), value::comment_hint(&entry.value));
                    let message = format!("{}: {}: is {value}: it takes true or false{hint}", entry.origin, entry.key);
                    return Err(Error::new(ErrorKind::Config, message));
                }
            }
        }
        if flows.is_empty() {
            let message =
                "no flow is enabled: write a->b.enabled=true for the clusters a and b between which to mirror";
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(flows)
    }

    /// The configuration of every mirror: one for each flow that a file of MirrorMaker 2 enables, else a single one.
    ///
    /// ```
    /// use kmirror::config::Properties;
    /// let mut properties = Properties::new();
    /// properties.set("clusters", "east, west").set("east.bootstrap.servers", "e:9092").set("west.bootstrap.servers", "w:9092");
    /// properties.set("east->west.enabled", "true").set("west->east.enabled", "true");
    /// let mirrors = properties.mirrors()?;
    /// let names: Vec<_> = mirrors.iter().filter_map(|(config, _)| config.name.as_deref()).collect();
    /// assert_eq!(names, ["east-to-west", "west-to-east"]);
    /// assert_eq!(mirrors[0].0.names.on_target("orders"), "east.orders");
    /// # Ok::<_, kmirror::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`build`](Properties::build), of the first mirror that is wrong.
    pub fn mirrors(&self) -> Result<Vec<(Config, Vec<Warning>)>> {
        if !self.is_of_mirror_maker_2() {
            return Ok(vec![self.build()?]);
        }
        self.flows()?.iter().map(|flow| self.of_flow(flow)?.build()).collect()
    }

    /// What of a file of MirrorMaker 2 concerns one flow, as properties of a single mirror.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the flow is not enabled.
    pub fn of_flow(&self, flow: &Flow) -> Result<Properties> {
        let flows = self.flows()?;
        if !flows.contains(flow) {
            let enabled: Vec<String> = flows.iter().map(Flow::to_string).collect();
            let message = match enabled.is_empty() {
                true => format!("there is no flow {flow}: this is no file of MirrorMaker 2"),
                false => format!("the flow {flow} is not enabled: {} is", enabled.join(", ")),
            };
            return Err(Error::new(ErrorKind::Config, message));
        }
        let translator = Translator { clusters: self.clusters()?, flows, flow };
        let mut of_flow = Assembly::default();
        let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for item in &self.items {
            let Item::Entry(entry) = item else {
                of_flow.items.push(item.clone());
                continue;
            };
            if let Origin::File { name, line } = &entry.origin
                && let Some(first) = seen.insert((name, &entry.key), *line)
            {
                let what =
                    format!("{}: stands here and in line {first}: keep one of them", translator.shown(&entry.key));
                of_flow.items.push(Item::Bad { origin: entry.origin.clone(), what });
                continue;
            }
            of_flow.add(entry, &translator);
        }
        Ok(Properties { items: of_flow.finish(flow) })
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.items.iter().filter_map(|item| match item {
            Item::Entry(entry) => Some(entry),
            _ => None,
        })
    }

    /// The entry of a key that counts: the last call, else the last in a file.
    fn last(&self, key: &str) -> Option<&Entry> {
        let of_key = || self.entries().filter(|entry| entry.key == key);
        of_key().filter(|entry| entry.place == Place::Call).last().or_else(|| of_key().last())
    }

    /// The aliases of the clusters.
    fn clusters(&self) -> Result<Vec<String>> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, what));
        let Some(entry) = self.last("clusters") else {
            return wrong("clusters: is missing: a file of MirrorMaker 2 names its clusters there".to_owned());
        };
        let names = entry.value.split(',').map(str::trim).filter(|name| !name.is_empty());
        let clusters: Vec<String> = names.map(str::to_owned).collect();
        let origin = &entry.origin;
        if let Some(name) = clusters.iter().find(|name| !name.chars().all(value::is_name_char)) {
            let name = value::quote(name);
            return wrong(format!(
                "{origin}: clusters: {name} takes letters, digits, '.', '_' and '-', as a topic's name does"
            ));
        }
        if clusters.iter().collect::<BTreeSet<_>>().len() < clusters.len() {
            return wrong(format!("{origin}: clusters: names a cluster twice"));
        }
        Ok(clusters)
    }
}

/// Puts together what a mirror gets.
#[derive(Default)]
struct Assembly {
    items: Vec<Item>,
    /// By the key of kmirror: how close the entry is to the flow, and the entries that are that close.
    chosen: BTreeMap<String, (u8, Vec<Entry>)>,
}

impl Assembly {
    fn add(&mut self, entry: &Entry, translator: &Translator<'_>) {
        for translated in translator.translate(entry) {
            match translated {
                Translated::AsItIs => self.items.push(Item::Entry(entry.clone())),
                Translated::Set { key, value, closeness } => self.choose(key, value, closeness, entry),
                Translated::Idle(message) => self.items.push(Item::Remark {
                    origin: entry.origin.clone(),
                    key: translator.shown(&entry.key),
                    message,
                }),
                Translated::Mistake(what) => {
                    let hint = value::comment_hint(&entry.value);
                    let what = format!("{}: {what}{hint}", translator.shown(&entry.key));
                    self.items.push(Item::Bad { origin: entry.origin.clone(), what });
                }
            }
        }
    }

    fn choose(&mut self, key: String, value: String, closeness: u8, entry: &Entry) {
        let written = Some(entry.key.clone());
        let place = if entry.place == Place::Call { Place::Call } else { Place::FlatFile };
        let new = Entry { key: key.clone(), value, place, origin: entry.origin.clone(), written };
        let (closest, chosen) = self.chosen.entry(key).or_insert((closeness, Vec::new()));
        // A call beats a file however close that is.
        let is_call = |entries: &[Entry]| entries.iter().any(|entry| entry.place == Place::Call);
        if place == Place::Call && !is_call(chosen)
            || closeness > *closest && (place == Place::Call || !is_call(chosen))
        {
            (*closest, *chosen) = (closeness, vec![new]);
        } else if closeness == *closest {
            chosen.push(new);
        }
    }

    /// Adds what MirrorMaker 2 takes where nothing is said.
    fn finish(mut self, flow: &Flow) -> Vec<Item> {
        for row in keys::KEYS {
            match (row.verdict, row.default) {
                (Verdict::Property(key, reading, _), Some(default)) => {
                    let is_kmirrors = |value: &String| default_of(key) == Some(value.as_str());
                    if let Some(value) = translate::read(reading, default).ok().filter(|value| !is_kmirrors(value)) {
                        self.take_default(key, value);
                    }
                }
                (Verdict::OnRequest(_), _) if !self.chosen.contains_key(row.keys[0]) => {
                    let key = row.keys[0].to_owned();
                    let message =
                        format!("is true by default in MirrorMaker 2, and here only if it is written: {key}=true");
                    self.items.push(Item::Remark { origin: Origin::MirrorMaker2, key, message });
                }
                _ => {}
            }
        }
        let (source, target) = (flow.source.clone(), flow.target.clone());
        self.take_default("name", format!("{source}-to-{target}"));
        self.take_default("source.cluster.alias", source);
        self.take_default("target.cluster.alias", target);
        self.take_default("topic.acls.downgrade", "read-only".to_owned());
        self.add_to_topics();
        let entries = self.chosen.into_values().flat_map(|(_, entries)| entries);
        self.items.into_iter().chain(entries.map(Item::Entry)).collect()
    }

    fn take_default(&mut self, key: &str, value: String) {
        let (key, origin) = (key.to_owned(), Origin::MirrorMaker2);
        let default = Entry { key: key.clone(), value, place: Place::FlatFile, origin, written: None };
        self.chosen.entry(key).or_insert((0, vec![default]));
    }

    /// What MirrorMaker 2 takes besides the lists: heartbeats always, its internal topics never.
    fn add_to_topics(&mut self) {
        let value_of = |chosen: &BTreeMap<String, (u8, Vec<Entry>)>, key: &str| {
            chosen.get(key).and_then(|(_, entries)| entries.last()).map(|entry| entry.value.trim().to_owned())
        };
        let separator = value_of(&self.chosen, "replication.policy.separator");
        let separator =
            regex::escape(separator.as_deref().or(default_of("replication.policy.separator")).unwrap_or_default());
        let heartbeats = value_of(&self.chosen, keys::HEARTBEATS_REPLICATION);
        self.chosen.remove(keys::HEARTBEATS_REPLICATION);
        let mut extend = |key: &str, more: &str| {
            for entry in self.chosen.get_mut(key).into_iter().flat_map(|(_, entries)| entries) {
                if !entry.value.trim().is_empty() || key == "topics.exclude" {
                    entry.value = format!("{}, {more}", entry.value);
                }
            }
        };
        extend("topics.exclude", INTERNAL);
        extend("topics.exclude", &format!("mm2.*{separator}internal, .*checkpoints{separator}internal"));
        if heartbeats.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            extend("topics", &format!("(.*{separator})?heartbeats"));
        }
    }
}

/// What is said of one of MirrorMaker 2's keys where kmirror's are expected; nothing of a key that is called the same.
pub(super) fn called_otherwise(key: &str) -> Option<String> {
    Some(match keys::find(key)?.verdict {
        Verdict::Property(to, ..) if to == key => return None,
        Verdict::Property(to, Reading::Seconds, _) => {
            format!("is MirrorMaker 2's name of {to}, which is in milliseconds")
        }
        Verdict::Property(to, Reading::Class(words), _) => {
            let words: Vec<&str> = words.iter().map(|(_, word)| *word).collect();
            format!("is MirrorMaker 2's name of {to}, which takes {}", value::either(&words))
        }
        Verdict::Property(to, Reading::Same, _) => format!("is MirrorMaker 2's name of {to}"),
        Verdict::Idle(reason, _) | Verdict::Only(_, reason) => {
            format!("is a key of MirrorMaker 2 and none here: {reason}")
        }
        Verdict::Flows(_) | Verdict::OnRequest(_) => return None,
    })
}

/// The default of a property of kmirror.
fn default_of(key: &str) -> Option<&'static str> {
    properties::of_mirror(key).and_then(|property| property.default)
}
