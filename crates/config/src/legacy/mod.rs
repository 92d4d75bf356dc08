//! `conntrackd.conf`: the original's grammar.

pub(crate) mod hint;
pub(crate) mod lex;
pub(crate) mod parse;
mod words;
