//! What a row of the table of properties says.
//! Nothing here knows a single key: the rows stand in `properties.rs`, what a key means is found out in `resolve.rs`.

use std::fmt;

use serde::Serialize;

use super::value::{NONE, either};
use super::{ClientConfig, Config, Side};

/// A property: its key, what it takes, what it means, and which field of [`Config`] it is.
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct Property {
    /// The key; of a client property without `source.` or `target.`.
    pub key: &'static str,
    /// Whether it is of the whole mirror or of the clients of one or both clusters.
    pub scope: Scope,
    /// What values it takes.
    pub kind: Kind,
    /// What it is when it is not set; `None` if there is no default.
    pub default: Option<&'static str>,
    /// What its number counts.
    pub unit: Option<Unit>,
    /// What it means, in a sentence or two.
    pub meaning: &'static str,
    /// Other spellings of the key, for example librdkafka's.
    pub aliases: &'static [&'static str],
    /// Whether its value is never shown.
    pub secret: bool,
    /// Whether this version can do what it asks for.
    pub availability: Availability,
    /// Why the range is what it is; said when a value is outside.
    #[serde(skip)]
    pub(super) range_reason: Option<&'static str>,
    /// Of a property of the whole mirror: the client whose file has it in MirrorMaker 1.
    #[serde(skip)]
    pub(super) home: Option<Side>,
    /// Why it has no meaning for the clients of the other cluster, where it is a valid key nevertheless.
    #[serde(skip)]
    pub(super) idle_elsewhere: Option<&'static str>,
    #[serde(skip)]
    pub(super) field: Field,
}

/// Whom a property is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// The whole mirror: the key stands alone.
    Mirror,
    /// The clients of the source: the key has the prefix `source.`, or stands in the consumer's file.
    Source,
    /// The clients of the target: the key has the prefix `target.`, or stands in the producer's file.
    Target,
    /// The clients of either cluster.
    Both,
}

impl Scope {
    /// The sides whose clients have it.
    pub(super) fn sides(self) -> &'static [Side] {
        match self {
            Scope::Mirror => &[],
            Scope::Source => &[Side::Source],
            Scope::Target => &[Side::Target],
            Scope::Both => &[Side::Source, Side::Target],
        }
    }
}

/// What values a property takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// Any text.
    Text,
    /// A mirror's name.
    Name,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A whole number, or `none`.
    OptionalInteger {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// One of these words, in any case of letters.
    Choice(&'static [&'static str]),
    /// `host:port`, several separated by commas.
    Servers,
    /// Names or regular expressions, separated by commas.
    Patterns,
    /// `key=value`, several separated by commas.
    Pairs,
    /// What the text says.
    Other(&'static str),
}

impl Kind {
    /// What it takes, in words.
    pub fn describe(self, unit: Option<Unit>) -> String {
        let number = |min: i64, max: i64| {
            let of = unit.map(|unit| format!(" of {}", unit.name())).unwrap_or_default();
            match max {
                i64::MAX => format!("a whole number{of}, at least {min}"),
                _ => format!("a whole number{of} from {min} to {max}"),
            }
        };
        match self {
            Kind::Text => "text".to_owned(),
            Kind::Name => "letters, digits, '.', '_' and '-'".to_owned(),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Integer { min, max } => number(min, max),
            Kind::OptionalInteger { min, max } => format!("{}, or {NONE}", number(min, max)),
            Kind::Choice(choices) => either(choices),
            Kind::Servers => "host:port, several separated by commas".to_owned(),
            Kind::Patterns => "names or regular expressions, separated by commas".to_owned(),
            Kind::Pairs => "key=value, several separated by commas".to_owned(),
            Kind::Other(what) => what.to_owned(),
        }
    }
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds, as MirrorMaker 2 counts.
    Seconds,
    /// Records.
    Records,
    /// Threads.
    Threads,
    /// Requests.
    Requests,
}

impl Unit {
    /// Its name in the plural.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Milliseconds => "milliseconds",
            Unit::Seconds => "seconds",
            Unit::Records => "records",
            Unit::Threads => "threads",
            Unit::Requests => "requests",
        }
    }
}

