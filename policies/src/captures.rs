//! What the pattern of a route took out of a request.

/// Names with the text that stood in their place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Captures(Vec<(Box<str>, Vec<u8>)>);

impl Captures {
    pub fn push(&mut self, name: &str, text: &[u8]) {
        self.0.push((name.into(), text.to_vec()));
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, text)| &**text)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
