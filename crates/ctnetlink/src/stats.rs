//! The kernel's own counters. All are numbers since boot except the number of entries.

use crate::{Message, ParseError, uapi::*};

/// Size of the table. A field is `None` when the kernel did not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Global {
    /// Entries now.
    pub entries: Option<u32>,
    /// Most entries allowed.
    pub max_entries: Option<u32>,
}

/// What one CPU did to the table. A field is `None` when the kernel did not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// Number of the CPU.
    pub cpu: u16,
    /// Lookups that found an entry.
    pub found: Option<u32>,
    /// Packets that cannot be tracked.
    pub invalid: Option<u32>,
    /// Entries inserted.
    pub insert: Option<u32>,
    /// Insertions that failed.
    pub insert_failed: Option<u32>,
    /// Packets dropped because tracking failed.
    pub drop: Option<u32>,
    /// Entries dropped to make room.
    pub early_drop: Option<u32>,
    /// ICMP errors that could not be tracked.
    pub error: Option<u32>,
    /// Lookups that began anew because the table was being resized.
    pub search_restart: Option<u32>,
    /// Insertion races that were resolved.
    pub clash_resolve: Option<u32>,
    /// Insertions refused because the bucket was too long.
    pub chain_toolong: Option<u32>,
}

/// What one CPU did to expectations. A field is `None` when the kernel did not tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpectationCpu {
    /// Number of the CPU.
    pub cpu: u16,
    /// Connections that were expected.
    pub new: Option<u32>,
    /// Expectations created.
    pub create: Option<u32>,
    /// Expectations deleted.
    pub delete: Option<u32>,
}

/// Reads the answer to [`crate::request::global_stats`]; `Ok(None)`: the message is something else.
///
/// # Errors
/// The message is shorter than its own lengths say.
pub fn global(message: &Message<'_>) -> Result<Option<Global>, ParseError> {
    if message.header.kind != IPCTNL_MSG_CT_GET_STATS {
        return Ok(None);
    }
    let mut global = Global::default();
    for attr in message.attrs()? {
        let attr = attr?;
        match attr.kind {
            CTA_STATS_GLOBAL_ENTRIES => global.entries = Some(attr.u32()?),
            CTA_STATS_GLOBAL_MAX_ENTRIES => global.max_entries = Some(attr.u32()?),
            _ => {}
        }
    }
    Ok(Some(global))
}

/// Reads a part of the answer to [`crate::request::cpu_stats`]; `Ok(None)`: the message is something else.
///
/// # Errors
/// As [`global`].
pub fn cpu(message: &Message<'_>) -> Result<Option<Cpu>, ParseError> {
    if message.header.kind != IPCTNL_MSG_CT_GET_STATS_CPU {
        return Ok(None);
    }
    let mut cpu = Cpu {
        cpu: message.resource().unwrap_or(0),
        ..Cpu::default()
    };
    for attr in message.attrs()? {
        let attr = attr?;
        let field = match attr.kind {
            CTA_STATS_FOUND => &mut cpu.found,
            CTA_STATS_INVALID => &mut cpu.invalid,
            CTA_STATS_INSERT => &mut cpu.insert,
            CTA_STATS_INSERT_FAILED => &mut cpu.insert_failed,
            CTA_STATS_DROP => &mut cpu.drop,
            CTA_STATS_EARLY_DROP => &mut cpu.early_drop,
            CTA_STATS_ERROR => &mut cpu.error,
            CTA_STATS_SEARCH_RESTART => &mut cpu.search_restart,
            CTA_STATS_CLASH_RESOLVE => &mut cpu.clash_resolve,
            CTA_STATS_CHAIN_TOOLONG => &mut cpu.chain_toolong,
            _ => continue,
        };
        *field = Some(attr.u32()?);
    }
    Ok(Some(cpu))
}

/// Reads a part of the answer to [`crate::request::expectation_cpu_stats`]; `Ok(None)`: something else.
///
/// # Errors
/// As [`global`].
pub fn expectation_cpu(message: &Message<'_>) -> Result<Option<ExpectationCpu>, ParseError> {
    // Linux (6.18) answers with the number of the wrong subsystem.
    let wrong_kind = IPCTNL_MSG_EXP_GET_STATS_CPU & 0xff | NFNL_SUBSYS_CTNETLINK << 8;
    if ![IPCTNL_MSG_EXP_GET_STATS_CPU, wrong_kind].contains(&message.header.kind) {
        return Ok(None);
    }
    let mut cpu = ExpectationCpu {
        cpu: message.resource().unwrap_or(0),
        ..ExpectationCpu::default()
    };
    for attr in message.attrs()? {
        let attr = attr?;
        let field = match attr.kind {
            CTA_STATS_EXP_NEW => &mut cpu.new,
            CTA_STATS_EXP_CREATE => &mut cpu.create,
            CTA_STATS_EXP_DELETE => &mut cpu.delete,
            _ => continue,
        };
        *field = Some(attr.u32()?);
    }
    Ok(Some(cpu))
}
