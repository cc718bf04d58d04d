//! Looks up the addresses of a host on a thread that nobody waits for: a resolver that does not answer delays no stop.
//!
//! The operating system's lookup cannot be broken off. A name that is being looked up is not looked up again by the same thread of
//! the engine, so that no more threads wait than there are names.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::watch;

use crate::limits;

/// The addresses, or why there are none.
type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;

thread_local! {
    /// Names that are being looked up for this thread of the engine.
    static UNDER_WAY: RefCell<HashMap<String, watch::Receiver<Option<Found>>>> = RefCell::default();
}

/// The addresses of `host:port`; an error in words.
pub(super) async fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    resolve_by(address, |address| address.to_socket_addrs().map(Iterator::collect)).await
}

async fn resolve_by(
    address: &str,
    look_up: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let known = UNDER_WAY.with_borrow(|under_way| under_way.get(address).cloned());
    let mut found = match known {
        Some(found) => found,
        None => begin(address, look_up)?,
    };
    let outcome = found.wait_for(Option::is_some).await.map(|found| found.clone());
    UNDER_WAY.with_borrow_mut(|under_way| under_way.remove(address));
    match outcome {
        Ok(Some(found)) => found.map_err(|error| match limits::no_descriptor(&error) {
            Some(why) => format!("{error}; {why}"),
            None => error.to_string(),
        }),
        _ => Err("the lookup ended without an answer".to_owned()),
    }
}

fn begin(
    address: &str,
    look_up: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<watch::Receiver<Option<Found>>, String> {
    let (sender, found) = watch::channel(None);
    let name = address.to_owned();
    let run = move || {
        // Nobody waits any more for one that took too long.
        let _ = sender.send(Some(look_up(&name).map_err(Arc::new)));
    };
    let thread = std::thread::Builder::new().name("kmirror-names".to_owned()).spawn(run);
    thread.map_err(|error| limits::no_thread("looking up a name", &error).message().to_owned())?;
    UNDER_WAY.with_borrow_mut(|under_way| under_way.insert(address.to_owned(), found.clone()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::Instant;
    use crate::waiting::block_on;

    #[test]
    fn a_resolver_that_does_not_answer_is_asked_once_and_delays_nothing() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        let began = Instant::now();
        let silent = Arc::new(move |_: &str| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            let _ = held.lock().map(|held| held.recv());
            Ok(vec!["127.0.0.1:9".parse().unwrap()])
        });
        let released = block_on(async move {
            for _ in 0..20 {
                let silent = silent.clone();
                let look = resolve_by("silent.example:9", move |name| silent(name));
                assert!(tokio::time::timeout(Duration::from_millis(5), look).await.is_err());
            }
            assert_eq!(ASKED.load(Ordering::Relaxed), 1, "the first is still under way");
            release.send(()).unwrap();
            let found = resolve_by("silent.example:9", |_| Err(io::Error::other("asked again"))).await;
            assert_eq!(found.unwrap().len(), 1);
            // What is known is not kept: the next one asks.
            resolve_by("silent.example:9", |_| Err(io::Error::other("asked again"))).await
        });
        assert_eq!(released.unwrap(), Err("asked again".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    /// A runtime that ends does not wait for a lookup, as one does with a lookup of its own.
    #[test]
    fn a_runtime_ends_while_a_name_is_looked_up() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let look = resolve_by("hanging.example:9", move |_| {
            let _ = held.recv();
            Ok(Vec::new())
        });
        runtime.block_on(async { assert!(tokio::time::timeout(Duration::from_millis(20), look).await.is_err()) });
        // It would hang here.
        drop(runtime);
        assert!(release.send(()).is_ok(), "it still hangs there");
    }

    #[test]
    fn addresses_are_not_looked_up() {
        for address in ["127.0.0.1:9092", "[::1]:9092"] {
            let found = block_on(resolve_by(address, |_| Err(io::Error::other("looked up")))).unwrap();
            assert_eq!(found.unwrap(), [address.parse().unwrap()]);
        }
    }
}
