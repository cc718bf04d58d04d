//! Decides what one line of a MirrorMaker 2 file is for one flow: a property of the mirror, nothing, or a mistake.
//!
//! Of several lines that say the same thing the one closest to the flow counts: `a->b.topics` before `topics`, and for the
//! clients what MirrorMaker 2 gives its consumer at the source and its producer at the target.

use super::super::collect::{Entry, Place};
use super::super::ignored;
use super::super::resolve::{self, Meaning};
use super::super::security::is_security_key;
use super::super::{Side, properties, value};
use super::Flow;
use super::keys::{self, Key, Reading, Verdict};

/// What a line is for a flow.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Translated {
    /// It is written as kmirror has it.
    AsItIs,
    /// It is this property; of several the closest counts.
    Set { key: String, value: String, closeness: u8 },
    /// It has no effect.
    Idle(String),
    /// It is wrong.
    Mistake(String),
}

/// How close a line is to the flow.
mod closeness {
    pub(super) const ALL: u8 = 0;
    pub(super) const ADMIN: u8 = 0;
    pub(super) const ALL_CLIENTS: u8 = 1;
    pub(super) const CLUSTER: u8 = 2;
    pub(super) const FLOW_CLUSTER: u8 = 3;
    pub(super) const FLOW_CLIENT: u8 = 4;
    pub(super) const CLIENT: u8 = 5;
    pub(super) const FLOW_CLIENT_OF_SIDE: u8 = 6;
    pub(super) const FLOW: u8 = 1;
}

/// Reads lines for one flow.
pub(super) struct Translator<'a> {
    pub(super) clusters: Vec<String>,
    pub(super) flows: Vec<Flow>,
    pub(super) flow: &'a Flow,
}

