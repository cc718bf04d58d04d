//! Writes the table of properties as the page of the manual.
//! The page is committed, and a test compares it with what is written here.

use std::fmt::Write as _;

use super::ignored::IGNORED;
use super::properties;
use super::property::{Availability, Property, Scope};

const HEAD: &str = "\
The properties of a mirror.

Generated from the table in `src/config/properties.rs`; to change this page, change the table and run
`KMIRROR_BLESS=1 cargo test properties_doc`.

In one flat set the keys of the clients have the prefix `source.` or `target.`. In the files of a consumer and a producer,
as MirrorMaker 1 has them, they have none. A number is plain: `33554432`, not `32MB`. An unknown key is an error.
";

/// The page of the manual: every property, what is not available in this version, and the keys that have no effect.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let sections = [
        ("Of the whole mirror", Scope::Mirror),
        ("Of the clients of both clusters: `source.` and `target.`", Scope::Both),
        ("Of the clients of the source: `source.`", Scope::Source),
        ("Of the clients of the target: `target.`", Scope::Target),
    ];
    for (title, scope) in sections {
        let _ = write!(page, "\n# {title}\n\n| key | default | takes | meaning |\n| --- | --- | --- | --- |\n");
        for property in properties::table().filter(|property| property.scope == scope) {
            row(&mut page, property);
        }
    }
    page.push_str("\n# TLS and SASL\n\n");
    page.push_str(
        "Not available in this version: `ssl.*` and `sasl.*` keys are an error, unless `security.protocol=PLAINTEXT`\n",
    );
    page.push_str("is written beside them; then they have no effect, and a warning says so.\n");
    page.push_str("\n# Accepted without effect\n\n");
    page.push_str(
        "Keys of Java's and librdkafka's clients that have no meaning here. Each gives a warning with the reason.\n\n",
    );
    page.push_str("| keys | why |\n| --- | --- |\n");
    for ignored in IGNORED {
        let keys: Vec<_> = ignored.keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(page, "| {} | {} |", keys.join(", "), escape(ignored.reason));
    }
    page
}

fn row(page: &mut String, property: &Property) {
    let mut meaning = property.meaning.to_owned();
    if !property.aliases.is_empty() {
        let aliases: Vec<_> = property.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        let _ = write!(meaning, " Also {}.", aliases.join(", "));
    }
    match property.availability {
        Availability::Now => {}
        Availability::Only(only) => {
            let _ = write!(meaning, " *This version has only `{only}`.*");
        }
        Availability::NotYet(why) => {
            let _ = write!(meaning, " *Without effect yet: {why}.*");
        }
    }
    let default = match property.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    let takes = property.kind.describe(property.unit);
    let _ = writeln!(page, "| `{}` | {} | {} | {} |", property.key, escape(&default), escape(&takes), escape(&meaning));
}

/// Keeps a text from ending its column or being read as a tag.
fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    fn properties_doc_is_up_to_date() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/properties.md");
        if std::env::var_os("KMIRROR_BLESS").is_some() {
            std::fs::write(&path, markdown()).expect("the page is written");
        }
        let page = std::fs::read_to_string(&path).expect("the page of the manual");
        assert!(page == markdown(), "out of date: run KMIRROR_BLESS=1 cargo test properties_doc");
    }
}
