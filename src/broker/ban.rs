//! Who is not let in: client ids, user names and addresses, for a time or for good.
//!
//! An address is turned away before a byte is read, the others by CONNACK 0x8A. A ban also ends the
//! connections it is about. The table is bounded; what has expired goes with the sweep, or earlier
//! to make room.

use std::net::{IpAddr, SocketAddr};

use crate::base::{Duration, Instant, PeerMap, Rng, peer_map};
use crate::codec::{Connect, Reason};

use super::connection::ConnKey;
use super::shard::Shard;

/// What a ban goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BanKind {
    /// The client identifier.
    ClientId,
    /// The user name.
    Username,
    /// The IP address, whatever the port.
    Address,
}

impl BanKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClientId, Self::Username, Self::Address];
    const COUNT: usize = Self::ALL.len();

    /// Its name in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientId => "client_id",
            Self::Username => "username",
            Self::Address => "address",
        }
    }
}

/// One ban.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// What it goes by.
    pub kind: BanKind,
    /// The client id, user name or address.
    pub text: String,
    /// How long it holds from now; `None`: for good.
    pub left: Option<Duration>,
}

/// Why there is no ban.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BanError {
    /// There are `max_bans`.
    Full,
    /// Not an IP address, or an empty text.
    Invalid,
}

/// The bans of one server.
pub(super) struct Bans([PeerMap<Box<str>, Option<Instant>>; BanKind::COUNT]);

impl Bans {
    pub fn new(rng: &mut Rng) -> Self {
        Self(core::array::from_fn(|_| peer_map(rng)))
    }

    pub fn len(&self) -> usize {
        self.0.iter().map(PeerMap::len).sum()
    }

    pub fn has(&self, now: Instant, kind: BanKind, text: &str) -> bool {
        let until = self.0[kind as usize].get(text);
        until.is_some_and(|until| until.is_none_or(|until| now < until))
    }

    /// `peer`: an address with its port.
    pub fn has_peer(&self, now: Instant, peer: &str) -> bool {
        if self.0[BanKind::Address as usize].is_empty() {
            return false;
        }
        address_of(peer).is_some_and(|address| self.has(now, BanKind::Address, &address.to_string()))
    }

    pub fn expire(&mut self, now: Instant) {
        for entries in &mut self.0 {
            entries.retain(|_, until| until.is_none_or(|until| now < until));
        }
    }
}

/// An IPv4 client of an IPv6 listener is known by its IPv4 address.
pub(super) fn address_of(peer: &str) -> Option<IpAddr> {
    Some(peer.parse::<SocketAddr>().ok()?.ip().to_canonical())
}

impl Shard {
    /// Bans, or changes how long a ban holds (`None`: for good), and closes the connections it is
    /// about with 0x8A.
    ///
    /// # Errors
    /// [`BanError`]; nothing has changed.
    pub fn ban(&mut self, now: Instant, kind: BanKind, text: &str, time: Option<Duration>) -> Result<(), BanError> {
        let text = normal(kind, text).ok_or(BanError::Invalid)?;
        if self.bans.len() >= self.options.max_bans {
            self.bans.expire(now);
        }
        let is_known = self.bans.0[kind as usize].contains_key(text.as_str());
        if !is_known && self.bans.len() >= self.options.max_bans {
            self.stats.bans_refused += 1;
            self.tell_quota("max_bans");
            return Err(BanError::Full);
        }
        let until = time.map(|time| now + time);
        self.bans.0[kind as usize].insert(text.as_str().into(), until);
        for key in self.connections.keys().collect::<Vec<_>>() {
            if self.is_about(key, kind, &text) {
                self.disconnect(now, key, Reason::BANNED, None);
            }
        }
        Ok(())
    }

    fn is_about(&self, key: ConnKey, kind: BanKind, text: &str) -> bool {
        let connection = &self.connections[key];
        let session = connection.session.and_then(|session| self.sessions.get(session));
        match kind {
            BanKind::ClientId => session.is_some_and(|session| &*session.client_id == text),
            BanKind::Username => session.is_some_and(|session| session.username.as_deref() == Some(text)),
            BanKind::Address => address_of(&connection.peer).is_some_and(|address| address.to_string() == text),
        }
    }

    /// Ends a ban. False: there was none.
    pub fn unban(&mut self, kind: BanKind, text: &str) -> bool {
        normal(kind, text).is_some_and(|text| self.bans.0[kind as usize].remove(text.as_str()).is_some())
    }

    /// The bans in force.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = Ban> + '_ {
        BanKind::ALL.into_iter().flat_map(move |kind| {
            let in_force = self.bans.0[kind as usize].iter().filter(move |(_, until)| until.is_none_or(|until| now < until));
            in_force.map(move |(text, until)| Ban { kind, text: text.to_string(), left: until.map(|until| until.since(now)) })
        })
    }

    /// A CONNECT that a ban is about.
    pub(super) fn is_banned(&mut self, now: Instant, key: ConnKey, connect: &Connect<'_>) -> bool {
        let banned = self.bans.has(now, BanKind::ClientId, connect.client_id)
            || connect.username.is_some_and(|name| self.bans.has(now, BanKind::Username, name))
            || self.bans.has_peer(now, &self.connections[key].peer);
        self.stats.connections_banned += u64::from(banned);
        banned
    }
}

fn normal(kind: BanKind, text: &str) -> Option<String> {
    match kind {
        BanKind::Address => Some(text.parse::<IpAddr>().ok()?.to_canonical().to_string()),
        // A longer one no client can have (§1.5.4).
        _ => Some(text.to_owned()).filter(|text| !text.is_empty() && text.len() <= 65_535),
    }
}
