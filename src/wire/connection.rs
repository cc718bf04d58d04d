//! One connection to one broker: framing, negotiated versions, pipelined requests.
//!
//! Everything that opens a connection passes through [`Connection::open`]: transport, authentication, ApiVersions. Answers
//! come in the order of the requests; a task reads them and hands each to the call that waits for it. After any
//! error the connection is finished: every call under way fails, and its owner opens another one.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::decoding::Decode;
use super::memory::Reservation;
use super::resolve::resolve;
use super::rope::Rope;
use super::transport::{HangUp, Reader, Transport, Writer};
use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::limits;
use crate::tasks;

/// No answer is this long; a length beyond it is something else than a length. What an answer may have is said by its kind.
const FRAME_LIMIT: usize = 512 << 20;
/// Longer answers that have no room in a stream's budget are read one after the other.
const LARGE: usize = 1 << 20;
/// Correlation id of the first request.
const FIRST_CORRELATION: i32 = 1;

/// Requests that change something on a cluster. Over a connection of a mirror's target they need its lease.
#[rustfmt::skip]
const CHANGES: [ApiKey; 17] = [
    ApiKey::Produce, ApiKey::OffsetCommit, ApiKey::CreateTopics, ApiKey::DeleteTopics, ApiKey::DeleteRecords,
    ApiKey::InitProducerId, ApiKey::AddPartitionsToTxn, ApiKey::EndTxn, ApiKey::WriteTxnMarkers, ApiKey::TxnOffsetCommit,
    ApiKey::CreateAcls, ApiKey::DeleteAcls, ApiKey::AlterConfigs, ApiKey::CreatePartitions, ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs, ApiKey::OffsetDelete,
];

/// A connection that is ready for requests.
pub struct Connection {
    address: String,
    client_id: StrBytes,
    request_timeout: Duration,
    versions: HashMap<i16, (i16, i16)>,
    writer: Mutex<Writer>,
    pending: Rc<RefCell<Pending>>,
    next_correlation: Cell<i32>,
    hang_up: HangUp,
    /// What requests that change something need, if they need anything.
    lease: Option<Arc<Lease>>,
    /// One of them is being written.
    is_writing: Cell<bool>,
}

/// Calls that wait for their answers, in the order of the requests.
#[derive(Default)]
struct Pending {
    calls: VecDeque<Call>,
    /// Whether there has been an answer at all.
    answered: bool,
    closed: Option<Error>,
    /// What reads the answers.
    reading: Option<tokio::task::AbortHandle>,
}

struct Call {
    correlation: i32,
    room: Option<Reservation>,
    /// Bytes of the longest answer of its kind.
    longest: usize,
    answer: oneshot::Sender<Result<Received>>,
    /// The lease under which it changes something.
    under: Option<Arc<Lease>>,
}

/// An answer as it has come.
pub struct Received {
    pub bytes: Bytes,
    /// While this one is large no other one is read on this thread; until it is decoded.
    _turn: Option<OwnedSemaphorePermit>,
}

