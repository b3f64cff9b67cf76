//! Heads on their way out: what came in, with edits. Runs of untouched field lines are copied in one piece.

use crate::message::{
    Field, FieldKind, FramingRewrite, KindSet, RequestHead, ResponseHead, Span, TargetForm, Version,
};

/// The `Connection` field that is written. Whatever came in never goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionField<'a> {
    /// No field: the connection persists, as HTTP/1.1 does without one.
    #[default]
    None,
    Close,
    /// Said aloud, for HTTP/1.0.
    KeepAlive,
    /// `Connection: upgrade` and an `Upgrade` with this token.
    Upgrade(&'a [u8]),
}

/// What is changed in a request on its way to the origin. Hop-by-hop fields go without being asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestEdits<'a> {
    /// Kinds of fields that are left out. `FieldKind::Other` would mean all unknown fields.
    pub drop: KindSet,
    /// Names of fields that are left out, compared by [`crate::message::is_same_name`].
    pub drop_names: &'a [Vec<u8>],
    /// The target to send, instead of the received path and query.
    pub target: Option<&'a [u8]>,
    /// The `Host` to send, instead of the received authority.
    pub host: Option<&'a [u8]>,
    /// Rendered `name: value\r\n` lines.
    pub append: &'a [u8],
    pub connection: ConnectionField<'a>,
    /// Write `TE: trailers` (RFC 9110 10.1.4).
    pub te_trailers: bool,
}

/// Appends a request head for the origin: HTTP/1.1, and origin-form unless the method asks for another form.
pub fn write_request(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, edits: &RequestEdits<'_>) {
    let unchanged_line = edits.target.is_none()
        && head.version == Version::Http11
        && matches!(head.form, TargetForm::Origin | TargetForm::Asterisk);
    let mut lines_from = head.method_span.start;
    if !unchanged_line {
        out.extend_from_slice(head.method_span.of(bytes));
        out.push(b' ');
        write_target(out, bytes, head, edits.target);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        lines_from = fields_start(&head.fields, head.bytes);
    }
    let has_host = head.kinds.contains(FieldKind::Host) && !head.host_rewrite;
    let mut drop = edits.drop;
    if let Some(host) = edits.host {
        drop.insert(FieldKind::Host);
        copy_lines(out, bytes, head, (drop, edits.drop_names), lines_from);
        write_line(out, b"host: ", host);
    } else {
        copy_lines(out, bytes, head, (drop, edits.drop_names), lines_from);
        if !has_host {
            // HTTP/1.1 has to have one, if need be an empty one (RFC 9112 3.2).
            write_line(out, b"host: ", head.authority.of(bytes));
        }
    }
    write_framing(out, head.framing_rewrite, drop);
    out.extend_from_slice(edits.append);
    if edits.te_trailers {
        out.extend_from_slice(b"te: trailers\r\n");
    }
    write_connection(out, edits.connection, edits.te_trailers);
    out.extend_from_slice(b"\r\n");
}

/// Kinds and names of fields that are left out.
type Dropped<'a> = (KindSet, &'a [Vec<u8>]);

fn copy_lines(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, drop: Dropped<'_>, from: u32) {
    let edited = head.hop_by_hop_fields || drop.0.intersects(head.kinds) || !drop.1.is_empty();
    copy_fields(out, bytes, &head.fields, head.bytes, from, edited.then_some(drop));
}

fn write_target(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, target: Option<&[u8]>) {
    if let Some(target) = target {
        out.extend_from_slice(target);
        return;
    }
    match head.form {
        TargetForm::Origin | TargetForm::Asterisk | TargetForm::Authority => {
            out.extend_from_slice(head.target.of(bytes));
        }
        // RFC 9112 3.2.4: OPTIONS for the authority itself.
        TargetForm::Absolute
            if head.path.is_empty()
                && head.query.is_none()
                && head.method == crate::message::Method::Options =>
        {
            out.push(b'*');
        }
        TargetForm::Absolute => {
            out.extend_from_slice(head.path_of(bytes));
            if let Some(query) = head.query {
                out.push(b'?');
                out.extend_from_slice(query.of(bytes));
            }
        }
    }
}

