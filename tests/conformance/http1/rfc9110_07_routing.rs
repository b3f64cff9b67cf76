//! RFC 9110 7: routing, and what an intermediary forwards.

use super::*;

/// 7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded and, for each
/// connection-option in this field, remove any header or trailer field(s) from the message with the same name as the
/// connection-option, and then remove the Connection header field itself".
#[test]
fn s7_6_1_connection_and_what_it_names_are_removed() {
    for lines in [
        &["Connection: close"][..],
        &["Connection: x-a, X-B", "x-A: 1", "X-b: 2"],
        &["X-A: 1", "Connection: x-a", "X-A: 2"],
        &["Connection: ,x-a,,", "Connection: x-b", "X-A: 1", "X-B: 2"],
        &["Keep-Alive: timeout=5", "Proxy-Connection: close", "TE: gzip", "Upgrade: h2c"],
        &["HTTP2-Settings: x", "Connection: upgrade, HTTP2-Settings", "Upgrade: h2c"],
    ] {
        assert_eq!(forwarded(&with_fields(lines)), with_fields(&[]), "{lines:?}");
    }
    assert_eq!(
        forwarded_response("HTTP/1.1 200 OK\r\nConnection: x\r\nX: 1\r\nKeep-Alive: 5\r\nY: 2\r\n\r\n"),
        "HTTP/1.1 200 OK\r\nY: 2\r\n\r\n"
    );
}

/// 7.6.1: "A sender MUST NOT send a connection option corresponding to a field that is intended for all recipients of
/// the content." Naming framing is an attack; naming credentials or forwarding fields is ignored.
#[test]
fn s7_6_1_fields_for_all_recipients_are_not_connection_options() {
    for name in ["Host", "Content-Length", "Transfer-Encoding", "content-LENGTH"] {
        let line = format!("Connection: close, {name}");
        refuses_requests(&[(&with_fields(&[&line]), RequestError::ConnectionNamesFraming)]);
        let text = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        refuses_responses(&[(&text, ResponseError::ConnectionNamesFraming)]);
    }
    for name in [
        "Authorization",
        "Cookie",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "Forwarded",
        "Cache-Control",
    ] {
        let line = format!("{name}: v");
        let text = with_fields(&[&format!("Connection: {name}"), &line]);
        assert_eq!(forwarded(&text), with_fields(&[&line]), "{name}");
    }
}

/// 7.8: Upgrade is for one hop, means nothing without its connection option or in HTTP/1.0, and never with a body.
#[test]
fn s7_8_upgrade() {
    assert!(request(&with_fields(&["Upgrade: websocket", "Connection: upgrade"])).upgrade.is_some());
    for text in [
        &with_fields(&["Upgrade: websocket"]),
        &with_fields(&["Upgrade: websocket", "Connection: upgrade", "Content-Length: 5"]),
        "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        assert!(request(text).upgrade.is_none(), "{text:?}");
    }
    refuses_responses(&[("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", ResponseError::InvalidUpgrade)]);
}

/// Spellings that origins cannot tell from forwarding fields never get through (GHSA-6384-m2mw-rf54).
#[test]
fn underscores_do_not_spell_forwarding_fields() {
    for name in
        ["X_Forwarded_For", "x_forwarded_proto", "X-Forwarded_Host", "X_Real_Ip", "X_Forwarded_Prefix"]
    {
        assert_eq!(forwarded(&with_fields(&[&format!("{name}: v")])), with_fields(&[]), "{name}");
    }
}
