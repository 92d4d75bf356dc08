//! The conntrack command beside the original on large tables: time, CPU, memory, and events that are not lost in silence.
//!
//! The table has 200,000 entries, or as many as `CONNTRACK_SCALE` says; figures for the documentation are taken with
//! `CONNTRACK_SCALE=1000000`. Each figure is the best of alternating runs, so that what else the machine does
//! counts little.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ctnetlink::request::{self, DumpFilter};
use ctnetlink::socket::RequestSocket;
use flow::Flow;
use netlab::limits::TableLimits;
use netlab::process::wait_until;
use netlab::{Feature, Lab, Namespace, Table, sample};
use netlab::{require_feature_or_skip, require_root_or_skip};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// Entries that are deleted, and that are loaded.
const CHANGED: u32 = 100_000;
/// Alternating runs of each.
const RUNS: usize = 2;
/// Events that are made, and how many a second.
const EVENTS: u32 = 150_000;
const EVENT_RATE: u32 = 100_000;
/// Entries that what makes the events writes at once.
const BURST: u32 = 500;
const LIMIT: Duration = Duration::from_secs(20);

/// What a process used.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    wall: Duration,
    user: Duration,
    system: Duration,
}

impl Cost {
    fn cpu(&self) -> Duration {
        self.user + self.system
    }

    /// CPU of the whole process and its children, or of this thread, while `work` runs.
    fn of(who: UsageWho, work: impl FnOnce()) -> Self {
        let before = getrusage(who).unwrap();
        let begun = Instant::now();
        work();
        let wall = begun.elapsed();
        let after = getrusage(who).unwrap();
        let between = |after: TimeVal, before: TimeVal| {
            let us = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
            Duration::from_micros(u64::try_from(us(after) - us(before)).unwrap())
        };
        Self {
            wall,
            user: between(after.user_time(), before.user_time()),
            system: between(after.system_time(), before.system_time()),
        }
    }

    fn least(costs: &[Self]) -> Self {
        *costs.iter().min_by_key(|cost| cost.cpu()).unwrap()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        write!(
            f,
            "wall {:>7.0} ms, CPU {:>7.0} ms (user {:>6.0}, system {:>6.0})",
            ms(self.wall),
            ms(self.cpu()),
            ms(self.user),
            ms(self.system)
        )
    }
}

/// Both programs, in a namespace of their own.
struct Bench {
    namespace: Namespace,
    table: Table,
    ours: PathBuf,
    original: PathBuf,
    _lab: Lab,
}

impl Bench {
    fn new() -> Option<Self> {
        let Some(ours) = std::env::var_os("CONNTRACK_BIN") else {
            netlab::skip::skip("CONNTRACK_BIN names no optimised conntrack");
            return None;
        };
        let mut lab = Lab::new().unwrap();
        let namespace = lab.namespace("t").unwrap();
        namespace
            .sysctl("net.netfilter.nf_conntrack_events", "1")
            .unwrap();
        Some(Self {
            table: Table::open(&namespace).unwrap(),
            namespace,
            ours: ours.into(),
            original: netlab::skip::find_tool("conntrack").unwrap(),
            _lab: lab,
        })
    }

    fn fill(&mut self, flows: impl IntoIterator<Item = Flow>) {
        let written = self.table.create(flows).unwrap();
        assert_eq!(written.refused, 0, "errno {}", written.errno);
    }

    fn command(&self, program: &Path, words: &str) -> Command {
        let mut command = self.namespace.command(program.to_str().unwrap());
        command.args(words.split_whitespace()).stdin(Stdio::null());
        command
    }

    /// Runs to the end, output thrown away; the last line of standard error.
    fn run(&self, program: &Path, words: &str) -> (Cost, String) {
        let mut said = String::new();
        let cost = Cost::of(UsageWho::RUSAGE_CHILDREN, || {
            let mut command = self.command(program, words);
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let output = command.spawn().unwrap().wait_with_output().unwrap();
            said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{program:?} {words}: {said}");
        });
        let summary = said.lines().last().unwrap_or_default().to_owned();
        (cost, summary)
    }

    /// Peak of resident memory in KiB, looked at while output is still to come.
    fn peak_memory_kib(&self, program: &Path, words: &str) -> u64 {
        let mut command = self.command(program, words);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut buf = vec![0; 64 * 1024];
        let mut peak = 0;
        loop {
            // Before it is read: what is written later still holds the process.
            let now = peak_of(&status);
            let len = output.read(&mut buf).unwrap();
            if len == 0 {
                break;
            }
            peak = peak.max(now);
        }
        assert!(child.wait().unwrap().success());
        peak
    }
}

