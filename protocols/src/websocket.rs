//! The `Upgrade` handshake, as far as a proxy takes part in it (RFC 9110 7.8, RFC 6455 4).

mod handshake;

pub use handshake::{ACCEPT_BYTES, KEY_BYTES, accept_of, key_of};

use crate::http1::list;

/// The one protocol of an `Upgrade` field that `allowed` (lower case) has.
///
/// `None` where the field offers several protocols, even if all of them are allowed: the origin would choose, and
/// what it chose would have to be checked against an offer that was narrowed. Nobody sends such lists in earnest.
pub fn upgrade_token<'a>(upgrade: &'a [u8], allowed: &[impl AsRef<str>]) -> Option<&'a [u8]> {
    let mut tokens = list(upgrade).filter(|token| !token.is_empty());
    let (Some(token), None) = (tokens.next(), tokens.next()) else { return None };
    // h2c would carry requests past everything that looks at them here, whatever the configuration says.
    if token.eq_ignore_ascii_case(b"h2c") || token.eq_ignore_ascii_case(b"h2") {
        return None;
    }
    allowed.iter().any(|name| token.eq_ignore_ascii_case(name.as_ref().as_bytes())).then_some(token)
}

/// Whether the `Upgrade` of a 101 is the protocol that was asked for.
pub fn is_same_protocol(asked: &[u8], answered: &[u8]) -> bool {
    let mut tokens = list(answered).filter(|token| !token.is_empty());
    tokens.next().is_some_and(|token| token.eq_ignore_ascii_case(asked)) && tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_allowed_token_becomes_a_tunnel() {
        for (upgrade, expected) in [
            ("websocket", Some("websocket")),
            ("WebSocket", Some("WebSocket")),
            (" websocket ,", Some("websocket")),
            ("h2c", None),
            ("websocket, h2c", None),
            ("h2c, websocket", None),
            ("websocket/13", None),
            ("web socket", None),
            ("", None),
            (",", None),
        ] {
            let token = upgrade_token(upgrade.as_bytes(), &["websocket"]);
            assert_eq!(token, expected.map(str::as_bytes), "{upgrade:?}");
        }
    }

    #[test]
    fn h2c_is_never_allowed() {
        assert_eq!(upgrade_token(b"h2c", &["h2c", "websocket"]), None);
        assert_eq!(upgrade_token(b"H2C", &["h2c"]), None);
    }

    #[test]
    fn a_switch_to_another_protocol_is_noticed() {
        assert!(is_same_protocol(b"websocket", b"WebSocket"));
        assert!(!is_same_protocol(b"websocket", b"h2c"));
        assert!(!is_same_protocol(b"websocket", b"websocket, h2c"));
        assert!(!is_same_protocol(b"websocket", b""));
    }
}
