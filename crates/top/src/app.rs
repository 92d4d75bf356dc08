//! What is shown: keys in, state out.

use std::time::Instant;

use control::Side;
use control::report::Report;
use control::talkers::TalkersReport;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::history::History;

/// A filter is no longer.
const FILTER_MAX: usize = 60;

/// A page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Both nodes at a glance, and the rates.
    #[default]
    Overview,
    /// Caches, commits and bulks.
    Caches,
    /// Links and queues.
    Links,
    /// Who has the most entries.
    Talkers,
    /// What went wrong.
    Errors,
    /// The nodes of the native dialect.
    Peers,
}

impl Page {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Overview,
        Self::Caches,
        Self::Links,
        Self::Talkers,
        Self::Errors,
        Self::Peers,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Caches => "Caches",
            Self::Links => "Links",
            Self::Talkers => "Talkers",
            Self::Errors => "Errors",
            Self::Peers => "Peers",
        }
    }
}

/// Something that a source has told.
#[derive(Debug)]
pub enum News {
    /// This node's statistics, or why there are none.
    Own(Result<Box<Report>, String>),
    /// The other node's.
    Peer(Result<Box<Report>, String>),
    /// Who has the most entries.
    Talkers(Side, Result<TalkersReport, String>),
}

/// Everything that the screen depends on.
#[derive(Debug, Default)]
pub struct App {
    /// Page shown.
    pub page: Page,
    /// What comes in is dropped.
    pub is_paused: bool,
    /// Only lines that contain this.
    pub filter: String,
    /// The filter is being typed.
    pub is_typing: bool,
    /// The end was asked for.
    pub is_done: bool,
    /// This node.
    pub own: History,
    /// The other node.
    pub peer: History,
    /// Who has the most entries, internal and external.
    pub talkers: [Option<TalkersReport>; 2],
    /// Why this node tells nothing.
    pub own_error: Option<String>,
    /// Why the other node tells nothing; `None` also when nobody asks it.
    pub peer_error: Option<String>,
    /// The other node is asked.
    pub has_peer: bool,
}

impl App {
    /// Takes what a source has told.
    pub fn take(&mut self, now: Instant, news: News) {
        if self.is_paused {
            return;
        }
        match news {
            News::Own(Ok(report)) => {
                self.own.push(now, *report);
                self.own_error = None;
            }
            News::Own(Err(error)) => self.own_error = Some(error),
            News::Peer(Ok(report)) => {
                self.peer.push(now, *report);
                self.peer_error = None;
            }
            News::Peer(Err(error)) => self.peer_error = Some(error),
            News::Talkers(side, Ok(report)) => self.talkers[position(side)] = Some(report),
            News::Talkers(_, Err(error)) => self.own_error = Some(error),
        }
    }

    /// Takes a key.
    pub fn key(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => self.is_done = true,
            code if self.is_typing => self.type_filter(code),
            KeyCode::Char('q') => self.is_done = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('/' | 'f') => self.is_typing = true,
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.turn(Page::ALL.len() - 1),
            KeyCode::Char(digit) => {
                let number = digit.to_digit(10).and_then(|digit| digit.checked_sub(1));
                let page = number.and_then(|number| Page::ALL.get(number as usize));
                self.page = page.copied().unwrap_or(self.page);
            }
            _ => {}
        }
    }

    fn turn(&mut self, by: usize) {
        let next = (self.page as usize + by) % Page::ALL.len();
        self.page = Page::ALL.get(next).copied().unwrap_or_default();
    }

    fn type_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.chars().count() < FILTER_MAX => {
                self.filter.push(character);
            }
            _ => {}
        }
    }

    /// Whether a line is to be shown.
    #[must_use]
    pub fn shows(&self, line: &str) -> bool {
        line.to_lowercase().contains(&self.filter.to_lowercase())
    }
}

/// Position in [`App::talkers`].
#[must_use]
pub fn position(side: Side) -> usize {
    match side {
        Side::Internal => 0,
        Side::External => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, keys: &str) {
        for character in keys.chars() {
            let code = match character {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\x1b' => KeyCode::Esc,
                '\x08' => KeyCode::Backspace,
                other => KeyCode::Char(other),
            };
            app.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    #[test]
    fn keys_turn_pages_filter_and_pause() {
        let mut app = App::default();
        press(&mut app, "4");
        assert_eq!(app.page, Page::Talkers);
        press(&mut app, "\t\t\t");
        assert_eq!(app.page, Page::Overview);
        press(&mut app, "9");
        assert_eq!(app.page, Page::Overview);
        press(&mut app, "/10.0x\x08\n");
        assert_eq!((app.filter.as_str(), app.is_typing), ("10.0", false));
        assert!(app.shows("a 10.0.0.1") && !app.shows("fd00::1"));
        press(&mut app, "\x1b");
        assert_eq!(app.filter, "");
        press(&mut app, "p");
        assert!(app.is_paused);
        app.take(Instant::now(), News::Own(Err("not taken".to_owned())));
        assert_eq!(app.own_error, None);
        press(&mut app, "/q\n");
        assert!(!app.is_done, "q was typed");
        press(&mut app, "q");
        assert!(app.is_done);
    }
}
