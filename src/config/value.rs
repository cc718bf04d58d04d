//! Turns the text of a value into a typed one and back, and says in a sentence what is wrong with it.
//! The text of a value reads back as the same value; that is what makes a printed configuration one to start from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::property::{Kind, Property, Unit};
use super::select::Patterns;
use super::{
    AclDowngrade, IsolationLevel, Offsets, OnDataLoss, OnRecordRefused, OnTargetConflict, OnTopicReset,
    ReplicationFactor, ReplicationPolicy, Side, Start, time,
};

/// What a value reads as that is not set; also how it is written in files.
pub(super) const NONE: &str = "none";

/// A value as it may appear in a message: quoted, on one line, cut when long.
pub(super) fn quote(value: &str) -> String {
    const LONGEST: usize = 80;
    let mut shown: String = value.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if value.chars().count() > LONGEST {
        shown.push('…');
    }
    format!("'{shown}'")
}

impl Property {
    /// The value in its one spelling, or what is wrong with it and what to write instead.
    pub(super) fn check(&self, value: &str) -> Result<String, String> {
        let text = value.trim();
        let may_be_empty = matches!(
            self.kind,
            Kind::Text | Kind::Patterns | Kind::Pairs | Kind::Name | Kind::OptionalInteger { .. } | Kind::Servers
        );
        if text.is_empty() && !may_be_empty {
            return Err(format!("is empty: it takes {}", self.takes()));
        }
        match self.kind {
            Kind::OptionalInteger { .. } if text.is_empty() || text.eq_ignore_ascii_case(NONE) => Ok(NONE.to_owned()),
            Kind::Integer { min, max } | Kind::OptionalInteger { min, max } => self.check_integer(min, max, text),
            Kind::Boolean => one_of(&["true", "false"], text),
            Kind::Choice(choices) => one_of(choices, text),
            Kind::Servers => check_servers(text),
            Kind::Name => check_name(text),
            Kind::Text | Kind::Patterns | Kind::Pairs | Kind::Other(_) => Ok(text.to_owned()),
        }
    }

    fn check_integer(&self, min: i64, max: i64, text: &str) -> Result<String, String> {
        let off = match text.parse::<i128>() {
            Ok(number) if number < i128::from(min) => "small",
            Ok(number) if number > i128::from(max) => "large",
            Ok(number) => return Ok(number.to_string()),
            Err(_) => return Err(self.no_number(text)),
        };
        let reason = self.range_reason.map(|reason| format!(", as {reason}")).unwrap_or_default();
        Err(format!("is {}, which is too {off}: it takes {}{reason}", quote(text), self.takes()))
    }

    fn no_number(&self, text: &str) -> String {
        match self.unit.and_then(|unit| Some((unit, plain_number(unit, text)?))) {
            Some((unit, plain)) => {
                format!("is {}: it takes a plain number of {}: write {plain}", quote(text), unit.name())
            }
            None => format!("is {}, which is no whole number: it takes {}", quote(text), self.takes()),
        }
    }

    fn takes(&self) -> String {
        self.kind.describe(self.unit)
    }
}

fn one_of(choices: &[&str], text: &str) -> Result<String, String> {
    match choices.iter().find(|choice| choice.eq_ignore_ascii_case(text)) {
        Some(choice) => Ok((*choice).to_owned()),
        None => Err(format!("is {}: it takes {}", quote(text), either(choices))),
    }
}

