//! How bytes travel to a broker: one enum of transports. TLS becomes its second variant.
//! What is sent over it, and when, is the business of `connection.rs`.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// An established way to a broker.
pub enum Transport {
    /// `security.protocol=PLAINTEXT`.
    Plain(TcpStream),
    /// To a broker that runs in this process.
    #[cfg(test)]
    Memory(tokio::io::DuplexStream),
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

    /// Reading and writing apart, so that requests can be pipelined; and how to hang up on both.
    pub fn split(self) -> (Reader, Writer, HangUp) {
        match self {
            Transport::Plain(stream) => {
                let (reader, writer) = stream.into_split();
                split_into(Half::new(reader), Half::new(writer), reset)
            }
            #[cfg(test)]
            Transport::Memory(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                split_into(Half::new(reader), Half::new(writer), drop)
            }
        }
    }
}

fn split_into<R, W>(reader: Half<R>, writer: Half<W>, end: fn((Option<R>, Option<W>))) -> (Reader, Writer, HangUp)
where
    R: AsyncRead + Unpin + 'static,
    W: AsyncWrite + Unpin + 'static,
{
    let halves = (reader.clone(), writer.clone());
    (Box::new(reader), Box::new(writer), HangUp(Box::new(move || end((halves.0.take(), halves.1.take())))))
}

fn reset((reader, writer): (Option<OwnedReadHalf>, Option<OwnedWriteHalf>)) {
    if let Some(writer) = writer {
        // Without lingering, closing is a reset. Where that cannot be had, closing is at least an end.
        if let Err(error) = writer.as_ref().set_zero_linger() {
            tracing::debug!(%error, "a connection is closed without a reset");
        }
        // Dropping it would end the stream in good order first, which sends what is waiting.
        writer.forget();
    }
    drop(reader);
}

/// Ends a connection at once: what the system has not sent yet is thrown away, and the broker is told that nothing follows.
pub struct HangUp(Box<dyn Fn()>);

impl HangUp {
    /// Does it, whoever reads or writes at the moment.
    pub fn now(&self) {
        (self.0)();
    }
}

/// One half of a connection, which can be taken away from whoever uses it.
struct Half<T>(Rc<RefCell<Option<T>>>);

impl<T> Clone for Half<T> {
    fn clone(&self) -> Self {
        Half(self.0.clone())
    }
}

impl<T: Unpin> Half<T> {
    fn new(half: T) -> Self {
        Half(Rc::new(RefCell::new(Some(half))))
    }

    fn take(&self) -> Option<T> {
        self.0.borrow_mut().take()
    }

    fn with<R>(&self, work: impl FnOnce(Pin<&mut T>) -> Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        match self.0.borrow_mut().as_mut() {
            Some(half) => work(Pin::new(half)),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Half<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|half| half.poll_read(context, buffer))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Half<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|half| half.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|half| half.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|half| half.poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|half| half.poll_shutdown(context))
    }
}
