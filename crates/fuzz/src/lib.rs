//! Every reader of foreign bytes, as functions that take any bytes and must neither panic, hang nor hoard.
//!
//! `cargo xtask fuzz` runs them under libFuzzer (the binary of this crate, feature `libfuzzer`); the tests run them
//! on all seeds and on the inputs in `regressions/`, which failed once. What they do with the bytes goes as far as
//! a program would go: what was understood is shown in every format and handed to the core.
//!
//! Reading order: [`TARGETS`], [`kernel`], [`peer`], [`text`], [`node`] (the core behind them), [`seeds`].

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a run may start anywhere")]

pub mod kernel;
pub mod live;
pub mod native;
pub mod node;
pub mod peer;
pub mod recordings;
pub mod seeds;
pub mod text;

/// A reader of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Reads any bytes.
    pub run: fn(&[u8]),
    /// Bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All readers.
pub const TARGETS: [Target; 12] = [
    Target {
        name: "kernel-events",
        run: kernel::events,
        seeds: seeds::kernel,
    },
    Target {
        name: "kernel-replies",
        run: kernel::replies,
        seeds: seeds::kernel,
    },
    Target {
        name: "sync-datagrams",
        run: peer::datagrams,
        seeds: seeds::datagrams,
    },
    Target {
        name: "sync-stream",
        run: peer::stream,
        seeds: seeds::stream,
    },
    Target {
        name: "live-traffic",
        run: live::traffic,
        seeds: live::seeds,
    },
    Target {
        name: "native-stream",
        run: native::stream,
        seeds: native::seeds,
    },
    Target {
        name: "control-requests",
        run: peer::requests,
        seeds: seeds::requests,
    },
    Target {
        name: "conntrackd-conf",
        run: text::conf,
        seeds: seeds::conf,
    },
    Target {
        name: "conntrackd-toml",
        run: text::toml,
        seeds: seeds::toml,
    },
    Target {
        name: "command-line",
        run: text::command_line,
        seeds: seeds::command_lines,
    },
    Target {
        name: "save-file",
        run: text::save_file,
        seeds: seeds::save_files,
    },
    Target {
        name: "record-files",
        run: recordings::replay,
        seeds: recordings::seeds,
    },
];

/// The target of that name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_target_reads_its_seeds_cut_and_damaged() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            for seed in seeds {
                (target.run)(&seed);
                (target.run)(seed.get(..seed.len() / 2).unwrap_or_default());
                let damaged: Vec<_> = seed.iter().map(|byte| byte.rotate_left(1)).collect();
                (target.run)(&damaged);
            }
        }
    }

    #[test]
    fn every_target_reads_what_it_once_failed_on() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "README.md" {
                continue;
            }
            let target = TARGETS
                .iter()
                .find(|target| name.starts_with(target.name))
                .unwrap_or_else(|| panic!("{name} names no target"));
            (target.run)(&fs::read(&path).unwrap());
        }
    }
}