/// `VmHWM` of a process that has written something; 0 when it is gone or still becoming what it is to be.
fn peak_of(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next())
    };
    if value("Name:").is_none_or(|name| !name.starts_with("conntrack")) {
        return 0;
    }
    value("VmHWM:").map_or(0, |kib| kib.parse().unwrap())
}

fn scale() -> Option<u32> {
    let text = std::env::var("CONNTRACK_SCALE").ok()?;
    Some(text.parse().unwrap())
}

fn ratio(ours: Duration, original: Duration) -> f64 {
    ours.as_secs_f64() / original.as_secs_f64()
}

fn compare(what: &str, ours: &Cost, original: &Cost) {
    println!("{what}");
    println!("    ours      {ours}");
    println!("    original  {original}");
    println!(
        "    ratio     wall {:.2}, CPU {:.2}, user {:.2}, system {:.2}",
        ratio(ours.wall, original.wall),
        ratio(ours.cpu(), original.cpu()),
        ratio(ours.user, original.user),
        ratio(ours.system, original.system)
    );
}

/// What the kernel's side of a listing costs at least: a dump that nobody looks at.
fn dump_floor(namespace: &Namespace) -> Cost {
    let dump = || {
        let socket = RequestSocket::open().unwrap();
        let mut request = Vec::new();
        request::dump_flows(&mut request, 1, &DumpFilter::default());
        Cost::of(UsageWho::RUSAGE_THREAD, || {
            socket.transact(&request, |_| Ok(())).unwrap();
        })
    };
    let costs: Vec<_> = (0..RUNS).map(|_| namespace.enter(dump).unwrap()).collect();
    Cost::least(&costs)
}

#[test]
fn conntrack_at_scale_lists_beside_the_kernels_own_cost_in_the_same_memory() {
    require_root_or_skip!("conntrack");
    require_feature_or_skip!(Feature::Conntrack);
    let entries = scale().unwrap_or(200_000);
    let _limits = TableLimits::raise(u64::from(entries) * 2).unwrap();
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let (ours, original) = (bench.ours.clone(), bench.original.clone());
    bench.fill((0..10_000).map(sample::nth));
    let small = bench.peak_memory_kib(&ours, "-L");
    let small_original = bench.peak_memory_kib(&original, "-L");
    bench.fill((10_000..entries).map(sample::nth));
    let large = bench.peak_memory_kib(&ours, "-L");
    let large_original = bench.peak_memory_kib(&original, "-L");
    println!("-L: peak memory at 10,000 and at {entries} entries");
    println!("    ours      {small} KiB, {large} KiB");
    println!("    original  {small_original} KiB, {large_original} KiB");
    assert!(small > 0 && large > 0);
    assert!(
        large < small + 512,
        "memory grows with the table: {small} KiB, then {large} KiB"
    );

    let floor = dump_floor(&bench.namespace);
    println!("dump of {entries} entries that nobody looks at\n    floor     {floor}");
    for &words in listings() {
        let (a, b) = alternate(&bench, words, entries);
        compare(&format!("{words}, {entries} entries"), &a, &b);
        let own = |cost: &Cost| cost.cpu().saturating_sub(floor.cpu());
        let share = ratio(own(&a), own(&b).max(Duration::from_millis(1)));
        println!("    beyond the floor: {share:.2}");
        assert!(share < 0.5, "{words}: {share:.2} of the original's work");
        assert!(ratio(a.user, b.user) < 0.5, "{words}: user time");
        assert!(ratio(a.cpu(), b.cpu()) < 0.85, "{words}: CPU time");
    }
}

/// Every format only when figures are taken.
fn listings() -> &'static [&'static str] {
    match scale() {
        None => &["-L"],
        Some(_) => &["-L", "-L -o extended,id", "-L -o xml", "-L -o save"],
    }
}

fn alternate(bench: &Bench, words: &str, entries: u32) -> (Cost, Cost) {
    let (mut ours, mut original) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        for (program, costs) in [(&bench.ours, &mut ours), (&bench.original, &mut original)] {
            let (cost, said) = bench.run(program, words);
            assert!(
                said.contains(&format!(": {entries} flow entries")),
                "{said}"
            );
            costs.push(cost);
        }
    }
    (Cost::least(&ours), Cost::least(&original))
}

