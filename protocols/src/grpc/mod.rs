//! gRPC over HTTP/2: what of it a proxy has to know (the protocol document of grpc.io, "gRPC over HTTP2").

mod status;
mod timeout;

pub use status::{Status, push_message, trailer_status};
pub use timeout::{parse_timeout, push_timeout};

/// What a `content-type` says about gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `application/grpc`, with or without `+proto` and the like.
    Grpc,
    /// `application/grpc-web`: trailers are the last frame of the body.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

/// The kind of gRPC that a media type names, if any.
pub fn kind_of(content_type: &[u8]) -> Option<Kind> {
    let media = content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let kinds: [(&[u8], Kind); 3] = [
        (b"application/grpc-web-text", Kind::WebText),
        (b"application/grpc-web", Kind::Web),
        (b"application/grpc", Kind::Grpc),
    ];
    for (name, kind) in kinds {
        if let Some((start, rest)) = media.split_at_checked(name.len())
            && start.eq_ignore_ascii_case(name)
        {
            return matches!(rest.first(), None | Some(b'+')).then_some(kind);
        }
    }
    None
}

/// Splits `/pkg.Service/Method`. `None` for any other path: gRPC has no others, and a server that strips what a policy did
/// not see would let requests past it (CVE-2026-33186).
pub fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = path.strip_prefix(b"/")?;
    let slash = rest.iter().position(|b| *b == b'/')?;
    let (service, method) = (rest.get(..slash)?, rest.get(slash + 1..)?);
    let is_name = |name: &[u8]| {
        !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    };
    (is_name(service) && is_name(method)).then_some((service, method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_names_a_kind_of_grpc() {
        for (text, kind) in [
            ("application/grpc", Some(Kind::Grpc)),
            ("application/grpc+proto", Some(Kind::Grpc)),
            ("Application/GRPC; charset=utf-8", Some(Kind::Grpc)),
            ("application/grpc-web", Some(Kind::Web)),
            ("application/grpc-web+proto", Some(Kind::Web)),
            ("application/grpc-web-text", Some(Kind::WebText)),
            ("application/grpc-web-text+proto", Some(Kind::WebText)),
            ("application/grpcx", None),
            ("application/grpc-webx", None),
            ("application/grp", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(kind_of(text.as_bytes()), kind, "{text}");
        }
    }

    #[test]
    fn a_path_is_a_service_and_a_method() {
        for (path, expected) in [
            ("/shop.v1.Payments/Charge", Some(("shop.v1.Payments", "Charge"))),
            ("/S/M", Some(("S", "M"))),
            ("shop.v1.Payments/Charge", None),
            ("//Charge", None),
            ("/shop.v1.Payments/", None),
            ("/shop.v1.Payments", None),
            ("/a/b/c", None),
            ("/a%2Fb/c", None),
            ("*", None),
            ("", None),
        ] {
            let found = split_path(path.as_bytes());
            assert_eq!(found, expected.map(|(s, m)| (s.as_bytes(), m.as_bytes())), "{path}");
        }
    }
}
