//! The rows of the tables.

use crate::targets::Bound::{
    AtMost, Mixed, NativeAtMost, OfFloor, OfOriginal, OfOurs, OfVersion1, Shown, ShownNative,
    TimesOriginal,
};
use crate::targets::Target;

macro_rules! targets {
    ($doc:literal, $name:ident; $($what:literal, $measure:literal, $number:literal, $unit:literal, $bound:expr;)*) => {
        #[doc = $doc]
        pub(crate) const $name: &[Target] = &[
            $(Target { what: $what, number: ($measure, $number), unit: $unit, bound: $bound },)*
        ];
    };
}

targets! {
    "Rows with a target.", TARGETS;
    "CPU of the active node per flow, 10,000 flows/s", "cpu", "active_10k", "µs", OfOriginal(0.5);
    "CPU of the active node per flow, 40,000 flows/s", "cpu", "active_40k", "µs", OfOriginal(0.5);
    "CPU of the standby per flow, 10,000 flows/s", "cpu", "standby_10k", "µs", OfOriginal(0.4);
    "CPU of the standby per flow, 40,000 flows/s", "cpu", "standby_40k", "µs", OfOriginal(0.4);
    "CPU of the active node with the original as peer, 10,000 flows/s", "cpu", "active_10k", "µs", Mixed(1.1);
    "CPU of the active node with the original as peer, 40,000 flows/s", "cpu", "active_40k", "µs", Mixed(1.1);
    "lossless rate, active node on 25 % of a core", "quarter", "rate", "flows/s", TimesOriginal(2.0);
    "lossless rate, standby on 10 % of a core", "tenth", "rate", "flows/s", TimesOriginal(2.5);
    "memory per entry, internal cache", "memory", "internal", "B", OfOriginal(0.33);
    "memory per entry, external cache", "memory", "external", "B", OfOriginal(0.33);
    "memory with empty caches", "idle", "memory_mib", "MiB", AtMost(10.0);
    "full copy on request (`-n`)", "bulk", "seconds", "s", OfOriginal(0.6);
    "commit (`-c`)", "commit", "seconds", "s", OfFloor("create", 1.15);
    "own events lost during a commit", "commit", "lost", "", AtMost(0.0);
    "overruns during a commit", "commit", "overruns", "", AtMost(0.0);
    "takeover, stock four commands, until the peer is complete", "takeover", "stock", "s", OfOriginal(0.4);
    "entries missing on the peer after it", "takeover", "stock_missing", "", AtMost(0.0);
    "takeover, `role primary`, until the peer is complete", "takeover", "role", "s", OfFloor("create", 1.3);
    "entries missing on the peer after it", "takeover", "role_missing", "", AtMost(0.0);
    "reading of the kernel (`-R`)", "reading", "seconds", "s", OfFloor("dump", 1.2);
    "sent by a reading that finds no difference", "reading", "sent_mib", "MiB", AtMost(1.0);
    "listing of the internal cache (`-i`)", "list", "internal", "s", OfOriginal(0.35);
    "listing of the external cache (`-e`)", "list", "external", "s", OfOriginal(0.35);
    "memory that `-i` takes on top", "list", "internal_extra_mib", "MiB", AtMost(4.0);
    "memory that `-e` takes on top", "list", "external_extra_mib", "MiB", AtMost(4.0);
    "longest pause of replication during `-i`", "pause", "list", "ms", AtMost(10.0);
    "longest pause of replication during `-R`", "pause", "reading", "ms", AtMost(10.0);
    "longest pause of replication during `-B`", "pause", "bulk", "ms", AtMost(10.0);
    "longest pause of replication during `-c`", "pause", "commit", "ms", AtMost(10.0);
    "entries never told of during `-i`", "pause", "list_untold", "", AtMost(0.0);
    "entries never told of during `-R`", "pause", "reading_untold", "", AtMost(0.0);
    "entries never told of during `-B`", "pause", "bulk_untold", "", AtMost(0.0);
    "entries never told of during `-c`", "pause", "commit_untold", "", AtMost(0.0);
    "events lost in an expiry burst", "expiry", "lost", "", AtMost(0.0);
    "dead entries after it", "expiry", "dead", "", AtMost(0.0);
    "latency, insert to datagram, idle, p50", "latency", "idle_p50", "µs", OfOriginal(0.6);
    "latency, insert to datagram, idle, p99", "latency", "idle_p99", "µs", OfOriginal(1.0);
    "latency, 20,000 changes/s, p99.9", "latency", "updates_p999", "µs", OfOriginal(1.0);
    "start beside a full table until READY", "start", "seconds", "s", OfFloor("dump", 1.2);
    "CPU per event in the largest table", "scale", "large", "µs", OfOurs("small", 1.5);
    "processor of an idle node", "idle", "percent", "% of a core", AtMost(0.1);
    "different entries, nothing lost on the link", "loss", "different_0", "", AtMost(0.0);
    "different entries, 1 % lost on the link", "loss", "different_1", "", AtMost(0.0);
    "different entries, 5 % lost on the link", "loss", "different_5", "", AtMost(0.0);
    "different entries, 20 % lost on the link", "loss", "different_20", "", AtMost(0.0);
}