#[test]
fn conntrack_at_scale_deletes_and_loads_no_slower_than_the_original() {
    require_root_or_skip!("conntrack");
    require_feature_or_skip!(Feature::Conntrack);
    let _limits = TableLimits::raise(u64::from(CHANGED) * 4).unwrap();
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let programs = [bench.ours.clone(), bench.original.clone()];
    let marked = |number| Flow {
        mark: Some(number & 1),
        ..sample::nth(number)
    };
    let mut deleting = [Vec::new(), Vec::new()];
    for turn in 0..2 * RUNS {
        let (program, costs) = (&programs[turn % 2], &mut deleting[turn % 2]);
        bench.table.flush().unwrap();
        bench.fill((0..CHANGED * 2).map(marked));
        let (cost, said) = bench.run(program, "-D -m 1");
        assert!(
            said.contains(&format!(": {CHANGED} flow entries")),
            "{said}"
        );
        assert_eq!(bench.table.len().unwrap(), CHANGED as usize);
        costs.push(cost);
    }
    judge("-D -m 1, 100,000 of 200,000 entries", &deleting);

    let file = saved(&bench);
    let words = format!("-R {}", file.0.display());
    let mut loading = [Vec::new(), Vec::new()];
    for turn in 0..2 * RUNS {
        let (program, costs) = (&programs[turn % 2], &mut loading[turn % 2]);
        bench.table.flush().unwrap();
        costs.push(bench.run(program, &words).0);
        assert_eq!(bench.table.len().unwrap(), CHANGED as usize);
    }
    judge("-R, a file of 100,000 entries", &loading);
}

fn judge(what: &str, costs: &[Vec<Cost>; 2]) {
    let [ours, original] = costs.each_ref().map(|costs| Cost::least(costs));
    compare(what, &ours, &original);
    // It does better; what a busy machine adds is allowed for.
    assert!(ratio(ours.cpu(), original.cpu()) < 1.1, "{what}: CPU time");
    let [ours, original] = costs
        .each_ref()
        .map(|costs| costs.iter().map(|cost| cost.wall).min().unwrap());
    assert!(ratio(ours, original) < 1.25, "{what}: time");
}

/// A file that is removed again.
struct Saved(PathBuf);

impl Saved {
    fn new(what: &str) -> Self {
        let name = format!("conntrack-scale-{}-{what}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// What is in the table, as a file to load.
fn saved(bench: &Bench) -> Saved {
    let saved = Saved::new("save");
    let mut command = bench.command(&bench.ours, "-L -o save");
    command.stdout(File::create(&saved.0).unwrap());
    assert!(command.stderr(Stdio::null()).status().unwrap().success());
    saved
}

/// Where events come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// Another program writes entries.
    Program,
    /// Packets make entries.
    Packets,
}

/// Makes events at a steady pace; how many.
fn make_events(bench: &mut Bench, source: Source) -> u64 {
    let begun = Instant::now();
    let mut made = 0;
    let mut burst = 0;
    while made < u64::from(EVENTS) {
        made += match source {
            Source::Program => {
                let flows = (burst * BURST..(burst + 1) * BURST).map(sample::nth);
                let created = bench.table.create(flows.clone()).unwrap();
                let deleted = bench.table.delete(flows.map(|flow| flow.key())).unwrap();
                created.accepted + deleted.accepted
            }
            Source::Packets => send_packets(bench, burst),
        };
        burst += 1;
        let due = Duration::from_secs_f64(made as f64 / f64::from(EVENT_RATE));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    let rate = made as f64 / begun.elapsed().as_secs_f64();
    println!("    {made} events at {:.0} thousand/s", rate / 1000.0);
    made
}

/// Datagrams to addresses that nobody has talked to, each of which makes an entry.
fn send_packets(bench: &Bench, burst: u32) -> u64 {
    let send = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in burst * BURST..(burst + 1) * BURST {
            let [_, high, middle, low] = number.to_be_bytes();
            socket
                .send_to(b"x", (Ipv4Addr::new(127, 1 + high, middle, low), 9))
                .unwrap();
        }
    };
    bench.namespace.enter(send).unwrap();
    u64::from(BURST)
}

/// What a listener was told, and what it says.
struct Heard {
    cost: Cost,
    made: u64,
    shown: u64,
    said: String,
}

impl Heard {
    fn ns_each(&self) -> f64 {
        self.cost.cpu().as_nanos() as f64 / self.shown as f64
    }

    /// The number that stands before these words in what was said last of it.
    fn number(said: &str, words: &str) -> Option<u64> {
        let line = said.lines().rfind(|line| line.contains(words))?;
        let before = line.split(words).next()?;
        before.split_whitespace().next_back()?.parse().ok()
    }
}

fn listen(bench: &mut Bench, program: &Path, words: &str, source: Source) -> Heard {
    bench.table.flush().unwrap();
    let file = Saved::new("said");
    let mut made = 0;
    let mut command = bench.command(program, words);
    command.stdout(Stdio::null());
    command.stderr(File::create(&file.0).unwrap());
    let mut child = command.spawn().unwrap();
    let listens = wait_until(LIMIT, || queued_len(bench).is_some());
    assert!(listens, "{program:?} does not listen");
    let cost = Cost::of(UsageWho::RUSAGE_CHILDREN, || {
        made = make_events(bench, source);
        assert!(
            wait_until(LIMIT, || queued_len(bench) == Some(0)),
            "not read"
        );
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        child.wait().unwrap();
    });
    let said = fs::read_to_string(&file.0).unwrap();
    let shown = Heard::number(&said, " flow events have been shown");
    Heard {
        cost,
        made,
        shown: shown.unwrap_or_else(|| panic!("{said}")),
        said,
    }
}

/// Bytes that wait for the only listener to all events of connections here.
fn queued_len(bench: &Bench) -> Option<u64> {
    let read = || fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let text = bench.namespace.enter(read).unwrap();
    text.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        // sk Eth Pid Groups Rmem ...; 12 is netfilter.
        match words[..] {
            [_, "12", _, "00000007", queued_len, ..] => queued_len.parse().ok(),
            _ => None,
        }
    })
}

