//! `/stats` and `/metrics`, as a consumer reads them.

use serde_json::Value;

/// The statistics of one moment.
#[derive(Debug, Clone)]
pub struct Stats {
    /// The whole of `/stats`.
    pub json: Value,
    /// The whole of `/metrics`.
    pub metrics: String,
}

impl Stats {
    pub(crate) fn parse(json: &[u8], metrics: &str) -> Stats {
        let json = serde_json::from_slice(json)
            .unwrap_or_else(|error| panic!("/stats is no JSON: {error}: {}", String::from_utf8_lossy(json)));
        Stats { json, metrics: metrics.to_owned() }
    }

    /// The sum of every sample of a metric, whatever its labels.
    pub fn sum(&self, name: &str) -> f64 {
        self.sum_where(name, "")
    }

    /// The sum of the samples of a metric whose labels contain `label`, such as `reason="bad_request"`.
    pub fn sum_where(&self, name: &str, label: &str) -> f64 {
        let sample = |line: &str| -> Option<f64> {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ').map(|_| rest)?),
            };
            labels.contains(label).then(|| value.trim().parse().ok()).flatten()
        };
        self.metrics.lines().filter_map(sample).sum()
    }
}
