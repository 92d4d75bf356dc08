//! Why a test did not run.

use std::io::Write;

/// Environment variable with the path of a file that collects the reasons, one line each.
pub const SKIP_LOG: &str = "NETLAB_SKIP_LOG";

/// Says why the calling test does not run; the test then returns.
///
/// The line goes to standard output and, as runners swallow the output of tests that pass, to the file named by
/// [`SKIP_LOG`] if there is one.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(path) = std::env::var_os(SKIP_LOG) else {
        return;
    };
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path);
    if let Ok(mut file) = file {
        // A lost line costs nothing but the line.
        let _ = file.write_all(format!("{test}: skipped: {reason}\n").as_bytes());
    }
}

/// What keeps namespace tests from running here, if anything.
#[must_use]
pub fn obstacle(tools: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    ["ip", "nft"]
        .iter()
        .chain(tools)
        .find(|tool| find_tool(tool).is_none())
        .map(|tool| format!("`{tool}` is not installed"))
}

/// Where a program is, looked for in `PATH` and the system directories, which are often missing from it.
#[must_use]
pub fn find_tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Into::into))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Returns from the calling test, saying why, unless it runs as root with `ip`, `nft` and the named tools.
#[macro_export]
macro_rules! require_root_or_skip {
    ($($tool:expr),* $(,)?) => {
        if let Some(reason) = $crate::skip::obstacle(&[$($tool),*]) {
            $crate::skip::skip(&reason);
            return;
        }
    };
}

/// Returns from the calling test, saying why, unless the kernel has every named feature.
#[macro_export]
macro_rules! require_feature_or_skip {
    ($($feature:expr),+ $(,)?) => {
        for feature in [$($feature),+] {
            if !feature.is_present() {
                $crate::skip::skip(&format!("the kernel lacks {feature}"));
                return;
            }
        }
    };
}
