//! The reading half of a connection: answers come in the order of the requests, and each goes to the call that waits for it.
//! What ends it is told to all calls; nothing is asked again here.

use super::*;
use crate::planted::{self, Bug};

/// Reads answers until the connection ends, and hands each to its call.
pub(super) async fn read_answers(mut reader: Reader, pending: Rc<RefCell<Pending>>, address: String) {
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
        Some(call) if call.correlation == correlation || planted::is(Bug::AnyAnswer) => call,
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