/// `a`, `b` or `c`.
pub(super) fn either(choices: &[&str]) -> String {
    match choices {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// What somebody meant who wrote `32MB` or `5s`, as a plain number in the unit of the property.
fn plain_number(unit: Unit, text: &str) -> Option<i128> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, suffix) = text.split_at(digits);
    let number: i128 = number.parse().ok()?;
    let factor = match (unit, suffix.trim().to_ascii_lowercase().as_str()) {
        (Unit::Bytes, "b" | "byte" | "bytes") => 1,
        (Unit::Bytes, "k" | "kb" | "kib") => 1 << 10,
        (Unit::Bytes, "m" | "mb" | "mib") => 1 << 20,
        (Unit::Bytes, "g" | "gb" | "gib") => 1 << 30,
        (Unit::Milliseconds, "ms" | "millis") => 1,
        (Unit::Milliseconds, "s" | "sec" | "seconds") => 1_000,
        (Unit::Milliseconds, "m" | "min" | "minutes") => 60_000,
        (Unit::Milliseconds, "h" | "hours") => 3_600_000,
        (Unit::Seconds, "s" | "sec" | "seconds") => 1,
        (Unit::Seconds, "m" | "min" | "minutes") => 60,
        (Unit::Records, "k") => 1_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The characters and the length that leave `kmirror.<name>.internal` a legal topic name.
pub(super) fn check_name(text: &str) -> Result<String, String> {
    const LONGEST: usize = 249 - "kmirror..internal".len();
    if !text.chars().all(is_name_char) {
        return Err(format!("is {}: it takes letters, digits, '.', '_' and '-', as a topic's name does", quote(text)));
    }
    if text.len() > LONGEST {
        return Err(format!("has {} characters: it takes at most {LONGEST}", text.len()));
    }
    Ok(text.to_owned())
}

/// Whether a value holds what somebody may have meant for a comment: properties files know them at the beginning of a line only.
pub(super) fn has_comment(text: &str) -> bool {
    text.trim_start().split_once('#').is_some_and(|(before, _)| before.ends_with([' ', '\t']))
}

/// The words that end a sentence about a value that is wrong, if what is wrong may be a comment.
pub(super) fn comment_hint(text: &str) -> &'static str {
    if has_comment(text) { "; a comment begins a line of its own in a properties file" } else { "" }
}

/// A reference to a variable, as shells and templates resolve it: `${NAME}`.
pub(super) fn reference(text: &str) -> Option<&str> {
    let at = text.find("${")?;
    let name = &text[at + 2..at + text[at..].find('}')?];
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    is_name.then(|| &text[at..at + name.len() + 3])
}

/// Whether a topic's name, and so a mirror's, may have this character.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn check_servers(text: &str) -> Result<String, String> {
    let servers: Vec<&str> = text.split(',').map(str::trim).filter(|server| !server.is_empty()).collect();
    if servers.is_empty() {
        return Err("is empty: it takes host:port, several separated by commas".to_owned());
    }
    let servers: Result<Vec<_>, _> = servers.into_iter().map(check_server).collect();
    servers.map(|servers| servers.join(","))
}

/// `host:port`. As librdkafka, the port may be left out and a protocol may stand before.
fn check_server(server: &str) -> Result<String, String> {
    if server.contains('@') {
        // What stands before an @ is a user's name and password, so it is not quoted.
        return Err("has an entry with '@': it takes host:port, and no credentials".to_owned());
    }
    let wrong =
        || format!("has the entry {}: it takes host:port, for example broker-1.example.com:9092", quote(server));
    let address = server.split_once("://").map_or(server, |(_, address)| address);
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, "9092"),
        Some((host, port)) => (host, port.strip_prefix(':').ok_or_else(wrong)?),
        None => address.split_once(':').unwrap_or((address, "9092")),
    };
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    let bracketed = address.starts_with('[');
    if host.is_empty() || !host.chars().all(is_host) || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(wrong());
    }
    Ok(if bracketed { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// A type that a field of the configuration has.
pub(super) trait Value: Sized {
    /// Reads what [`Property::check`] let pass.
    fn from_text(text: &str) -> Result<Self, String>;
    /// The text that reads back as this value; `None` if it is not set.
    fn to_text(&self) -> Option<String>;
}

macro_rules! parsed {
    ($($type:ty),*) => { $(impl Value for $type {
        fn from_text(text: &str) -> Result<Self, String> {
            text.parse().map_err(|_| format!("is {}, which does not fit here", quote(text)))
        }

        fn to_text(&self) -> Option<String> {
            Some(self.to_string())
        }
    })* };
}

parsed!(bool, i16, i32, u64, usize);

impl Value for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_text(&self) -> Option<String> {
        Some(self.clone())
    }
}

/// In milliseconds.
impl Value for Duration {
    fn from_text(text: &str) -> Result<Self, String> {
        u64::from_text(text).map(Duration::from_millis)
    }

    fn to_text(&self) -> Option<String> {
        Some(self.as_millis().to_string())
    }
}

/// Not set when empty, or a number that is [`NONE`].
macro_rules! optional {
    ($($type:ty: $($none:expr)?;)*) => { $(impl Value for Option<$type> {
        fn from_text(text: &str) -> Result<Self, String> {
            if text.is_empty() $(|| text == $none)? { Ok(None) } else { <$type>::from_text(text).map(Some) }
        }

        fn to_text(&self) -> Option<String> {
            self.as_ref().and_then(Value::to_text)
        }
    })* };
}

optional! {
    String: ;
    u64: NONE;
    Duration: NONE;
}

impl Value for Vec<String> {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.split(',').filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    }

    fn to_text(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.join(","))
    }
}

