//! What the internal topic says of ACLs: which ones on the target the mirror has created, or was about to create.
//! Everything else on the target belongs to others.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::log::{Follower, InternalLog, Record};
use super::{json, record_key};
use crate::error::{Error, ErrorKind, Result};
use crate::event::now_ms;
use crate::terms::acl::Acl;
use crate::wire::cluster::Cluster;

const PREFIX: &str = "acl/";

/// The ACLs that are the mirror's, as far as the internal topic was read.
#[derive(Debug, Default)]
pub(crate) struct Ours {
    acls: BTreeSet<Acl>,
    follower: Follower,
}

#[derive(Debug, Serialize, Deserialize)]
struct Since {
    since_ms: i64,
}

impl Ours {
    /// Reads what is new, also what another process of the same mirror has written. Nothing is there before the first start.
    pub(crate) async fn read(&mut self, target: &Cluster, name: &str) -> Result<&BTreeSet<Acl>> {
        let news = self.follower.read(target, name).await?;
        if news.anew {
            self.acls.clear();
        }
        self.apply(&news.records);
        Ok(&self.acls)
    }

    fn apply(&mut self, records: &[Record]) {
        for record in records {
            let key = record_key(record);
            let Some(written) = key.and_then(|key| key.strip_prefix(PREFIX)) else { continue };
            // What cannot be read is as if it had not been written: nothing is deleted for it.
            let Ok(acl) = serde_json::from_str::<Acl>(written) else { continue };
            match record.value {
                Some(_) => self.acls.insert(acl),
                None => self.acls.remove(&acl),
            };
        }
    }
}

/// Writes down that these are the mirror's; before they are created, so that one that is there is known whatever happens next.
pub(crate) async fn remember(target: &Cluster, name: &str, acls: &[&Acl]) -> Result<()> {
    let since = json(&Since { since_ms: now_ms() })?;
    write(target, name, acls, Some(since)).await
}

/// Writes down that these are no longer the mirror's; after they were deleted.
pub(crate) async fn forget(target: &Cluster, name: &str, acls: &[&Acl]) -> Result<()> {
    write(target, name, acls, None).await
}

async fn write(target: &Cluster, name: &str, acls: &[&Acl], value: Option<Vec<u8>>) -> Result<()> {
    if acls.is_empty() {
        return Ok(());
    }
    let log = InternalLog::open_existing(target, name).await?;
    log.append_many(acls.iter().map(|acl| Ok((key_of(acl)?, value.clone()))).collect::<Result<_>>()?).await.map(drop)
}

/// The same for the same ACL for ever: compaction goes by it.
fn key_of(acl: &Acl) -> Result<String> {
    let written = serde_json::to_string(acl).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    Ok(format!("{PREFIX}{written}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::log::{decode, encode};
    use super::*;

    const KEY: &str = r#"acl/{"resource":"topic","pattern":"prefixed","name":"or'd\"ers","principal":"User:CN=a,O=b","host":"*","operation":"DESCRIBE_CONFIGS","permission":"deny"}"#;

    fn read(ours: &mut Ours, entries: &[(&str, Option<&str>)]) -> usize {
        let entry =
            |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(|value| value.as_bytes().to_vec()));
        let records = decode(encode(entries.iter().map(entry).collect()).unwrap()).unwrap();
        ours.apply(&records);
        ours.acls.len()
    }

    /// What was written by one release has to be found by the next.
    #[test]
    fn the_key_of_an_acl_stays_the_same() {
        let mut ours = Ours::default();
        assert_eq!(read(&mut ours, &[(KEY, Some("{}")), ("topic/x", Some("{}")), ("acl/?", Some("{}"))]), 1);
        assert_eq!(key_of(ours.acls.first().unwrap()).unwrap(), KEY);
    }

    #[test]
    fn the_last_record_counts_and_what_comes_later_is_added() {
        let mut ours = Ours::default();
        let other = KEY.replace("DESCRIBE_CONFIGS", "operation 99");
        assert_eq!(read(&mut ours, &[(KEY, Some("{}")), (KEY, None), (&other, Some("{}"))]), 1);
        assert_eq!(key_of(ours.acls.first().unwrap()).unwrap(), other);
        assert_eq!(read(&mut ours, &[(KEY, Some("{}"))]), 2);
        assert_eq!(read(&mut ours, &[(&other, None), (KEY, None)]), 0);
    }
}
