//! Our daemon and the original behind one interface.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::config::NodeConfig;
use crate::lab::Lab;
use crate::listing;
use crate::namespace::Namespace;
use crate::process::{Background, Finished, run_within};
use crate::skip::find_tool;

/// Environment variable with the path of our daemon.
pub const OUR_DAEMON: &str = "CONNTRACKD_BIN";

const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// A commit of a million entries is a client command too.
const CLIENT_LIMIT: Duration = Duration::from_secs(180);

/// Which implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This project's daemon.
    Ours,
    /// The daemon of conntrack-tools.
    Original,
}

impl Peer {
    /// Its program, if it is installed or built.
    ///
    /// Ours is the one named by [`OUR_DAEMON`], or else the one built beside the running program.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        match self {
            Self::Original => find_tool("conntrackd"),
            Self::Ours => match std::env::var_os(OUR_DAEMON) {
                Some(path) => Some(path.into()),
                None => std::env::current_exe().ok().and_then(|me| {
                    me.ancestors()
                        .skip(1)
                        .take(2)
                        .map(|dir| dir.join("conntrackd"))
                        .find(|file| file.is_file())
                }),
            },
        }
    }
}

/// A daemon in a namespace, with its own files. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    namespace: Namespace,
    dir: PathBuf,
    /// Name of the configuration file.
    config: &'static str,
    env: Vec<(String, String)>,
    /// Behind those that name the configuration.
    arguments: Vec<OsString>,
    child: Option<Background>,
}

impl Daemon {
    /// Writes the configuration and starts the daemon; returns when it answers `-s`.
    ///
    /// # Errors
    /// It does not start; the error holds what it said.
    pub fn start(
        peer: Peer,
        lab: &Lab,
        namespace: &Namespace,
        config: &NodeConfig,
    ) -> Result<Self> {
        let program = peer
            .program()
            .with_context(|| format!("{peer:?}: no program; set {OUR_DAEMON}?"))?;
        Self::start_program(&program, lab, namespace, config)
    }

    /// As [`start`](Self::start), with the program given.
    ///
    /// # Errors
    /// As there.
    pub fn start_program(
        program: &Path,
        lab: &Lab,
        namespace: &Namespace,
        config: &NodeConfig,
    ) -> Result<Self> {
        let mut daemon = Self::prepare(program, lab, namespace, config)?;
        daemon.launch()?;
        Ok(daemon)
    }

