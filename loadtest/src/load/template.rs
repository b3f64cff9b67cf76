//! Text with fields that differ from request to request.
//!
//! `{counter}` counts up from 1 over all workers, `{random:1-100}` is a number of that range, `{hex:16}` so many
//! random hexadecimal digits, `{column}` the value of a data file's column in a row that is the same for the whole
//! request, and `{{` a brace. A brace that does not begin a field is an error only where it looks like one of
//! these; JSON passes as it is.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use super::random::Random;

/// A parsed template.
#[derive(Clone, Debug, Default)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(Vec<u8>),
    Counter,
    Random { low: u64, count: u64 },
    Hex(usize),
    Column(usize),
}

/// Rows of a data file.
#[derive(Clone, Debug, Default)]
pub struct Data {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// A field that looks like one of ours and is not.
#[derive(Debug, PartialEq, Eq)]
pub struct TemplateError(String);

/// What the fields of one request are filled from.
pub struct Fill<'a> {
    pub counter: &'a AtomicU64,
    pub random: &'a mut Random,
    pub data: &'a Data,
    pub row: usize,
}

const HEX_DIGITS_MAX: usize = 4096;

impl Template {
    /// Text without any field.
    pub fn literal(bytes: Vec<u8>) -> Template {
        Template(vec![Part::Text(bytes)])
    }

    pub fn parse(text: &str, data: &Data) -> Result<Template, TemplateError> {
        let columns: HashMap<&str, usize> =
            data.columns.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, from) = rest.split_at(open);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                literal.push('{');
                rest = after;
                continue;
            }
            let field = from.get(1..).and_then(|inner| inner.split_once('}'));
            match field.map(|(name, after)| (field_of(name, &columns), after)) {
                Some((Ok(Some(part)), after)) => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal).into_bytes()));
                    }
                    parts.push(part);
                    rest = after;
                }
                Some((Err(error), _)) => return Err(error),
                Some((Ok(None), _)) | None => {
                    literal.push('{');
                    rest = from.get(1..).unwrap_or_default();
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into_bytes()));
        }
        Ok(Template(parts))
    }

    /// Whether every rendering is the same.
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    pub fn render(&self, out: &mut Vec<u8>, fill: &mut Fill<'_>) {
        for part in &self.0 {
            match part {
                Part::Text(bytes) => out.extend_from_slice(bytes),
                Part::Counter => {
                    let number = fill.counter.fetch_add(1, Ordering::Relaxed) + 1;
                    // Writing to a vector does not fail.
                    let _ = write!(out, "{number}");
                }
                Part::Random { low, count } => {
                    let _ = write!(out, "{}", low + fill.random.below(*count));
                }
                Part::Hex(digits) => {
                    let hex = |value| b"0123456789abcdef".get(value as usize).copied().unwrap_or(b'0');
                    out.extend((0..*digits).map(|_| hex(fill.random.below(16))));
                }
                Part::Column(column) => {
                    let row = fill.data.rows.get(fill.row);
                    out.extend_from_slice(
                        row.and_then(|row| row.get(*column)).map_or(b"", |cell| cell.as_bytes()),
                    );
                }
            }
        }
    }
}

/// `None`: not a field of ours.
fn field_of(name: &str, columns: &HashMap<&str, usize>) -> Result<Option<Part>, TemplateError> {
    if let Some(&column) = columns.get(name) {
        return Ok(Some(Part::Column(column)));
    }
    if name == "counter" {
        return Ok(Some(Part::Counter));
    }
    let wrong = || TemplateError(format!("{{{name}}}: expected {{random:LOW-HIGH}} or {{hex:DIGITS}}"));
    if let Some(range) = name.strip_prefix("random:") {
        let (low, high) = range.split_once('-').ok_or_else(wrong)?;
        let (low, high): (u64, u64) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
        let count = high.checked_sub(low).and_then(|gap| gap.checked_add(1)).ok_or_else(wrong)?;
        return Ok(Some(Part::Random { low, count }));
    }
    if let Some(digits) = name.strip_prefix("hex:") {
        let digits = digits.parse().ok().filter(|&digits| digits <= HEX_DIGITS_MAX).ok_or_else(wrong)?;
        return Ok(Some(Part::Hex(digits)));
    }
    Ok(None)
}

impl Data {
    /// A CSV file with a header line. Quoted cells may hold commas and doubled quotes, not line ends.
    pub fn parse_csv(text: &str) -> Data {
        let mut lines = text.lines().filter(|line| !line.is_empty()).map(cells);
        Data { columns: lines.next().unwrap_or_default(), rows: lines.collect() }
    }
}

fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            letter => cell.push(letter),
        }
    }
    cells.push(cell);
    cells
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, data: &Data) -> Result<String, TemplateError> {
        let template = Template::parse(text, data)?;
        let (counter, mut random) = (AtomicU64::new(0), Random::new(3));
        let mut out = Vec::new();
        template.render(&mut out, &mut Fill { counter: &counter, random: &mut random, data, row: 1 });
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn fields_are_filled_and_json_passes() {
        let data = Data::parse_csv("name,city\nAnn,\"Ulm, Bonn\"\nBob,\"a \"\"b\"\"\"\n");
        for (text, expected) in [
            ("plain", "plain"),
            ("{counter}-{counter}", "1-2"),
            ("{random:7-7}", "7"),
            ("{name} of {city}", "Bob of a \"b\""),
            ("{{counter}", "{counter}"),
            (r#"{"a": {"b": 1}, "id": {counter}}"#, r#"{"a": {"b": 1}, "id": 1}"#),
            ("open {", "open {"),
        ] {
            assert_eq!(rendered(text, &data).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn broken_fields_are_refused() {
        for text in
            ["{random:9-1}", "{random:x}", "{random:0-18446744073709551615}", "{hex:-1}", "{hex:99999}"]
        {
            assert!(rendered(text, &Data::default()).is_err(), "{text}");
        }
    }

    #[test]
    fn only_text_is_constant() {
        let constant = |text| Template::parse(text, &Data::default()).expect("valid").is_constant();
        assert!(constant("{\"a\":1}"));
        assert!(!constant("{hex:4}"));
    }
}
