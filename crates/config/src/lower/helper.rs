//! Section `Helper`.

use std::time::Duration;

use flow::Family;

use super::Notes;
use crate::error::{ErrorKind, ParseError};
use crate::statement::{Clause, Section};
use crate::{Helper, HelperPolicy, HelperTransport, Helpers, Place};

const MAX_POLICY_NAME_LEN: usize = 16;

/// Helpers the original comes with: name, over TCP, over UDP. Each has one policy of its own name.
const KNOWN: [(&str, bool, bool); 10] = [
    ("amanda", false, true),
    ("dhcpv6", false, true),
    ("ftp", true, false),
    ("mdns", false, true),
    ("rpc", true, true),
    ("sane", true, false),
    ("slp", false, true),
    ("ssdp", true, true),
    ("tftp", false, true),
    ("tns", true, false),
];

/// What has been read of the section.
#[derive(Debug, Default)]
pub(super) struct Draft(Helpers);

impl Draft {
    pub(super) fn take(
        &mut self,
        place: Place,
        clause: &Clause,
        notes: &mut Notes,
    ) -> Result<(), ParseError> {
        let refuse = |kind| Err(ParseError { place, kind });
        let position = self.0.helpers.len().saturating_sub(1);
        match clause {
            Clause::Open(Section::Helper) => {
                notes.mark("helper", place);
                return Ok(());
            }
            Clause::HelperSetup(on) => {
                self.0.setup = *on;
                notes.mark("helper.setup", place);
                return Ok(());
            }
            Clause::Open(Section::HelperType {
                name,
                family,
                transport,
            }) => {
                let helper =
                    open(name, family, transport).map_err(|kind| ParseError { place, kind })?;
                notes.mark(format!("helper.type.{}", self.0.helpers.len()), place);
                self.0.helpers.push(helper);
                return Ok(());
            }
            _ => {}
        }
        let Some(helper) = self.0.helpers.last_mut() else {
            return Ok(());
        };
        let policies = helper.policies.len().saturating_sub(1);
        let policy = helper.policies.last_mut();
        let key = match (clause, policy) {
            (Clause::HelperQueueNum(n), _) => {
                helper.queue_num = *n;
                "queue_num".to_owned()
            }
            (Clause::HelperQueueLen(n), _) => {
                helper.queue_len = *n;
                "queue_len".to_owned()
            }
            (Clause::Open(Section::HelperPolicy(name)), _) => {
                if name.len() > MAX_POLICY_NAME_LEN {
                    return refuse(ErrorKind::PolicyNameTooLong(name.clone()));
                }
                helper.policies.push(HelperPolicy {
                    name: name.clone(),
                    expect_max: None,
                    expect_timeout: None,
                });
                format!("policy.{}", helper.policies.len().saturating_sub(1))
            }
            (Clause::PolicyExpectMax(n), Some(policy)) => {
                policy.expect_max = Some(*n);
                format!("policy.{policies}.expect_max")
            }
            (Clause::PolicyExpectTimeout(seconds), Some(policy)) => {
                policy.expect_timeout = Some(Duration::from_secs((*seconds).into()));
                format!("policy.{policies}.expect_timeout_s")
            }
            (Clause::Close(Section::HelperPolicy(name)), Some(policy)) => {
                if policy.expect_max.is_none() && policy.expect_timeout.is_none() {
                    return refuse(ErrorKind::EmptyPolicy(name.clone()));
                }
                return Ok(());
            }
            (Clause::Close(Section::HelperType { .. }), _) => {
                // At the end of the section, as the original does.
                let start = notes
                    .places
                    .get(&format!("helper.type.{position}"))
                    .copied();
                return close(helper).map_err(|kind| ParseError {
                    place: start.unwrap_or(place),
                    kind,
                });
            }
            _ => return Ok(()),
        };
        notes.mark(format!("helper.type.{position}.{key}"), place);
        Ok(())
    }

    pub(super) fn finish(self) -> Helpers {
        self.0
    }
}

fn open(name: &str, family: &str, transport: &str) -> Result<Helper, ErrorKind> {
    Ok(Helper {
        name: name.to_owned(),
        family: match family {
            "inet" => Family::Ipv4,
            "inet6" => Family::Ipv6,
            _ => return Err(ErrorKind::HelperFamily(family.to_owned())),
        },
        transport: match transport {
            "tcp" => HelperTransport::Tcp,
            "udp" => HelperTransport::Udp,
            _ => return Err(ErrorKind::HelperTransport(transport.to_owned())),
        },
        queue_num: 0,
        queue_len: 0,
        policies: Vec::new(),
    })
}

fn close(helper: &Helper) -> Result<(), ErrorKind> {
    let known = KNOWN.iter().any(|&(name, tcp, udp)| {
        name == helper.name
            && match helper.transport {
                HelperTransport::Tcp => tcp,
                HelperTransport::Udp => udp,
            }
    });
    if !known {
        return Err(ErrorKind::UnknownHelper(helper.name.clone()));
    }
    match helper
        .policies
        .iter()
        .find(|policy| policy.name != helper.name)
    {
        Some(policy) => Err(ErrorKind::UnknownPolicy {
            name: policy.name.clone(),
            known: helper.name.clone(),
        }),
        None => Ok(()),
    }
}