thread_local! {
    /// Whose turn it is to read a large answer.
    static TURN: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

impl Pending {
    fn close(&mut self, error: &Error) {
        if self.closed.is_none() {
            self.closed = Some(error.clone());
        }
        for call in self.calls.drain(..) {
            if let Some(lease) = call.under {
                lease.give_up_answer();
            }
            let _ = call.answer.send(Err(error.clone()));
        }
        // Half an answer keeps its memory, and the turn of a large one, no longer than anybody waits for it.
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut pending = self.pending.borrow_mut();
        if let Some(reading) = pending.reading.take() {
            reading.abort();
        }
        for lease in pending.calls.drain(..).filter_map(|call| call.under) {
            lease.give_up_answer();
        }
    }
}

impl Connection {
    /// Connects to `host:port`, authenticates and learns what the broker can do, within
    /// `socket.connection.setup.timeout.ms`. With a lease, nothing that changes the cluster is sent without it.
    pub async fn open(address: &str, config: &ClientConfig, lease: Option<Arc<Lease>>) -> Result<Rc<Self>> {
        let limit = config.connection_setup_timeout;
        let is_resolved = Cell::new(false);
        let opened = timeout(limit, Self::open_unlimited(address, config, lease, &is_resolved)).await;
        opened.unwrap_or_else(|_| {
            let within = format!("within {} ms (socket.connection.setup.timeout.ms)", limit.as_millis());
            let message = match is_resolved.get() {
                true => format!("{address} did not answer like a Kafka broker {within}"),
                false => format!(
                    "DNS gave no answer for the name '{}' of broker {address} {within}: check the resolver of this machine",
                    host_of(address)
                ),
            };
            Err(Error::new(ErrorKind::Connect, message))
        })
    }

    async fn open_unlimited(
        address: &str,
        config: &ClientConfig,
        lease: Option<Arc<Lease>>,
        is_resolved: &Cell<bool>,
    ) -> Result<Rc<Self>> {
        let transport = connect(address, is_resolved).await?;
        let (reader, writer, hang_up) = transport.split();
        let pending = Rc::new(RefCell::new(Pending::default()));
        let reading = tasks::spawn(read_answers(reader, pending.clone(), address.to_owned()));
        pending.borrow_mut().reading = Some(reading.abort_handle());
        let mut connection = Connection {
            address: address.to_owned(),
            client_id: StrBytes::from_string(config.client_id.clone()),
            request_timeout: config.request_timeout,
            versions: HashMap::new(),
            writer: Mutex::new(writer),
            pending,
            next_correlation: Cell::new(FIRST_CORRELATION),
            hang_up,
            lease,
            is_writing: Cell::new(false),
        };
        connection.authenticate().await?;
        connection.negotiate().await?;
        Ok(Rc::new(connection))
    }

    /// The one authentication step. PLAINTEXT has nothing to say; SASL gets its exchange here.
    #[expect(clippy::unused_async, reason = "SASL exchanges requests here")]
    async fn authenticate(&self) -> Result<()> {
        Ok(())
    }

    /// Learns the versions of every request. A broker that knows only older ApiVersions answers with version 0 and the
    /// error UNSUPPORTED_VERSION (KIP-511), and is asked again.
    async fn negotiate(&mut self) -> Result<()> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("kmirror"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let mut answer = self.exchange(&request, 3, None, self.request_timeout).await?;
        let mut version = 3;
        if answer.bytes.starts_with(&35i16.to_be_bytes()) {
            answer = self.exchange(&request, 0, None, self.request_timeout).await?;
            version = 0;
        }
        let response = ApiVersionsResponse::decode_bounded(&mut answer.bytes, version)
            .map_err(|_| self.not_kafka("ApiVersions"))?;
        if response.error_code != 0 {
            return Err(self.not_kafka("ApiVersions"));
        }
        self.versions = response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(())
    }

    fn not_kafka(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Connect,
            format!("{} answered {what} with something else than Kafka's protocol", self.address),
        )
    }

    /// `host:port` it was opened with.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How long an answer may take.
    pub fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Whether calls still can succeed.
    pub fn is_open(&self) -> bool {
        self.pending.borrow().closed.is_none()
    }

    /// Whether the broker knows the request.
    pub fn supports<R: Request>(&self) -> bool {
        self.version::<R>(R::VERSIONS.max).is_ok()
    }

    /// The newest version of a request that both sides know, at most `max`.
    pub fn version<R: Request>(&self, max: i16) -> Result<i16> {
        let ours = R::VERSIONS;
        let (min, broker_max) = *self.versions.get(&R::KEY).ok_or_else(|| self.unsupported(R::KEY))?;
        let version = broker_max.min(ours.max).min(max);
        if version < min.max(ours.min) { Err(self.unsupported(R::KEY)) } else { Ok(version) }
    }

    fn unsupported(&self, api_key: i16) -> Error {
        let name = name_of(api_key);
        Error::new(ErrorKind::Unsupported, format!("the broker {} does not offer the request {name}", self.address))
    }

    /// Sends a request and decodes its answer, within `request.timeout.ms`.
    pub async fn call<R: Request<Response: Decode>>(&self, request: &R, version: i16) -> Result<R::Response> {
        self.call_within(request, version, self.request_timeout).await
    }

    /// As [`call`](Self::call), within another time.
    pub async fn call_within<R: Request<Response: Decode>>(
        &self,
        request: &R,
        version: i16,
        limit: Duration,
    ) -> Result<R::Response> {
        let answer = self.exchange(request, version, None, limit).await?;
        self.decode::<R>(answer, version)
    }

    /// As [`call`](Self::call), for an answer that has room in the stream's budget, and that the broker may hold back
    /// for `wait`.
    pub async fn call_reserved<R: Request<Response: Decode>>(
        &self,
        request: &R,
        version: i16,
        room: Reservation,
        wait: Duration,
    ) -> Result<R::Response> {
        let answer = self.exchange(request, version, Some(room), self.request_timeout + wait).await?;
        self.decode::<R>(answer, version)
    }

    /// Decodes an answer of which the header is gone.
    pub fn decode<R: Request<Response: Decode>>(&self, mut answer: Received, version: i16) -> Result<R::Response> {
        R::Response::decode_bounded(&mut answer.bytes, version).map_err(|error| {
            let message = format!(
                "{} sent an answer to {} (version {version}) that cannot be read: {error}",
                self.address,
                name_of(R::KEY)
            );
            let error = Error::new(ErrorKind::Connect, message);
            self.pending.borrow_mut().close(&error);
            error
        })
    }

    async fn exchange<R: Request<Response: Decode>>(
        &self,
        request: &R,
        version: i16,
        room: Option<Reservation>,
        limit: Duration,
    ) -> Result<Received> {
        let mut bytes = self.header(R::KEY, version, R::header_version(version))?;
        request.encode(&mut bytes, version).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("request {} version {version} cannot be encoded: {error}", R::KEY))
        })?;
        let length = bytes.len() as i32 - 4;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        let mut rope = Rope::default();
        rope.push(bytes.freeze());
        let mut answer = self.send(rope, room, R::Response::LONGEST, limit).await?.wait().await?;
        ResponseHeader::decode_bounded(&mut answer.bytes, R::Response::header_version(version))
            .map_err(|_| self.not_kafka("with a header"))?;
        Ok(answer)
    }

    /// The header of the next request, with four bytes in front for the length of what follows them.
    pub fn header(&self, api_key: i16, version: i16, header_version: i16) -> Result<BytesMut> {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_i32(0);
        RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(self.next_correlation.get())
            .with_client_id(Some(self.client_id.clone()))
            .encode(&mut bytes, header_version)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("a request header cannot be encoded: {error}")))?;
        Ok(bytes)
    }

    /// Writes a request that begins with a [`header`](Self::header), its length filled in.
    ///
    /// Between `header` and `send` nothing may be awaited, so that no other request takes the correlation id. The
    /// request counts as sent when this returns; the answer is waited for apart, so that requests can be pipelined.
    pub async fn send(
        &self,
        mut request: Rope,
        room: Option<Reservation>,
        longest: usize,
        limit: Duration,
    ) -> Result<Answer> {
        let correlation = self.next_correlation.get();
        self.next_correlation.set(correlation.checked_add(1).unwrap_or(FIRST_CORRELATION));
        let lease = self.lease.as_ref().filter(|_| changes(&request)).cloned();
        let (sender, receiver) = oneshot::channel();
        // A fair lock: requests leave in the order in which they were made, which is the order of the answers.
        let mut writer = self.writer.lock().await;
        Lease::allow(lease.as_deref(), limit).await?;
        {
            let mut pending = self.pending.borrow_mut();
            if let Some(error) = &pending.closed {
                return Err(error.clone());
            }
            pending.calls.push_back(Call { correlation, room, longest, answer: sender, under: lease.clone() });
        }
        // If this future is dropped half-way, half a request is on the wire: nothing may follow it.
        let unfinished = CloseOnDrop { connection: self, armed: Cell::new(true) };
        self.is_writing.set(lease.is_some());
        let written = timeout(limit, write_all(&mut writer, &mut request, lease.as_deref())).await;
        self.is_writing.set(false);
        unfinished.armed.set(false);
        let failed = match written {
            Ok(Ok(())) => {
                return Ok(Answer {
                    receiver,
                    deadline: tokio::time::Instant::now() + limit,
                    pending: self.pending.clone(),
                    address: self.address.clone(),
                });
            }
            Ok(Err(Unwritten::Lapsed)) => {
                self.break_off();
                return Err(lapsed(&self.address));
            }
            Ok(Err(Unwritten::Broken(error))) => {
                Error::new(ErrorKind::Connect, format!("sending to {} failed: {error}", self.address))
            }
            Err(_) => timed_out(&self.address),
        };
        self.pending.borrow_mut().close(&failed);
        Err(failed)
    }

    /// Ends it at once, with what the system has not sent yet.
    fn break_off(&self) {
        self.hang_up.now();
        self.pending.borrow_mut().close(&lapsed(&self.address));
    }

    /// Whether something is under way that changes the cluster and needs a lease.
    pub fn has_changes(&self) -> bool {
        self.is_writing.get() || self.pending.borrow().calls.iter().any(|call| call.under.is_some())
    }

    /// Ends it at once if that is so.
    pub fn break_off_changes(&self) {
        if self.has_changes() {
            self.break_off();
        }
    }
}

