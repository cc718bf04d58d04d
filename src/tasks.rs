//! Tasks of an engine thread, of which none is lost without a word: a panic in one ends the thread's work, and is told as that of the
//! thread itself would be.
//!
//! A runtime keeps such a panic for whoever waits for the task, and nobody does.

use std::io;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

thread_local! {
    static PANICKED: Rc<Notify> = Rc::default();
}

/// Starts a task on this thread.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    tokio::task::spawn_local(async {
        let _watch = Watch;
        task.await
    })
}

/// Does the work of this thread, unless a task that was started on it panics.
pub(crate) async fn watched(work: impl Future<Output = ()>) -> io::Result<()> {
    let panicked = PANICKED.with(Rc::clone);
    tokio::select! {
        () = work => Ok(()),
        () = panicked.notified() => Err(io::Error::other("a task of it panicked")),
    }
}

/// Sees a panic pass.
struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            PANICKED.with(|panicked| panicked.notify_one());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_panic_in_a_task_ends_the_work_of_its_thread() {
        let work = async {
            assert_eq!(spawn(async { 7 }).await.ok(), Some(7));
            drop(spawn(async {
                tokio::task::yield_now().await;
                panic!("as a test wants it");
            }));
            std::future::pending().await
        };
        let error = tokio::task::LocalSet::new().run_until(watched(work)).await.map_err(|error| error.to_string());
        assert_eq!(error, Err("a task of it panicked".to_owned()));
        let done = tokio::task::LocalSet::new().run_until(watched(async {})).await;
        assert!(done.is_ok(), "what was told once is over");
    }
}
