//! A running server takes a new configuration.

use super::Server;
use crate::config::ServerConfig;
use crate::net::{Endpoint, Error, ListenerOptions, Underlay};

/// Where a server listens: what was asked for, and what it is.
pub type Listening = (ListenerOptions, Endpoint);

/// One difference between the old configuration and the new one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A key, or a listener that was opened, closed or has other rules.
    Applied(String),
    /// A key that takes effect in a new server only.
    NeedsRestart(String),
    /// A listener that could not be opened, and why.
    Failed(String),
}

/// Other rules for the same socket: who waits to be accepted need not be turned away. QUIC has another machine on it than what else goes over UDP.
fn is_same_socket(one: &ListenerOptions, other: &ListenerOptions) -> bool {
    let is_quic = |options: &ListenerOptions| options.transport.underlay == Underlay::Quic;
    one.endpoint == other.endpoint && one.socket == other.socket && is_quic(one) == is_quic(other)
}

impl Server {
    /// Takes what can change while it runs. `config` and `listening` become what is in force: what
    /// could not be opened is not in them, so that the next reload tries it again. Listeners that
    /// no configuration asked for stay.
    ///
    /// # Errors
    /// As [`Runtime::request`](crate::net::Runtime::request).
    pub fn take_config(&self, config: &mut ServerConfig, listening: &mut Vec<Listening>, new: &ServerConfig) -> Result<Vec<Change>, Error> {
        let diff = config.diff(new);
        config.apply(new);
        config.listeners.clone_from(&new.listeners);
        self.reload(config.options_in_force())?;
        let mut changes: Vec<Change> = diff.live.iter().map(|key| Change::Applied((*key).to_owned())).collect();
        changes.extend(diff.restart.iter().map(|key| Change::NeedsRestart((*key).to_owned())));
        let (removed, kept) = core::mem::take(listening).into_iter().partition::<Vec<_>, _>(|(options, _)| diff.listeners_removed.contains(options));
        *listening = kept;
        // Whom a listener lets in may follow from an option that has changed, and its files may be others by now. What
        // cannot be used changes nothing.
        for (options, address) in listening.iter() {
            match self.change_listener(address.clone(), config.listener_in_force(options)) {
                Err(Error::Invalid(why)) => changes.push(Change::Failed(format!("listener {address}: {why}"))),
                other => drop(other?),
            }
        }
        let mut added = diff.listeners_added;
        for (options, address) in removed {
            if let Some(index) = added.iter().position(|other| is_same_socket(other, &options)) {
                let other = added.remove(index);
                let in_force = match self.change_listener(address.clone(), config.listener_in_force(&other)) {
                    Err(Error::Invalid(why)) => {
                        changes.push(Change::Failed(format!("listener {address}: {why}")));
                        config.listeners.push(options.clone());
                        options
                    }
                    changed => {
                        changed?;
                        changes.push(Change::Applied(format!("listener {address} changed")));
                        other
                    }
                };
                // The same socket, perhaps under another scheme.
                let address = address.socket_address().map_or(address, |bound| Endpoint::of(bound, in_force.transport));
                listening.push((in_force, address));
                continue;
            }
            changes.push(Change::Applied(format!("listener {address} closed")));
            self.remove_listener(address)?;
        }
        for options in &added {
            match self.add_listener(config.listener_in_force(options)) {
                Ok(address) => {
                    changes.push(Change::Applied(format!("listener {address} opened")));
                    listening.push((options.clone(), address));
                }
                Err(error) => changes.push(Change::Failed(format!("listener {}: {error}", options.endpoint))),
            }
        }
        config.listeners.retain(|wanted| listening.iter().any(|(open, _)| open == wanted));
        Ok(changes)
    }
}
