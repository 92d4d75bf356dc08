//! Transcripts as data: what was typed on which node, and what came.

use std::path::Path;

/// One of the two firewalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// Forwards between client and server.
    Fw1,
    /// Its peer.
    Fw2,
}

/// A command and its result.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) node: Node,
    pub(crate) command: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: i32,
    /// Line of the file.
    pub(crate) line: usize,
    /// The remark in front of it.
    pub(crate) remark: Option<String>,
}

impl Step {
    /// A step of which only the prompt matters.
    #[cfg(test)]
    pub(crate) fn of(prompt: &str) -> Self {
        parse(prompt).pop().expect("a prompt")
    }

    /// As it stands in the file.
    pub(crate) fn prompt(&self) -> String {
        let number = if self.node == Node::Fw1 { 1 } else { 2 };
        format!("fw{number}# {}", self.command)
    }
}

/// Reads `NAME.txt` beside this file.
pub(crate) fn read(name: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/transcripts")
        .join(format!("{name}.txt"));
    parse(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}")))
}

fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut remark = None;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        if let Some(text) = line.strip_prefix("## ") {
            remark = Some(text.to_owned());
            continue;
        }
        // Beside steps there are the heading and empty lines.
        let Some((node, command)) = prompt(line) else {
            continue;
        };
        let mut step = Step {
            node,
            command: command.to_owned(),
            stdout: String::new(),
            stderr: String::new(),
            exit: 0,
            line: index + 1,
            remark: remark.take(),
        };
        // The files in front of a scenario are shown without a result.
        while let Some((_, line)) = lines.next_if(|(_, line)| prompt(line).is_none()) {
            if let Some(exit) = line.strip_prefix("[exit ") {
                step.exit = exit.trim_end_matches(']').parse().expect("a number");
                break;
            }
            let (out, line) = match line.strip_prefix("stderr: ") {
                Some(line) => (&mut step.stderr, line),
                None => (&mut step.stdout, line),
            };
            out.push_str(line);
            out.push('\n');
        }
        steps.push(step);
    }
    steps
}

/// Node and command of a line that begins a step.
fn prompt(line: &str) -> Option<(Node, &str)> {
    match line.split_once("# ")? {
        ("fw1", command) => Some((Node::Fw1, command)),
        ("fw2", command) => Some((Node::Fw2, command)),
        _ => None,
    }
}

#[test]
fn a_step_is_taken_apart() {
    let steps =
        parse("# scenario\n\n## late\n\nfw2# conntrackd -k now\nout\n\nstderr: err\n[exit 1]\n");
    let [step] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(step.prompt(), "fw2# conntrackd -k now");
    assert_eq!((&*step.stdout, &*step.stderr), ("out\n\n", "err\n"));
    assert_eq!((step.exit, step.line), (1, 5));
    assert_eq!(step.remark.as_deref(), Some("late"));
}
