//! Readers of HTTP/1.1 as they are found behind proxies: each forgiving in its own way.
//!
//! What Ringway accepts, all of them must frame as Ringway does: otherwise a request could hide in another one. They
//! share no code with Ringway.

/// How a reader forgives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader {
    /// LF alone ends a line.
    pub(crate) bare_lf: bool,
    /// CR alone ends a line too.
    pub(crate) bare_cr: bool,
    /// Of several lengths the last one counts, not the first.
    pub(crate) last_length: bool,
    /// `Transfer-Encoding` is chunked where the word occurs in it, not only where it is the last coding.
    pub(crate) loose_coding: bool,
    /// A length counts although there is a `Transfer-Encoding`.
    pub(crate) length_wins: bool,
    /// `_` is `-`, and white space around names does not matter.
    pub(crate) loose_names: bool,
    /// A line that starts with white space continues the one before.
    pub(crate) folding: bool,
    /// NUL ends a line's text.
    pub(crate) c_strings: bool,
    /// Numbers are read as far as they go, with sign and white space.
    pub(crate) loose_numbers: bool,
}

/// A strict reader and every way to forgive, alone and all at once.
pub(crate) fn readers() -> Vec<Reader> {
    let strict = Reader {
        bare_lf: false,
        bare_cr: false,
        last_length: false,
        loose_coding: false,
        length_wins: false,
        loose_names: false,
        folding: false,
        c_strings: false,
        loose_numbers: false,
    };
    vec![
        strict,
        Reader { bare_lf: true, ..strict },
        Reader { bare_cr: true, bare_lf: true, ..strict },
        Reader { last_length: true, loose_numbers: true, ..strict },
        Reader { loose_coding: true, ..strict },
        Reader { length_wins: true, ..strict },
        Reader { loose_names: true, loose_coding: true, ..strict },
        Reader { folding: true, ..strict },
        Reader { c_strings: true, loose_numbers: true, ..strict },
        Reader {
            bare_lf: true,
            bare_cr: false,
            last_length: true,
            loose_coding: true,
            length_wins: true,
            loose_names: true,
            folding: true,
            c_strings: true,
            loose_numbers: true,
        },
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    None,
    Exact(u64),
    Chunked,
}

/// What a reader makes of a head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes up to the body, empty lines before the head included.
    pub(crate) bytes: usize,
    pub(crate) first_line: Vec<u8>,
    pub(crate) length: Length,
    pub(crate) hosts: Vec<Vec<u8>>,
}

impl Reader {
    /// Reads a head; `None` where its end is not there.
    pub(crate) fn head(&self, bytes: &[u8]) -> Option<Head> {
        let mut at = 0;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        loop {
            let (line, next) = self.line(bytes, at)?;
            at = next;
            match line {
                // Empty lines before the first one.
                [] if lines.is_empty() => {}
                [] => break,
                [b' ' | b'\t', rest @ ..] if self.folding && lines.len() > 1 => {
                    if let Some(last) = lines.last_mut() {
                        last.push(b' ');
                        last.extend_from_slice(rest);
                    }
                }
                line => lines.push(line.to_vec()),
            }
        }
        let fields: Vec<(Vec<u8>, Vec<u8>)> =
            lines.iter().skip(1).filter_map(|line| self.field(line)).collect();
        let values = |name: &[u8]| -> Vec<Vec<u8>> {
            fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
        };
        Some(Head {
            bytes: at,
            first_line: lines[0].clone(),
            length: self.length(&values(b"content-length"), &values(b"transfer-encoding")),
            hosts: values(b"host"),
        })
    }

    fn line<'b>(&self, bytes: &'b [u8], from: usize) -> Option<(&'b [u8], usize)> {
        let mut at = from;
        loop {
            let end = match (bytes.get(at)?, bytes.get(at + 1)) {
                (b'\r', Some(b'\n')) => Some(at + 2),
                (b'\n', _) if self.bare_lf => Some(at + 1),
                (b'\r', Some(_)) if self.bare_cr => Some(at + 1),
                _ => None,
            };
            if let Some(end) = end {
                return Some((&bytes[from..at], end));
            }
            at += 1;
        }
    }

    fn field(&self, line: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let line = if self.c_strings { line.split(|b| *b == 0).next()? } else { line };
        let colon = line.iter().position(|b| *b == b':')?;
        let mut name = line[..colon].to_ascii_lowercase();
        if self.loose_names {
            name = name.trim_ascii().to_vec();
            name.iter_mut().filter(|b| **b == b'_').for_each(|b| *b = b'-');
        }
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    }

    fn length(&self, lengths: &[Vec<u8>], codings: &[Vec<u8>]) -> Length {
        let number = if self.last_length { lengths.last() } else { lengths.first() };
        let number = number.map(|text| self.number(text)).map_or(Length::None, Length::Exact);
        let coding = codings.last().map(|coding| coding.to_ascii_lowercase());
        let chunked = match coding {
            None => false,
            Some(coding) if self.loose_coding => coding.windows(7).any(|w| w == b"chunked"),
            Some(coding) => {
                coding.rsplit(|b| *b == b',').next().is_some_and(|c| c.trim_ascii() == b"chunked")
            }
        };
        match number {
            Length::Exact(_) if self.length_wins || !chunked => number,
            _ if chunked => Length::Chunked,
            _ => Length::None,
        }
    }

    fn number(&self, text: &[u8]) -> u64 {
        let digits = if self.loose_numbers {
            let start = text.iter().position(|b| !matches!(b, b' ' | b'\t' | b'+')).unwrap_or(text.len());
            let end =
                text[start..].iter().position(|b| !b.is_ascii_digit()).map_or(text.len(), |n| start + n);
            &text[start..end]
        } else {
            text
        };
        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Reads a chunked body: its content and its length on the wire; `None` where it is not complete.
    pub(crate) fn chunked(&self, bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
        let mut content = Vec::new();
        let mut at = 0;
        loop {
            let (line, next) = self.line(bytes, at)?;
            // Extensions, and whatever else is not a digit, do not matter to a forgiving reader.
            let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
            let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
            at = next;
            if size == 0 {
                break;
            }
            let end = at.checked_add(usize::try_from(size).ok()?)?;
            content.extend_from_slice(bytes.get(at..end)?);
            let (_, next) = self.line(bytes, end)?;
            at = next;
        }
        loop {
            let (line, next) = self.line(bytes, at)?;
            at = next;
            if line.is_empty() {
                return Some((content, at));
            }
        }
    }
}
