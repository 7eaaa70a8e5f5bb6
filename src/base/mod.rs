//! What every floor needs and nothing else knows about: integer time, a timer wheel, seeded
//! random numbers, the byte budget, levels, token buckets and the out-buffer.

mod bucket;
mod budget;
mod level;
mod maps;
mod outbuf;
mod process;
mod rng;
mod text;
mod time;
mod wheel;

pub use bucket::Bucket;
pub use budget::{Budget, BudgetStatistics, Charge};
pub use level::{Level, Seat};
pub use maps::{IdMap, IdSet, PeerMap, PeerSet, PeerState, peer_map, peer_set};
pub use outbuf::{Lender, OutBuffer, Piece};
pub use process::PeerProcess;
pub use rng::Rng;
pub use text::ShortText;
pub use time::{Duration, Instant, UnixTime};
pub use wheel::Wheel;
