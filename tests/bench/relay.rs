//! The lower bound: a child that reads a TCP stream and writes it to another, knowing nothing of what it carries.
//!
//! The bench itself is the source and the sink, as many bytes as the topic's log has. Whoever copies records between two
//! clusters moves at least these bytes through two sockets; its CPU time is the yardstick for everybody else's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::process::{Process, Used};
use crate::support::failure::Context;
use crate::support::{Failure, Outcome, fail, nursery};

/// The first argument of this program as a child.
pub(crate) const ROLE: &str = "as-relay";
/// Large enough that waking up costs nothing worth telling: a smaller one makes the yardstick a lenient one.
const BUFFER: usize = 2 << 20;

/// Moves everything from one address to another.
pub(crate) fn child(arguments: &[String]) -> Outcome {
    let [source, sink] = arguments else { return fail("source and sink are needed") };
    let mut source = TcpStream::connect(source)?;
    let mut sink = TcpStream::connect(sink)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(()),
            length => sink.write_all(&buffer[..length])?,
        }
    }
}

/// Has a child relay so many bytes; what it used, and the bytes that came out.
pub(crate) fn run(bytes: u64, limit: Duration) -> Outcome<(Used, u64)> {
    let source = TcpListener::bind("127.0.0.1:0")?;
    let sink = TcpListener::bind("127.0.0.1:0")?;
    let mut command = nursery::command(std::env::current_exe()?);
    command.args([ROLE, &source.local_addr()?.to_string(), &sink.local_addr()?.to_string()]);
    let writer = thread::spawn(move || write(&source, bytes));
    let reader = thread::spawn(move || read(&sink));
    let used = Process::start("relay", command)?.wait(limit)?;
    let panicked = |_| Failure("an end of the relay panicked".to_owned());
    writer.join().map_err(panicked)?.context("the relay's source")?;
    let arrived = reader.join().map_err(panicked)?.context("the relay's sink")?;
    Ok((used, arrived))
}

fn write(listener: &TcpListener, bytes: u64) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let chunk = vec![0x6b; BUFFER];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(BUFFER as u64);
        stream.write_all(&chunk[..length as usize])?;
        left -= length;
    }
    Ok(())
}

fn read(listener: &TcpListener) -> std::io::Result<u64> {
    let (mut stream, _) = listener.accept()?;
    let mut buffer = vec![0; BUFFER];
    let mut arrived = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(arrived),
            length => arrived += length as u64,
        }
    }
}
