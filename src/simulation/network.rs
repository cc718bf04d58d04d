//! The network between the processes of a mirror and the brokers: connections in memory, on which answers are late,
//! lost, doubled and cut.
//!
//! A broker works on one request of a connection at a time. What was sent to it is worked on also when nobody waits
//! for the answer any more, however late.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::broker::{Broker, framed};
use super::world::{World, tell};
use crate::wire::dialer::memory::{Dialing, Network};

/// A connection that was made: its broker, and whose it is.
pub(super) struct Accepted {
    pub(super) side: usize,
    pub(super) broker: usize,
    pub(super) process: usize,
    pub(super) stream: DuplexStream,
}

/// The network as one process has it.
pub(super) struct OfProcess {
    pub(super) world: Rc<World>,
    pub(super) process: usize,
}

/// What happens to a request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// The connection breaks before the broker has worked on it.
    Lost,
    /// The broker has worked on it, and the connection breaks before the answer.
    AnswerLost,
    /// In the middle of the answer.
    AnswerCut,
    /// The answer comes twice.
    AnswerDoubled,
}

/// Bytes that are under way at most, in one direction.
const ROOM: [usize; 4] = [1 << 16, 1 << 16, 1 << 16, 512];

impl Network for OfProcess {
    fn dial(&self, address: String) -> Dialing {
        let (world, process) = (self.world.clone(), self.process);
        Box::pin(async move {
            world.pause(0..3).await;
            let Some((side, broker)) = world.broker_at(&address) else {
                return Err(io::ErrorKind::HostUnreachable.into());
            };
            if !world.clusters[side].state.borrow().up[broker] {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let room = ROOM[world.draw(0..ROOM.len() as u64) as usize];
            let (ours, stream) = tokio::io::duplex(room);
            world.accept(Accepted { side, broker, process, stream });
            Ok(ours)
        })
    }
}

/// Works on the requests of a connection until it ends.
pub(super) async fn serve(world: Rc<World>, connection: Accepted) {
    let Accepted { side, broker, process, mut stream } = connection;
    let cluster = world.clusters[side].clone();
    let mut again: Option<Bytes> = None;
    while let Ok(length) = stream.read_i32().await {
        let mut frame = vec![0; length.max(4) as usize];
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let frame = Bytes::from(frame);
        if let Some(again) = again.take()
            && stream.write_all(&again).await.is_err()
        {
            return;
        }
        let key = i16::from_be_bytes([frame[0], frame[1]]);
        let what = || ApiKey::try_from(key).map_or_else(|_| key.to_string(), |key| format!("{key:?}"));
        let (fate, late) = fate(&world);
        if fate != Fate::Answered || late > Duration::from_millis(10) {
            let (side, late) = (cluster.side, late.as_millis());
            tell!(world, "{} of process {process} at {side}-{broker}: {fate:?}, {late} ms late", what());
        }
        if !late.is_zero() {
            tokio::time::sleep(late).await;
        }
        if fate == Fate::Lost {
            return;
        }
        cluster.is_silent.set(key == ApiKey::Fetch as i16 && world.draw(0..1000) < world.silence.get());
        let Some(answer) = (Broker { cluster: &cluster, number: broker }).answer(frame).await else {
            world.violate(format!("{} is asked for by process {process}, and is not offered", what()));
            return;
        };
        let mut answer = framed(&answer);
        match fate {
            Fate::AnswerLost => return,
            Fate::AnswerCut => {
                answer.truncate(answer.len() / 2);
                // Whether it arrives at all makes no difference.
                let _ = stream.write_all(&answer).await;
                return;
            }
            // While the next one is waited for: before that nobody would take it for anything.
            Fate::AnswerDoubled => again = Some(answer.clone()),
            Fate::Answered | Fate::Lost => {}
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn fate(world: &World) -> (Fate, Duration) {
    let late = match world.draw(0..1000) {
        drawn if drawn < world.faults.get() => world.draw(1..world.latest.get().max(2)),
        _ => world.draw(0..8).saturating_sub(5),
    };
    let fate = match world.draw(0..1000) {
        drawn if drawn >= world.faults.get() => Fate::Answered,
        drawn => {
            [Fate::Lost, Fate::AnswerLost, Fate::AnswerCut, Fate::AnswerLost, Fate::AnswerDoubled][drawn as usize % 5]
        }
    };
    (fate, Duration::from_millis(late))
}
