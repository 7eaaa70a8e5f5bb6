//! One client's session state (MQTT 5 §4.1): what survives its network connections.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use slotmap::{Key, KeyData};

use crate::base::{Charge, Duration, Instant};
use crate::codec::{Message, Qos, Version};
use crate::proto::{Receiver, Sender};
use crate::route::ShareId;
use crate::topic;

use super::connection::ConnKey;
use super::directory::{Directory, Name};
use super::mount::MountPoint;

/// A callback of an in-process subscription.
pub type Receive = Box<dyn FnMut(&Arc<Message>) + Send>;

slotmap::new_key_type! {
    /// Names a session of a shard; an old key finds nothing.
    pub struct SessionKey;
}

impl SessionKey {
    /// As the router and messages name it.
    pub(super) fn as_u64(self) -> u64 {
        self.data().as_ffi()
    }

    pub(super) fn from_u64(key: u64) -> Self {
        KeyData::from_ffi(key).into()
    }
}

/// The session of one client id, at one mount point or at none.
pub(super) struct Session {
    pub client_id: Arc<str>,
    /// What its messages call their publisher.
    pub publisher_number: u64,
    pub username: Option<Box<str>>,
    /// Of the last connection.
    pub version: Version,
    pub connection: Option<ConnKey>,
    /// Session Expiry Interval; `u32::MAX` = for ever (§3.1.2.11.2).
    pub expiry_s: u32,
    /// When the session ends; set while the client is away.
    pub expires: Option<Instant>,
    /// The earliest timer this session has in the wheel.
    pub timer: Option<Instant>,
    /// The filters; their options are the router's.
    pub subscriptions: BTreeSet<Box<str>>,
    /// What they cost, for the budget.
    pub subscriptions_bytes: usize,
    pub sender: Sender<Outgoing>,
    pub receiver: Receiver,
    pub queue: Queue,
    pub queue_bytes: usize,
    pub will: Option<Box<Will>>,
    /// In front of every topic of its client.
    pub mount: Option<Arc<MountPoint>>,
    /// In-process subscriber in place of a network client; boxed twice, because few sessions have one.
    pub local: Option<Box<Receive>>,
    pub charge: Charge,
}

/// A message on its way to one session.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub message: Arc<Message>,
    /// Already the minimum of publish and subscription.
    pub qos: Qos,
    pub retain: bool,
    pub subscription_ids: Box<[u32]>,
    pub share: Option<ShareId>,
    /// When it was first sent (shared subscriptions only look at it).
    pub sent: Instant,
}

/// Messages in order. An empty queue owns no memory, and takes little of a session.
#[derive(Default)]
pub(super) struct Queue(Option<Box<VecDeque<Outgoing>>>);

impl Queue {
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| queue.len())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub fn push_back(&mut self, outgoing: Outgoing) {
        self.0.get_or_insert_default().push_back(outgoing);
    }

    fn pop_front(&mut self) -> Option<Outgoing> {
        let queue = self.0.as_mut()?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.0 = None;
        }
        first
    }

    pub fn iter(&self) -> impl Iterator<Item = &Outgoing> {
        self.0.iter().flat_map(|queue| queue.iter())
    }

    /// Takes all out.
    pub fn drain(&mut self) -> impl Iterator<Item = Outgoing> + use<> {
        self.0.take().into_iter().flat_map(|queue| *queue)
    }

    fn memory_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |queue| size_of::<VecDeque<Outgoing>>() + queue.capacity() * size_of::<Outgoing>())
    }
}

/// What is published when the client goes without saying good-bye (§3.1.2.5).
#[derive(Debug)]
pub(super) struct Will {
    pub message: Arc<Message>,
    pub delay: Duration,
    pub expiry: Option<Duration>,
    /// Set while the client is away.
    pub due: Option<Instant>,
}

impl Outgoing {
    /// What it adds to the byte limit of a queue.
    pub fn queue_bytes(&self) -> usize {
        self.message.len_bytes()
    }
}

