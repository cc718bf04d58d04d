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

/// Work of the engine that goes on beside that of the thread which has started it: a thread of its own with a runtime.
///
/// In a simulation everything is on one thread, and the work is a task there.
pub(crate) enum Worker {
    Thread(std::thread::JoinHandle<()>),
    #[cfg(test)]
    Task(JoinHandle<()>),
}

impl Worker {
    /// Starts it. The guard is called on the new thread and runs what it is given.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(
        name: String,
        guard: impl FnOnce(Box<dyn FnOnce() -> io::Result<()>>) + Send + 'static,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<Self> {
        #[cfg(test)]
        if crate::clock::simulated::passed().is_some() {
            return Ok(Worker::Task(spawn(work())));
        }
        let run = move || guard(Box::new(move || block_on(work())));
        std::thread::Builder::new().name(name).spawn(run).map(Worker::Thread)
    }

    /// Whether it has ended.
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Worker::Thread(thread) => thread.is_finished(),
            #[cfg(test)]
            Worker::Task(task) => task.is_finished(),
        }
    }

    /// Waits until what has ended is gone.
    pub(crate) fn join(self) {
        match self {
            Worker::Thread(thread) => drop(thread.join()),
            #[cfg(test)]
            Worker::Task(_) => {}
        }
    }
}

/// Does the work of this thread, with a runtime of its own.
pub(crate) fn block_on(work: impl Future<Output = ()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, watched(work))
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
        biased;
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