impl Translator<'_> {
    pub(super) fn translate(&self, entry: &Entry) -> Vec<Translated> {
        let (key, value) = (entry.key.as_str(), entry.value.as_str());
        if let Some((flow, rest)) = self.flow_of(key) {
            return match flow {
                Ok(flow) if flow == *self.flow => self.in_flow(rest, value),
                Ok(flow) if rest == keys::HEARTBEATS && self.is_only_way_back(&flow) => {
                    vec![set(keys::HEARTBEATS_AT_SOURCE, value, closeness::FLOW)]
                }
                Ok(_) => Vec::new(),
                Err(what) => vec![Translated::Mistake(what)],
            };
        }
        if let Some(row) = keys::find(key) {
            let mut translated = of_row(row, value, closeness::ALL, false);
            let back = Flow { source: self.flow.target.clone(), target: self.flow.source.clone() };
            if key == keys::HEARTBEATS && self.is_only_way_back(&back) {
                translated.push(set(keys::HEARTBEATS_AT_SOURCE, value, closeness::ALL));
            }
            return translated;
        }
        if let Some((alias, rest)) = self.alias_of(key) {
            return self.in_cluster(alias, rest, value);
        }
        let is_flat = entry.place == Place::Call && !matches!(resolve::meaning(key, Place::Call), Meaning::Mistake(_));
        if is_flat { vec![Translated::AsItIs] } else { self.for_all(key, value) }
    }

    /// Whether it is the other direction, in which nothing is mirrored: MirrorMaker 2 writes heartbeats in it all the same.
    fn is_only_way_back(&self, flow: &Flow) -> bool {
        (&flow.source, &flow.target) == (&self.flow.target, &self.flow.source) && !self.flows.contains(flow)
    }

    /// The key as it may be shown: what does not look like one may be a part of a secret.
    pub(super) fn shown(&self, key: &str) -> String {
        match self.flow_of(key) {
            Some((Ok(flow), rest)) => format!("{flow}.{}", resolve::shown_key(rest, Place::MirrorMaker2)),
            Some((Err(_), _)) => "(not shown)".to_owned(),
            None => match self.alias_of(key) {
                Some((alias, rest)) => format!("{alias}.{}", resolve::shown_key(rest, Place::MirrorMaker2)),
                None => resolve::shown_key(key, Place::MirrorMaker2),
            },
        }
    }

    /// The flow before a key, and the rest of it.
    fn flow_of<'k>(&self, key: &'k str) -> Option<(Result<Flow, String>, &'k str)> {
        let (source, rest) = key.split_once("->")?;
        let (source, rest) = (source.trim(), rest.trim_start());
        let unknown = |what: &str| {
            let clusters = self.clusters.join(", ");
            Err(format!("{what} is none of the clusters ({clusters}): a flow is written as source->target.key"))
        };
        Some(match self.alias_of(rest) {
            _ if !self.clusters.iter().any(|cluster| cluster == source) => (unknown("what stands before ->"), rest),
            Some((target, rest)) => (Ok(Flow { source: source.to_owned(), target: target.to_owned() }), rest),
            None => (unknown("what stands behind ->"), rest),
        })
    }

    /// The alias before a key, the longest if there are several, and the rest of the key.
    fn alias_of<'k>(&self, key: &'k str) -> Option<(&str, &'k str)> {
        let after = |alias: &str| key.strip_prefix(alias)?.strip_prefix('.');
        let known = self.clusters.iter().filter_map(|alias| Some((alias.as_str(), after(alias)?)));
        known.max_by_key(|(alias, _)| alias.len())
    }

    /// A key that stands alone: it is for all flows.
    fn for_all(&self, key: &str, value: &str) -> Vec<Translated> {
        if properties::of_mirror(key).is_some() {
            return vec![set(key, value, closeness::ALL)];
        }
        if key == "bootstrap.servers" || key == "security.protocol" || is_security_key(key) {
            let both = [Side::Source, Side::Target];
            return both.map(|side| client(side, key, value, closeness::ALL_CLIENTS)).into();
        }
        vec![match keys::of_worker(key) {
            Some(reason) => idle(reason),
            None if is_of_client(strip_client(key).map_or(key, |(_, bare)| bare)) => idle(
                "as in MirrorMaker 2, a key of clients stands behind the alias of a cluster, for example a.consumer.fetch.max.bytes",
            ),
            None => Translated::Mistake(mistake(key)),
        }]
    }

    /// A key behind `a->b.`.
    fn in_flow(&self, key: &str, value: &str) -> Vec<Translated> {
        if let Some(row) = keys::find(key) {
            return of_row(row, value, closeness::FLOW, true);
        }
        for side in [Side::Source, Side::Target] {
            let Some(rest) = key.strip_prefix(side.prefix()) else { continue };
            if let Some(bare) = rest.strip_prefix("cluster.") {
                return vec![client(side, bare, value, closeness::FLOW_CLUSTER)];
            }
            if let Some((of, bare)) = strip_client(rest) {
                return self.of_client(of, side, bare, value, closeness::FLOW_CLIENT_OF_SIDE);
            }
        }
        if properties::of_mirror(key).is_some() {
            return vec![set(key, value, closeness::FLOW)];
        }
        if let Some((of, bare)) = strip_client(key) {
            let bare = bare.strip_prefix("override.").unwrap_or(bare);
            return match of {
                Client::Consumer => vec![client(Side::Source, bare, value, closeness::FLOW_CLIENT)],
                Client::Producer => vec![client(Side::Target, bare, value, closeness::FLOW_CLIENT)],
                Client::Admin => {
                    [Side::Source, Side::Target].map(|side| client(side, bare, value, closeness::ADMIN)).into()
                }
            };
        }
        vec![keys::of_worker(key).map_or_else(|| Translated::Mistake(mistake(key)), idle)]
    }

    /// A key behind the alias of a cluster.
    fn in_cluster(&self, alias: &str, key: &str, value: &str) -> Vec<Translated> {
        let sides: Vec<Side> = [(Side::Source, &self.flow.source), (Side::Target, &self.flow.target)]
            .into_iter()
            .filter_map(|(side, of)| (of == alias).then_some(side))
            .collect();
        let Some(side) = sides.first().copied() else { return Vec::new() };
        if let Some((of, bare)) = strip_client(key) {
            return self.of_client(of, side, bare, value, closeness::CLIENT);
        }
        if let Some(reason) = keys::of_worker(key).filter(|_| !is_of_client(key)) {
            return vec![idle(reason)];
        }
        match keys::find(key).map(|row| row.verdict) {
            Some(Verdict::Idle(reason, _)) => vec![idle(reason)],
            Some(_) => vec![Translated::Mistake(format!("is no key of a cluster: did you mean {}.{key}?", self.flow))],
            None if is_of_client(key) => vec![client(side, key, value, closeness::CLUSTER)],
            None => vec![Translated::Mistake(mistake(key))],
        }
    }

    /// A key of one of MirrorMaker 2's clients of a cluster.
    fn of_client(&self, of: Client, side: Side, bare: &str, value: &str, closeness: u8) -> Vec<Translated> {
        let role = if side == Side::Source { Client::Consumer } else { Client::Producer };
        if of == role {
            return vec![client(side, bare, value, closeness)];
        }
        if of == Client::Admin {
            return vec![client(side, bare, value, closeness::ADMIN)];
        }
        let alias = if side == Side::Source { &self.flow.source } else { &self.flow.target };
        let of_another_flow = match of {
            Client::Consumer => self.flows.iter().any(|flow| flow.source == *alias),
            _ => self.flows.iter().any(|flow| flow.target == *alias),
        };
        match (of_another_flow, side) {
            (true, _) => Vec::new(),
            (false, Side::Source) => vec![idle("nothing is produced to this cluster")],
            (false, Side::Target) => vec![idle("nothing is consumed from this cluster")],
        }
    }
}

