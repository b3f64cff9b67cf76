//! What an origin does wrong, how often, and how its flags are written.

use std::net::SocketAddr;
use std::time::Duration;

use crate::load::args::parse_duration;
use crate::load::random::Random;

/// What goes wrong, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    pub latency: Option<Delay>,
    /// Shares of the requests: answered with an error of the protocol's own kind.
    pub errors: f64,
    /// Reset: the connection, of HTTP/2 the stream.
    pub resets: f64,
    /// Answered with bytes that break the protocol.
    pub garbage: f64,
    /// Answered with less than was announced.
    pub short: f64,
    /// HTTP/2: the last of their connection (GOAWAY).
    pub goaways: f64,
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
/// A slow body is sent in so many pieces a second.
const PIECES_PER_SECOND: u64 = 20;

/// What one request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Right,
    Error,
    Reset,
    Garbage,
    Short,
    /// The right answer, and GOAWAY.
    GoAway,
}

impl Faults {
    pub fn any(&self) -> bool {
        *self != Faults::default()
    }

    pub(super) fn answer(&self, random: &mut Random) -> Answer {
        let kinds = [
            (self.resets, Answer::Reset),
            (self.errors, Answer::Error),
            (self.garbage, Answer::Garbage),
            (self.short, Answer::Short),
            (self.goaways, Answer::GoAway),
        ];
        // Each by itself, so that shares do not depend on each other's order but where two strike at once.
        let struck = kinds.into_iter().find(|(share, _)| *share > 0.0 && random.unit() < *share);
        struck.map_or(Answer::Right, |(_, answer)| answer)
    }

    /// The bytes of a slow body's next piece, and the time that it takes.
    pub(super) fn piece(&self) -> Option<(u64, Duration)> {
        let rate = self.body_rate?.max(1);
        let bytes = (rate / PIECES_PER_SECOND).max(1);
        Some((bytes, Duration::from_secs_f64(bytes as f64 / rate as f64)))
    }
}

impl Delay {
    pub(super) fn sample(self, random: &mut Random) -> Duration {
        let seconds = match self {
            Delay::Fixed(delay) => delay.as_secs_f64(),
            Delay::Exponential(mean) => mean.as_secs_f64() * random.exponential(),
            Delay::LogNormal(median) => median.as_secs_f64() * (LOG_DEVIATION * random.normal()).exp(),
        };
        Duration::from_secs_f64(seconds.min(DELAY_MAX.as_secs_f64()))
    }
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
