//! What every floor needs and nothing else knows about: integer time, a timer wheel, seeded
//! random numbers, the byte budget, levels and the out-buffer.

mod budget;
mod level;
mod maps;
mod outbuf;
mod rng;
mod text;
mod time;
mod wheel;

pub use budget::{Budget, BudgetStatistics, Charge};
pub use level::{Level, Seat};
pub use maps::{IdMap, IdSet, PeerMap, PeerSet, peer_map, peer_set};
pub use outbuf::OutBuffer;
pub use rng::Rng;
pub use text::ShortText;
pub use time::{Duration, Instant, UnixTime};
pub use wheel::Wheel;