/// Whether a request changes something.
fn changes(request: &Rope) -> bool {
    let key = request.chunk().get(4..6).and_then(|key| key.try_into().ok()).map(i16::from_be_bytes);
    key.is_some_and(|key| CHANGES.iter().any(|changes| *changes as i16 == key))
}

/// Why a request was not written to its end.
enum Unwritten {
    Broken(std::io::Error),
    /// The lease was over.
    Lapsed,
}

/// Writes all of it. A lease is looked at before every write: a process that was stopped in the middle does not finish it too late.
async fn write_all(writer: &mut Writer, request: &mut Rope, lease: Option<&Lease>) -> Result<(), Unwritten> {
    while request.has_remaining() {
        let mut write = pin!(writer.write_buf(request));
        let written = poll_fn(|context| match lease.is_some_and(|lease| !lease.is_held()) {
            true => Poll::Ready(Err(Unwritten::Lapsed)),
            false => write.as_mut().poll(context).map_err(Unwritten::Broken),
        });
        if written.await? == 0 {
            return Err(Unwritten::Broken(std::io::ErrorKind::WriteZero.into()));
        }
    }
    Ok(())
}

fn lapsed(address: &str) -> Error {
    let message = format!(
        "the connection to {address} was broken off: for too long it could not be seen whether another process of this mirror has \
         started (this process was stopped for a while, or the internal topic cannot be read)"
    );
    Error::new(ErrorKind::Connect, message)
}

