//! Ways of use that the other tests do not take: terminals, UNIX sockets, Ctrl-C, idle connections, files.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use ringway_loadtest::load::codec::Protocol;
use ringway_loadtest::load::origin::faults::{Delay, Faults};
use serde_json::Value;

use crate::harness::{OK, count, load, tempfile};
use crate::origins::{Origin, config};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ringway-load");

fn quick_origin() -> Origin {
    Origin::start(config(Protocol::Http1, Faults::default()))
}

#[test]
fn a_terminal_has_one_line_that_is_written_over() {
    let origin = quick_origin();
    let command = format!("{PROGRAM} -d 1500ms -R 200 http://127.0.0.1:{}/", origin.port);
    // util-linux's program makes the terminal.
    let output = Command::new("script").args(["-qefc", &command, "/dev/null"]).stdin(Stdio::null()).output();
    let output = output.expect("the program `script` of util-linux runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.split("\r\x1b[K").collect();
    // At least one line, and the one that clears it before the summary.
    assert!(lines.len() >= 3 && lines[1].contains("requests/s") && !lines[1].contains('\n'), "{text:?}");
    assert!(lines.last().is_some_and(|summary| summary.contains("latency")), "{text:?}");
}

#[test]
fn without_a_terminal_each_second_has_its_line() {
    let origin = quick_origin();
    let url = format!("http://127.0.0.1:{}/", origin.port);
    let output = Command::new(PROGRAM).args(["-d", "2500ms", "-R", "100", &url]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.lines().count() >= 1 && !text.contains('\x1b'), "{text:?}");
    assert!(text.lines().all(|line| line.contains("requests/s") && line.contains("0 errors")), "{text:?}");
}

#[test]
fn the_first_interrupt_shows_what_there_is_so_far() {
    let origin = quick_origin();
    let url = format!("http://127.0.0.1:{}/", origin.port);
    let mut child = Command::new(PROGRAM)
        .args(["-d", "300s", "-R", "500", &url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    let progress = child.stderr.take().expect("its progress");
    BufReader::new(progress).read_line(&mut line).expect("a line of progress");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let mut text = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut text).expect("text");
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "{text}");
    assert!(text.contains("interrupted") && text.contains("p99.99"), "{text}");
}

#[test]
fn a_unix_socket_is_a_target() {
    let path = tempfile(".sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if line == "\r\n" && stream.write_all(OK).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
    });
    let (code, document, text) = load(&["-n", "200", "-c", "4", &format!("unix:{path}:/a")]);
    let _ = std::fs::remove_file(&path);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(count(&document, "/summary/body_bytes"), 1000, "{text}");
}

#[test]
fn rows_of_a_data_file_are_sent() {
    let rows = tempfile(".csv");
    std::fs::write(&rows, "user\nann\nbob\n").expect("a file");
    let (address, _) = crate::harness::server(|stream, count| {
        crate::harness::each_whole_request(stream, count, |stream, head, body| {
            let right = head.starts_with(&format!("GET /{body}?n=")) || ["ann", "bob"].contains(&body);
            let status = if right { "200 OK" } else { "400 Bad Request" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").is_ok()
        });
    });
    let url = format!("http://{address}/");
    let flags =
        ["-n", "100", "--data-file", &rows, "--data", "{user}", "--path", "/{user}?n={counter}", &url];
    let (code, _, text) = load(&flags);
    assert_eq!(code, Some(0), "{text}");
    let (code, _, text) = load(&["--data-file", "/nonexistent.csv", &url]);
    assert!(code == Some(1) && text.contains("/nonexistent.csv"), "{text}");
    let _ = std::fs::remove_file(rows);
}

#[test]
fn every_file_of_results_is_written() {
    let origin = quick_origin();
    let url = format!("http://127.0.0.1:{}/", origin.port);
    let names = [".csv", ".hgrm", ".hlog", ".html"].map(tempfile);
    let [csv, hdr, log, html] = &names;
    let flags = ["-n", "300", "--csv", csv, "--hdr", hdr, "--hdr-log", log, "--report", html, &url];
    let (code, _, text) = load(&flags);
    assert_eq!(code, Some(0), "{text}");
    let read = |name: &str| std::fs::read_to_string(name).expect("the file");
    assert!(read(csv).starts_with("seconds,requests_per_second") && read(csv).lines().count() > 1);
    assert!(read(hdr).contains("Total count    =          300"));
    assert!(read(log).contains("#[StartTime: ") && read(log).contains(",HISTF"));
    assert!(read(html).starts_with("<!doctype html>") && read(html).contains("<svg"));
    names.iter().for_each(|name| std::fs::remove_file(name).expect("the file is ours"));
}

#[test]
fn idle_connections_are_held_and_their_memory_is_told() {
    let mut origin = Command::new(PROGRAM)
        .args(["origin", "--listen", "127.0.0.1:0", "--latency", "0ms"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the origin runs");
    let mut line = String::new();
    let stderr = origin.stderr.take().expect("its words");
    BufReader::new(stderr).read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    let url = format!("http://{address}/");
    let (pid, json) = (origin.id().to_string(), tempfile(".json"));
    // Two targets share them.
    let second = format!("{url}second");
    let flags = ["--idle", "300", "--pid", &pid, "--json", &json, &url, &second];
    let output = Command::new(PROGRAM).args(flags).output();
    let too_many = Command::new(PROGRAM).args(["--idle", "4000000", "--pid", &pid, &url]).output();
    origin.kill().and_then(|()| origin.wait()).expect("the origin ends");
    let output = output.expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let document: Value = std::fs::read_to_string(&json)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let _ = std::fs::remove_file(&json);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!((count(&document, "/still_open"), count(&document, "/processes")), (300, 2), "{text}");
    assert!(document.pointer("/bytes_per_connection").is_some_and(Value::is_number), "{text}");
    let text = String::from_utf8_lossy(&too_many.expect("it runs").stderr).into_owned();
    assert!(text.contains("4000000 connections are too many"), "{text}");
}

#[test]
fn nothing_waits_longer_than_its_timeout_in_any_protocol() {
    let delay = Some(Delay::Fixed(std::time::Duration::from_secs(500)));
    for (protocol, name) in [
        (Protocol::Http1, "http1"),
        (Protocol::Http2, "h2"),
        (Protocol::Grpc, "grpc"),
        (Protocol::WebSocket, "ws"),
    ] {
        let origin = Origin::start(config(protocol, Faults { latency: delay, ..Faults::default() }));
        let url = format!("http://127.0.0.1:{}/a.B/C", origin.port);
        let flags = ["--protocol", name, "-n", "8", "-c", "2", "-m", "2", "--timeout", "200ms", &url];
        let (code, document, text) = load(&flags);
        assert_eq!((code, count(&document, "/errors/timeout")), (Some(3), 8), "{name}: {text}");
        assert_eq!(origin.totals().lost, 8, "{name}: {text}");
    }
}
