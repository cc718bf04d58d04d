//! The one place where connections are made: looks up a broker's name and connects to it.
//!
//! What is sent over a connection is the business of `connection`. Tests put a network in memory in the place of TCP;
//! nothing else knows which of both it is.

use std::cell::Cell;

use super::resolve::resolve;
use super::transport::Transport;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// A way to connect.
#[derive(Clone, Default)]
pub enum Dialer {
    /// The operating system's.
    #[default]
    Tcp,
    /// A test's.
    #[cfg(test)]
    Memory(std::rc::Rc<dyn memory::Network>),
}

impl Dialer {
    /// How this thread connects.
    pub fn of_this_thread() -> Self {
        #[cfg(test)]
        if let Some(network) = memory::network() {
            return Dialer::Memory(network);
        }
        Dialer::Tcp
    }

    /// Connects to `host:port`. `is_resolved` becomes true when the addresses of the host are known.
    pub async fn dial(&self, address: &str, is_resolved: &Cell<bool>) -> Result<Transport> {
        match self {
            Dialer::Tcp => dial_tcp(address, is_resolved).await,
            #[cfg(test)]
            Dialer::Memory(network) => {
                is_resolved.set(true);
                let dialed = network.dial(address.to_owned()).await;
                dialed.map(Transport::Memory).map_err(|error| failed(format!("cannot connect to {address}: {error}")))
            }
        }
    }
}

/// The host of `host:port`.
pub(super) fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

fn failed(message: String) -> Error {
    Error::new(ErrorKind::Connect, message)
}

async fn dial_tcp(address: &str, is_resolved: &Cell<bool>) -> Result<Transport> {
    let resolved = resolve(address).await.map_err(|error| {
        failed(format!("the name '{}' of broker {address} does not resolve: {error}", host_of(address)))
    })?;
    is_resolved.set(true);
    let mut last = None;
    for socket_address in resolved {
        match Transport::connect(socket_address).await {
            Ok(transport) => return Ok(transport),
            Err(error) => {
                let why = limits::no_descriptor(&error).map(|why| format!("; {why}")).unwrap_or_default();
                last = Some(failed(format!("cannot connect to {address} ({socket_address}): {error}{why}")));
            }
        }
    }
    Err(last.unwrap_or_else(|| failed(format!("the name of broker {address} resolves to no address"))))
}

/// The network of a test.
#[cfg(test)]
pub mod memory {
    use std::cell::RefCell;
    use std::future::Future;
    use std::io;
    use std::pin::Pin;
    use std::rc::Rc;

    use tokio::io::DuplexStream;

    /// A connection that is being made.
    pub type Dialing = Pin<Box<dyn Future<Output = io::Result<DuplexStream>>>>;

    /// What connects to brokers that run in this process.
    pub trait Network {
        /// Connects to `host:port`.
        fn dial(&self, address: String) -> Dialing;
    }

    thread_local! {
        static NETWORK: RefCell<Option<Rc<dyn Network>>> = const { RefCell::new(None) };
    }

    /// The network that this thread uses now.
    pub fn network() -> Option<Rc<dyn Network>> {
        NETWORK.with_borrow(Clone::clone)
    }

    /// This thread uses that network from now on; returns the one before.
    pub fn use_network(network: Option<Rc<dyn Network>>) -> Option<Rc<dyn Network>> {
        NETWORK.replace(network)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    struct Deserted;

    impl memory::Network for Deserted {
        fn dial(&self, _: String) -> memory::Dialing {
            Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
        }
    }

    #[test]
    fn where_there_is_a_network_in_memory_no_name_is_looked_up() {
        let before = memory::use_network(Some(Rc::new(Deserted)));
        let (dialer, is_resolved) = (Dialer::of_this_thread(), Cell::new(false));
        memory::use_network(before);
        let dialed = crate::waiting::block_on(async { dialer.dial("broker.invalid:1", &is_resolved).await });
        let error = dialed.ok().and_then(Result::err).map(|error| error.message().to_owned());
        assert_eq!(error.as_deref(), Some("cannot connect to broker.invalid:1: connection refused"));
        assert!(is_resolved.get() && matches!(Dialer::of_this_thread(), Dialer::Tcp));
    }
}
