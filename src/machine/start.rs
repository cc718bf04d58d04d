//! Decides whether a mirror starts at all, before it is looked at what would have to be done. A plan asks the same,
//! and a switch-over whether it ends more than it was asked for. Asks nobody and changes nothing.

use super::topics::selects;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::terms::topic::Metadata;

/// How many topics are named in a sentence.
const NAMED: usize = 5;

/// A cluster is not mirrored to itself.
pub fn two_clusters(source: &Metadata, target: &Metadata) -> Result<()> {
    match &source.cluster_id {
        Some(id) if source.cluster_id == target.cluster_id => {
            let message = format!(
                "source and target are the same cluster (id {id}): records would be copied onto themselves; check \
                 source.bootstrap.servers and target.bootstrap.servers"
            );
            Err(Error::new(ErrorKind::Config, message))
        }
        _ => Ok(()),
    }
}

/// A pattern that matches nothing is a mistake that is better found at once.
pub fn something_is_selected(config: &Config, source: &Metadata) -> Result<()> {
    if source.topics.iter().any(|(name, topic)| selects(config, name, topic)) {
        return Ok(());
    }
    let message = format!(
        "no topic of the source matches 'topics' (the source shows {} topics): check 'topics', 'topics.exclude' and the permission to \
         describe topics",
        source.topics.len()
    );
    Err(Error::new(ErrorKind::Config, message))
}

/// The topics that a mirror of this name has copied and that are not selected now: somebody else may run it with another selection.
pub fn not_selected<'a>(config: &Config, remembered: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    remembered.into_iter().filter(|topic| !config.mirrors(topic)).cloned().collect()
}

/// What is told of a mirror that has copied topics which are not selected now; `None` if there are none.
pub fn another_selection(name: &str, not_selected: &[String]) -> Option<String> {
    (!not_selected.is_empty()).then(|| {
        format!(
            "the mirror '{name}' has copied topics that are not selected now: {}; if somebody else copies them, each of the two needs a \
             'name' of its own",
            named(not_selected)
        )
    })
}

/// What is told of a mirror whose name nobody has chosen; `None` if somebody has.
pub fn default_name_is_shared(config: &Config, name: &str) -> Option<String> {
    config.name.is_none().then(|| {
        format!(
            "the mirror has no name, so it is '{name}', as every mirror between these two clusters without one, whatever topics it selects: set \
             'name'"
        )
    })
}

/// A switch-over ends all that a mirror copies.
pub fn may_promote(name: &str, not_selected: &[String]) -> Result<()> {
    if not_selected.is_empty() {
        return Ok(());
    }
    let message = format!(
        "not promoted: the mirror '{name}' has also copied topics that are not selected here, and would end for them too: {}; select them in \
         'topics', or promote with --force (force in the libraries) if nobody copies them any more",
        named(not_selected)
    );
    Err(Error::new(ErrorKind::Config, message))
}

fn named(topics: &[String]) -> String {
    let mut named: Vec<String> = topics.iter().take(NAMED).map(|topic| format!("'{topic}'")).collect();
    if topics.len() > NAMED {
        named.push(format!("and {} more", topics.len() - NAMED));
    }
    named.join(", ")
}