/// The answer to a request that was sent.
pub struct Answer {
    receiver: oneshot::Receiver<Result<Received>>,
    deadline: tokio::time::Instant,
    pending: Rc<RefCell<Pending>>,
    address: String,
}

impl Answer {
    /// Waits for it. When it does not come in time the connection is closed, because all later answers are behind it.
    pub async fn wait(self) -> Result<Received> {
        match tokio::time::timeout_at(self.deadline, self.receiver).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                Err(Error::new(ErrorKind::Connect, format!("the connection to {} was given up", self.address)))
            }
            Err(_) => {
                let error = timed_out(&self.address);
                self.pending.borrow_mut().close(&error);
                Err(error)
            }
        }
    }
}

/// The name of a request, as the error messages and Kafka's documentation have it.
fn name_of(api_key: i16) -> String {
    ApiKey::try_from(api_key).map(|key| format!("{key:?}")).unwrap_or_default()
}

fn timed_out(address: &str) -> Error {
    Error::new(ErrorKind::Connect, format!("{address} did not answer in time (request.timeout.ms)"))
}

struct CloseOnDrop<'a> {
    connection: &'a Connection,
    armed: Cell<bool>,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        if self.armed.get() {
            let Connection { address, pending, is_writing, .. } = self.connection;
            is_writing.set(false);
            pending
                .borrow_mut()
                .close(&Error::new(ErrorKind::Connect, format!("a request to {address} was broken off")));
        }
    }
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

