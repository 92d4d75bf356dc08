//! `cargo xtask screens`: pictures of the demo and of the live screen, for the documents.
//!
//! Each runs in a real terminal, tmux; what that holds at the end is drawn as SVG and turned into PNG.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netlab::process::{run_within, wait_until};
use netlab::traffic::{self, Pace};
use netlab::{Daemon, Pair};

use crate::screens::picture::svg;
use crate::tools::{cargo, ensure_tools, is_root, run as run_command, target, workspace};

mod picture;

const LIMIT: Duration = Duration::from_secs(120);
/// How long the live screen watches before its picture is taken: its graphs want something to show.
const WATCH: Duration = Duration::from_secs(12);

/// Takes all pictures anew.
///
/// # Errors
/// Something does not run, or does not say what it should.
pub(crate) fn run() -> Result<ExitCode> {
    ensure!(
        is_root(),
        "the pictures need network namespaces, and so root"
    );
    ensure_tools(&["ip", "nft", "tmux", "rsvg-convert"])?;
    let mut build = Command::new(cargo());
    build.args(["build", "--quiet", "--release"]);
    build.args(["--package", "conntrackd", "--package", "top"]);
    run_command(build.current_dir(workspace()))?;
    demo()?;
    live()?;
    Ok(ExitCode::SUCCESS)
}

fn demo() -> Result<()> {
    let program = std::env::current_exe()?;
    let daemon = target().join("release/conntrackd");
    let command = format!(
        "{} demo --daemon {}; sleep 60",
        program.display(),
        daemon.display()
    );
    let terminal = Terminal::start("demo", (112, 90), &command)?;
    terminal.until("survived the death")?;
    terminal.save("demo")
}

fn live() -> Result<()> {
    let pair = Pair::new()?;
    let program = target().join("release/conntrackd");
    let a = Daemon::start_program(&program, &pair.lab, &pair.a, &pair.config(true))?;
    let b = Daemon::start_program(&program, &pair.lab, &pair.b, &pair.config(false))?;
    b.client(["role", "backup"])?;
    a.client(["role", "primary"])?;
    let kept = traffic::tcp(&pair.masqueraded("tcp", 5001), Pace::default())?;
    let asked = |namespace: &netlab::Namespace, daemon: &Daemon, words: &str| {
        let config = daemon.path("conf");
        format!(
            "ip netns exec {} {} {words} -C {}",
            namespace.name(),
            program.display(),
            config.display()
        )
    };
    let peer = asked(&pair.b, &b, "stats --json");
    let command = asked(&pair.a, &a, &format!("top --peer '{peer}'"));
    let terminal = Terminal::start("top", (100, 30), &command)?;
    terminal.until("primary")?;
    // Short connections, a few at a time, so that there are events.
    let steps = WATCH.as_millis() / 100;
    for step in 0..steps {
        let port = 6000 + u16::try_from(step)?;
        let one = traffic::udp(&pair.masqueraded("udp", port), Duration::from_millis(50))?;
        sleep(Duration::from_millis(100));
        drop(one);
    }
    terminal.save("top")?;
    drop(kept);
    Ok(())
}

/// A program in a terminal; ended when dropped.
struct Terminal {
    socket: PathBuf,
    size: (usize, usize),
}

impl Terminal {
    fn start(name: &str, size: (usize, usize), command: &str) -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("screens-{}-{name}", std::process::id()));
        let terminal = Self { socket, size };
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            command,
        ])?;
        Ok(terminal)
    }

    fn tmux(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(words);
        command.env("LC_ALL", "C.UTF-8");
        run_within(command, "", LIMIT)?.success()
    }

    fn until(&self, words: &str) -> Result<()> {
        let mut seen = String::new();
        let there = wait_until(LIMIT, || {
            seen = self.tmux(&["capture-pane", "-p"]).unwrap_or_default();
            seen.contains(words)
        });
        ensure!(there, "the terminal does not show `{words}`:\n{seen}");
        Ok(())
    }

    fn save(&self, name: &str) -> Result<()> {
        let text = self.tmux(&["capture-pane", "-p", "-e"])?;
        let folder = workspace().join("docs/screens");
        fs::create_dir_all(&folder)?;
        let drawing = target().join(format!("{name}.svg"));
        fs::write(&drawing, svg(&text, self.size.0))?;
        let picture = folder.join(format!("{name}.png"));
        convert(&drawing, &picture)?;
        println!("{}", picture.display());
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.tmux(&["kill-server"]);
        let _ = fs::remove_file(&self.socket);
    }
}

fn convert(drawing: &Path, picture: &Path) -> Result<()> {
    let mut command = Command::new("rsvg-convert");
    command.arg("--output").arg(picture).arg(drawing);
    run_command(&mut command).context("rsvg-convert")
}
