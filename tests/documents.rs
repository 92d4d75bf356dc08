//! Every command and every configuration of the guide is run: on a live pair that is made of the quick start's own files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use netlab::process::{Background, COMMAND_LIMIT, Finished, run_within, wait_until};
use netlab::{Feature, Lab, Namespace, Peer, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};

#[path = "documents/blocks.rs"]
mod blocks;

use blocks::{Block, blocks, workspace};

const LIMIT: Duration = Duration::from_secs(15);
/// Where the files of the documents say they are.
const ETC: &str = "/etc/conntrackd/";

/// Two nodes with the cable and the addresses of the quick start.
struct Nodes {
    nodes: Vec<Node>,
    lab: Lab,
}

struct Node {
    namespace: Namespace,
    dir: PathBuf,
    daemon: Option<Background>,
}

impl Nodes {
    fn new(blocks: &[Block]) -> Self {
        let mut lab = Lab::new().unwrap();
        let [a, b] = ["a", "b"].map(|role| lab.namespace(role).unwrap());
        lab.cable((&a, "eth2"), (&b, "eth2")).unwrap();
        let mut nodes = Vec::new();
        for (namespace, name, addr) in [(a, "a", "192.168.100.1"), (b, "b", "192.168.100.2")] {
            namespace.add_addr("eth2", &format!("{addr}/24")).unwrap();
            sample::prepare(&namespace).unwrap();
            let info = format!("toml node={name}");
            let block = blocks.iter().find(|block| block.info == info).unwrap();
            let node = Node::new(namespace, lab.dir().join(format!("node-{name}")));
            node.write("conntrackd.toml", &block.text);
            nodes.push(node);
        }
        Self { nodes, lab }
    }

    fn of(&self, info: &str) -> &Node {
        &self.nodes[usize::from(info.contains("node=b"))]
    }
}

impl Node {
    /// With a folder for what the documents have in `/etc`, `/run` and so on, and a `conntrackd` that takes its file from there.
    fn new(namespace: Namespace, dir: PathBuf) -> Self {
        fs::create_dir(&dir).unwrap();
        let program = Peer::Ours.program().unwrap();
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *' -C '*) exec {0} \"$@\" ;; *) exec {0} \"$@\" -C {1}/conntrackd.toml ;; esac\n",
            program.display(),
            dir.display()
        );
        fs::write(dir.join("conntrackd"), script).unwrap();
        fs::set_permissions(dir.join("conntrackd"), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            namespace,
            dir,
            daemon: None,
        }
    }

    /// A text of the documents with this node's folder in it.
    fn here(&self, text: &str) -> String {
        let dir = format!("{}/", self.dir.display());
        let mut text = text.replace(ETC, &dir);
        for folder in ["/var/run/", "/var/lock/", "/run/"] {
            text = text.replace(folder, &dir);
        }
        text
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, self.here(text)).unwrap();
        path
    }

    fn start(&mut self) {
        let mut command = self
            .namespace
            .command(self.dir.join("conntrackd").to_str().unwrap());
        // The name that the quick start leaves away is that of the usual file.
        command.arg("-C").arg(self.dir.join("conntrackd.toml"));
        self.daemon = Some(Background::spawn(command, &self.dir.join("console")).unwrap());
        assert!(wait_until(LIMIT, || self
            .run("conntrackd -s")
            .status
            .success()));
    }

    fn run(&self, line: &str) -> Finished {
        let mut command = self.namespace.command("sh");
        let path = std::env::var("PATH").unwrap_or_default();
        command.env(
            "PATH",
            format!("{}:{path}:/usr/sbin:/sbin", self.dir.display()),
        );
        command.args(["-c", &self.here(line)]);
        run_within(command, "", COMMAND_LIMIT).unwrap()
    }

    fn check(&self, path: &Path, place: &str) {
        let said = self.run(&format!("conntrackd check -C {}", path.display()));
        assert!(
            said.status.success(),
            "{place}: {}{}",
            said.stdout,
            said.stderr
        );
    }
}

#[test]
fn every_command_and_configuration_of_the_guide_works_on_a_live_pair() {
    require_root_or_skip!("keepalived");
    require_feature_or_skip!(Feature::Conntrack);
    let blocks = blocks();
    let mut nodes = Nodes::new(&blocks);
    for node in &mut nodes.nodes {
        node.start();
    }
    let mut table = Table::open(&nodes.nodes[0].namespace).unwrap();
    table.create((0..20).map(sample::nth)).unwrap();
    let familiar = fs::read_to_string(workspace().join("config/conntrackd.conf")).unwrap();
    for node in &nodes.nodes {
        node.write("conntrackd.conf", &familiar);
    }
    let mut commands = 0;
    let mut configurations = 0;
    for block in &blocks {
        let (kind, how) = block.info.split_once(' ').unwrap_or((&block.info, ""));
        match (kind, how) {
            ("toml", _) => {
                check_toml(&nodes, block);
                configurations += 1;
            }
            ("sh", "dev") => block.lines().for_each(|line| is_known(line, &block.place)),
            // On a root of its own: the package's test.
            ("sh", "host") => {}
            ("sh", _) if ["test", "nft"].contains(&how.split(' ').next().unwrap_or_default()) => {
                for line in block.lines() {
                    works(nodes.of(how), line, &block.place);
                    commands += 1;
                }
            }
            ("conf", "") => {
                let path = nodes.nodes[0].write("block.conf", &block.text);
                nodes.nodes[0].check(&path, &block.place);
                configurations += 1;
            }
            ("keepalived", "") => {
                let path = nodes.nodes[0].write("keepalived.conf", &block.text);
                let said = nodes.nodes[0].run(&format!(
                    "keepalived --config-test --use-file {}",
                    path.display()
                ));
                assert!(
                    said.status.success() && said.stderr.is_empty(),
                    "{}: {said:?}",
                    block.place
                );
                configurations += 1;
            }
            ("text", "") => {}
            _ => panic!("{}: nobody tests `{}`", block.place, block.info),
        }
    }
    assert!(
        commands > 25 && configurations > 3,
        "{commands}, {configurations}"
    );
    // What was told on the way is true at the end, too.
    let external = nodes.nodes[1].run("conntrackd -e").stdout;
    assert_eq!(external.lines().count(), 20, "{external}");
    for node in &mut nodes.nodes {
        node.run("conntrackd -k");
        let mut daemon = node.daemon.take().unwrap();
        assert!(wait_until(LIMIT, || daemon.try_wait().unwrap().is_some()));
    }
    drop(nodes.lab);
}

