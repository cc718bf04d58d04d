//! Gathers properties from files and calls, and remembers where each one stood. Judges nothing: that is done for all of
//! them together when the configuration is built.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::{Side, connector, files, resolve};
use crate::error::{Error, ErrorKind, Result};

/// The largest file that is read; a list of properties is a few kilobytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Properties as they were given, with the file and line of each.
///
/// What is [set](Properties::set) counts before what a file says, whichever came first. Two files must not
/// disagree.
#[derive(Clone, Default)]
pub struct Properties {
    pub(super) items: Vec<Item>,
}

/// What was read, in its order.
#[derive(Clone)]
pub(super) enum Item {
    Entry(Entry),
    /// A line, or a whole file, that cannot be used.
    Bad {
        origin: Origin,
        what: String,
    },
    /// A key of a MirrorMaker 2 file that has no effect here.
    Remark {
        origin: Origin,
        key: String,
        message: String,
    },
}

/// A key with its value.
#[derive(Clone)]
pub(super) struct Entry {
    /// As it is written.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
    pub(super) origin: Origin,
    /// What stands in the file, if `key` is what it was translated to.
    pub(super) written: Option<String>,
}

/// Where a key is written, which decides how it is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a call: somebody chose the key.
    Call,
    /// In a flat file.
    FlatFile,
    /// In the file of the clients of one side, where client properties have no prefix.
    ClientFile(Side),
    /// In a file of MirrorMaker 2, to be translated.
    MirrorMaker2,
}

/// Where a property stood.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File {
        name: Arc<str>,
        line: usize,
    },
    /// A call, with the name of what the user wrote, for example `--set`; may be empty.
    Call(Arc<str>),
    /// Nowhere: it is what MirrorMaker 2 takes.
    MirrorMaker2,
}

impl Entry {
    /// The key as it is written, as far as it may be shown.
    pub(super) fn shown(&self) -> String {
        match &self.written {
            // It was understood, so nothing of it is part of a value.
            Some(written) => written.clone(),
            None => resolve::shown_key(&self.key, self.place),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { name, line } => write!(f, "{name}:{line}"),
            Origin::Call(name) => f.write_str(name),
            Origin::MirrorMaker2 => f.write_str("MirrorMaker 2's defaults"),
        }
    }
}

impl Properties {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a property, in the spelling of a flat set: `source.bootstrap.servers`, `topics`. The last value of a
    /// key counts. Whether key and value are right is told by [`build`](Properties::build).
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.set_from("", key, value)
    }

    /// As [`set`](Properties::set), with a name for messages of what the user wrote, for example `--set`.
    pub fn set_from(&mut self, origin: &str, key: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (origin, key) = (Origin::Call(origin.into()), key.into().trim().to_owned());
        self.items.push(Item::Entry(Entry { key, value: value.into(), place: Place::Call, origin, written: None }));
        self
    }

    /// Reads a file of properties in the spelling of a flat set, or one of MirrorMaker 2. Fails only if it cannot be read as text;
    /// what is wrong in it is told by [`build`](Properties::build).
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<&mut Self> {
        self.load(Place::FlatFile, path.as_ref())
    }

    /// Reads a file of one client as MirrorMaker 1 has them: the consumer's for the source, the producer's for the
    /// target. Its keys have no prefix. Properties of the whole mirror may stand in it too.
    pub fn load_client_file(&mut self, side: Side, path: impl AsRef<Path>) -> Result<&mut Self> {
        self.load(Place::ClientFile(side), path.as_ref())
    }

    fn load(&mut self, place: Place, path: &Path) -> Result<&mut Self> {
        let name = path.display().to_string();
        let unreadable = |why: String| Error::new(ErrorKind::Config, format!("{name}: cannot be read: {why}"));
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(unreadable("it is larger than 1 MiB, so it is no file of properties".to_owned()));
        }
        self.read(place, &name, &bytes).map_err(|why| unreadable(why.to_owned()))
    }

    /// Takes over the lines of a file.
    pub(super) fn read(&mut self, place: Place, name: &str, bytes: &[u8]) -> Result<&mut Self, &'static str> {
        let name: Arc<str> = name.into();
        let origin = |line| Origin::File { name: name.clone(), line };
        let lines = match connector::is_json(bytes) {
            true => connector::of_json(bytes)?,
            false => files::read(bytes)?,
        };
        let lines = connector::as_flow(lines)?;
        let of_mirror_maker_2 = lines.iter().flatten().find(|line| resolve::is_of_mirror_maker_2(&line.key));
        let place = match (of_mirror_maker_2, place) {
            (None, place) => place,
            (Some(_), Place::ClientFile(_)) => {
                return Err("it is a file of MirrorMaker 2, not of one client: give it with --config");
            }
            (Some(_), _) => Place::MirrorMaker2,
        };
        self.items.extend(lines.into_iter().map(|line| match line {
            Ok(line) if is_section(&line) => {
                let message = "has no effect: files of properties have no sections, so what is below it holds for all";
                let (origin, key) = (origin(line.number), "a section in brackets".to_owned());
                Item::Remark { origin, key, message: message.to_owned() }
            }
            Ok(line) => {
                let origin = origin(line.number);
                Item::Entry(Entry { key: line.key, value: line.value, place, origin, written: None })
            }
            Err(bad) => Item::Bad { origin: origin(bad.number), what: bad.what.to_owned() },
        }));
        Ok(self)
    }
}

/// Whether it is a heading as INI files have it.
fn is_section(line: &files::Line) -> bool {
    line.key.starts_with('[')
        && [&line.key, &line.value].iter().rev().find(|part| !part.is_empty()).is_some_and(|end| end.ends_with(']'))
}

impl<K: Into<String>, V: Into<String>> Extend<(K, V)> for Properties {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, pairs: T) {
        for (key, value) in pairs {
            self.set(key, value);
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Properties {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        let mut properties = Self::new();
        properties.extend(pairs);
        properties
    }
}

/// Keys and where they stood; no values, as nobody has yet told which are secret.
impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.items.iter().filter_map(|item| match item {
            Item::Entry(entry) => Some((entry.shown(), entry.origin.to_string())),
            Item::Bad { .. } | Item::Remark { .. } => None,
        });
        f.debug_map().entries(entries).finish()
    }
}