targets! {
    "Rows of the native dialect, beside version 1.", NATIVE;
    "CPU of the active node per flow, 10,000 flows/s", "native-cpu", "active_10k", "µs", OfVersion1(1.1);
    "CPU of the standby per flow, 10,000 flows/s", "native-cpu", "standby_10k", "µs", OfVersion1(1.1);
    "CPU of both nodes per flow, 10,000 flows/s", "native-cpu", "both_10k", "µs", OfVersion1(1.1);
    "CPU of the active node per flow, 40,000 flows/s", "native-cpu", "active_40k", "µs", OfVersion1(1.1);
    "CPU of the standby per flow, 40,000 flows/s", "native-cpu", "standby_40k", "µs", OfVersion1(1.1);
    "CPU of both nodes per flow, 40,000 flows/s", "native-cpu", "both_40k", "µs", OfVersion1(1.1);
    "bytes on the link per flow, both directions", "native-bytes", "flow", "B", OfVersion1(0.45);
    "of these, to the standby", "native-bytes", "forth", "B", ShownNative;
    "of these, from the standby", "native-bytes", "back", "B", ShownNative;
    "insert to the standby's `-s`, p50", "native-latency", "visible_p50", "µs", OfVersion1(1.5);
    "insert to the standby's `-s`, p99", "native-latency", "visible_p99", "µs", ShownNative;
    "bytes after a cut of 10 s, 1 % changed, in parts of a full copy", "native-rejoin", "part", "", NativeAtMost(0.1);
    "from the end of the cut until both have proved to be equal", "native-rejoin", "seconds", "s", ShownNative;
    "upkeep of proofs, active node, largest table", "native-rejoin", "upkeep_active", "% of a core", NativeAtMost(5.0);
    "upkeep of proofs, standby, largest table", "native-rejoin", "upkeep_standby", "% of a core", NativeAtMost(5.0);
}

targets! {
    "Rows that are shown beside the original's.", OTHERS;
    "lossless rate, nothing limited", "free", "rate", "flows/s", Shown;
    "CPU of the active node, NOTRACK, 40,000 flows/s", "modes", "notrack_active", "µs", Shown;
    "CPU of the standby, NOTRACK, 40,000 flows/s", "modes", "notrack_standby", "µs", Shown;
    "CPU of the active node, multicast, 40,000 flows/s", "modes", "multicast_active", "µs", Shown;
    "CPU of the standby, multicast, 40,000 flows/s", "modes", "multicast_standby", "µs", Shown;
    "CPU of the active node, ALARM, 10,000 flows/s", "modes", "alarm_active", "µs", Shown;
    "CPU of the standby, ALARM, 10,000 flows/s", "modes", "alarm_standby", "µs", Shown;
    "latency, idle, p99.9", "latency", "idle_p999", "µs", Shown;
    "latency, 20,000 changes/s, p50", "latency", "updates_p50", "µs", Shown;
    "latency, 20,000 changes/s, p99", "latency", "updates_p99", "µs", Shown;
    "latency, 5000 flows/s, p50", "latency", "flows_p50", "µs", Shown;
    "latency, 5000 flows/s, p99", "latency", "flows_p99", "µs", Shown;
    "insert to the standby's `-s`, idle, p50", "latency", "poll_p50", "µs", Shown;
    "insert to the standby's `-s`, idle, p99", "latency", "poll_p99", "µs", Shown;
    "bytes on the link per entry of a full copy", "bulk", "bytes", "B", Shown;
    "takeover, command `-c`", "takeover", "stock_command_c", "s", Shown;
    "takeover, command `-R`", "takeover", "stock_command_R", "s", Shown;
    "bytes per flow, nothing lost on the link", "loss", "bytes_0", "B", Shown;
    "bytes per flow, 20 % lost on the link", "loss", "bytes_20", "B", Shown;
    "longest pause when nothing goes on", "pause", "nothing", "ms", Shown;
    "most flows that expire in 20 ms", "expiry", "burst", "", Shown;
    "different entries, NOTRACK, 5 % lost", "lossy", "notrack_different", "", Shown;
    "different entries, ALARM, 5 % lost", "lossy", "alarm_different", "", Shown;
}
