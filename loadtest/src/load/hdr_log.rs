//! The log of interval histograms, as HdrHistogram's own tools read it (log format 1.3): nanoseconds, compressed.

use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::totals::Series;

/// Nanoseconds of a value in one millisecond of the log's maxima, which are for people.
const MAX_DIVISOR: f64 = 1e6;

/// The log of the measured time, which began at `start` and lasted `seconds`.
pub fn log(series: &Series, start: SystemTime, seconds: f64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment("[Logged by ringway-load; latencies in nanoseconds, maxima in milliseconds]")
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(&mut out, &mut serializer)?;
    for (position, point) in series.points.iter().enumerate() {
        let begin = series.interval.as_secs_f64() * position as f64;
        // The last interval ends with the run, and answers that were waited for come behind it.
        let length = (seconds - begin).clamp(0.001, series.interval.as_secs_f64());
        let (begin, length) = (Duration::from_secs_f64(begin), Duration::from_secs_f64(length));
        let written = writer.write_histogram(&point.latency_ns, begin, length, None);
        written.map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::load::totals::Totals;

    #[test]
    fn the_log_holds_every_latency_in_its_interval() {
        let mut series = Totals::new(1).series;
        (0..250u64).for_each(|tick| series.record(Duration::from_millis(tick), Some(1_000_000 * (tick + 1))));
        let text = log(&series, SystemTime::UNIX_EPOCH + Duration::from_secs(7), 0.25).expect("a log");
        let mut counts = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            let Ok(LogEntry::Interval(interval)) = entry else { continue };
            assert_eq!(interval.start_timestamp().as_millis() as usize, counts.len() * 100);
            let bytes = unbase64(interval.encoded_histogram());
            let histogram: Histogram<u64> =
                Deserializer::new().deserialize(&mut &bytes[..]).expect("a histogram");
            counts.push(histogram.len());
        }
        assert_eq!(counts, [100, 100, 50]);
        let text = String::from_utf8(text).expect("text");
        assert!(text.starts_with("#[") && text.contains("#[StartTime: 7.000"), "{text}");
    }

    fn unbase64(text: &str) -> Vec<u8> {
        let (mut bits, mut count, mut out) = (0u32, 0, Vec::new());
        for letter in text.bytes().filter(|&letter| letter != b'=') {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                _ => 63,
            };
            bits = bits << 6 | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        out
    }
}