#[test]
fn conntrack_at_scale_hears_events_with_half_the_cpu_for_each() {
    require_root_or_skip!("conntrack");
    require_feature_or_skip!(Feature::Conntrack);
    let _limits = TableLimits::raise(u64::from(EVENTS) * 4).unwrap();
    let Some(mut bench) = Bench::new() else {
        return;
    };
    // What is sent on the loopback makes an entry, and goes nowhere.
    bench.namespace.set_link("lo", true).unwrap();
    bench
        .namespace
        .nft(
            "table inet scale {
                chain out { type filter hook output priority 0; ct state new counter; }
                chain in { type filter hook prerouting priority -300; iifname lo meta l4proto udp drop; }
            }",
        )
        .unwrap();
    let programs = [bench.ours.clone(), bench.original.clone()];
    for source in [Source::Program, Source::Packets] {
        println!("-E -b 67108864, events by {source:?}");
        let [ours, original] = programs
            .each_ref()
            .map(|program| listen(&mut bench, program, "-E -b 67108864", source));
        for (name, heard) in [("ours", &ours), ("original", &original)] {
            println!("    {name:<9} {}", heard.cost);
            let (made, shown) = (heard.made, heard.shown);
            println!(
                "              shown {shown} of {made}, {:.0} ns of CPU each",
                heard.ns_each()
            );
        }
        let share = ours.ns_each() / original.ns_each();
        println!("    ratio     CPU of each event {share:.2}");
        assert!(share < 0.5, "{source:?}: {share:.2} of the original's CPU");
        let lost = Heard::number(&ours.said, " events were lost in").unwrap_or(0);
        assert_eq!(ours.shown + lost, ours.made, "{}", ours.said);
    }
}

#[test]
fn conntrack_at_scale_says_how_many_events_it_could_not_hear() {
    require_root_or_skip!();
    require_feature_or_skip!(Feature::Conntrack);
    let Some(mut bench) = Bench::new() else {
        return;
    };
    let ours = bench.ours.clone();
    let heard = listen(&mut bench, &ours, "-E -b 8192", Source::Program);
    let lost = Heard::number(&heard.said, " events were lost in").unwrap_or(0);
    println!(
        "-E -b 8192: shown {} of {}, lost {lost}",
        heard.shown, heard.made
    );
    assert!(lost > 0, "{}", heard.said);
    assert_eq!(heard.shown + lost, heard.made, "{}", heard.said);
    assert!(
        heard
            .said
            .contains("WARNING: We have hit ENOBUFS! We are losing events.")
    );
}
