//! What the heads of requests and responses share: counting, field ranges, `content-length`.

use super::error::{HeadError, Malformed};
use crate::http1::{self, HeadLimits};
use crate::http2::hpack::Line;
use crate::message::{Field, FieldKind, FramingRewrite, KindSet, Span};

/// What may still come.
pub(super) struct Budget {
    bytes: u32,
    fields: u16,
}

impl Budget {
    pub(super) fn new(bytes_max: u32, fields_max: u16) -> Budget {
        Budget { bytes: bytes_max, fields: fields_max }
    }

    pub(super) fn of(limits: &HeadLimits) -> Budget {
        Budget::new(limits.bytes_max, limits.fields_max)
    }

    /// RFC 9113 6.5.2: a field counts its name, its value and 32 bytes.
    #[inline]
    pub(super) fn charge_line(&mut self, line_bytes: usize) -> Result<(), HeadError> {
        /// What a line has beside name and value, `: ` and CRLF, is part of the 32.
        const OVERHEAD_BYTES: usize = 32 - 4;
        let bytes = u32::try_from(line_bytes + OVERHEAD_BYTES).map_err(|_| HeadError::TooLarge)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(HeadError::TooLarge)?;
        Ok(())
    }

    #[inline]
    pub(super) fn charge_field(&mut self) -> Result<(), HeadError> {
        self.fields = self.fields.checked_sub(1).ok_or(HeadError::TooManyFields)?;
        Ok(())
    }
}

/// Fields that every head treats in a way of its own; all others are taken as they are.
pub(super) const SPECIAL: KindSet = KindSet::of(&[
    FieldKind::Connection,
    FieldKind::KeepAlive,
    FieldKind::ProxyConnection,
    FieldKind::TransferEncoding,
    FieldKind::Upgrade,
    FieldKind::Te,
    FieldKind::ContentLength,
    FieldKind::FramingAlias,
    FieldKind::Host,
    FieldKind::Cookie,
]);

/// The rules that hold for special fields of any head; the caller has its own for the rest.
pub(super) fn check_special(kind: FieldKind) -> Result<(), Malformed> {
    match kind {
        // RFC 9113 8.2.2.
        FieldKind::Connection
        | FieldKind::KeepAlive
        | FieldKind::ProxyConnection
        | FieldKind::TransferEncoding
        | FieldKind::Upgrade => Err(Malformed::ConnectionSpecificField),
        FieldKind::FramingAlias => Err(Malformed::FramingAlias),
        _ => Ok(()),
    }
}

/// The field of the line that ends `bytes`.
#[inline]
pub(super) fn field(line: &Line, kind: FieldKind, bytes: &[u8]) -> Field {
    Field {
        name: span(line.start, line.start + line.name_bytes),
        value: span(line.value_start(), bytes.len().saturating_sub(2)),
        kind,
        hop_by_hop: http1::HOP_BY_HOP.contains(kind),
        never_indexed: line.never_indexed,
    }
}

/// A range of a head, whose length a 32-bit limit bounds.
pub(super) fn span(start: usize, end: usize) -> Span {
    Span { start: start as u32, end: end as u32 }
}

/// What `content-length` says, and whether its line has to be written anew.
#[derive(Default)]
pub(super) struct ContentLength {
    pub(super) declared: Option<u64>,
    unusual: bool,
}

impl ContentLength {
    /// Reads the field; says whether it must be left out because it is written anew.
    pub(super) fn note(&mut self, value: &[u8]) -> Result<bool, Malformed> {
        let length = http1::content_length(value).map_err(|_| Malformed::InvalidContentLength)?;
        if self.declared.replace(length).is_some() {
            return Err(Malformed::DuplicateContentLength);
        }
        self.unusual = matches!(value, [b'0', _, ..]);
        Ok(self.unusual)
    }

    /// The field in place of the one that was left out.
    pub(super) fn rewrite(&self) -> FramingRewrite {
        match self.declared {
            Some(length) if self.unusual => FramingRewrite::Length(length),
            _ => FramingRewrite::None,
        }
    }
}
