//! Header blocks by hand (RFC 7541): each representation as its bytes, valid or not. Literals without indexing leave
//! no trace in the peer's table, so that a block means the same on every connection.

/// A field with its name and value as they are, without indexing (RFC 7541 6.2.2).
pub fn literal(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0], string(name), string(value)].concat()
}

/// A field that enters the peer's table (RFC 7541 6.2.1).
pub fn incremental(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// A field that must never enter a table (RFC 7541 6.2.3).
pub fn never_indexed(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [vec![0x10], string(name), string(value)].concat()
}

/// A field of the static or the dynamic table (RFC 7541 6.1).
pub fn indexed(index: usize) -> Vec<u8> {
    integer(0x80, 7, index)
}

/// Dynamic Table Size Update (RFC 7541 6.3).
pub fn table_size(bytes: usize) -> Vec<u8> {
    integer(0x20, 5, bytes)
}

/// A string literal without Huffman coding (RFC 7541 5.2).
pub fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [integer(0, 7, text.len()), text.to_vec()].concat()
}

/// A string literal that says that these bytes are Huffman-coded.
pub fn huffman(bytes: &[u8]) -> Vec<u8> {
    [integer(0x80, 7, bytes.len()), bytes.to_vec()].concat()
}

/// An integer behind these bits, with a prefix of `prefix` bits (RFC 7541 5.1).
pub fn integer(bits: u8, prefix: u32, number: usize) -> Vec<u8> {
    let most = (1 << prefix) - 1;
    if number < most {
        return vec![bits | number as u8];
    }
    let (mut bytes, mut rest) = (vec![bits | most as u8], number - most);
    while rest >= 128 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// A block of literals.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, V)>) -> Vec<u8> {
    fields.into_iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// The block of a request without other fields.
pub fn request(method: &str, path: &str) -> Vec<u8> {
    block([(":method", method), (":scheme", "http"), (":path", path), (":authority", "test")])
}

#[cfg(test)]
mod tests {
    #[test]
    fn another_implementation_reads_these_blocks() {
        let long = "v".repeat(5000);
        let block = [
            super::table_size(4096),
            super::literal("a", &long),
            super::incremental("b", "2"),
            super::never_indexed("c", ""),
            super::indexed(62),
            super::indexed(2),
        ];
        let fields = fluke_hpack::Decoder::new().decode(&block.concat()).expect("a block");
        let expected = [("a", long.as_str()), ("b", "2"), ("c", ""), ("b", "2"), (":method", "GET")];
        let expected = expected.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        assert_eq!(fields, expected);
    }
}
