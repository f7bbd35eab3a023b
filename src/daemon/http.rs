//! HTTP/1.1 for the admin endpoint: one request a connection, each connection in a thread of its own, and a bound for
//! everything that a stranger may send, hold or wait for. It refuses chunked bodies, and whoever comes by a name.
//!
//! A browser that was led here (by a page's script, or a name that was bound anew to this address) says so in `Origin`
//! or `Host`: neither is answered.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::seats::{Phase, Seat, Table};

const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// A request's body: a batch of changes whose paths are all as long as they may be has less.
const BODY_BYTES_MAX: usize = 4 << 20;
/// From a connection's beginning to the last byte of its request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For all of an answer's bytes.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// How long what a refused asker still sends is thrown away: a socket closed before that takes the answer with it.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// After an `accept` that failed, by want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(10);

/// A status code, and the reason in words.
pub(super) type Refusal = (u16, String);

/// What a request is answered.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

impl Answer {
    /// A JSON document.
    pub(super) fn json(code: u16, text: String) -> Self {
        Self { code, content_type: "application/json", text }
    }
}

/// Gives the answer to a request, or words a refusal.
pub(super) trait Serve:
    Fn(Result<&mut Request<'_>, Refusal>) -> Answer + Send + Sync + 'static
{
}
impl<F: Fn(Result<&mut Request<'_>, Refusal>) -> Answer + Send + Sync + 'static> Serve for F {}

/// A listening server; dropping it ends the connections that still send, and waits for those being answered.
pub(super) struct Server {
    address: SocketAddr,
    /// The listener once more, as what can be shut down: that wakes `accept`.
    listening: TcpStream,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens and answers until it is dropped.
    pub(super) fn start(address: SocketAddr, serve: impl Serve) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let listening = TcpStream::from(OwnedFd::from(listener.try_clone()?));
        let stopping = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopping);
        let body = move || accept_all(&listener, &told, &serve);
        let thread = Some(Builder::new().name("ringway-admin".to_owned()).spawn(body)?);
        Ok(Self { address, listening, stopping, thread })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Err(error) = self.listening.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the admin endpoint cannot be shut down");
        }
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn accept_all(listener: &TcpListener, stopping: &AtomicBool, serve: &impl Serve) {
    let table = Table::default();
    thread::scope(|scope| {
        while !stopping.load(Ordering::Relaxed) {
            let stream = match listener.accept() {
                Ok((stream, _)) => Arc::new(stream),
                Err(error) => {
                    tracing::debug!(%error, "no connection could be taken");
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            let deadline = Instant::now() + REQUEST_TIME;
            let Some(seat) = table.seat(&stream) else {
                turn_away(&stream, serve(Err((503, "too many are being answered".to_owned()))));
                continue;
            };
            let body = move || converse(&seat, deadline, serve);
            if let Err(error) = Builder::new().name("ringway-asker".to_owned()).spawn_scoped(scope, body) {
                tracing::debug!(%error, "a connection gets no thread");
            }
        }
        table.stop();
    });
}

/// Without a thread: what does not go at once does not go.
fn turn_away(mut stream: &TcpStream, answer: Answer) {
    let told = stream.set_nonblocking(true).and_then(|()| stream.write(&response(&answer)).map(drop));
    let done = told.and_then(|()| stream.shutdown(Shutdown::Write));
    // What has come of the request is taken, as closing over it would take the answer back.
    if let Err(error) = done.and_then(|()| stream.read(&mut [0; HEAD_BYTES_MAX]).map(drop)) {
        tracing::debug!(%error, "an asker is turned away");
    }
}

/// One connection, to its end.
fn converse(seat: &Seat<'_>, deadline: Instant, serve: &impl Serve) {
    let (answer, is_whole) = match read_head(seat, deadline) {
        Ok(Some(mut request)) => {
            if request.is_whole && !seat.enter(Phase::Answering) {
                return;
            }
            let answer = serve(Ok(&mut request));
            (answer, request.is_whole)
        }
        Ok(None) => return,
        Err(refusal) => (serve(Err(refusal)), false),
    };
    if !seat.enter(Phase::Answering) {
        return;
    }
    if let Err(error) = send(&seat.stream, &response(&answer), Instant::now() + ANSWER_TIME) {
        tracing::debug!(%error, "an asker has gone away");
        return;
    }
    if !is_whole && seat.stream.shutdown(Shutdown::Write).is_ok() && seat.enter(Phase::Reading) {
        let (until, mut sink) = (Instant::now() + LINGER_TIME, Vec::new());
        while receive(&seat.stream, &mut sink, until).is_ok_and(|count| count > 0) {
            sink.clear();
        }
    }
}

/// A request whose head has come.
pub(super) struct Request<'a> {
    head: Head,
    /// What has come of the body.
    body: Vec<u8>,
    is_whole: bool,
    seat: &'a Seat<'a>,
    deadline: Instant,
}

impl Request<'_> {
    /// `GET`, `POST` or another.
    pub(super) fn method(&self) -> &str {
        &self.head.method
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.head.target
    }

    /// The header `Authorization`.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.head.authorization.as_deref()
    }

    /// Reads the body; the time for it began with the connection.
    pub(super) fn body(&mut self) -> Result<String, Refusal> {
        if self.head.is_asking_to_go_on && self.body.len() < self.head.length {
            send(&self.seat.stream, b"HTTP/1.1 100 Continue\r\n\r\n", self.deadline)
                .map_err(|error| (400, error.to_string()))?;
        }
        while self.body.len() < self.head.length {
            if receive(&self.seat.stream, &mut self.body, self.deadline)? == 0 {
                return Err((400, "the body is shorter than its length".to_owned()));
            }
        }
        self.is_whole = true;
        if !self.seat.enter(Phase::Answering) {
            return Err((503, "the connection was ended for another".to_owned()));
        }
        self.body.truncate(self.head.length);
        String::from_utf8(std::mem::take(&mut self.body)).map_err(|error| (400, error.to_string()))
    }
}

