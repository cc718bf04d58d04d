//! One connection to one broker: framing, negotiated versions, pipelined requests.
//!
//! Everything that opens a connection passes through [`Connection::open`]: transport, authentication, ApiVersions. Answers
//! come in the order of the requests; a task reads them and hands each to the call that waits for it. After any
//! error the connection is finished: every call under way fails, and its owner opens another one.

mod reading;

use std::cell::{Cell, OnceCell, RefCell};
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
use super::dialer::{Dialer, host_of};
use super::memory::Reservation;
use super::reach::Reach;
use super::rope::Rope;
use super::transport::{HangUp, Reader, Transport, Writer};
use crate::config::ClientConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Lease;
use crate::tasks;

/// No answer is this long; a length beyond it is something else than a length. What an answer may have is said by its kind.
const FRAME_LIMIT: usize = 512 << 20;
/// Longer answers that have no room in a stream's budget are read one after the other.
const LARGE: usize = 1 << 20;
/// A broker that asks for a longer pause is asked again after this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
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
    held_back: Rc<HeldBack>,
    reach: OnceCell<Arc<Reach>>,
}

/// Until when the broker reads nothing from the connection: before that nothing is sent, and nothing is late.
#[derive(Default)]
struct HeldBack(Cell<Option<tokio::time::Instant>>);

impl HeldBack {
    async fn is_over(&self) {
        while let Some(until) = self.0.get().filter(|until| *until > tokio::time::Instant::now()) {
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Calls that wait for their answers, in the order of the requests.
#[derive(Default)]
struct Pending {
    calls: VecDeque<Call>,
    /// Whether there has been an answer at all.
    answered: bool,
    closed: Option<Error>,
    /// Where it is told that a connection was lost that had been made.
    reach: Option<Arc<Reach>>,
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
            // One that nobody waits for is closed by brokers that have seen it idle for long: no trouble.
            if let Some(reach) = self.reach.take().filter(|_| !self.calls.is_empty()) {
                reach.lost(error);
            }
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
    pub async fn open(
        address: &str,
        dialer: &Dialer,
        config: &ClientConfig,
        lease: Option<Arc<Lease>>,
    ) -> Result<Rc<Self>> {
        let limit = config.connection_setup_timeout;
        let is_resolved = Cell::new(false);
        let opened = async {
            let transport = dialer.dial(address, &is_resolved).await?;
            Self::over(transport, address, config, lease).await
        };
        let opened = timeout(limit, opened).await;
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

    async fn over(
        transport: Transport,
        address: &str,
        config: &ClientConfig,
        lease: Option<Arc<Lease>>,
    ) -> Result<Rc<Self>> {
        let (reader, writer, hang_up) = transport.split();
        let pending = Rc::new(RefCell::new(Pending::default()));
        let reading = tasks::spawn(reading::read_answers(reader, pending.clone(), address.to_owned()));
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
            held_back: Rc::default(),
            reach: OnceCell::new(),
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

    /// What it meets from now on is told there.
    pub fn told_by(&self, reach: &Arc<Reach>) {
        let _ = self.reach.set(reach.clone());
        self.pending.borrow_mut().reach = Some(reach.clone());
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

    /// The newest version of a request that the broker offers.
    pub fn newest(&self, api_key: i16) -> Option<i16> {
        self.versions.get(&api_key).map(|(_, newest)| *newest)
    }

    /// All requests that it offers.
    pub fn keys(&self) -> impl Iterator<Item = i16> {
        self.versions.keys().copied()
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

    /// A broker has asked to be sent nothing for so long.
    pub fn hold_back(&self, throttle_time_ms: i32) {
        if throttle_time_ms > 0 {
            let time = Duration::from_millis(throttle_time_ms.unsigned_abs().into()).min(LONGEST_PAUSE);
            let until = tokio::time::Instant::now() + time;
            self.held_back.0.set(self.held_back.0.get().max(Some(until)));
            if let Some(reach) = self.reach.get() {
                reach.held_back(&self.address, time);
            }
        }
    }

    /// Waits until the broker reads from the connection, after an answer with which it has asked for a pause.
    pub async fn is_free(&self) {
        self.held_back.is_over().await;
    }

    /// Decodes an answer of which the header is gone.
    pub fn decode<R: Request<Response: Decode>>(&self, mut answer: Received, version: i16) -> Result<R::Response> {
        self.hold_back(R::Response::throttle_time_ms(&answer.bytes, version));
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
        self.held_back.is_over().await;
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
                    limit,
                    held_back: self.held_back.clone(),
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
    limit: Duration,
    held_back: Rc<HeldBack>,
    pending: Rc<RefCell<Pending>>,
    address: String,
}

impl Answer {
    /// Waits for it. When it does not come in time the connection is closed, because all later answers are behind it.
    pub async fn wait(mut self) -> Result<Received> {
        loop {
            match tokio::time::timeout_at(self.deadline, &mut self.receiver).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => {
                    let message = format!("the connection to {} was given up", self.address);
                    return Err(Error::new(ErrorKind::Connect, message));
                }
                // The answer to an earlier request has asked for a pause in which the broker does not read this one.
                Err(_) if self.held_back.0.get().is_some_and(|until| until + self.limit > self.deadline) => {
                    self.deadline = self.held_back.0.get().map_or(self.deadline, |until| until + self.limit);
                }
                Err(_) => {
                    let error = timed_out(&self.address);
                    let reach = self.pending.borrow_mut().reach.take();
                    if let Some(reach) = reach {
                        reach.failed(&error, "a broker is silent; will be tried again");
                    }
                    self.pending.borrow_mut().close(&error);
                    return Err(error);
                }
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