/// Whether this version can do what a property asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Availability {
    /// Every value of its range works.
    Now,
    /// Only this value is accepted in this version.
    Only(&'static str),
    /// Every value is accepted, with a warning that says what is not done yet.
    NotYet(&'static str),
}

/// Where the value lives.
#[derive(Clone, Copy)]
pub(super) enum Field {
    /// In the configuration of the mirror.
    Mirror { set: fn(&mut Config, &str) -> Result<(), String>, get: fn(&Config) -> Option<String> },
    /// In the configuration of the clients of one cluster.
    Client { set: fn(&mut ClientConfig, &str) -> Result<(), String>, get: fn(&ClientConfig) -> Option<String> },
    /// Nowhere: this version accepts one value only.
    Fixed,
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Mirror { .. } => "Mirror",
            Field::Client { .. } => "Client",
            Field::Fixed => "Fixed",
        })
    }
}

/// How the table writes its rows: the essentials as arguments, the rest added where a row needs it.
impl Property {
    pub(super) const fn new(scope: Scope, key: &'static str, kind: Kind, field: Field, meaning: &'static str) -> Self {
        Property {
            key,
            scope,
            kind,
            default: None,
            unit: None,
            meaning,
            aliases: &[],
            secret: false,
            availability: Availability::Now,
            range_reason: None,
            home: None,
            idle_elsewhere: None,
            field,
        }
    }

    pub(super) const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    pub(super) const fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    pub(super) const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    pub(super) const fn availability(mut self, availability: Availability) -> Self {
        self.availability = availability;
        self
    }

    pub(super) const fn because(mut self, reason: &'static str) -> Self {
        self.range_reason = Some(reason);
        self
    }

    pub(super) const fn home(mut self, side: Side) -> Self {
        self.home = Some(side);
        self
    }

    pub(super) const fn idle_elsewhere(mut self, reason: &'static str) -> Self {
        self.idle_elsewhere = Some(reason);
        self
    }
}

impl Property {
    /// How the key is written in a flat set: with the prefix of the side, if it is a client property.
    pub fn flat_key(&self, side: Option<Side>) -> String {
        match side {
            Some(side) if self.scope != Scope::Mirror => format!("{}{}", side.prefix(), self.key),
            _ => self.key.to_owned(),
        }
    }

    /// Which spelling this is: 0 the key itself, then the aliases in their order.
    pub(super) fn spelling(&self, key: &str) -> Option<usize> {
        if key == self.key {
            return Some(0);
        }
        self.aliases.iter().position(|alias| *alias == key).map(|index| index + 1)
    }

    /// Puts a checked value into its field.
    pub(super) fn set(&self, config: &mut Config, side: Option<Side>, text: &str) -> Result<(), String> {
        match (self.field, side) {
            (Field::Mirror { set, .. }, _) => set(config, text),
            (Field::Client { set, .. }, Some(side)) => set(config.client_mut(side), text),
            (Field::Client { set, .. }, None) => {
                set(&mut config.source, text)?;
                set(&mut config.target, text)
            }
            (Field::Fixed, _) => Ok(()),
        }
    }

    /// The value as text, whatever it is; `None` if it is not set.
    pub(super) fn get(&self, config: &Config, side: Option<Side>) -> Option<String> {
        match (self.field, side) {
            (Field::Mirror { get, .. }, _) => get(config),
            (Field::Client { get, .. }, Some(side)) => get(config.client(side)),
            (Field::Client { .. }, None) => None,
            (Field::Fixed, _) => self.default.filter(|text| *text != NONE).map(str::to_owned),
        }
    }

    /// The value as it may be shown.
    pub(super) fn shown(&self, value: String) -> String {
        if self.secret { "[hidden]".to_owned() } else { value }
    }

    /// Key and value as they may be shown, if it is a property of clients that is set.
    pub(super) fn shown_of_client(&self, client: &ClientConfig) -> Option<(&'static str, String)> {
        match self.field {
            Field::Client { get, .. } => get(client).map(|value| (self.key, self.shown(value))),
            Field::Mirror { .. } | Field::Fixed => None,
        }
    }
}
