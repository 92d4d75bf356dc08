//! Statements to a [`Config`]: defaults, warnings, and the errors that are not the grammar's.
//!
//! Statements take effect one after the other; the last of several wins, lists grow. The first error
//! ends the walk, so that it is the first in the file.

mod general;
mod helper;
mod sync;

use std::collections::BTreeMap;

use crate::error::{ErrorKind, ParseError};
use crate::protocols::Protocols;
use crate::statement::{Clause, Section, Statement};
use crate::{Config, Origin, Place, Policy, Role, Source, Warning};

/// What has been read so far that is no setting.
#[derive(Debug, Default)]
struct Notes {
    warnings: Vec<Warning>,
    places: BTreeMap<String, Place>,
}

impl Notes {
    fn warn(&mut self, place: Place, text: impl Into<String>) {
        let Place { line, column } = place;
        self.warnings.push(Warning {
            line,
            column,
            text: text.into(),
        });
    }

    /// Remembers where the value of this TOML key stands.
    fn mark(&mut self, key: impl Into<String>, place: Place) {
        self.places.insert(key.into(), place);
    }
}

/// Whether a statement was this part's.
enum Taken {
    Yes,
    No,
}

/// Lowers statements; `error` is what ended them. Warnings are told in either case.
pub(crate) fn lower(
    statements: &[Statement],
    error: Option<ParseError>,
    source: Source,
    protocols: &Protocols,
) -> (Result<Config, ParseError>, Vec<Warning>) {
    let mut draft = Draft::default();
    let mut notes = Notes::default();
    let outcome = statements
        .iter()
        .try_for_each(|statement| draft.take(statement, &mut notes, protocols))
        .and_then(|()| error.map_or(Ok(()), Err))
        .and_then(|()| draft.finish(source, &mut notes));
    (outcome, notes.warnings)
}

#[derive(Debug, Default)]
struct Draft {
    sync: Option<sync::Draft>,
    general: general::Draft,
    stats: Option<Place>,
    policy: Policy,
    helpers: helper::Draft,
}

impl Draft {
    fn take(
        &mut self,
        statement: &Statement,
        notes: &mut Notes,
        protocols: &Protocols,
    ) -> Result<(), ParseError> {
        let place = statement.place;
        match &statement.clause {
            Clause::Odd(text) => notes.warn(place, text.clone()),
            Clause::Open(Section::Sync) => {
                self.sync.get_or_insert_default();
                notes.mark("sync", place);
            }
            Clause::Open(Section::Stats) => {
                self.stats = Some(place);
                notes.mark("stats", place);
            }
            Clause::Policy(policy) => {
                self.policy = (**policy).clone();
                notes.mark("policy", place);
            }
            Clause::Open(Section::General) => notes.mark("general", place),
            Clause::Close(Section::Sync | Section::Stats) => {
                if self.sync.is_some() && self.stats.is_some() {
                    return Err(ParseError {
                        place,
                        kind: ErrorKind::StatsAndSync,
                    });
                }
            }
            clause => {
                let sync = self
                    .sync
                    .as_mut()
                    .map(|sync| sync.take(place, clause, notes));
                if let Some(Taken::Yes) = sync.transpose()? {
                    return Ok(());
                }
                if let Taken::Yes = self.general.take(place, clause, notes, protocols)? {
                    return Ok(());
                }
                self.helpers.take(place, clause, notes)?;
            }
        }
        Ok(())
    }

    fn finish(self, source: Source, notes: &mut Notes) -> Result<Config, ParseError> {
        let (general, statistics) = self.general.finish(notes);
        let role = match (self.sync, self.stats) {
            (Some(sync), _) => Role::Sync(sync.finish(notes)),
            (None, Some(_)) => Role::Statistics(statistics),
            (None, None) => Role::Idle,
        };
        let helpers = self.helpers.finish();
        let places = std::mem::take(&mut notes.places);
        Ok(Config {
            role,
            general,
            policy: self.policy,
            helpers,
            origin: Origin { source, places },
        })
    }
}
