//! The examples of the README as a reader finds them, with the names of clusters and of the topic that a test has.
//! Whoever asks runs them; nothing else of them is changed.

use std::fs;
use std::path::Path;

use super::cluster::Pair;
use super::{Failure, Outcome};

/// The examples in a language, which stands behind the three backticks, in their order.
pub(crate) fn examples(language: &str, pair: &Pair, topic: &str) -> Outcome<Vec<String>> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"))?;
    let begin = format!("```{language}\n");
    let blocks = readme.split(&begin).skip(1).filter_map(|rest| rest.split("```").next());
    let places =
        [("a:9092", pair.source.bootstrap()), ("b:9092", pair.target.bootstrap()), ("orders", topic.to_owned())];
    let named = |block: &str| places.iter().fold(block.to_owned(), |text, (from, to)| text.replace(from, to));
    Ok(blocks.map(named).collect())
}

/// The first of them.
pub(crate) fn example(language: &str, pair: &Pair, topic: &str) -> Outcome<String> {
    let missing = || Failure(format!("README.md has no example in {language}"));
    examples(language, pair, topic)?.into_iter().next().ok_or_else(missing)
}
