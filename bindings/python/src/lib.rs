//! The extension module `kmirror._kmirror`: the engine's handle as Python objects.
//!
//! What is better said in Python is said in `python/kmirror`, above all the exceptions. Importing this starts nothing: no
//! thread, no runtime, no connection. Every call of the engine goes through [`enter`].

mod config;
mod enter;
mod errors;
mod event;
mod mirror;

#[pyo3::pymodule]
mod _kmirror {
    #[pymodule_export]
    use crate::errors::error_kinds;
    #[pymodule_export]
    use crate::event::{Event, Lag};
    #[pymodule_export]
    use crate::mirror::Mirror;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name Python looks for")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
