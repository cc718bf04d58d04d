//! Decides what a written key means: a property, a key without meaning here, or a mistake, and which key was
//! probably meant.

use super::collect::Place;
use super::ignored::{self, IGNORED, Ignored};
use super::property::{Property, Scope};
use super::security::is_security_key;
use super::{Side, mirror_maker_2, properties};

/// What is said of a key of a MirrorMaker 2 file elsewhere.
const MIRROR_MAKER_2: &str =
    "is a key of a MirrorMaker 2 file: such a file names its clusters, and is about several mirrors";

/// What a key means.
pub(super) enum Meaning {
    /// It sets a property.
    Setting {
        property: &'static Property,
        side: Option<Side>,
        /// 0 for the key itself, more the further the spelling is from it.
        spelling: usize,
    },
    /// It is about TLS or SASL of one side's clients.
    Security(Side),
    /// It is a key of Java's or librdkafka's clients that has no meaning here.
    Ignored(&'static Ignored),
    /// It has a meaning for the clients of the other cluster only.
    Idle(&'static str),
    /// It is a mistake: what is wrong, and what to do.
    Mistake(String),
}

/// What a key means, written in this place.
pub(super) fn meaning(key: &str, place: Place) -> Meaning {
    if is_of_mirror_maker_2(key) {
        return Meaning::Mistake(MIRROR_MAKER_2.to_owned());
    }
    if let Some(property) = properties::of_mirror(key) {
        let spelling = property.spelling(key).unwrap_or_default();
        return Meaning::Setting { property, side: None, spelling };
    }
    let known = match (place, split_prefix(key)) {
        (Place::ClientFile(side), None) => of_client(key, side, place),
        (Place::ClientFile(_), Some(_)) => None,
        (_, Some((side, bare))) => of_client(bare, side, place),
        (_, None) => ignored::find(key).map(Meaning::Ignored),
    };
    known.unwrap_or_else(|| Meaning::Mistake(mistake(key, place)))
}

/// Whether only a MirrorMaker 2 file has such a key.
pub(super) fn is_of_mirror_maker_2(key: &str) -> bool {
    key == "clusters" || key.contains("->")
}

/// The property and the side of a key in the spelling of a flat set.
pub(super) fn property_of(key: &str) -> Option<(&'static Property, Option<Side>)> {
    match meaning(key, Place::Call) {
        Meaning::Setting { property, side, .. } => Some((property, side)),
        _ => None,
    }
}

/// The keys of all properties in the spelling of a flat set, in the order of the table.
pub(super) fn all_keys() -> impl Iterator<Item = String> {
    let alone = properties::table().filter(|property| property.scope == Scope::Mirror);
    let of_side = |side: Side| {
        let of_client = properties::table().filter(move |property| property.scope.sides().contains(&side));
        of_client.map(move |property| property.flat_key(Some(side)))
    };
    alone.map(|property| property.key.to_owned()).chain(of_side(Side::Source)).chain(of_side(Side::Target))
}

fn split_prefix(key: &str) -> Option<(Side, &str)> {
    let split = |side: Side| key.strip_prefix(side.prefix()).map(|bare| (side, bare));
    split(Side::Source).or_else(|| split(Side::Target))
}

/// What a key without prefix means for the clients of a side.
fn of_client(bare: &str, side: Side, place: Place) -> Option<Meaning> {
    if let Some(property) = properties::of_client(bare) {
        if property.scope.sides().contains(&side) {
            let spelling = property.spelling(bare).unwrap_or_default();
            return Some(Meaning::Setting { property, side: Some(side), spelling });
        }
        let wrong_side = || {
            let (other, key) = (side.other(), property.flat_key(Some(side.other())));
            let what = format!("is a property of the clients of the {} only", other.name());
            match place {
                Place::ClientFile(_) => format!("{what}: move it to their file, or set {key}"),
                Place::Call | Place::FlatFile | Place::MirrorMaker2 => format!("{what}: did you mean {key}?"),
            }
        };
        return Some(property.idle_elsewhere.map_or_else(|| Meaning::Mistake(wrong_side()), Meaning::Idle));
    }
    if let Some(property) = properties::of_mirror(bare).filter(|property| property.home == Some(side)) {
        // `source.isolation.level`, as people write who put the prefix before every line of a consumer's file.
        return Some(Meaning::Setting { property, side: None, spelling: usize::MAX });
    }
    if is_security_key(bare) {
        return Some(Meaning::Security(side));
    }
    ignored::find(bare).map(Meaning::Ignored)
}

fn mistake(key: &str, place: Place) -> String {
    if let (Place::ClientFile(side), Some((prefix, bare))) = (place, split_prefix(key)) {
        let what = format!("keys in the file of the {}'s clients have no prefix", side.name());
        return if prefix == side {
            format!("{what}: did you mean {bare}?")
        } else {
            format!("{what}: move it to the file of the {}'s clients", prefix.name())
        };
    }
    if let Some((_, bare)) = split_prefix(key).filter(|(_, bare)| properties::of_mirror(bare).is_some()) {
        return format!("is a property of the whole mirror: did you mean {bare}?");
    }
    if properties::of_client(key).is_some() || is_security_key(key) {
        return format!("needs the prefix of a cluster: did you mean {}?", with_prefixes(key));
    }
    if let Some(what) = mirror_maker_2::called_otherwise(key).filter(|_| !matches!(place, Place::ClientFile(_))) {
        return what;
    }
    match nearest(key, place) {
        Some(nearest) => format!("there is no such key: did you mean {nearest}?"),
        None if is_presentable(key, place) => {
            "there is no such key: `kmirror config` lists the keys there are".to_owned()
        }
        None => "this is no key: does a line before it lack the backslash that continues it?".to_owned(),
    }
}

/// The key with each prefix it may have in a flat set.
fn with_prefixes(key: &str) -> String {
    let sides = properties::of_client(key).map_or(Scope::Both, |property| property.scope).sides();
    let keys: Vec<String> = sides.iter().map(|side| format!("{}{key}", side.prefix())).collect();
    keys.join(" or ")
}

/// The known key that was probably meant, as it is to be written here.
fn nearest(key: &str, place: Place) -> Option<String> {
    let plain = key.to_ascii_lowercase().replace('_', ".");
    let (prefix, bare) = match split_prefix(&plain) {
        Some((side, bare)) => (side.prefix(), bare),
        None => ("", plain.as_str()),
    };
    let of_kind = ["consumer.", "producer.", "admin."].into_iter().find_map(|kind| bare.strip_prefix(kind));
    let wanted = format!("{prefix}{}", of_kind.unwrap_or(bare));
    let allowed = (wanted.len() / 5).max(1);
    let known = candidates(place);
    let close = known
        .iter()
        .map(|(known, shown)| (strsim::damerau_levenshtein(&wanted, known), shown))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, shown)| shown.clone());
    close.or_else(|| {
        let mut longer =
            known.iter().filter(|(known, _)| known.strip_prefix(&wanted).is_some_and(|rest| rest.starts_with('.')));
        longer.next().filter(|_| longer.next().is_none()).map(|(_, shown)| shown.clone())
    })
}

