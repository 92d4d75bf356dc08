//! Completion of command lines for shells, made of the tables that the parser reads.

use crate::{command::Command, options::General, protocol::Protocol};

/// Shells that know how to complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

/// Protocols that have options of their own.
const PROTOCOLS: [&str; 8] = [
    "tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "gre",
];
/// Options that the table of general options does not hold.
const OTHERS: [&str; 4] = ["--netns", "--labelmap", "--dry-run", "--load-file"];
/// What may follow an option.
const VALUES: [(&[&str], &[&str]); 7] = [
    (&["-p", "--protonum"], &PROTOCOLS),
    (&["-f", "--family"], &["ipv4", "ipv6"]),
    (
        &["-o", "--output"],
        &[
            "extended",
            "id",
            "json",
            "ktimestamp",
            "labels",
            "save",
            "timestamp",
            "userspace",
            "xml",
        ],
    ),
    (
        &["-e", "--event-mask"],
        &["ALL", "DESTROY", "NEW", "UPDATES"],
    ),
    (
        &["-u", "--status"],
        &[
            "ASSURED",
            "FIXED_TIMEOUT",
            "SEEN_REPLY",
            "UNREPLIED",
            "UNSET",
        ],
    ),
    (
        &["--state"],
        &[
            "CLOSE",
            "CLOSE_WAIT",
            "ESTABLISHED",
            "FIN_WAIT",
            "LAST_ACK",
            "SYN_RECV",
            "SYN_SENT",
            "TIME_WAIT",
        ],
    ),
    (
        &["-L", "-G", "-D", "-I", "-E", "-F", "-C", "-S"],
        &["conntrack", "dying", "expect", "unconfirmed"],
    ),
];

/// All options, short and long, in order and once.
#[must_use]
pub fn options() -> Vec<String> {
    let short = |letter: char| format!("-{letter}");
    let long = |name: &str| format!("--{name}");
    let mut all: Vec<String> = OTHERS.map(str::to_owned).into();
    for command in Command::ALL {
        all.extend([short(command.letter()), long(command.name())]);
    }
    for option in General::ALL {
        all.extend(option.letter().map(short));
        all.push(long(option.name()));
    }
    for protocol in PROTOCOLS
        .into_iter()
        .filter_map(|p| Protocol::parse(p).ok())
    {
        all.extend(protocol.options().map(|(name, _)| long(name)));
    }
    all.sort();
    all.dedup();
    all
}

/// The completion file of a shell.
#[must_use]
pub fn script(shell: Shell) -> String {
    match shell {
        Shell::Bash => bash(),
        Shell::Zsh => zsh(),
        Shell::Fish => fish(),
    }
}

fn bash() -> String {
    let mut cases = String::new();
    for (options, values) in VALUES {
        let (options, values) = (options.join("|"), values.join(" "));
        cases.push_str(&format!("        {options}) words='{values}' ;;\n"));
    }
    let all = options().join(" ");
    format!(
        "# Completion of conntrack(8) for bash.\n\
         _conntrack() {{\n\
         \x20   local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words\n\
         \x20   case $previous in\n\
         {cases}\
         \x20       -R|--load-file|--labelmap) COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n\
         \x20       --netns) words=$(ls /run/netns 2>/dev/null) ;;\n\
         \x20   esac\n\
         \x20   if [[ $current == -* || -z $words ]]; then\n\
         \x20       words='{all}'\n\
         \x20   fi\n\
         \x20   COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n\
         }}\n\
         complete -F _conntrack conntrack\n"
    )
}

fn zsh() -> String {
    let mut cases = String::new();
    for (options, values) in VALUES {
        let (options, values) = (options.join("|"), values.join(" "));
        cases.push_str(&format!("        {options}) values=({values}) ;;\n"));
    }
    let all = options().join(" ");
    format!(
        "#compdef conntrack\n\
         # Completion of conntrack(8) for zsh.\n\
         _conntrack() {{\n\
         \x20   local -a values\n\
         \x20   case $words[CURRENT-1] in\n\
         {cases}\
         \x20       -R|--load-file|--labelmap) _files; return ;;\n\
         \x20       --netns) values=(/run/netns/*(N:t)) ;;\n\
         \x20   esac\n\
         \x20   if [[ $words[CURRENT] == -* || -z $values ]]; then\n\
         \x20       values=({all})\n\
         \x20   fi\n\
         \x20   compadd -- $values\n\
         }}\n\
         compdef _conntrack conntrack\n"
    )
}

fn fish() -> String {
    let mut script = String::from(
        "# Completion of conntrack(8) for fish.\n\
         complete -c conntrack -f\n",
    );
    for option in options() {
        let flag = match option.strip_prefix("--") {
            Some(long) => format!("-l {long}"),
            None => format!("-s {}", option.trim_start_matches('-')),
        };
        let values = VALUES
            .iter()
            .find(|(options, _)| options.contains(&option.as_str()))
            .map(|(_, values)| format!(" -x -a '{}'", values.join(" ")));
        let files = ["-R", "--load-file", "--labelmap"].contains(&option.as_str());
        let rest = values.unwrap_or_else(|| if files { " -r -F" } else { "" }.to_owned());
        script.push_str(&format!("complete -c conntrack {flag}{rest}\n"));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    #[test]
    fn every_value_is_one_that_is_understood() {
        for (options, values) in VALUES {
            let before: &[&str] = match options[0] {
                "-L" => continue,
                "-e" => &["conntrack", "-E"],
                "--state" => &["conntrack", "-L", "-p", "tcp"],
                _ => &["conntrack", "-L"],
            };
            for value in values {
                let words: Vec<_> = [before, &[options[0], value]].concat();
                let line = words.iter().map(|&word| word.to_owned()).collect();
                let parsed = parse(line);
                assert!(parsed.request.is_ok(), "{words:?}: {:?}", parsed.request);
            }
        }
    }
}
