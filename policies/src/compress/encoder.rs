//! One body on its way through a compressor.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use super::{Coding, Encode};

/// Logarithm of the window of brotli and zstd: what a stream remembers of its past. Larger ones gain little for bodies of the
/// usual size, and cost memory for each.
const WINDOW_LOG: u32 = 18;
/// brotli's buffer between its encoder and ours.
const BUFFER_BYTES: usize = 8 * 1024;

/// A compressor with the bytes that it has made.
pub struct Encoder {
    stream: Stream,
    /// Counts among the bodies that are compressed.
    _active: Encode,
    /// Something went in that has not come out.
    held_back: bool,
}

enum Stream {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// # Errors
    /// When there is no memory for it.
    pub fn new(encode: Encode) -> io::Result<Encoder> {
        let stream = match encode.coding {
            Coding::Gzip => Stream::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(encode.level))),
            Coding::Brotli => Stream::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                BUFFER_BYTES,
                encode.level,
                WINDOW_LOG,
            ))),
            Coding::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(Vec::new(), i32::try_from(encode.level).unwrap_or(3))?;
                encoder.window_log(WINDOW_LOG)?;
                Stream::Zstd(encoder)
            }
        };
        Ok(Encoder { stream, _active: encode, held_back: false })
    }

    /// Takes data in. What has come out is taken with [`Encoder::take`].
    ///
    /// # Errors
    /// When the compressor fails, which it does only for want of memory.
    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.held_back |= !data.is_empty();
        match &mut self.stream {
            Stream::Gzip(encoder) => encoder.write_all(data),
            Stream::Brotli(encoder) => encoder.write_all(data),
            Stream::Zstd(encoder) => encoder.write_all(data),
        }
    }

    /// Whether the reader does not have everything yet that went in.
    pub fn holds_back(&self) -> bool {
        self.held_back
    }

    /// Makes all come out that went in: for a sender that pauses.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.held_back = false;
        match &mut self.stream {
            Stream::Gzip(encoder) => encoder.flush(),
            Stream::Brotli(encoder) => encoder.flush(),
            Stream::Zstd(encoder) => encoder.flush(),
        }
    }

    /// What has come out since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.stream {
            Stream::Gzip(encoder) => encoder.get_mut(),
            Stream::Brotli(encoder) => encoder.get_mut(),
            Stream::Zstd(encoder) => encoder.get_mut(),
        })
    }

    /// The rest, with the end.
    ///
    /// # Errors
    /// As [`Encoder::write`].
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.stream {
            Stream::Gzip(encoder) => encoder.finish(),
            Stream::Brotli(encoder) => Ok(encoder.into_inner()),
            Stream::Zstd(encoder) => encoder.finish(),
        }
    }
}