/// An entry of a table of sessions or connections beside its value.
pub(super) const SLOT_BYTES: usize = size_of::<u64>();
/// The two counters of a client id.
const CLIENT_ID_BYTES: usize = 2 * size_of::<usize>();

/// Its share of a node of the set of filters; nodes are half full when filters come sorted.
const FILTER_BYTES: usize = size_of::<Box<str>>() * 11 / 5;
/// The entry of a filter without wildcards in the router: name, audience, control byte.
const EXACT_BYTES: usize = (2 * size_of::<usize>() + 24 + 1) * 8 / 7;
/// One with wildcards: its audience, a node for each level, and for a level with a name an edge and the
/// name. The first levels are mostly those of other filters, too: half of the names are counted.
const AUDIENCE_BYTES: usize = 24;
const NODE_BYTES: usize = 16;
const NAME_BYTES: usize = (12 + 1) * 8 / 7 + (32 + 1) * 8 / 7;

/// What a subscription costs, here and in the router, if no other has the same filter.
fn subscription_bytes(filter: &str) -> usize {
    let in_router = match topic::has_wildcard(filter) {
        true => AUDIENCE_BYTES + topic::levels(filter).map(|_| NODE_BYTES + NAME_BYTES / 2).sum::<usize>(),
        false => EXACT_BYTES + filter.len(),
    };
    FILTER_BYTES + filter.len() + in_router
}

impl Session {
    /// What every session costs.
    pub fn own_bytes() -> usize {
        size_of::<Self>() + SLOT_BYTES + Directory::ENTRY_BYTES + CLIENT_ID_BYTES
    }

    /// What it is found by.
    pub fn name(&self) -> Name<'_> {
        Name { mount: self.mount.as_deref().map(MountPoint::as_str), client_id: &self.client_id }
    }

    /// Charges its tables as they are now. (A message is charged by itself.)
    pub fn recharge(&mut self) {
        let names = self.client_id.len() + self.username.as_ref().map_or(0, |name| name.len());
        let queue = self.queue.memory_bytes();
        let flights = self.sender.memory_bytes() + self.receiver.memory_bytes();
        let bytes = Self::own_bytes() + names + self.subscriptions_bytes + queue + flights;
        self.charge.resize(bytes);
    }

    /// Remembers a filter; false: it is known.
    pub fn add_filter(&mut self, filter: &str) -> bool {
        let is_new = self.subscriptions.insert(filter.into());
        if is_new {
            self.subscriptions_bytes += subscription_bytes(filter);
            self.recharge();
        }
        is_new
    }

    /// Forgets a filter; false: it was not known.
    pub fn remove_filter(&mut self, filter: &str) -> bool {
        let was_known = self.subscriptions.remove(filter);
        if was_known {
            self.subscriptions_bytes -= subscription_bytes(filter);
            self.recharge();
        }
        was_known
    }

    /// Messages that wait for room in the in-flight window, or for the client to come back.
    pub fn enqueue(&mut self, outgoing: Outgoing) {
        self.queue_bytes += outgoing.queue_bytes();
        let before = self.queue.memory_bytes();
        self.queue.push_back(outgoing);
        if self.queue.memory_bytes() != before {
            self.recharge();
        }
    }

    /// The oldest waiting message.
    pub fn dequeue(&mut self) -> Option<Outgoing> {
        let outgoing = self.queue.pop_front()?;
        self.queue_bytes -= outgoing.queue_bytes();
        if self.queue.is_empty() {
            self.recharge();
        }
        Some(outgoing)
    }

    /// A message larger than the whole limit still enters an empty queue: a limit counts what
    /// already waits.
    pub fn queue_is_full(&self, messages_max: usize, bytes_max: usize) -> bool {
        !self.queue.is_empty() && ((messages_max != 0 && self.queue.len() >= messages_max) || (bytes_max != 0 && self.queue_bytes >= bytes_max))
    }

    /// The session lives on when its connection ends.
    pub fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }
}
