//! Just enough HTTP/1.1 to follow a message: what both relays of the benchmarks do with each received byte range.

use ringway_loadtest::head;

/// Where the bytes of one direction are: in a head, or so many bytes before the end of a body.
#[derive(Default)]
pub(crate) struct Framing {
    partial: Vec<u8>,
    body_left: u64,
}

impl Framing {
    /// Follows the messages in these bytes; `false` when they are not HTTP/1.1 with a Content-Length.
    pub(crate) fn take(&mut self, received: &[u8], requests: bool) -> bool {
        let joined = if self.partial.is_empty() {
            None
        } else {
            self.partial.extend_from_slice(received);
            Some(std::mem::take(&mut self.partial))
        };
        let mut bytes = joined.as_deref().unwrap_or(received);
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let taken = self.body_left.min(bytes.len() as u64);
                self.body_left -= taken;
                bytes = &bytes[taken as usize..];
                continue;
            }
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let head_bytes = if requests {
                httparse::Request::new(&mut fields).parse(bytes)
            } else {
                httparse::Response::new(&mut fields).parse(bytes)
            };
            match head_bytes {
                Ok(httparse::Status::Complete(head_bytes)) => {
                    let length =
                        fields.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
                    self.body_left = length.map_or(Some(0), |field| head::digits(field.value)).unwrap_or(0);
                    bytes = &bytes[head_bytes..];
                }
                Ok(httparse::Status::Partial) => {
                    self.partial = bytes.to_vec();
                    return true;
                }
                Err(_) => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Framing;

    #[test]
    fn follows_messages_in_any_split() {
        let stream = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 204 No Content\r\n\r\n";
        for piece in 1..stream.len() {
            let mut framing = Framing::default();
            assert!(stream.chunks(piece).all(|bytes| framing.take(bytes, false)), "pieces of {piece}");
            assert!(framing.partial.is_empty() && framing.body_left == 0, "pieces of {piece}");
        }
    }

    #[test]
    fn refuses_what_is_not_http() {
        assert!(!Framing::default().take(b"\x16\x03\x01\x02\x00", true));
    }
}