/// What is changed in a response on its way to the client. Hop-by-hop fields go without being asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseEdits<'a> {
    /// Kinds of fields that are left out; `TransferEncoding` where the body is sent without chunks.
    pub drop: KindSet,
    /// Names of fields that are left out, compared by [`crate::message::is_same_name`].
    pub drop_names: &'a [Vec<u8>],
    /// Rendered `name: value\r\n` lines.
    pub append: &'a [u8],
    pub connection: ConnectionField<'a>,
}

/// Whether the head has to be written anew. If not, the received bytes may be sent as they are.
pub fn response_needs_edit(head: &ResponseHead, edits: &ResponseEdits<'_>) -> bool {
    head.rewrite_status_line
        || head.framing_rewrite != FramingRewrite::None
        || head.hop_by_hop_fields
        || !edits.append.is_empty()
        || edits.connection != ConnectionField::None
        || edits.drop.intersects(head.kinds)
        || !edits.drop_names.is_empty()
}

/// Appends a response head for the client, always HTTP/1.1 (RFC 9110 6.2: the version is the sender's own).
pub fn write_response(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, edits: &ResponseEdits<'_>) {
    let mut lines_from = 0;
    if head.rewrite_status_line {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(Span { start: 9, end: 12 }.of(bytes));
        out.push(b' ');
        out.extend_from_slice(head.reason.of(bytes));
        out.extend_from_slice(b"\r\n");
        lines_from = fields_start(&head.fields, head.bytes);
    }
    let edited = head.hop_by_hop_fields || edits.drop.intersects(head.kinds) || !edits.drop_names.is_empty();
    let drop = edited.then_some((edits.drop, edits.drop_names));
    copy_fields(out, bytes, &head.fields, head.bytes, lines_from, drop);
    write_framing(out, head.framing_rewrite, edits.drop);
    out.extend_from_slice(edits.append);
    write_connection(out, edits.connection, false);
    out.extend_from_slice(b"\r\n");
}

/// Copies the lines from `from` to the end of the fields, all of them or without those that are dropped.
fn copy_fields(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &[Field],
    head_end: u32,
    from: u32,
    drop: Option<Dropped<'_>>,
) {
    let mut run = Span { start: from, end: head_end.saturating_sub(2) };
    if let Some((kinds, names)) = drop {
        let end = run.end;
        let mut rest = fields.iter().peekable();
        while let Some(field) = rest.next() {
            if field.is_left_out(bytes, kinds, names) {
                run.end = field.name.start;
                out.extend_from_slice(run.of(bytes));
                // A field's line ends where the next one starts.
                run.start = rest.peek().map_or(end, |next| next.name.start);
            }
        }
        run.end = end;
    }
    out.extend_from_slice(run.of(bytes));
}

fn fields_start(fields: &[Field], head_end: u32) -> u32 {
    fields.first().map_or(head_end.saturating_sub(2), |field| field.name.start)
}

/// The framing field in the one spelling that nobody misreads, where it was received in another.
fn write_framing(out: &mut Vec<u8>, rewrite: FramingRewrite, drop: KindSet) {
    match rewrite {
        FramingRewrite::Length(length) if !drop.contains(FieldKind::ContentLength) => {
            write_line(out, b"content-length: ", length.to_string().as_bytes());
        }
        FramingRewrite::Chunked if !drop.contains(FieldKind::TransferEncoding) => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        _ => {}
    }
}

fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_connection(out: &mut Vec<u8>, connection: ConnectionField<'_>, te: bool) {
    // RFC 9110 10.1.4: whoever sends TE names it, so that it goes no further than the next hop.
    match (connection, te) {
        (ConnectionField::None, false) => {}
        (ConnectionField::None, true) => out.extend_from_slice(b"connection: te\r\n"),
        (ConnectionField::Close, false) => out.extend_from_slice(b"connection: close\r\n"),
        (ConnectionField::Close, true) => out.extend_from_slice(b"connection: te, close\r\n"),
        (ConnectionField::KeepAlive, false) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (ConnectionField::KeepAlive, true) => out.extend_from_slice(b"connection: te, keep-alive\r\n"),
        (ConnectionField::Upgrade(token), te) => {
            let names: &[u8] = if te { b"connection: te, upgrade\r\n" } else { b"connection: upgrade\r\n" };
            out.extend_from_slice(names);
            write_line(out, b"upgrade: ", token);
        }
    }
}

#[cfg(test)]
mod tests;
