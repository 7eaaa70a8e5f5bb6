//! Where the session of a client is found: by its client id, at the mount point it came in through, because the same id at
//! another one is another client's.
//!
//! The table holds keys, and looks the names up in the sessions themselves: 9 bytes an entry in place of a copy of each name. The
//! hash is keyed: nobody can aim at one bucket.

use std::borrow::Cow;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use slotmap::SlotMap;

use super::session::{Session, SessionKey};
use crate::base::{PeerState, Rng};
use crate::topic;

/// What a session is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Name<'a> {
    pub mount: Option<&'a str>,
    pub client_id: &'a str,
}

impl<'a> Name<'a> {
    /// Of a client without a mount point.
    pub fn plain(client_id: &'a str) -> Self {
        Self { mount: None, client_id }
    }

    /// As one text. No client id has a zero in it (§1.5.4), so none is another one's.
    pub fn to_text(self) -> Cow<'a, str> {
        self.mount.map_or(self.client_id.into(), |prefix| [prefix, "\0", self.client_id].concat().into())
    }

    /// Of a client behind a mount point, as its owner writes it: `PREFIX/#ID`.
    pub fn mounted(client: &'a str) -> Option<Self> {
        topic::split_mounted(client).map(|(prefix, client_id)| Self { mount: Some(prefix), client_id })
    }
}

type Sessions = SlotMap<SessionKey, Session>;

pub(super) struct Directory {
    table: HashTable<SessionKey>,
    state: PeerState,
}

impl Directory {
    /// What an entry costs, in a table that is filled to seven eighths.
    pub const ENTRY_BYTES: usize = (size_of::<SessionKey>() + 1) * 8 / 7;

    pub fn new(rng: &mut Rng) -> Self {
        Self { table: HashTable::new(), state: PeerState::new(rng) }
    }

    pub fn find(&self, sessions: &Sessions, name: Name<'_>) -> Option<SessionKey> {
        let is_it = |key: &SessionKey| sessions.get(*key).is_some_and(|session| session.name() == name);
        self.table.find(self.state.hash_one(name), is_it).copied()
    }

    /// Of a session that is there, under a name that nobody has.
    pub fn insert(&mut self, sessions: &Sessions, key: SessionKey) {
        let hash = |key: &SessionKey| self.state.hash_one(sessions[*key].name());
        self.table.insert_unique(hash(&key), key, hash);
    }

    pub fn remove(&mut self, key: SessionKey, name: Name<'_>) {
        if let Ok(entry) = self.table.find_entry(self.state.hash_one(name), |other| *other == key) {
            entry.remove();
        }
    }
}
