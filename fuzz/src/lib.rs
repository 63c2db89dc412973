//! What the targets share: an allocator that knows how much was asked for, and
//! the forms around the bytes that are mutated, with the checksums that a
//! fuzzer can't guess.

pub mod memory;
pub mod tar;
pub mod xz;

/// A text out of any bytes, each as the character of its number where it
/// isn't UTF-8: no execution is spent on what is refused before it is read.
pub fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// A first byte that chooses, and the rest.
pub fn choice(bytes: &[u8]) -> (u8, &[u8]) {
    match bytes {
        [first, rest @ ..] => (*first, rest),
        [] => (0, bytes),
    }
}
