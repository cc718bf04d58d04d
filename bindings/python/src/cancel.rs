//! Gives up a call that waits, from another thread: what asyncio needs when a task is cancelled.
//! The call looks at it; nothing is woken up and nothing is waited for here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;

/// Given to a call that waits, it ends the wait from any thread.
#[pyclass(frozen, module = "kmirror._kmirror")]
pub(crate) struct Cancel(Arc<AtomicBool>);

#[pymethods]
impl Cancel {
    #[new]
    fn new() -> Self {
        Cancel(Arc::default())
    }

    /// Has the call give up.
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a call looks at while it waits.
pub(crate) fn flag(cancel: Option<&Cancel>) -> Arc<AtomicBool> {
    cancel.map(|cancel| cancel.0.clone()).unwrap_or_default()
}