/// A whole file, or a few lines that belong into one: into a section that it has, or at its end.
fn check_toml(nodes: &Nodes, block: &Block) {
    let node = nodes.of(&block.info);
    let text = if block.text.contains("[sync]") {
        block.text.clone()
    } else {
        let whole = fs::read_to_string(node.dir.join("conntrackd.toml")).unwrap();
        let (section, rest) = block.text.split_once('\n').unwrap();
        let section = format!("{section}\n");
        if whole.contains(&section) {
            whole.replacen(&section, &format!("{section}{rest}"), 1)
        } else {
            format!("{whole}\n{}", block.text)
        }
    };
    let text = with_keys(node, &text);
    let path = node.write("block.toml", &text);
    node.check(&path, &block.place);
}

/// The text with a key in each place where the document says whose public key belongs there.
fn with_keys(node: &Node, text: &str) -> String {
    let Some((before, rest)) = text.split_once("<public key of ") else {
        return text.to_owned();
    };
    let (name, after) = rest.split_once('>').unwrap();
    let made = node.run(&format!("conntrackd keygen {ETC}{name}.key"));
    let public = made.success().unwrap();
    format!("{before}{}{}", public.trim(), with_keys(node, after))
}

/// The command ends well, at the latest when the pair has settled.
fn works(node: &Node, line: &str, place: &str) {
    let mut said = String::new();
    let good = wait_until(LIMIT, || {
        let finished = node.run(line);
        said = format!("{}{}", finished.stdout, finished.stderr);
        // Adding twice would not do; waiting is for those that look.
        finished.status.success() || line.starts_with("nft ")
    });
    assert!(good, "{place}: {line}\n{said}");
    assert!(!said.contains("Error:"), "{place}: {line}\n{said}");
}

/// What builds or tests, and is run by other tests or by the continuous integration itself: there is such a command.
fn is_known(line: &str, place: &str) {
    let words: Vec<_> = line.split(' ').collect();
    let known = match words.as_slice() {
        ["cargo", "xtask", command, ..] => {
            let help = fs::read_to_string(workspace().join("crates/xtask/src/main.rs")).unwrap();
            help.contains(&format!("\ncargo xtask {command}"))
        }
        ["cargo", "build", "--release", packages @ ..] => packages
            .iter()
            .filter(|word| !word.starts_with('-'))
            .all(|package| workspace().join("crates").join(package).is_dir()),
        _ => false,
    };
    assert!(known, "{place}: nobody knows `{line}`");
}

/// Commands in running text and in the README: the daemon's are all understood.
#[test]
fn every_command_of_the_daemon_in_running_text_is_understood() {
    let mut pages: Vec<_> = fs::read_dir(workspace().join("docs/guide"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    pages.push(workspace().join("README.md"));
    pages.push(workspace().join("docs/man/conntrackd.8.md"));
    // What is not understood is said before the socket is looked for, which is not there.
    let lab = Lab::new().unwrap();
    let nowhere = lab.dir().join("nowhere.toml");
    let path = lab.dir().join("none");
    let text = format!("[sync]\n[general]\nunix_path = \"{}\"\n", path.display());
    fs::write(&nowhere, text).unwrap();
    let mut count = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for code in text.split('`').skip(1).step_by(2) {
            for command in code.split(" && ") {
                let Some(words) = command.strip_prefix("conntrackd ") else {
                    continue;
                };
                if words.contains('\n') || words.contains("FILE") || words.contains("-d") {
                    continue;
                }
                // It is a program of its own, tested there.
                if words.starts_with("top") {
                    continue;
                }
                let mut ask = Command::new(Peer::Ours.program().unwrap());
                let words = words.split(" > ").next().unwrap_or_default();
                ask.args(words.split(' ')).arg("-C").arg(&nowhere);
                let said = run_within(ask, "", COMMAND_LIMIT).unwrap();
                let text = format!("{}{}", said.stdout, said.stderr);
                assert!(
                    !text.contains("Unknown option") && !text.contains("unknown parameter"),
                    "{}: {command}: {text}",
                    page.display()
                );
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
}
