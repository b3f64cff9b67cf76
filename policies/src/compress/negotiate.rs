//! Which coding a client wants (RFC 9110 12.5.3).

use super::Coding;

/// The coding that the client likes best, of several the first that is offered. `None`: as it is.
pub(super) fn choose<'a>(
    lines: impl Iterator<Item = &'a [u8]>,
    offered: &[(Coding, u32)],
) -> Option<(Coding, u32)> {
    let (mut any, mut identity) = (None, None);
    let mut named: [Option<u16>; 3] = [None; 3];
    for item in lines.flat_map(|line| line.split(|byte| *byte == b',')) {
        let mut parts = item.split(|byte| *byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let weight = parts.find_map(weight_of).unwrap_or(Some(1_000)).unwrap_or(0);
        match coding_of(name) {
            Some(coding) => {
                if let Some(held) = named.get_mut(coding as usize) {
                    *held = Some(weight);
                }
            }
            None if name == b"*" => any = Some(weight),
            None if name.eq_ignore_ascii_case(b"identity") => identity = Some(weight),
            None => {}
        }
    }
    let weight = |coding: Coding| named.get(coding as usize).copied().flatten().or(any).unwrap_or(0);
    // `max_by_key` takes the last of equals.
    let best = offered.iter().rev().copied().max_by_key(|(coding, _)| weight(*coding))?;
    let wanted = weight(best.0);
    (wanted > 0 && wanted >= identity.unwrap_or(0)).then_some(best)
}

fn coding_of(name: &[u8]) -> Option<Coding> {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    if is(b"gzip") || is(b"x-gzip") {
        Some(Coding::Gzip)
    } else if is(b"br") {
        Some(Coding::Brotli)
    } else if is(b"zstd") {
        Some(Coding::Zstd)
    } else {
        None
    }
}

/// The weight in thousandths, where the parameter is one; one that cannot be read asks for nothing.
fn weight_of(parameter: &[u8]) -> Option<Option<u16>> {
    let (name, value) = parameter.split_at(parameter.iter().position(|byte| *byte == b'=')?);
    name.trim_ascii().eq_ignore_ascii_case(b"q").then(|| thousandths(value.get(1..)?.trim_ascii()))
}

/// RFC 9110 12.4.2: 0 or 1 and up to three decimals.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole @ (b'0' | b'1')] => (whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut value = u16::from(whole - b'0');
    for place in 0..3 {
        let digit = decimals.get(place).copied().unwrap_or(b'0');
        value = value * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    (value <= 1_000).then_some(value)
}