/// `key=value` pairs. A value may have commas itself: a part without `=` goes on the value before it.
impl Value for BTreeMap<String, String> {
    fn from_text(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            match (part.split_once('='), pairs.last_mut()) {
                (Some((key, value)), _) if !key.trim().is_empty() => {
                    pairs.push((key.trim().to_owned(), value.trim().to_owned()));
                }
                (None, Some((_, value))) => *value = format!("{value},{part}"),
                (None, None) if part.is_empty() => {}
                _ => {
                    return Err(
                        "takes key=value pairs separated by commas, for example retention.ms=86400000".to_owned()
                    );
                }
            }
        }
        let count = pairs.len();
        let map: Self = pairs.into_iter().collect();
        if map.len() < count { Err("names a key twice: keep one".to_owned()) } else { Ok(map) }
    }

    fn to_text(&self) -> Option<String> {
        let pairs: Vec<_> = self.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(pairs.join(","))
    }
}

impl Value for Patterns {
    fn from_text(text: &str) -> Result<Self, String> {
        Patterns::parse(text)
    }

    fn to_text(&self) -> Option<String> {
        Some(self.text())
    }
}

impl Value for IsolationLevel {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(if text == "read_uncommitted" { Self::ReadUncommitted } else { Self::ReadCommitted })
    }

    fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::ReadUncommitted => "read_uncommitted".to_owned(),
            Self::ReadCommitted => "read_committed".to_owned(),
        })
    }
}

/// An enum whose variants are the words of a [`Kind::Choice`].
macro_rules! words {
    ($name:ident, $first:literal = $default:ident $(, $word:literal = $variant:ident)*) => {
        impl Value for $name {
            fn from_text(text: &str) -> Result<Self, String> {
                match text {
                    $first => Ok(Self::$default),
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("is {}: it takes {}", quote(text), either(&[$first $(, $word)*]))),
                }
            }

            fn to_text(&self) -> Option<String> {
                Some(match self { Self::$default => $first, $(Self::$variant => $word,)* }.to_owned())
            }
        }
    };
}

words!(ReplicationPolicy, "identity" = Identity, "default" = Default);
words!(Offsets, "preserve" = Preserve, "translate" = Translate);
words!(Side, "source" = Source, "target" = Target);
words!(OnDataLoss, "fail" = Fail, "continue" = Continue);
words!(OnTopicReset, "fail" = Fail, "recreate-target" = RecreateTarget);
words!(OnTargetConflict, "fail" = Fail);
words!(OnRecordRefused, "fail" = Fail, "skip" = Skip);

/// `none` is what is not set, as everywhere.
impl Value for AclDowngrade {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            NONE => Ok(Self::None),
            "read-only" => Ok(Self::ReadOnly),
            _ => Err(format!("is {}: it takes none or read-only", quote(text))),
        }
    }

    fn to_text(&self) -> Option<String> {
        (*self == Self::ReadOnly).then(|| "read-only".to_owned())
    }
}

impl Value for Start {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            other => time::milliseconds(other).map(Self::Timestamp).ok_or_else(|| {
                format!(
                    "is {}: it takes earliest, latest, or a time as 2026-01-31T08:30:00Z or in milliseconds since 1970",
                    quote(text)
                )
            }),
        }
    }

    fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Earliest => "earliest".to_owned(),
            Self::Latest => "latest".to_owned(),
            Self::Timestamp(millis) => millis.to_string(),
        })
    }
}

impl Value for ReplicationFactor {
    fn from_text(text: &str) -> Result<Self, String> {
        match text.parse::<i16>() {
            _ if text.eq_ignore_ascii_case("source") => Ok(Self::Source),
            Ok(count) if count >= 1 => Ok(Self::Count(count)),
            Ok(-1) => Ok(Self::TargetDefault),
            _ => Err(format!(
                "is {}: it takes source, a number from 1 to {}, or -1 for the target's default",
                quote(text),
                i16::MAX
            )),
        }
    }

    fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Source => "source".to_owned(),
            Self::Count(count) => count.to_string(),
            Self::TargetDefault => "-1".to_owned(),
        })
    }
}
