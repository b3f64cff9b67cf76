//! What endpoints are asked about their health, and which answers are good.

/// How endpoints are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthKind {
    /// With `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service asked about; empty: the server as a whole.
        service: String,
    },
    Http(HttpHealth),
    /// By a connection.
    Tcp,
}

/// A question by HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHealth {
    pub path: String,
    /// `None`: that of the endpoint.
    pub host: Option<String>,
    /// First and last of each range.
    pub statuses: Vec<(u16, u16)>,
    /// What the body has to contain.
    pub body: Option<String>,
}

impl HttpHealth {
    /// Whether an answer is that of a healthy endpoint.
    pub fn accepts(&self, status: u16, body: &[u8]) -> bool {
        let good = self.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status));
        let holds =
            |text: &String| text.is_empty() || body.windows(text.len()).any(|at| at == text.as_bytes());
        good && self.body.as_ref().is_none_or(holds)
    }
}

/// Reads `200-299,304`.
pub(super) fn statuses(text: &str) -> Option<Vec<(u16, u16)>> {
    let number = |text: &str| text.trim().parse().ok().filter(|status| (200..=599).contains(status));
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        number(first).zip(number(last)).filter(|(first, last)| first <= last)
    };
    text.split(',').map(range).collect()
}

/// Whether a text can stand in a request line.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 1024
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_good_by_its_status_and_its_body() {
        let http = |ranges: &str, body: Option<&str>| HttpHealth {
            path: "/".to_owned(),
            host: None,
            statuses: statuses(ranges).expect("statuses"),
            body: body.map(str::to_owned),
        };
        for (ranges, body, status, received, expected) in [
            ("200-299", None, 204, "", true),
            ("200-299", None, 302, "", false),
            ("200, 301-302", None, 302, "", true),
            ("200, 301-302", None, 201, "", false),
            ("200", Some("ok"), 200, "all ok.", true),
            ("200", Some("ok"), 200, "o", false),
            ("200", Some("ok"), 503, "ok", false),
        ] {
            let accepted = http(ranges, body).accepts(status, received.as_bytes());
            assert_eq!(accepted, expected, "{ranges} {body:?} {status} {received}");
        }
    }

    #[test]
    fn statuses_and_paths_are_what_they_must_be() {
        for wrong in ["", "x", "100", "600", "300-200", "200-", "200,,201"] {
            assert_eq!(statuses(wrong), None, "{wrong}");
        }
        for (path, expected) in
            [("/", true), ("/a?b=c", true), ("a", false), ("/a b", false), ("/a\r\n", false)]
        {
            assert_eq!(is_path(path), expected, "{path}");
        }
    }
}
