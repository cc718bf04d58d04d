//! Makes a JVM class archive per Kafka release, so that all later brokers start in half the time.
//!
//! Most of a broker's start is loading and checking classes. A first broker runs once, ends in order, and the JVM
//! writes what it loaded to a file beside the jars, which goes with them when they are fetched anew. Without the file
//! everything works, only slower.

use std::fs;
use std::sync::Mutex;

use super::Outcome;
use super::broker::Version;
use super::cluster::{Cluster, Options};

/// Makes the archive of a release unless it is there. One at a time in this process; should another process make it
/// too, the last one to finish puts its own, equally good one in place.
pub(crate) fn up(version: Version) -> Outcome {
    static MAKING: Mutex<()> = Mutex::new(());
    let archive = version.archive()?;
    let making = MAKING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if archive.exists() {
        return Ok(());
    }
    let unfinished = archive.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = Options::default().version(version);
    options.jvm.push(format!("-XX:ArchiveClassesAtExit={}", unfinished.display()));
    let cluster = Cluster::start_cold(options)?;
    // A topic makes it load more of what every broker needs.
    cluster.create_topic("warm", 1, &[])?;
    cluster.terminate(1)?;
    if unfinished.exists() {
        fs::rename(unfinished, archive)?;
    }
    drop(making);
    Ok(())
}
