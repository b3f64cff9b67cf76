//! Trailers (RFC 9113 8.1), by the rules that HTTP/1.1 trailers have.

use super::error::{HeadError, Malformed};
use super::fields::Budget;
use crate::http1::{FORBIDDEN_TRAILERS, TrailerLimits};
use crate::http2::hpack::{Decoder, Line, Name};

/// Decodes a block into lines.
pub(super) fn read(
    hpack: &mut Decoder,
    block: &[u8],
    limits: &TrailerLimits,
    lines: &mut Vec<u8>,
) -> Result<(), HeadError> {
    lines.clear();
    let mut at = 0;
    hpack.begin(block, &mut at)?;
    let mut budget = Budget::new(limits.bytes_max, limits.fields_max);
    while let Some(line) = hpack.next(block, &mut at, lines)? {
        if let Err(error) = check(&line, lines.len(), &mut budget) {
            hpack.skip_rest(block, at)?;
            return Err(error);
        }
    }
    Ok(())
}

fn check(line: &Line, end: usize, budget: &mut Budget) -> Result<(), HeadError> {
    budget.charge_line(end - line.start)?;
    budget.charge_field()?;
    if let Some(rule) = line.broken_value {
        return Err(rule.into());
    }
    match line.name {
        Name::Field(kind) if FORBIDDEN_TRAILERS.contains(kind) => Err(Malformed::ForbiddenTrailer.into()),
        Name::Field(_) => Ok(()),
        Name::Broken(rule) => Err(rule.into()),
        Name::UnknownPseudo => Err(Malformed::UnknownPseudo.into()),
        _ => Err(Malformed::PseudoNotAllowed.into()),
    }
}
