//! A TCP forwarder on loopback that spoils connections on demand: delay, cut in the middle of a frame, stall, slow down.
//!
//! Each connection has two directions, and each direction two threads: one reads and stamps chunks with their time of
//! arrival, one writes them out when they are due. So a delay adds latency without taking bandwidth. Rules hold for
//! all connections, also those already open. It knows nothing of Kafka, unless it is given an editor of
//! [frames](super::tampering): that holds for connections made from then on.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use super::Outcome;
use super::broker::free_port;
use super::tampering::{Asked, Editor, next_frame};

/// Where brokers see the clients of proxies come from, so that an ACL can tell the mirror from the test and the brokers.
pub(crate) const CLIENTS_COME_FROM: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A listening proxy; dropping it closes its port and its connections.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens on a free loopback port and forwards to `upstream` (`host:port`), which need not listen yet.
    pub(crate) fn start(upstream: &str) -> Outcome<Self> {
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let state = Arc::new(State::default());
        let upstream = upstream.to_owned();
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, &upstream, &shared));
        Ok(Self { port, state })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Adds this much latency in each direction.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.change(|rules| rules.delay = delay);
    }

    /// Lets at most this many bytes a second through, per connection and direction; `None` lifts the limit.
    pub(crate) fn limit(&self, bytes_per_second: Option<u32>) {
        self.state.change(|rules| rules.bytes_per_second = bytes_per_second);
    }

    /// Keeps connections open and new ones accepted, and moves no byte.
    pub(crate) fn pause(&self) {
        self.state.change(|rules| rules.paused = true);
    }

    pub(crate) fn resume(&self) {
        self.state.change(|rules| rules.paused = false);
    }

    /// Forwards new connections to another `host:port`; open ones go on.
    pub(crate) fn lead_to(&self, upstream: &str) {
        self.state.change(|rules| rules.upstream = Some(upstream.to_owned()));
    }

    /// Forwards new connections to where they led at first.
    pub(crate) fn lead_back(&self) {
        self.state.change(|rules| rules.upstream = None);
    }

    /// Closes every new connection at once, as if nothing served the port; open ones go on.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state.change(|rules| rules.refuse = refuse);
    }

    /// Closes all open connections now.
    pub(crate) fn cut(&self) {
        self.state.change(Rules::close_connections);
    }

    /// Closes all open connections once this many more bytes went the given way, wherever in a frame that is. Once.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: u64) {
        self.state.change(|rules| rules.cut_after[direction as usize] = Some(bytes));
    }

    /// Has every frame of connections that are made from now on edited; `None` leaves them as they are.
    pub(crate) fn edit(&self, editor: Option<Editor>) {
        self.state.change(|rules| rules.editor = editor);
    }

    /// Bytes written out in a direction so far.
    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.state.rules().bytes[direction as usize]
    }

    /// Connections forwarded so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.rules().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.change(|rules| {
            rules.closed = true;
            rules.close_connections();
        });
        // Wakes the accepting thread, which then sees that it is over.
        TcpStream::connect(("127.0.0.1", self.port)).ok();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBroker = 0,
    ToClient = 1,
}

#[derive(Default)]
struct State {
    rules: Mutex<Rules>,
    changed: Condvar,
}

#[derive(Default)]
struct Rules {
    delay: Duration,
    bytes_per_second: Option<u32>,
    paused: bool,
    refuse: bool,
    /// Where connections lead to, if not to where they led at first.
    upstream: Option<String>,
    closed: bool,
    cut_after: [Option<u64>; 2],
    bytes: [u64; 2],
    accepted: usize,
    editor: Option<Editor>,
    open: Vec<TcpStream>,
}

impl Rules {
    fn close_connections(&mut self) {
        for stream in self.open.drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl State {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules());
        self.changed.notify_all();
    }

    /// How many of `wanted` bytes may go out now, and whether the connections are to be cut after them.
    fn permit(&self, direction: Direction, wanted: usize) -> (usize, bool) {
        let mut rules = self.rules();
        while rules.paused && !rules.closed {
            rules = self.changed.wait(rules).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        let budget = &mut rules.cut_after[direction as usize];
        let wanted_bytes = wanted as u64;
        match *budget {
            Some(left) if left <= wanted_bytes => {
                *budget = None;
                (left as usize, true)
            }
            Some(left) => {
                *budget = Some(left - wanted_bytes);
                (wanted, false)
            }
            None => (wanted, false),
        }
    }
}

fn accept(listener: &TcpListener, upstream: &str, state: &Arc<State>) {
    for client in listener.incoming() {
        let (refuse, closed, elsewhere) = {
            let rules = state.rules();
            (rules.refuse, rules.closed, rules.upstream.clone())
        };
        if closed {
            return;
        }
        let Ok(client) = client else { continue };
        // A refused or unreachable broker shows as a connection that ends at once: the proxy's port itself is open.
        let upstream = elsewhere.as_deref().unwrap_or(upstream);
        if !refuse && let Ok(broker) = connect(upstream) {
            join(client, broker, state).ok();
        }
    }
}

/// From [`CLIENTS_COME_FROM`].
fn connect(upstream: &str) -> std::io::Result<TcpStream> {
    let upstream = upstream.parse().map_err(std::io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((CLIENTS_COME_FROM, 0).into())?;
        socket.connect(upstream).await?.into_std()
    })?;
    connected.set_nonblocking(false)?;
    Ok(connected)
}