    /// Writes the configuration only; see [`launch`](Self::launch).
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn prepare(
        program: &Path,
        lab: &Lab,
        namespace: &Namespace,
        config: &NodeConfig,
    ) -> Result<Self> {
        let dir = lab.dir().join(namespace.name());
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("conf"), config.render(&dir))?;
        Ok(Self {
            program: program.to_owned(),
            namespace: namespace.clone(),
            dir,
            config: "conf",
            env: Vec::new(),
            arguments: Vec::new(),
            child: None,
        })
    }

    /// Sets a variable of its environment, from the next launch on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// What its command line says besides the configuration, from the next launch on.
    pub fn set_arguments<S: Into<OsString>>(&mut self, arguments: impl IntoIterator<Item = S>) {
        self.arguments = arguments.into_iter().map(Into::into).collect();
    }

    /// Starts the daemon and waits until it answers `-s`.
    ///
    /// # Errors
    /// It does not; the error holds what it said.
    pub fn launch(&mut self) -> Result<()> {
        self.spawn()?;
        let mut child = self.child.take().context("not started")?;
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "{} ended with {status}:\n{}",
                    self.program.display(),
                    self.messages()
                );
            }
            if self.path("ctl").exists() && self.try_client(["-s"])?.status.success() {
                break;
            }
            if Instant::now() > deadline {
                bail!(
                    "{} does not answer:\n{}",
                    self.program.display(),
                    self.messages()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child = Some(child);
        Ok(())
    }

    /// Starts the daemon and does not wait for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let mut command = self.command(&self.program);
        command.arg("-C").arg(self.config_path());
        command.args(&self.arguments);
        command.envs(self.env.iter().cloned());
        self.child = Some(Background::spawn(command, &self.path("console"))?);
        Ok(())
    }

    /// Starts one more daemon with the same files, which is expected to give up, and returns what it said.
    ///
    /// # Errors
    /// It goes on running.
    pub fn start_another(&self, program: &Path) -> Result<Finished> {
        let mut command = self.command(program);
        command.arg("-C").arg(self.config_path());
        run_within(command, "", Duration::from_secs(5))
    }

    /// Connects to its control socket and does nothing more.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn connect(&self) -> Result<UnixStream> {
        Ok(UnixStream::connect(self.path("ctl"))?)
    }

    /// A number of `-s` by its block and words, such as `("cache external", "current active connections")`.
    ///
    /// # Errors
    /// The client fails, or there is no such number.
    pub fn counter(&self, block: &str, words: &str) -> Result<u64> {
        let text = self.client(["-s"])?;
        let mut lines = text.lines().skip_while(|line| !line.starts_with(block));
        let line = lines
            .find(|line| line.contains(words))
            .with_context(|| format!("no {words} in {block}:\n{text}"))?;
        let number = line
            .split(':')
            .next_back()
            .and_then(|rest| rest.split_whitespace().next());
        Ok(number.context("no number")?.parse()?)
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// It does not run.
    pub fn memory_kib(&self) -> Result<u64> {
        let pid = self.pid().context("not running")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        Ok(number.context("no VmRSS")?.parse()?)
    }

    /// Processor time of all its threads since its start, in the kernel and outside.
    ///
    /// # Errors
    /// It does not run.
    pub fn processor_time(&self) -> Result<Duration> {
        let pid = self.pid().context("not running")?;
        let mut total_ns = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let run_ns = text.split(' ').next().context("no time")?;
            total_ns += run_ns.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total_ns))
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Errors
    /// It goes on running, or ends with an exit status other than 0.
    pub fn ends(&mut self) -> Result<()> {
        let mut child = self.child.take().context("not running")?;
        let status = child.wait(STOP_LIMIT)?;
        if !status.success() {
            bail!("ended with {status}:\n{}", self.messages());
        }
        Ok(())
    }

    /// Waits until the process has ended by itself, however it does.
    ///
    /// # Errors
    /// It goes on running.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.child.take().context("not running")?.wait(limit)
    }

    /// Where it runs.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// One of its files: `conf`, `ctl`, `lock`, `log`, `console`.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Background::pid)
    }

    /// Log and console output so far.
    #[must_use]
    pub fn messages(&self) -> String {
        let [console, log] = ["console", "log"]
            .map(|file| std::fs::read_to_string(self.path(file)).unwrap_or_default());
        // On a console the log's lines are often repeated.
        if console.contains(&log) {
            console
        } else {
            console + &log
        }
    }

    /// Replaces the configuration; it counts from the next launch.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, config: &NodeConfig) -> Result<()> {
        Ok(std::fs::write(self.path("conf"), config.render(&self.dir))?)
    }

    /// Replaces the configuration by a text in TOML; it counts from the next launch.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure_toml(&mut self, text: &str) -> Result<()> {
        self.config = "conf.toml";
        Ok(std::fs::write(self.config_path(), text)?)
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.path(self.config)
    }

    /// Sends a command with the daemon's own client and returns its output.
    ///
    /// # Errors
    /// The client fails.
    pub fn client<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<String> {
        self.client_of(&self.program, arguments)?.success()
    }

    /// As [`client`](Self::client), but an exit status other than 0 is no error.
    ///
    /// # Errors
    /// The client cannot be started, or does not end.
    pub fn try_client<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Finished> {
        self.client_of(&self.program, arguments)
    }

    /// Sends a command with another program's client.
    ///
    /// # Errors
    /// The client cannot be started, or does not end.
    pub fn client_of<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Finished> {
        let mut command = self.command(program);
        command.arg("-C").arg(self.config_path()).args(arguments);
        run_within(command, "", CLIENT_LIMIT)
    }

    /// Internal cache: sorted lines that compare with the peer's external cache. See [`listing::cache`].
    ///
    /// # Errors
    /// The client fails.
    pub fn internal(&self) -> Result<Vec<String>> {
        Ok(listing::cache(&self.client(["-i"])?))
    }

    /// External cache, as [`internal`](Self::internal).
    ///
    /// # Errors
    /// The client fails.
    pub fn external(&self) -> Result<Vec<String>> {
        Ok(listing::cache(&self.client(["-e"])?))
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.child.take().context("not running")?.kill()
    }

    /// Ends it with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// It does not run, does not end in time, or ends with an exit status other than 0.
    pub fn stop(&mut self) -> Result<()> {
        let child = self.child.as_ref().context("not running")?;
        child.signal(Signal::SIGTERM)?;
        self.ends()
    }

    fn command(&self, program: &Path) -> Command {
        self.namespace.command(&program.to_string_lossy())
    }
}
