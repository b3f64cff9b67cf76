//! Regular expressions that a whole text has to match.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Memory of one compiled expression, and of what matching it may build up.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A regular expression over bytes, without Unicode classes: paths are ASCII. Matching takes linear time.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn new(text: &str) -> Result<Pattern, String> {
        // Alone first: an expression that only reads well within our brackets is none.
        compile(text)?;
        let regex = compile(&format!(r"\A(?:{text})\z"))?;
        Ok(Pattern { text: text.into(), regex })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Whether it has groups with names.
    pub fn has_captures(&self) -> bool {
        self.regex.capture_names().flatten().next().is_some()
    }

    /// What stood in its groups with names.
    pub(super) fn captures(&self, text: &[u8], mut found: impl FnMut(&str, &[u8])) {
        let Some(captures) = self.regex.captures(text) else { return };
        for name in self.regex.capture_names().flatten() {
            if let Some(group) = captures.name(name) {
                found(name, group.as_bytes());
            }
        }
    }
}

fn compile(text: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(text)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build();
    built.map_err(|error| {
        // The last line says what is wrong; the ones before it draw the place.
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_has_to_match() {
        for (pattern, text, expected) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a", "/x/a", false),
            ("/a|/b", "/b", true),
            ("/a|/b", "/bc", false),
            (r"/\d+", "/123", true),
            (r"/\d+", "/123\n", false),
            ("/(?i)a", "/A", true),
        ] {
            let built = Pattern::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(built.is_match(text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_no_expression_of_bounded_size_is_refused() {
        for text in ["(", "a)|(b", "[", r"\p{Greek}", "a{1000}{1000}", r"(?=a)", r"(a)\1"] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }
}
