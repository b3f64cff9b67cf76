//! What the model client and the model origin share: a reader of messages that knows nothing of the proxy's parsers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};
use std::time::Duration;

use ringway_core::io::{self as rt, Stream};

use crate::plan::Body;

/// Bytes received and not consumed.
pub struct Reader<'a> {
    stream: &'a Stream,
    bytes: Vec<u8>,
    pause: Duration,
    /// Bytes received in all, and after how many to give up.
    pub received: usize,
    pub received_max: usize,
}

/// Why reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// An orderly end before the first byte of a message.
    Clean,
    /// An orderly end inside of a message.
    Early,
    Reset,
    /// The reader's own limit.
    GaveUp,
    /// What arrived is no HTTP.
    Invalid(String),
}

/// A head: its first line, and its fields in lower case.
#[derive(Debug, Default)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.line.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    pub fn closes(&self) -> bool {
        self.get("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }

    pub fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some()
    }

    pub fn length(&self) -> Option<usize> {
        self.get("content-length").and_then(|length| length.parse().ok())
    }
}

impl<'a> Reader<'a> {
    pub fn new(stream: &'a Stream) -> Reader<'a> {
        Reader { stream, bytes: Vec::new(), pause: Duration::ZERO, received: 0, received_max: usize::MAX }
    }

    pub fn slow(stream: &'a Stream, pause: Duration) -> Reader<'a> {
        Reader { pause, ..Reader::new(stream) }
    }

    /// Receives once more; `false` at the end.
    async fn more(&mut self) -> Result<bool, End> {
        if !self.pause.is_zero() {
            rt::sleep_until(rt::now() + self.pause).await;
        }
        let chunk = self.stream.recv().await.map_err(|_| End::Reset)?;
        self.bytes.extend_from_slice(&chunk);
        self.received += chunk.len();
        if self.received > self.received_max {
            return Err(End::GaveUp);
        }
        Ok(!chunk.is_empty())
    }

    pub async fn head(&mut self) -> Result<Head, End> {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.bytes.drain(..at + 4).collect();
                return parse(&head[..at]).map_err(End::Invalid);
            }
            if !self.more().await? {
                return Err(if self.bytes.is_empty() { End::Clean } else { End::Early });
            }
        }
    }

    pub async fn exact(&mut self, len: usize) -> Result<Vec<u8>, End> {
        while self.bytes.len() < len {
            if !self.more().await? {
                return Err(End::Early);
            }
        }
        Ok(self.bytes.drain(..len).collect())
    }

    async fn line(&mut self) -> Result<Vec<u8>, End> {
        loop {
            if let Some(at) = self.bytes.windows(2).position(|window| window == b"\r\n") {
                let mut line: Vec<u8> = self.bytes.drain(..at + 2).collect();
                line.truncate(at);
                return Ok(line);
            }
            if !self.more().await? {
                return Err(End::Early);
            }
        }
    }

    pub async fn chunked(&mut self) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let text = String::from_utf8_lossy(&line).into_owned();
            let size = text.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(size, 16) else {
                return Err(End::Invalid(format!("chunk size {text:?}")));
            };
            if size == 0 {
                break;
            }
            body.extend(self.exact(size).await?);
            if self.exact(2).await? != b"\r\n" {
                return Err(End::Invalid("no CRLF behind a chunk".to_owned()));
            }
        }
        while !self.line().await?.is_empty() {}
        Ok(body)
    }

    pub async fn until_close(&mut self) -> Result<Vec<u8>, End> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.bytes))
    }

    /// Sends everything back until the end.
    pub async fn echo(&mut self) -> Result<(), End> {
        loop {
            let bytes = std::mem::take(&mut self.bytes);
            send(self.stream, bytes).await.map_err(|_| End::Reset)?;
            if !self.more().await? {
                return Ok(());
            }
        }
    }

    /// Waits for the end; bytes before it are too many.
    pub async fn nothing(&mut self) -> Result<(), End> {
        let rest = self.until_close().await?;
        if rest.is_empty() { Ok(()) } else { Err(End::Invalid(format!("{} more bytes", rest.len()))) }
    }
}

fn parse(head: &[u8]) -> Result<Head, String> {
    let text = String::from_utf8(head.to_vec()).map_err(|error| error.to_string())?;
    let mut lines = text.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let fields = lines.map(|line| {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("the field line {line:?}"))?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok(Head { fields: fields.collect::<Result<_, String>>()?, line })
}

/// Field lines and bytes of a body.
pub fn encode(body: &Body, bytes: &[u8], trailers: bool) -> (String, Vec<u8>) {
    match body {
        Body::None => (String::new(), Vec::new()),
        Body::Exact(len) => (format!("content-length: {len}\r\n"), bytes.to_vec()),
        Body::UntilClose(_) => (String::new(), bytes.to_vec()),
        Body::Chunked(chunks) => {
            let (mut out, mut at) = (Vec::new(), 0);
            for (index, len) in chunks.iter().enumerate() {
                let extension = if index % 5 == 4 { ";name=\"value\"" } else { "" };
                out.extend_from_slice(format!("{len:x}{extension}\r\n").as_bytes());
                out.extend_from_slice(&bytes[at..at + len]);
                out.extend_from_slice(b"\r\n");
                at += len;
            }
            out.extend_from_slice(if trailers { b"0\r\nx-trailer: yes\r\n\r\n" } else { b"0\r\n\r\n" });
            ("transfer-encoding: chunked\r\n".to_owned(), out)
        }
    }
}

/// Sends and waits until the bytes are gone.
pub async fn send(stream: &Stream, bytes: Vec<u8>) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    stream.send(bytes)?;
    stream.sent().await
}

/// A number that one task raises and another waits for.
#[derive(Default)]
pub struct Signal {
    value: Cell<u64>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    pub fn raise(&self, value: u64) {
        self.value.set(self.value.get().max(value));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub async fn reaches(&self, value: u64) {
        poll_fn(|cx| {
            if self.value.get() >= value {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
