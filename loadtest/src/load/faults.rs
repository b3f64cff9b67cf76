//! An origin with faults, for HTTP/1.1: answers that are late, wrong, cut off or slow, by chance.
//!
//! A thread for each connection: what is tested with it waits for these faults, not for this origin's speed. Without
//! any fault the origin of [`crate::origin`] serves, which is as light as the client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::args::parse_duration;
use super::random::Random;
use crate::{head, process};

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub latency: Option<Delay>,
    /// Shares of the requests.
    pub errors: f64,
    pub resets: f64,
    /// Bytes of a body per second.
    pub body_rate: Option<u64>,
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    Fixed(Duration),
    /// With this mean.
    Exponential(Duration),
    /// With this median, and a deviation of 0.5 of the logarithm.
    LogNormal(Duration),
}

const LOG_DEVIATION: f64 = 0.5;
const DELAY_MAX: Duration = Duration::from_secs(600);
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A slow body is sent in so many pieces a second.
const PIECES_PER_SECOND: u64 = 20;

impl Faults {
    pub fn any(&self) -> bool {
        *self != Faults::default()
    }
}

impl Delay {
    fn sample(self, random: &mut Random) -> Duration {
        let seconds = match self {
            Delay::Fixed(delay) => delay.as_secs_f64(),
            Delay::Exponential(mean) => mean.as_secs_f64() * random.exponential(),
            Delay::LogNormal(median) => median.as_secs_f64() * (LOG_DEVIATION * random.normal()).exp(),
        };
        Duration::from_secs_f64(seconds.min(DELAY_MAX.as_secs_f64()))
    }
}

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, body_bytes: u64, faults: Faults, seed: u64) -> io::Result<()> {
    let body: Vec<u8> = (0..body_bytes).map(|position| b'a' + (position % 26) as u8).collect();
    let body: &'static [u8] = body.leak();
    let mut number = seed;
    loop {
        let (stream, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                return Err(io::Error::other("too many connections for the open files: raise `ulimit -n`"));
            }
            Err(_) => continue,
        };
        number = number.wrapping_add(1);
        let random = Random::new(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        std::thread::Builder::new().stack_size(128 << 10).spawn(move || {
            process::exact_timers();
            // What fails here is a client that has gone.
            let _ = serve_connection(stream, body, faults, random);
        })?;
    }
}

fn serve_connection(
    mut stream: TcpStream,
    body: &[u8],
    faults: Faults,
    mut random: Random,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    let mut skip = 0u64;
    loop {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        loop {
            let skipped = skip.min(bytes.len() as u64);
            bytes.drain(..skipped as usize);
            skip -= skipped;
            let Some((head_bytes, body_bytes)) = head::parse_request(&bytes).filter(|_| skip == 0) else {
                break;
            };
            bytes.drain(..head_bytes);
            skip = body_bytes;
            if !answer(&mut stream, body, faults, &mut random)? {
                return Ok(());
            }
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
    }
}

/// Answers one request; `false` when the connection is not to be used further.
fn answer(stream: &mut TcpStream, body: &[u8], faults: Faults, random: &mut Random) -> io::Result<bool> {
    if let Some(delay) = faults.latency {
        std::thread::sleep(delay.sample(random));
    }
    if random.unit() < faults.resets {
        reset_on_close(stream);
        return Ok(false);
    }
    if random.unit() < faults.errors {
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(true);
    }
    let mut out =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    let Some(rate) = faults.body_rate else {
        out.extend_from_slice(body);
        stream.write_all(&out)?;
        return Ok(true);
    };
    stream.write_all(&out)?;
    let piece = (rate / PIECES_PER_SECOND).max(1);
    for part in body.chunks(piece as usize) {
        std::thread::sleep(Duration::from_secs_f64(part.len() as f64 / rate.max(1) as f64));
        stream.write_all(part)?;
    }
    Ok(true)
}

/// Closing sends RST instead of FIN.
fn reset_on_close(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the pointer and the length describe one `linger`. A failure leaves FIN.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
}

/// `2ms`, `fixed:2ms`, `exponential:2ms` or `lognormal:2ms`.
pub fn parse_delay(text: &str) -> Result<Delay, String> {
    let (name, time) = text.split_once(':').unwrap_or(("fixed", text));
    let time = parse_duration(time)?;
    match name {
        "fixed" => Ok(Delay::Fixed(time)),
        "exponential" => Ok(Delay::Exponential(time)),
        "lognormal" => Ok(Delay::LogNormal(time)),
        _ => Err(format!("expected fixed, exponential or lognormal, found {name}")),
    }
}

/// `0.1%` or `0.001`.
pub fn parse_share(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    match number.parse::<f64>() {
        Ok(share) if (0.0..=scale).contains(&share) => Ok(share / scale),
        _ => Err(format!("expected a share from 0 to 1 or 0% to 100%, found {text}")),
    }
}

/// `1KiB`, `2MiB`, `100`.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let factor: u64 = match text.get(number.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        unit => return Err(format!("expected B, KiB, MiB or GiB, found {unit}")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.ok_or_else(|| format!("expected a number of bytes such as 100 or 1KiB, found {text}"))
}

/// `:9000` is every address of this machine.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("expected an address such as 127.0.0.1:9000 or :9000, found {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_with_their_units() {
        assert_eq!(parse_delay("lognormal:2ms"), Ok(Delay::LogNormal(Duration::from_millis(2))));
        assert_eq!(parse_delay("3ms"), Ok(Delay::Fixed(Duration::from_millis(3))));
        assert_eq!((parse_share("0.1%"), parse_share("0.5")), (Ok(0.001), Ok(0.5)));
        assert_eq!((parse_bytes("1KiB"), parse_bytes("64")), (Ok(1024), Ok(64)));
        assert_eq!(parse_listen(":9").map(|address| address.port()), Ok(9));
        assert!(
            parse_delay("gauss:2ms").is_err() && parse_share("2").is_err() && parse_share("101%").is_err()
        );
        assert!(
            parse_bytes("1XB").is_err()
                && parse_bytes("99999999999GiB").is_err()
                && parse_listen("x").is_err()
        );
    }

    #[test]
    fn a_lognormal_delay_has_its_median() {
        let mut random = Random::new(11);
        let delay = Delay::LogNormal(Duration::from_millis(2));
        let below = (0..10_000).filter(|_| delay.sample(&mut random) < Duration::from_millis(2)).count();
        assert!((4_800..5_200).contains(&below), "seed 11: {below}");
    }
}
