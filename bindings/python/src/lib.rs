//! The extension module `kmirror._kmirror`: the engine's handle as Python objects.
//!
//! What is better said in Python is said in `python/kmirror`: the class that users have, the thread that calls callbacks,
//! reports, exceptions. Importing this starts nothing: no thread, no runtime, no connection. Every call of the engine goes
//! through [`enter`].

mod cancel;
mod command;
mod config;
mod enter;
mod errors;
mod event;
mod feed;
mod handle;

#[pyo3::pymodule]
mod _kmirror {
    #[pymodule_export]
    use crate::cancel::Cancel;
    #[pymodule_export]
    use crate::command::run_command;
    #[pymodule_export]
    use crate::config::{Secret, properties_of_mirror};
    #[pymodule_export]
    use crate::errors::{error_kinds, unraisable};
    #[pymodule_export]
    use crate::event::{Event, Lag};
    #[pymodule_export]
    use crate::feed::Feed;
    #[pymodule_export]
    use crate::handle::Handle;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name Python looks for")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
