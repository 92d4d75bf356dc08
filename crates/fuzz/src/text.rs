//! Texts: configurations, command lines, save files.

use std::path::Path;

use conntrack::exec::load;
use conntrack::filter::Filter;
use conntrack::parse::parse;
use conntrack::print::Printer;

/// The original's syntax. What is understood can be said in TOML.
pub fn conf(bytes: &[u8]) {
    if config::parse_text(Path::new("conntrackd.conf"), bytes).is_err() {
        return;
    }
    if let Ok(text) = config::to_toml(bytes) {
        toml(text.as_bytes());
    }
}

/// TOML.
pub fn toml(bytes: &[u8]) {
    // A refusal is told.
    if let Err(error) = config::parse_text(Path::new("conntrackd.toml"), bytes) {
        let _ = error.to_string();
    }
}

/// Words, one a line.
pub fn command_line(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words = std::iter::once("conntrack").chain(text.lines());
    match parse(words.map(str::to_owned).collect()).request {
        Ok(Some(request)) => {
            let _ = Filter::new(&request).kernel_filters();
            let _ = Printer::new(&request);
        }
        Ok(None) => {}
        Err(error) => {
            let _ = error.to_string();
        }
    }
}

/// Command lines, one a line.
pub fn save_file(bytes: &[u8]) {
    let _ = load::requests(bytes, |_| {});
}