fn join(client: TcpStream, broker: TcpStream, state: &Arc<State>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    let handles = [client.try_clone()?, broker.try_clone()?];
    let mut frames = None;
    state.change(|rules| {
        rules.accepted += 1;
        rules.open.extend(handles);
        frames = rules.editor.clone().map(|editor| (editor, Asked::default()));
    });
    forward(client.try_clone()?, broker.try_clone()?, Direction::ToBroker, state, frames.clone());
    forward(broker, client, Direction::ToClient, state, frames);
    Ok(())
}

fn forward(from: TcpStream, to: TcpStream, direction: Direction, state: &Arc<State>, frames: Option<(Editor, Asked)>) {
    // Bounded, so that a paused proxy pushes back on the sender after some megabytes as a real network would.
    let (chunks, queue) = sync_channel(64);
    thread::spawn(move || match frames {
        None => read(from, &chunks),
        Some((editor, asked)) => read_frames(from, &chunks, direction, &editor, &asked),
    });
    let state = Arc::clone(state);
    thread::spawn(move || write(to, &queue, direction, &state));
}

fn read(mut from: TcpStream, chunks: &SyncSender<(Instant, Vec<u8>)>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || chunks.send((Instant::now(), buffer[..length].to_vec())).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Read).ok();
}

fn read_frames(
    mut from: TcpStream,
    chunks: &SyncSender<(Instant, Vec<u8>)>,
    direction: Direction,
    editor: &Editor,
    asked: &Asked,
) {
    while let Some(frame) = next_frame(&mut from, direction, asked, editor) {
        if chunks.send((Instant::now(), frame)).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Read).ok();
}

fn write(mut to: TcpStream, queue: &Receiver<(Instant, Vec<u8>)>, direction: Direction, state: &State) {
    for (arrived, chunk) in queue {
        let (delay, pace) = {
            let rules = state.rules();
            (rules.delay, rules.bytes_per_second)
        };
        thread::sleep((arrived + delay).saturating_duration_since(Instant::now()));
        // Small pieces keep a slow line slow throughout instead of in bursts.
        let piece = pace.map_or(chunk.len(), |pace| (pace as usize / 50).max(1));
        for piece in chunk.chunks(piece.max(1)) {
            let (length, cut) = state.permit(direction, piece.len());
            let written = to.write_all(&piece[..length]);
            let mut rules = state.rules();
            if written.is_ok() {
                rules.bytes[direction as usize] += length as u64;
            }
            if cut {
                rules.close_connections();
            }
            drop(rules);
            if written.is_err() || cut {
                to.shutdown(Shutdown::Both).ok();
                return;
            }
            if let Some(pace) = pace {
                thread::sleep(Duration::from_secs_f64(length as f64 / f64::from(pace)));
            }
        }
    }
    to.shutdown(Shutdown::Write).ok();
}

#[cfg(test)]
mod tests {
    use super::super::wait_for;
    use super::*;

    /// An upstream that sends back what it gets.
    fn echo() -> Outcome<String> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = stream.try_clone()?;
                    std::io::copy(&mut reader, &mut &stream)
                });
            }
        });
        Ok(address)
    }

    #[test]
    fn forwards_counts_and_cuts_in_mid_stream() -> Outcome {
        let proxy = Proxy::start(&echo()?)?;
        let mut stream = TcpStream::connect(proxy.address())?;
        stream.write_all(b"hello")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello");

        proxy.cut_after(Direction::ToClient, 3);
        stream.write_all(b"world")?;
        let mut rest = Vec::new();
        // A cut shows as an end or as a reset, whichever the kernel makes of it.
        stream.read_to_end(&mut rest).ok();
        assert_eq!(rest, b"wor");
        // What was passed on is counted a moment later.
        wait_for("all is counted", Duration::from_secs(30), || {
            let counted = (proxy.bytes(Direction::ToBroker), proxy.bytes(Direction::ToClient));
            Ok((counted == (10, 8)).then_some(()))
        })
    }

    #[test]
    fn a_paused_proxy_moves_nothing_until_resumed() -> Outcome {
        let proxy = Proxy::start(&echo()?)?;
        proxy.pause();
        let mut stream = TcpStream::connect(proxy.address())?;
        stream.write_all(b"x")?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        assert!(stream.read(&mut [0]).is_err(), "a byte came through a paused proxy");
        proxy.resume();
        stream.set_read_timeout(None)?;
        stream.read_exact(&mut [0])?;
        Ok(())
    }

    #[test]
    fn a_delay_and_a_limit_slow_down_what_they_should() -> Outcome {
        let proxy = Proxy::start(&echo()?)?;
        proxy.delay(Duration::from_millis(50));
        let mut stream = TcpStream::connect(proxy.address())?;
        let start = Instant::now();
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        assert!(start.elapsed() >= Duration::from_millis(100), "both ways are delayed");

        proxy.delay(Duration::ZERO);
        proxy.limit(Some(10_000));
        let start = Instant::now();
        stream.write_all(&[0; 2_000])?;
        stream.read_exact(&mut [0; 2_000])?;
        assert!(start.elapsed() >= Duration::from_millis(150), "2000 bytes at 10000 a second");
        Ok(())
    }

    #[test]
    fn refusing_ends_new_connections() -> Outcome {
        let proxy = Proxy::start(&echo()?)?;
        proxy.refuse(true);
        let mut stream = TcpStream::connect(proxy.address())?;
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        Ok(())
    }
}
