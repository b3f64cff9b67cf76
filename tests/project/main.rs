//! What the project says of itself, held to be true.

mod arrows;
mod documents;
