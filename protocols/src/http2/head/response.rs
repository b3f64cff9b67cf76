//! Responses (RFC 9113 8.3.2).

use super::error::{HeadError, Malformed};
use super::fields::{Budget, ContentLength, SPECIAL, check_special, field, span};
use super::repeat::Asked;
use crate::http1;
use crate::http2::hpack::{Decoder, Line, Name};
use crate::message::{BodyLength, Field, FieldKind, FramingRewrite, Method, ResponseHead, Version};

/// Decodes a block.
pub(super) fn read(
    hpack: &mut Decoder,
    block: &[u8],
    asked: &Asked,
    head: &mut ResponseHead,
    bytes: &mut Vec<u8>,
) -> Result<(), HeadError> {
    head.clear();
    bytes.clear();
    let mut at = 0;
    hpack.begin(block, &mut at)?;
    let budget = Budget::of(&asked.limits);
    let mut reader = Reader { asked, head, bytes, budget, content_length: ContentLength::default() };
    while let Some(line) = hpack.next(block, &mut at, reader.bytes)? {
        if let Err(error) = reader.take(line) {
            hpack.skip_rest(block, at)?;
            return Err(error);
        }
    }
    reader.finish()
}

struct Reader<'a> {
    asked: &'a Asked,
    head: &'a mut ResponseHead,
    bytes: &'a mut Vec<u8>,
    budget: Budget,
    content_length: ContentLength,
}

impl Reader<'_> {
    #[inline]
    fn take(&mut self, line: Line) -> Result<(), HeadError> {
        self.budget.charge_line(self.bytes.len() - line.start)?;
        if let Some(rule) = line.broken_value {
            return Err(rule.into());
        }
        let kind = match line.name {
            Name::Field(kind) => kind,
            Name::Broken(rule) => return Err(rule.into()),
            name => return self.take_pseudo(name, &line),
        };
        if self.head.status == 0 {
            return Err(Malformed::MissingPseudo.into());
        }
        self.budget.charge_field()?;
        let mut field = field(&line, kind, self.bytes);
        if SPECIAL.contains(kind) {
            self.take_special(&mut field)?;
        }
        self.head.hop_by_hop_fields |= field.hop_by_hop;
        self.head.kinds.insert(kind);
        self.head.fields.push(field);
        Ok(())
    }

    /// `:status`, which becomes the status line: the first and only one.
    fn take_pseudo(&mut self, name: Name, line: &Line) -> Result<(), HeadError> {
        match name {
            Name::Status if !self.head.fields.is_empty() => return Err(Malformed::PseudoAfterField.into()),
            Name::Status if self.head.status != 0 => return Err(Malformed::DuplicatePseudo.into()),
            Name::Status => {}
            Name::UnknownPseudo => return Err(Malformed::UnknownPseudo.into()),
            _ => return Err(Malformed::PseudoNotAllowed.into()),
        }
        let end = self.bytes.len().saturating_sub(2);
        let Some(&[hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9']) =
            self.bytes.get(line.value_start()..end)
        else {
            return Err(Malformed::InvalidStatus.into());
        };
        let digit = |byte: u8| u16::from(byte - b'0');
        self.head.status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
        if self.head.status == 101 {
            return Err(Malformed::SwitchingProtocols.into());
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(b"HTTP/1.1 ");
        self.bytes.extend_from_slice(&[hundreds, tens, ones, b' ']);
        let reason = http1::reason_phrase(self.head.status).as_bytes();
        self.head.reason = span(self.bytes.len(), self.bytes.len() + reason.len());
        self.bytes.extend_from_slice(reason);
        self.bytes.extend_from_slice(b"\r\n");
        Ok(())
    }

    #[inline(never)]
    fn take_special(&mut self, field: &mut Field) -> Result<(), HeadError> {
        check_special(field.kind)?;
        match field.kind {
            // RFC 9113 8.2.2: in requests only.
            FieldKind::Te => return Err(Malformed::InvalidTe.into()),
            FieldKind::ContentLength => {
                field.hop_by_hop = self.content_length.note(field.value.of(self.bytes))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<(), HeadError> {
        let Reader { asked, head, bytes, content_length, .. } = self;
        if head.status == 0 {
            return Err(Malformed::MissingPseudo.into());
        }
        head.version = Version::Http2;
        head.keep_alive = true;
        bytes.extend_from_slice(b"\r\n");
        head.bytes = bytes.len() as u32;
        if head.status < 200 && asked.end_stream {
            return Err(Malformed::InterimEndsStream.into());
        }
        frame(asked, &content_length, head)
    }
}

/// How the body is framed, for HTTP/1.1 too (RFC 9112 6.3).
fn frame(asked: &Asked, content_length: &ContentLength, head: &mut ResponseHead) -> Result<(), HeadError> {
    let tunnel = asked.method == Method::Connect && (200..300).contains(&head.status);
    if head.status < 200 || head.status == 204 || tunnel {
        // RFC 9110 8.6: a length has no place here, and a client that believed it would wait for a body.
        if content_length.declared.is_some() {
            for field in head.fields.iter_mut().filter(|field| field.kind == FieldKind::ContentLength) {
                field.hop_by_hop = true;
            }
            head.hop_by_hop_fields = true;
        }
        return Ok(());
    }
    head.framing_rewrite = content_length.rewrite();
    if asked.method == Method::Head || head.status == 304 {
        // The length is that of the body that there would have been.
        return Ok(());
    }
    match (content_length.declared, asked.end_stream) {
        (Some(1..), true) => return Err(Malformed::ContentLengthMismatch.into()),
        (Some(0), true) => {}
        (None, true) => head.framing_rewrite = FramingRewrite::Length(0),
        // Zero too: the end of the stream is still to come.
        (Some(length), false) => head.body = BodyLength::Exact(length),
        (None, false) => {
            head.body = BodyLength::Chunked;
            head.framing_rewrite = FramingRewrite::Chunked;
        }
    }
    Ok(())
}