/// MirrorMaker 2's clients of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Consumer,
    Producer,
    Admin,
}

fn strip_client(key: &str) -> Option<(Client, &str)> {
    let clients = [("consumer.", Client::Consumer), ("producer.", Client::Producer), ("admin.", Client::Admin)];
    clients.into_iter().find_map(|(prefix, client)| Some((client, key.strip_prefix(prefix)?)))
}

fn is_of_client(key: &str) -> bool {
    properties::of_client(key).is_some()
        || ignored::find(key).is_some()
        || is_security_key(key)
        || properties::of_mirror(key).is_some_and(|property| property.home.is_some())
}

/// A key of the clients of one side.
fn client(side: Side, bare: &str, value: &str, closeness: u8) -> Translated {
    match bare {
        "auto.offset.reset" => set("start", value, closeness),
        "group.id" => idle("the target itself is the record of what was copied, so there is no group"),
        _ if is_of_client(bare) => set(&format!("{}{bare}", side.prefix()), value, closeness),
        _ => Translated::Mistake(mistake(bare)),
    }
}

fn of_row(row: &'static Key, value: &str, closeness: u8, is_of_flow: bool) -> Vec<Translated> {
    vec![match row.verdict {
        Verdict::Flows(_) => match value.trim().to_ascii_lowercase().as_str() {
            "true" | "false" => return Vec::new(),
            _ if row.keys.contains(&"clusters") => return Vec::new(),
            _ => Translated::Mistake(format!("is {}: it takes true or false", value::quote(value))),
        },
        Verdict::Property("name", ..) if !is_of_flow => idle("each mirror has a name of its own: set it as a->b.name"),
        Verdict::Property(key, reading, _) => match read(reading, value) {
            Ok(value) => set(key, &value, closeness),
            Err(what) => Translated::Mistake(what),
        },
        Verdict::Idle(_, unremarkable) if unremarkable.contains(&value.trim()) => return Vec::new(),
        Verdict::Idle(reason, _) => idle(reason),
        Verdict::Only(values, _) if values.iter().any(|only| only.eq_ignore_ascii_case(value.trim())) => {
            return Vec::new();
        }
        Verdict::Only(values, reason) => {
            let takes = if values == [""] { "nothing".to_owned() } else { value::either(values) };
            Translated::Mistake(format!("can only be {takes}: {reason}"))
        }
        Verdict::OnRequest(_) => set(row.keys[0], value, closeness),
    }]
}

/// The value of kmirror's property.
pub(super) fn read(reading: Reading, value: &str) -> Result<String, String> {
    let text = value.trim();
    match reading {
        Reading::Same => Ok(value.to_owned()),
        Reading::Seconds => match text.parse::<u32>() {
            Ok(seconds) if seconds > 0 => Ok((u64::from(seconds) * 1000).to_string()),
            _ => Err(format!("is {}: it takes a whole number of seconds, at least 1", value::quote(text))),
        },
        Reading::Class(words) => match words.iter().find(|(class, _)| *class == text) {
            Some((_, word)) => Ok((*word).to_owned()),
            None => {
                let classes: Vec<&str> = words.iter().map(|(class, _)| *class).collect();
                let what = format!("can only be {}: Java classes cannot be run here", value::either(&classes));
                Err(what)
            }
        },
    }
}

fn set(key: &str, value: &str, closeness: u8) -> Translated {
    Translated::Set { key: key.to_owned(), value: value.to_owned(), closeness }
}

fn idle(reason: &str) -> Translated {
    Translated::Idle(format!("has no effect: {reason}"))
}

/// There is no such key; the nearest one that there is.
fn mistake(key: &str) -> String {
    let clients = properties::table().map(|property| property.key);
    let known = keys::KEYS.iter().flat_map(|row| row.keys.iter().copied()).chain(clients);
    let allowed = (key.len() / 5).max(1);
    let near = known.map(|known| (strsim::damerau_levenshtein(key, known), known)).filter(|(far, _)| *far <= allowed);
    match near.min() {
        Some((_, near)) => format!("there is no such key: did you mean {near}?"),
        None => "there is no such key, of MirrorMaker 2 or of a client".to_owned(),
    }
}
