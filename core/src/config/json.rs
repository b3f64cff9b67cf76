//! Writes JSON (RFC 8259). Only writing, only what the dumps need.

use std::fmt::Write;

/// A JSON text under construction. Commas are put where they belong.
#[derive(Debug, Default)]
pub struct Json {
    out: String,
    /// Whether the next key or element needs a comma before it.
    comma: bool,
}

impl Json {
    pub fn new() -> Self {
        Json::default()
    }

    /// The text.
    pub fn finish(self) -> String {
        self.out
    }

    /// Writes a key; a value has to follow.
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.string(key);
        self.out.push(':');
        self.comma = false;
        self
    }

    pub fn string(&mut self, text: &str) {
        self.separate();
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\t' => self.out.push_str("\\t"),
                c if (c as u32) < 0x20 || c == '\u{7f}' => {
                    // Writing to a String cannot fail.
                    let _ = write!(self.out, "\\u{:04x}", c as u32);
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    pub fn number(&mut self, number: u64) {
        self.raw(&number.to_string());
    }

    pub fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    pub fn null(&mut self) {
        self.raw("null");
    }

    pub fn object(&mut self, content: impl FnOnce(&mut Json)) {
        self.between('{', '}', content);
    }

    pub fn array(&mut self, content: impl FnOnce(&mut Json)) {
        self.between('[', ']', content);
    }

    fn between(&mut self, open: char, close: char, content: impl FnOnce(&mut Json)) {
        self.separate();
        self.out.push(open);
        self.comma = false;
        content(self);
        self.out.push(close);
        self.comma = true;
    }

    fn raw(&mut self, text: &str) {
        self.separate();
        self.out.push_str(text);
    }

    fn separate(&mut self) {
        if self.comma {
            self.out.push(',');
        }
        self.comma = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_commas_and_escapes() {
        let mut json = Json::new();
        json.object(|json| {
            json.key("a").array(|json| {
                json.number(1);
                json.object(|_| {});
                json.null();
            });
            json.key("b\"\\\n\u{1}").bool(true);
        });
        assert_eq!(json.finish(), r#"{"a":[1,{},null],"b\"\\\n\u0001":true}"#);
    }
}
