//! How bytes travel to a broker: one enum of transports. TLS becomes its second variant.
//! What is sent over it, and when, is the business of `connection.rs`.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// An established way to a broker.
pub enum Transport {
    /// `security.protocol=PLAINTEXT`.
    Plain(TcpStream),
}

/// The half that is read from.
pub type Reader = Box<dyn AsyncRead + Unpin>;
/// The half that is written to.
pub type Writer = Box<dyn AsyncWrite + Unpin>;

impl Transport {
    /// Connects to an address.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        // A produce request of one small batch must not wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        Ok(Transport::Plain(stream))
    }

    /// Reading and writing apart, so that requests can be pipelined.
    pub fn split(self) -> (Reader, Writer) {
        match self {
            Transport::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                (Box::new(reader), Box::new(writer))
            }
        }
    }
}
