//! Addresses where no Kafka cluster answers: exit code 3, and a sentence that says what does.
//! Nothing is waited for longer than a person would: what cannot answer is told soon.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::{Finished, LIMIT, run};
use crate::support::Outcome;

/// A server that is no Kafka broker.
pub(super) struct Stranger {
    pub(super) address: String,
    /// Gets something for each connection.
    pub(super) connections: Receiver<()>,
}

impl Stranger {
    /// Treats every connection like this, on a thread that ends with the test process.
    pub(super) fn start(treat: impl Fn(TcpStream) + Send + 'static) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let (accepted, connections) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accepted.send(()).ok();
                treat(stream);
            }
        });
        Ok(Self { address, connections })
    }

    /// Keeps connections open and says nothing.
    pub(super) fn silent() -> Outcome<Self> {
        let kept = std::sync::Mutex::new(Vec::new());
        Self::start(move |stream| kept.lock().unwrap().push(stream))
    }

    /// Waits for a request and answers it with these bytes.
    fn answering(bytes: &'static [u8]) -> Outcome<Self> {
        Self::start(move |mut stream| {
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap_or(0);
            if length > 0 {
                stream.write_all(bytes).ok();
            }
        })
    }
}

/// `kmirror run` with this source and a target that is not there either.
fn run_from(source: &str, more: &[&str]) -> Outcome<Finished> {
    let source = format!("source.bootstrap.servers={source}");
    let target = format!("target.bootstrap.servers={}", closed_port()?);
    run(["run", "--set", &source, "--set", &target].iter().chain(more))
}

/// A port that nobody listens on: one that was free a moment ago.
fn closed_port() -> Outcome<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

#[test]
fn a_closed_port() -> Outcome {
    let address = closed_port()?;
    let finished = run_from(&address, &[])?.expect(3, &["source", &address, "refused"])?;
    assert!(finished.stdout.is_empty());
    assert_eq!(finished.stderr.matches("Connection refused").count(), 1, "it is said once: {finished}");
    assert_eq!(finished.stderr.lines().count(), 2, "where it connects, and that it cannot: {finished}");
    Ok(())
}

#[test]
fn a_name_that_does_not_resolve() -> Outcome {
    run_from("no-such-host.invalid:9092", &[])?.expect(3, &["source", "'no-such-host.invalid'", "does not resolve"])?;
    Ok(())
}

#[test]
fn an_http_server() -> Outcome {
    let server = Stranger::answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
    run_from(&server.address, &[])?.expect(3, &[&server.address, "answered like an HTTP server"])?;
    Ok(())
}

#[test]
fn an_ssh_server() -> Outcome {
    let server = Stranger::start(|mut stream| drop(stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n")))?;
    run_from(&server.address, &[])?.expect(3, &[&server.address, "answered like an SSH server"])?;
    Ok(())
}

#[test]
fn a_tls_listener() -> Outcome {
    // The alert "unexpected message" of TLS 1.2.
    let server = Stranger::answering(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a])?;
    run_from(&server.address, &[])?.expect(3, &[&server.address, "answered with TLS"])?;
    Ok(())
}

#[test]
fn a_server_that_hangs_up() -> Outcome {
    let server = Stranger::answering(b"")?;
    run_from(&server.address, &[])?
        .expect(3, &[&server.address, "closed the connection", "check security.protocol"])?;
    Ok(())
}

#[test]
fn a_server_that_says_nothing() -> Outcome {
    let server = Stranger::silent()?;
    let short = ["--set", "source.socket.connection.setup.timeout.ms=300"];
    run_from(&server.address, &short)?.expect(3, &[&server.address, "did not answer"])?;
    Ok(())
}

/// Each costs its time only once, however many there are: a second connection would be a second wait.
#[test]
fn a_check_connects_once_to_each_server_that_says_nothing() -> Outcome {
    let (first, second) = (Stranger::silent()?, Stranger::silent()?);
    let source = format!("source.bootstrap.servers={},{}", first.address, second.address);
    let target = format!("target.bootstrap.servers={}", closed_port()?);
    let short = "source.socket.connection.setup.timeout.ms=300";
    let finished = run(["check", "--set", &source, "--set", &target, "--set", short])?.expect(3, &[])?;
    for server in [&first, &second] {
        assert!(finished.stdout.contains(&format!("{} did not answer", server.address)), "{finished}");
        server.connections.recv_timeout(LIMIT)?;
        assert!(server.connections.try_recv().is_err(), "{} was asked again: {finished}", server.address);
    }
    Ok(())
}

#[test]
fn a_start_that_takes_too_long() -> Outcome {
    let server = Stranger::silent()?;
    run_from(&server.address, &["--timeout", "0.3"])?.expect(7, &["not started"])?;
    Ok(())
}
