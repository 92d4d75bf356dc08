//! The `conntrack` command.

#![forbid(unsafe_code)]

use std::{
    env,
    io::{stderr, stdout},
    process::ExitCode,
};

use conntrack::console::Console;

fn main() -> ExitCode {
    let words = env::args_os().map(|word| word.to_string_lossy().into_owned());
    let (mut out, mut err) = (stdout().lock(), stderr().lock());
    let mut console = Console::new(&mut out, &mut err);
    conntrack::run(words.collect(), &mut console).into()
}