async fn connect(address: &str, is_resolved: &Cell<bool>) -> Result<Transport> {
    let failed = |message: String| Error::new(ErrorKind::Connect, message);
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

/// Reads answers until the connection ends, and hands each to its call.
async fn read_answers(mut reader: Reader, pending: Rc<RefCell<Pending>>, address: String) {
    loop {
        if let Err(error) = read_answer(&mut reader, &pending, &address).await {
            pending.borrow_mut().close(&error);
            return;
        }
    }
}

async fn read_answer(reader: &mut Reader, pending: &RefCell<Pending>, address: &str) -> Result<()> {
    let ended = |error: std::io::Error| {
        let what = match error.kind() {
            std::io::ErrorKind::UnexpectedEof => format!("{address} closed the connection"),
            _ => format!("the connection to {address} broke ({error})"),
        };
        let hint = match pending.borrow().answered {
            true => "",
            false => " before it answered anything, as a listener does that wants TLS or SASL: check security.protocol",
        };
        Error::new(ErrorKind::Connect, what + hint)
    };
    let mut head = [0; 8];
    reader.read_exact(&mut head[..4]).await.map_err(ended)?;
    let length = frame_length(head, address)?;
    reader.read_exact(&mut head[4..]).await.map_err(ended)?;
    let correlation = (&head[4..]).get_i32();
    let call = pending.borrow_mut().calls.pop_front();
    let call = match call {
        Some(call) if call.correlation == correlation => call,
        other => {
            let message = format!("{address} answered a request that was not made (correlation id {correlation})");
            let error = Error::new(ErrorKind::Connect, message);
            // Who waits for the answer that should have been this one is told why there is none.
            if let Some(call) = other {
                if let Some(lease) = call.under {
                    lease.give_up_answer();
                }
                let _ = call.answer.send(Err(error.clone()));
            }
            return Err(error);
        }
    };
    pending.borrow_mut().answered = true;
    if length > call.longest {
        let message = format!(
            "{address} sends an answer of {length} bytes; none of its kind has more than {}, so what comes is not believed",
            call.longest
        );
        let error = Error::new(ErrorKind::Connect, message);
        let _ = call.answer.send(Err(error.clone()));
        return Err(error);
    }
    // What follows the length starts with the correlation id; response headers are decoded with it.
    let mut turn = None;
    let read = match call.room {
        Some(room) => {
            let mut frame = room.into_frame(length).await;
            frame.space()[..4].copy_from_slice(&head[4..]);
            reader.read_exact(&mut frame.space()[4..]).await.map(|_| frame.freeze())
        }
        None => {
            if length > LARGE {
                // It is never closed, so this gives a turn.
                turn = TURN.with(Arc::clone).acquire_owned().await.ok();
            }
            let mut frame = vec![0; length];
            frame[..4].copy_from_slice(&head[4..]);
            reader.read_exact(&mut frame[4..]).await.map(|_| Bytes::from(frame))
        }
    };
    match read {
        Ok(bytes) => {
            let _ = call.answer.send(Ok(Received { bytes, _turn: turn }));
            Ok(())
        }
        Err(error) => {
            let error = ended(error);
            let _ = call.answer.send(Err(error.clone()));
            Err(error)
        }
    }
}

/// The length of the answer that follows, or who it is that answers instead of a Kafka broker.
fn frame_length(head: [u8; 8], address: &str) -> Result<usize> {
    let length = (&head[..4]).get_i32();
    let hint = match &head[..4] {
        b"HTTP" => "answered like an HTTP server",
        b"SSH-" => "answered like an SSH server",
        [0x15 | 0x16, 0x03, ..] => "answered with TLS: its listener wants security.protocol=SSL or SASL_SSL",
        _ if length < 4 || length as usize > FRAME_LIMIT => "does not speak Kafka's protocol",
        _ => return Ok(length as usize),
    };
    Err(Error::new(ErrorKind::Connect, format!("{address} {hint}; check host and port")))
}
