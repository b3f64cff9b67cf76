//! curl as a browser's gRPC-Web client, in the binary and the text form, over HTTP/1.1 and HTTP/2.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use ringway_protocols::grpc::Base64Decoder;
use ringway_tests::peers::run;
use ringway_tests::temp::TempDir;

use super::numbered;

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text+proto";

/// A client that speaks in one form over one version.
pub(super) struct Browser<'a> {
    pub(super) curl: &'a PathBuf,
    pub(super) to: SocketAddr,
    /// `--http1.1` or `--http2-prior-knowledge`.
    pub(super) version: &'a str,
    pub(super) text: bool,
}

/// What came back: the head, the messages, and the trailers of the body's last frame.
struct Answer {
    head: String,
    messages: Vec<Vec<u8>>,
    trailers: String,
}

impl Browser<'_> {
    pub(super) fn every_call(&self) {
        self.one_message_each_way();
        self.many_messages_back();
        self.statuses();
        self.deadline();
        self.metadata();
    }

    fn one_message_each_way(&self) {
        for size in [0, 1, 100, 300_000] {
            let answer = self.call("Unary", &numbered(3, size), &[]);
            assert_eq!(answer.messages, [numbered(3, size).to_vec()]);
            assert!(answer.trailers.contains("grpc-status: 0\r\n"), "{}", answer.trailers);
        }
    }

    fn many_messages_back(&self) {
        let answer = self.call("Down", b"50 777", &[]);
        let expected: Vec<_> = (0..50).map(|number| numbered(number, 777).to_vec()).collect();
        assert!(answer.messages == expected, "{} messages", answer.messages.len());
        assert!(answer.trailers.contains("grpc-status: 0\r\n"), "{}", answer.trailers);
    }

    /// Without a message the status stands in the head.
    fn statuses(&self) {
        let answer = self.call("Unary", b"fail 7 forbidden", &[]);
        assert!(answer.messages.is_empty());
        let said = answer.head.to_lowercase() + &answer.trailers;
        assert!(
            said.contains("grpc-status: 7\r\n") && said.contains("grpc-message: forbidden\r\n"),
            "{said}"
        );
    }

    fn deadline(&self) {
        let answer = self.call("Unary", b"hang", &["grpc-timeout: 200m"]);
        let said = answer.head.to_lowercase() + &answer.trailers;
        // The origin's own clock may be first: tonic calls that cancelled.
        assert!(said.contains("grpc-status: 4\r\n") || said.contains("grpc-status: 1\r\n"), "{said}");
    }

    fn metadata(&self) {
        let answer =
            self.call("Unary", b"m", &["x-shop: garden", "x-long: llllllllllllllllllllllllllllllll"]);
        let head = answer.head.to_lowercase();
        assert!(head.contains("x-shop: garden\r\n") && head.contains("x-long: llll"), "{head}");
        assert_eq!(answer.messages, [b"m".to_vec()]);
    }

    fn call(&self, method: &str, message: &[u8], fields: &[&str]) -> Answer {
        let form = if self.text { TEXT } else { BINARY };
        let mut body = frame(message);
        let dir = TempDir::new();
        let (sent, received) = (dir.path().join("sent"), dir.path().join("received"));
        if self.text {
            fs::write(&sent, &body).expect("written");
            let coded = run(&PathBuf::from("base64"), &["-w0", &sent.display().to_string()]);
            assert!(coded.status.success(), "coreutils' base64");
            body = coded.stdout;
        }
        fs::write(&sent, &body).expect("written");
        let content_type = format!("content-type: {form}");
        let data = format!("@{}", sent.display());
        let url = format!("http://{}/interop.Echo/{method}", self.to);
        let out = received.display().to_string();
        let mut arguments = vec!["-sS", "-m", "20", self.version, "-D", "-", "-o", &out];
        arguments.extend(["-H", &content_type, "-H", "x-grpc-web: 1", "-H", "expect:"]);
        fields.iter().for_each(|field| arguments.extend(["-H", *field]));
        arguments.extend(["--data-binary", &data, &url]);
        let output = run(self.curl, &arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let head = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(head.to_lowercase().contains(&content_type), "{head}");
        // curl makes no file for a response without a body.
        let mut body = fs::read(&received).unwrap_or_default();
        if self.text {
            let (mut decoder, mut decoded) = (Base64Decoder::default(), Vec::new());
            decoder.decode(&body, &mut decoded).expect("base64");
            assert!(decoder.is_complete());
            body = decoded;
        }
        let (messages, trailers) = unframe(&body);
        Answer { head, messages, trailers }
    }
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// The messages of a body, and its trailers, which are a frame of their own at its end.
fn unframe(mut body: &[u8]) -> (Vec<Vec<u8>>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while let &[flags, a, b, c, d, ref rest @ ..] = body {
        assert!(trailers.is_empty(), "nothing follows the trailers");
        let (contents, rest) = rest.split_at(u32::from_be_bytes([a, b, c, d]) as usize);
        match flags {
            0 => messages.push(contents.to_vec()),
            0x80 => trailers = String::from_utf8_lossy(contents).into_owned(),
            _ => panic!("flags {flags:#x}"),
        }
        body = rest;
    }
    assert!(body.is_empty(), "half a frame");
    (messages, trailers)
}