/// Every known spelling with what to suggest for it, the meaningful ones first.
fn candidates(place: Place) -> Vec<(String, String)> {
    let spellings = |property: &'static Property| [property.key].into_iter().chain(property.aliases.iter().copied());
    let mut known = Vec::new();
    for property in properties::table() {
        for spelling in spellings(property) {
            let plain = (spelling.to_owned(), spelling.to_owned());
            match place {
                _ if property.scope == Scope::Mirror => known.push(plain),
                Place::ClientFile(side) if property.scope.sides().contains(&side) => known.push(plain),
                Place::ClientFile(_) => {}
                Place::Call | Place::FlatFile | Place::MirrorMaker2 => {
                    known.extend(in_flat_set(spelling, property.scope.sides()))
                }
            }
        }
    }
    for ignored in IGNORED.iter().flat_map(|ignored| ignored.keys.iter().copied()) {
        match place {
            Place::ClientFile(_) => known.push((ignored.to_owned(), ignored.to_owned())),
            Place::Call | Place::FlatFile | Place::MirrorMaker2 => {
                known.extend(in_flat_set(ignored, &[Side::Source, Side::Target]))
            }
        }
    }
    known
}

fn in_flat_set(key: &str, sides: &[Side]) -> Vec<(String, String)> {
    let mut known: Vec<_> =
        sides.iter().map(|side| format!("{}{key}", side.prefix())).map(|key| (key.clone(), key)).collect();
    let all: Vec<_> = known.iter().map(|(_, shown)| shown.clone()).collect();
    known.push((key.to_owned(), all.join(" or ")));
    known
}

/// The key as it may appear in a message. A file whose lines are broken in the wrong place has parts of its values,
/// perhaps of a private key, where keys should be: what does not look like a key is not shown.
pub(super) fn shown_key(key: &str, place: Place) -> String {
    let known = !matches!(meaning(key, place), Meaning::Mistake(_));
    if known || is_presentable(key, place) || (is_made_of_key_chars(key) && nearest(key, place).is_some()) {
        key.to_owned()
    } else if is_of_mirror_maker_2(key) {
        String::new()
    } else {
        "(not shown)".to_owned()
    }
}

/// Whether it looks like a key of Kafka: in a file small letters in words.
fn is_presentable(key: &str, place: Place) -> bool {
    const LONGEST_WORD: usize = 24;
    let in_words = || {
        let short = key.split(['.', '_', '-']).all(|word| word.len() <= LONGEST_WORD);
        short && !key.contains(|c: char| c.is_ascii_uppercase())
    };
    is_made_of_key_chars(key) && (place == Place::Call || in_words())
}

fn is_made_of_key_chars(key: &str) -> bool {
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !key.is_empty() && key.len() <= 100 && key.chars().all(is_key_char)
}
