//! The command line of kmirror, for the script `kmirror` and for `python -m kmirror`.
//! It is the binary's own code; nothing of it is decided here.

use std::ffi::OsString;

use pyo3::prelude::*;

use crate::enter;

/// Does what the arguments of a command line say, the first of which is the name of the program, and returns its exit code. program
/// is how it is started again. Ctrl-C is the command's from then on.
#[pyfunction]
pub(crate) fn run_command(py: Python<'_>, arguments: Vec<OsString>, program: Vec<OsString>) -> PyResult<u8> {
    enter::call(py, || Ok(command::run(arguments, &program).number()))
}
