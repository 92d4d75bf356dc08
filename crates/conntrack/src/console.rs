//! Standard output and standard error: entries go to the one, everything else to the other.

use std::io::Write;

use crate::error::Failure;

/// Bytes that are gathered before they are written.
const BUFFER_LEN: usize = 64 * 1024;

/// The program's name and version, in front of every remark about its work.
pub const PROGRAM: &str = concat!(
    "conntrack v",
    env!("CARGO_PKG_VERSION"),
    " (conntrack-tools)"
);

/// Both streams.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    pending: Vec<u8>,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Console<'a> {
    /// Writes to these.
    pub fn new(out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            out,
            err,
            pending: Vec::with_capacity(BUFFER_LEN + 4096),
        }
    }

    /// Where output is appended; call [`Console::written`] afterwards.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Writes the buffer when it is full.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn written(&mut self) -> Result<(), Failure> {
        if self.pending.len() >= BUFFER_LEN {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes the buffer.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let written = self
            .out
            .write_all(&self.pending)
            .and_then(|()| self.out.flush());
        self.pending.clear();
        written.map_err(Failure::Output)
    }

    /// Writes a line to standard error, behind all output so far.
    ///
    /// # Errors
    /// Standard output cannot be written. A closed standard error is nobody's concern.
    pub fn remark(&mut self, line: &str) -> Result<(), Failure> {
        let flushed = if self.pending.is_empty() {
            Ok(())
        } else {
            self.flush()
        };
        let _ = writeln!(self.err, "{line}");
        flushed
    }

    /// As [`Console::remark`], with the program's name in front.
    ///
    /// # Errors
    /// As [`Console::remark`].
    pub fn say(&mut self, text: &str) -> Result<(), Failure> {
        self.remark(&format!("{PROGRAM}: {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_gathered_and_remarks_follow_it() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut err);
        console.buffer().extend_from_slice(b"entry\n");
        console.written().unwrap();
        console.say("done.").unwrap();
        assert_eq!(out, b"entry\n");
        assert_eq!(
            String::from_utf8(err).unwrap(),
            format!("{PROGRAM}: done.\n")
        );
    }

    #[test]
    fn a_full_buffer_is_written_by_itself() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut err);
        console.buffer().resize(BUFFER_LEN - 1, b'x');
        console.written().unwrap();
        assert_eq!(console.pending.len(), BUFFER_LEN - 1);
        console.buffer().push(b'\n');
        console.written().unwrap();
        assert!(console.pending.is_empty());
        assert_eq!(out.len(), BUFFER_LEN);
    }
}
