//! The life of the daemon: what is opened in which order, what runs, what is left behind.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use config::{Config, FilterFrom, Role};
use ctnetlink::socket::{EventSocket, Group};
use engine::Start;
use engine::api::{ExternalMode, InternalMode};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::access::Access;
use crate::driver::{Driver, Link, Shared};
use crate::kernel::{Events, Requests};
use crate::lock::{LockError, LockFile};
use crate::log::{Console, Facility, FlowLog, Level, Log, LogFile, OpenError, Syslog, complain};
use crate::native::Native;
use crate::pace::Pace;
use crate::reader::Reader;
use crate::recording::Wish;
use crate::reload::reload;
use crate::rest::Rest;
use crate::server::ControlSocket;
use crate::writer::{Answers, Writer};
use crate::{
    check, detach, interfaces, keepalived, load, metrics, recording, sandbox, scheduler, server,
    service, settings, tasks,
};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::LoadError),
    /// A log file.
    #[error(transparent)]
    Log(#[from] OpenError),
    /// Another daemon.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The control socket.
    #[error("can't open control socket `{}': {source}", path.display())]
    Control {
        /// Path.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// The kernel.
    #[error("can't open netlink handler: {0} (CAP_NET_ADMIN and nf_conntrack_netlink are needed)")]
    Netlink(#[source] io::Error),
    /// The configuration, compared with this host.
    #[error("{0}")]
    Obstacle(String),
    /// The native dialect.
    #[error(transparent)]
    Native(#[from] crate::native::NativeError),
    /// The runtime.
    #[error("can't start: {0}")]
    Runtime(#[source] io::Error),
}

/// What the command line wishes of this run.
struct Wishes {
    record: Option<Wish>,
    recover: bool,
    detached: bool,
}

/// Runs the daemon in this process until it is told to end.
pub(crate) fn run(path: &Path, record: Option<Wish>, recover: bool) -> ExitCode {
    // Before the folder is left to which a short path belongs.
    let record = record.map(|wish| Wish {
        path: std::path::absolute(&wish.path).unwrap_or(wish.path),
        ..wish
    });
    let detached = detach::is_child();
    if detached && let Err(error) = detach::leave_terminal() {
        complain(Level::Error, &format!("can't leave the terminal: {error}"));
        return ExitCode::FAILURE;
    }
    // Sockets and files are for this user alone.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let (config, warnings) = match load::load(path) {
        Ok(loaded) => loaded,
        Err(error) => {
            load::tell_warnings(error.warnings());
            complain(Level::Error, &error.to_string());
            return ExitCode::FAILURE;
        }
    };
    load::tell_warnings(&warnings);
    let (log, flow_log) = match open_logs(&config, detached) {
        Ok(logs) => logs,
        Err(error) => {
            // compat: the one message without date.
            eprintln!("ERROR: {error}");
            return ExitCode::FAILURE;
        }
    };
    log.install();
    let wishes = Wishes {
        record,
        recover,
        detached,
    };
    match serve(&config, path, &log, flow_log, &wishes) {
        Ok(()) => {
            tracing::info!("---- shutdown received ----");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn open_logs(config: &Config, detached: bool) -> Result<(Log, Option<FlowLog>), OpenError> {
    let to = |facility: config::Facility| {
        Syslog::new(Facility::from_name(facility.name()).unwrap_or(Facility::DAEMON))
    };
    let console = if detached { Console::Off } else { Console::On };
    let file = config
        .general
        .log_file
        .as_deref()
        .map(LogFile::open)
        .transpose()?;
    let syslog = config.general.syslog.map(to);
    let log = Log::new(console, file, syslog);
    log.set_level(config.general.log_level);
    let flow_log = match &config.role {
        Role::Statistics(statistics) => {
            let file = statistics.log_file.as_deref().map(LogFile::open);
            Some(FlowLog::new(file.transpose()?, statistics.syslog.map(to)))
        }
        _ => None,
    };
    Ok((log, flow_log))
}

/// From the lock to the end.
fn serve(
    config: &Config,
    path: &Path,
    log: &Log,
    flow_log: Option<FlowLog>,
    wishes: &Wishes,
) -> Result<(), StartError> {
    let general = &config.general;
    if wishes.recover && config.native().is_none() {
        let text = "--recover asks peers of the native dialect: it needs the section [native]";
        return Err(StartError::Obstacle(text.to_owned()));
    }
    let obstacles = check::obstacles(config);
    for obstacle in &obstacles {
        tracing::error!("{}", obstacle.text);
    }
    if !obstacles.is_empty() {
        let text = "conntrackd cannot start, please review your configuration";
        return Err(StartError::Obstacle(text.to_owned()));
    }
    let lock = LockFile::acquire(&general.lock_file, general.unix_path.as_deref())?;
    let is_realtime = scheduler::apply(general.scheduler);
    if config.origin.source == config::Source::Builtin {
        tracing::info!(
            "no configuration at {}: built-in defaults, FT-FW on loopback only; to pair two nodes \
             write {} with the interface of the dedicated link",
            path.display(),
            load::TOML_CONFIG,
        );
    }
    let pace = Arc::new(Pace::new(Instant::now()));
    let paced = Arc::clone(&pace);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || paced.before_waiting())
        .build()
        .map_err(StartError::Runtime)?;
    let local = LocalSet::new();
    let control = general
        .unix_path
        .as_deref()
        .map(|path| {
            ControlSocket::bind(path, &Access::new(general)).map_err(|source| StartError::Control {
                path: path.to_owned(),
                source,
            })
        })
        .transpose()?;
    let (socket, listener) = control.unzip();
    let mut driver = {
        let _entered = runtime.enter();
        open(config, flow_log, wishes, pace)?
    };
    driver.rest = is_realtime.then(|| Rest::new(Instant::now()));
    // Everything that takes more rights is open; nobody has been heard yet.
    if let Some(fifo) = &config.general.keepalived_fifo {
        keepalived::prepare(fifo);
    }
    sandbox::confine(config);
    // Both with the rights of this thread, and under the same filter of calls.
    let reader = Reader::start(driver.requests.dump(), is_realtime).map_err(StartError::Runtime)?;
    let requests = Arc::clone(&driver.requests);
    let (writer, answers) = Writer::start(requests, is_realtime).map_err(StartError::Runtime)?;
    driver.write_by(writer);
    sandbox::filter_calls(config);
    let outcome = local.block_on(
        &runtime,
        live(
            driver,
            (reader, answers),
            listener,
            config,
            path,
            log,
            wishes.detached,
        ),
    );
    // Scripts take the absence of both for the end; clients that wait for it are let go last.
    drop(socket);
    drop(lock);
    drop(local);
    outcome.map_err(StartError::Runtime)
}

/// Opens kernel sockets and links around a fresh core.
fn open(
    config: &Config,
    flow_log: Option<FlowLog>,
    wishes: &Wishes,
    pace: Arc<Pace>,
) -> Result<Driver, StartError> {
    let now = Instant::now();
    let interfaces = interfaces::list().unwrap_or_default();
    let endpoints = settings::endpoints(config);
    let mut settings = settings::settings(config, &endpoints, &interfaces);
    settings.native.recover |= wishes.recover;
    if settings.internal == InternalMode::Bypass {
        tracing::info!("disabling internal cache");
    }
    if settings.external == ExternalMode::Inject {
        tracing::info!("disabling external cache");
    }
    let requests = Arc::new(Requests::open().map_err(StartError::Netlink)?);
    let events = open_events(config).map_err(StartError::Netlink)?;
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let start = Start {
        now,
        unix_time_s: since_1970.as_secs() as u32,
        seed: seed(since_1970),
        origins: requests.origins(),
    };
    let engine = recording::core(settings, start, wishes.record.as_ref());
    let links = endpoints.into_iter().map(Link::new).collect();
    let mut driver = Driver::new(engine, events, requests, links, pace, now);
    driver.configured_buffer_len = config
        .general
        .netlink_buffer_len
        .map_or(0, |len| u64::from(len.get()));
    driver.flow_log = flow_log;
    if let Some(native) = config.native() {
        tell_version_1(config, native);
        driver.native = Some(Native::open(native, now)?);
    }
    Ok(driver)
}

/// Says whether anybody can still be spoken to without encryption.
fn tell_version_1(config: &Config, native: &config::Native) {
    let links = config.sync().map_or(0, |sync| sync.links.len());
    match (native.version_1, links) {
        (true, 1..) => tracing::warn!(
            "version 1 of the protocol is on beside the native dialect: its links are not encrypted"
        ),
        (false, 1..) => tracing::warn!(
            "version 1 of the protocol is off: the links of the section sync are not opened"
        ),
        (_, 0) => tracing::info!("version 1 of the protocol is off"),
    }
}

/// Tables are hashed with something that nobody outside can know.
fn seed(since_1970: Duration) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(since_1970)
}

/// The event socket, subscribed before the table is read, so that nothing falls in between.
fn open_events(config: &Config) -> io::Result<Option<Events>> {
    let general = &config.general;
    if config.role == Role::Idle {
        return Ok(None);
    }
    if general.poll.is_some() {
        tracing::info!("running in polling mode");
        return Ok(None);
    }
    let socket = EventSocket::open()?;
    if general.reliable_events {
        socket.set_broadcast_error(true)?;
        socket.set_no_enobufs(true)?;
        tracing::info!("reliable ctnetlink event delivery is ENABLED.");
    }
    if !general.filter.is_empty() {
        match general.filter_from {
            FilterFrom::Kernelspace => {
                match ctnetlink::bpf::program(&general.filter, &[]) {
                    Ok(program) => socket.attach_filter(&program)?,
                    Err(error) => tracing::warn!("{error}; events are filtered in user space"),
                }
                tracing::info!("using kernel-space event filtering");
            }
            FilterFrom::Userspace => tracing::info!("using user-space event filtering"),
        }
    }
    let max = general.netlink_buffer_max_len as usize;
    let len = match general.netlink_buffer_len.map(|len| len.get() as usize) {
        Some(wanted) if wanted <= max => {
            // The kernel doubles what it is asked for.
            socket.set_receive_buffer(wanted / 2)?
        }
        _ => {
            tracing::info!(
                "NetlinkBufferSize is either not set or is greater than \
                 NetlinkBufferSizeMaxGrowth. Using current system buffer size"
            );
            socket.receive_buffer()?
        }
    };
    tracing::info!("netlink event socket buffer size has been set to {len} bytes");
    let mut groups = vec![Group::FlowNew, Group::FlowUpdate, Group::FlowDestroy];
    let expectations = config
        .sync()
        .is_some_and(|sync| sync.expectation_sync != config::ExpectationSync::Off);
    if expectations {
        groups.extend([
            Group::ExpectationNew,
            Group::ExpectationUpdate,
            Group::ExpectationDestroy,
        ]);
    }
    for group in groups {
        socket.join(group)?;
    }
    Ok(Some(Events::new(socket, len, max)))
}

/// Everything that runs, until a signal or a client ends it.
async fn live(
    driver: Driver,
    (reader, answers): (Reader, Answers),
    listener: Option<std::os::unix::net::UnixListener>,
    config: &Config,
    path: &Path,
    log: &Log,
    detached: bool,
) -> io::Result<()> {
    let limit = config.general.event_iteration_limit.get() as usize;
    let signals = Rc::clone(&driver.signals);
    let shared: Shared = Rc::new(RefCell::new(driver));
    tasks::refresh_links(&shared);
    let links = shared.borrow().links.len();
    for link in 0..links {
        tokio::task::spawn_local(tasks::receive(Rc::clone(&shared), link, limit));
    }
    tokio::task::spawn_local(fatal(
        Rc::clone(&shared),
        tasks::events(Rc::clone(&shared), limit),
    ));
    let answers = tasks::answers(Rc::clone(&shared), answers);
    tokio::task::spawn_local(fatal(Rc::clone(&shared), answers));
    let tables = tasks::tables(Rc::clone(&shared), reader);
    tokio::task::spawn_local(fatal(Rc::clone(&shared), tables));
    let native = tasks::native(Rc::clone(&shared));
    tokio::task::spawn_local(fatal(Rc::clone(&shared), native));
    tokio::task::spawn_local(tasks::output(Rc::clone(&shared)));
    tokio::task::spawn_local(tasks::look(Rc::clone(&shared)));
    tokio::task::spawn_local(tasks::timer(Rc::clone(&shared)));
    if links > 0 {
        let follow = tasks::follow_interfaces(Rc::clone(&shared));
        tokio::task::spawn_local(fatal(Rc::clone(&shared), follow));
    }
    shared.borrow_mut().flush();
    while !shared.borrow().engine.is_ready() {
        signals.progress.notified().await;
    }
    if let Some(listener) = listener {
        let serve = server::serve(Rc::clone(&shared), listener);
        tokio::task::spawn_local(fatal(Rc::clone(&shared), serve));
    }
    tracing::info!("initialization completed");
    service::started(config, detached)?;
    shared.borrow_mut().begin();
    if let Some(address) = config.general.metrics.clone() {
        let serve = metrics::serve(Rc::clone(&shared), address);
        tokio::task::spawn_local(unanswered(serve));
    }
    let systemd = config.general.systemd;
    tokio::task::spawn_local(service::watchdog(systemd));
    tokio::task::spawn_local(service::status(Rc::clone(&shared), systemd));
    if let Some(path) = config.general.keepalived_fifo.clone() {
        tokio::task::spawn_local(keepalived::follow(Rc::clone(&shared), path));
    }
    tokio::task::spawn_local(service::ready_file(Rc::clone(&shared), config.clone()));
    tokio::task::spawn_local(reload(
        Rc::clone(&shared),
        config.clone(),
        path.to_owned(),
        log.clone(),
    ));
    tokio::task::spawn_local(suppressed(log.clone()));
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut told, shared) = (signal(kind)?, Rc::clone(&shared));
        tokio::task::spawn_local(async move {
            told.recv().await;
            shared.borrow().signals.shutdown.notify_one();
        });
    }
    // Looked at whenever anything happens: one thing to look at, and no more.
    signals.shutdown.notified().await;
    shared.borrow_mut().close();
    service::stopping(config);
    Ok(())
}

/// A task that ends the daemon when it fails: without it the rest is of no use.
async fn fatal(shared: Shared, task: impl Future<Output = io::Result<()>>) {
    if let Err(error) = task.await {
        tracing::error!("{error}: cannot go on");
        shared.borrow().signals.shutdown.notify_one();
    }
}

/// The metrics are no reason to stop replicating.
async fn unanswered(serve: impl Future<Output = io::Result<()>>) {
    if let Err(error) = serve.await {
        tracing::error!("metrics cannot be had: {error}");
    }
}

/// Tells from time to time what the log has held back.
async fn suppressed(log: Log) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        log.tell_suppressed(Instant::now());
        log.tell_missing();
    }
}
