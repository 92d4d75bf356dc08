//! Commands and the tables they work on.

use crate::error::UsageError;

/// What to do. Exactly one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-L`
    List,
    /// `-G`
    Get,
    /// `-D`
    Delete,
    /// `-I`
    Create,
    /// `-A`
    Add,
    /// `-U`
    Update,
    /// `-E`
    Event,
    /// `-F`
    Flush,
    /// `-C`
    Count,
    /// `-S`
    Stats,
    /// `-V`
    Version,
    /// `-h`, or no command
    Help,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::List,
        Self::Get,
        Self::Delete,
        Self::Create,
        Self::Add,
        Self::Update,
        Self::Event,
        Self::Flush,
        Self::Count,
        Self::Stats,
        Self::Version,
        Self::Help,
    ];

    /// The short option.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::List => 'L',
            Self::Get => 'G',
            Self::Delete => 'D',
            Self::Create => 'I',
            Self::Add => 'A',
            Self::Update => 'U',
            Self::Event => 'E',
            Self::Flush => 'F',
            Self::Count => 'C',
            Self::Stats => 'S',
            Self::Version => 'V',
            Self::Help => 'h',
        }
    }

    /// The long option.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "dump",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::Create => "create",
            Self::Add => "add",
            Self::Update => "update",
            Self::Event => "event",
            Self::Flush => "flush",
            Self::Count => "counter",
            Self::Stats => "stats",
            Self::Version => "version",
            Self::Help => "help",
        }
    }
}

/// What a command works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// Connections.
    #[default]
    Conntrack,
    /// Expected connections.
    Expect,
    /// Connections whose end is not yet told to everybody.
    Dying,
    /// Connections whose first packet is on its way.
    Unconfirmed,
}

impl Table {
    /// Its whole name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conntrack => "conntrack",
            Self::Expect => "expect",
            Self::Dying => "dying",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// The table that `word` is or begins. Unknown words are refused.
    ///
    /// # Errors
    /// No table begins so.
    pub fn named(word: &str) -> Result<Self, UsageError> {
        [
            Self::Expect,
            Self::Conntrack,
            Self::Dying,
            Self::Unconfirmed,
        ]
        .into_iter()
        .find(|table| table.name().starts_with(word))
        .ok_or_else(|| UsageError::Table(word.to_owned()))
    }
}

/// Whether `command` can be done with `table`.
///
/// # Errors
/// It cannot.
pub fn check(command: Command, table: Table) -> Result<(), UsageError> {
    match (command, table) {
        (Command::List, _) | (_, Table::Conntrack) => Ok(()),
        (_, Table::Dying | Table::Unconfirmed) => Err(UsageError::ListOnly),
        (Command::Add | Command::Update, Table::Expect) => {
            Err(UsageError::NotOnExpectations(command.name()))
        }
        (_, Table::Expect) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_may_be_abbreviated_to_anything_in_their_order() {
        assert_eq!(Table::named("e"), Ok(Table::Expect));
        assert_eq!(Table::named(""), Ok(Table::Expect));
        assert_eq!(Table::named("con"), Ok(Table::Conntrack));
        assert_eq!(Table::named("u"), Ok(Table::Unconfirmed));
        assert_eq!(Table::named("dying"), Ok(Table::Dying));
        assert_eq!(
            Table::named("expectx"),
            Err(UsageError::Table("expectx".into()))
        );
    }

    #[test]
    fn only_listing_knows_all_tables() {
        for command in Command::ALL {
            let lists = command == Command::List;
            assert_eq!(check(command, Table::Dying).is_ok(), lists, "{command:?}");
            assert_eq!(check(command, Table::Unconfirmed).is_ok(), lists);
            assert!(check(command, Table::Conntrack).is_ok());
        }
        assert_eq!(
            check(Command::Update, Table::Expect),
            Err(UsageError::NotOnExpectations("update"))
        );
        assert!(check(Command::Get, Table::Expect).is_ok());
    }
}
