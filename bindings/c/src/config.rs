//! A configuration on its way: properties from calls and files, judged all together when a mirror starts.
//!
//! Nothing is judged here, so that a host hears of all problems at once and with the same words as from the command line.

use std::ffi::{c_char, c_int};
use std::ptr;

use engine::config::{Properties, Side};
use engine::{Error, ErrorKind};

use crate::boundary::{argument_mut, boundary, hand_out, take_back, text};
use crate::error::kmirror_error_t;

/// Where records are read.
pub const KMIRROR_SOURCE: c_int = 0;
/// Where records are written.
pub const KMIRROR_TARGET: c_int = 1;

/// Properties for a mirror. Use it from one thread at a time.
pub struct kmirror_config_t {
    pub(crate) properties: Properties,
}

/// An empty configuration. Free it with kmirror_config_free; it may go as soon as the mirror has started.
#[unsafe(no_mangle)]
pub extern "C" fn kmirror_config_new() -> *mut kmirror_config_t {
    boundary!(else ptr::null_mut(), { hand_out(kmirror_config_t { properties: Properties::new() }) })
}

/// Sets a property, for example "source.bootstrap.servers" or "topics". The last value of a key counts, and it counts
/// before what a file says. Whether key and value are right is told by kmirror_start, for all of them at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_set(
    config: *mut kmirror_config_t,
    key: *const c_char,
    value: *const c_char,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread uses.
        let config = unsafe { argument_mut(config, ErrorKind::Config, "config") }?;
        // SAFETY: the header asks for strings that end with a NUL.
        let (key, value) = unsafe { (text(key, "key")?, text(value, "value")?) };
        config.properties.set(key, value);
        Ok(())
    })
}

/// Reads the properties file of a Kafka client: of a consumer for KMIRROR_SOURCE, of a producer for KMIRROR_TARGET. Its
/// keys have no "source." or "target." before them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_load(
    config: *mut kmirror_config_t,
    side: c_int,
    path: *const c_char,
) -> *mut kmirror_error_t {
    boundary!({
        // SAFETY: the header asks for a configuration that lives and that no other thread uses.
        let config = unsafe { argument_mut(config, ErrorKind::Config, "config") }?;
        let side = match side {
            KMIRROR_SOURCE => Side::Source,
            KMIRROR_TARGET => Side::Target,
            _ => {
                let message = format!("side is {side}: it takes KMIRROR_SOURCE or KMIRROR_TARGET");
                return Err(Error::new(ErrorKind::Config, message));
            }
        };
        // SAFETY: the header asks for a string that ends with a NUL.
        let path = unsafe { text(path, "path") }?;
        config.properties.load_client_file(side, path).map(|_| ())
    })
}

/// Frees a configuration. Mirrors that were started with it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kmirror_config_free(config: *mut kmirror_config_t) {
    boundary!(else (), {
        // SAFETY: the header asks for an object that was not freed yet, or NULL.
        unsafe { take_back(config) }
    })
}