/// `None` if the other side has gone without a word.
fn read_head<'a>(seat: &'a Seat<'a>, deadline: Instant) -> Result<Option<Request<'a>>, Refusal> {
    let mut bytes = Vec::new();
    loop {
        if receive(&seat.stream, &mut bytes, deadline)? == 0 {
            let broken = (400, "the request ends within its head".to_owned());
            return if bytes.is_empty() { Ok(None) } else { Err(broken) };
        }
        if let Some((head, count)) = parse(&bytes)? {
            let body = bytes.split_off(count);
            let is_whole = head.length <= body.len() || head.method != "POST";
            return Ok(Some(Request { head, body, is_whole, seat, deadline }));
        }
    }
}

/// What a head says that matters here.
#[derive(Debug)]
struct Head {
    method: String,
    target: String,
    authorization: Option<String>,
    /// Of the body.
    length: usize,
    /// The asker waits for a word before it sends the body.
    is_asking_to_go_on: bool,
}

/// The head and its length, once it is all there.
fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let refused = |code, why: &str| Err((code, why.to_owned()));
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let count = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(count)) if count <= HEAD_BYTES_MAX => count,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(_) => return Err((431, format!("a head has at most {HEAD_BYTES_MAX} bytes"))),
        Err(httparse::Error::TooManyHeaders) => {
            return Err((431, format!("a head has at most {HEADERS_MAX} headers")));
        }
        Err(error) => return Err((400, error.to_string())),
    };
    let all = |name: &'static str| {
        let named = parsed.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| String::from_utf8_lossy(header.value).trim().to_owned()).collect::<Vec<_>>()
    };
    let method = parsed.method.unwrap_or_default().to_owned();
    match all("Host").as_slice() {
        [host] if is_address(host) => {}
        [] if parsed.version == Some(0) => {}
        [_] => return refused(403, "this endpoint is asked by its address, or as localhost"),
        _ => return refused(400, "a request names one host"),
    }
    if !all("Origin").is_empty() {
        return refused(403, "this endpoint does not answer to pages");
    }
    if !all("Transfer-Encoding").is_empty() {
        return refused(501, "a body comes in one piece, with its length");
    }
    let length = match all("Content-Length").as_slice() {
        [] if method == "POST" => return refused(411, "a body needs its length"),
        [] => 0,
        [length] if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            // Digits that are no number are too many.
            length.parse().unwrap_or(usize::MAX)
        }
        _ => return refused(400, "Content-Length must be one number"),
    };
    if length > BODY_BYTES_MAX {
        return Err((413, format!("a body has at most {BODY_BYTES_MAX} bytes")));
    }
    let head = Head {
        method,
        target: parsed.path.unwrap_or_default().to_owned(),
        authorization: all("Authorization").into_iter().next(),
        length,
        is_asking_to_go_on: all("Expect").iter().any(|what| what.eq_ignore_ascii_case("100-continue")),
    };
    Ok(Some((head, count)))
}

/// An IP literal or `localhost`, with a port or without: what nobody can bind anew.
fn is_address(host: &str) -> bool {
    let (is_named, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name.parse::<Ipv6Addr>().is_ok(), port),
        None => {
            let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            (name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok(), port)
        }
    };
    is_named && (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()))
}

fn response(Answer { code, content_type, text }: &Answer) -> Vec<u8> {
    let reason = match code {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Other",
    };
    let later = if *code == 503 { "Retry-After: 1\r\n" } else { "" };
    let length = text.len();
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\
         {later}Connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// What is left until then; a socket takes no timeout of nothing.
fn left(until: Instant) -> Option<Duration> {
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// Appends what has come; 0 is the end.
fn receive(mut stream: &TcpStream, into: &mut Vec<u8>, until: Instant) -> Result<usize, Refusal> {
    let mut chunk = [0; 8 << 10];
    loop {
        let late = || (408, format!("a request has {} seconds", REQUEST_TIME.as_secs()));
        stream.set_read_timeout(Some(left(until).ok_or_else(late)?)).map_err(|e| (400, e.to_string()))?;
        match stream.read(&mut chunk) {
            Ok(count) => {
                into.extend_from_slice(&chunk[..count]);
                return Ok(count);
            }
            // The way back asks whether time is left.
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err((400, error.to_string())),
        }
    }
}

fn send(mut stream: &TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until).ok_or(ErrorKind::TimedOut)?))?;
        match stream.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
