//! What a server says about itself and lets be done to it, as text: metrics, and control by JSON.
//! Pure: text in, text out, against a [`Shard`](crate::broker::Shard).

#[cfg(feature = "json")]
mod control;
mod metrics;

#[cfg(feature = "json")]
pub use control::{ControlError, Scope, clients_of_all, control, scope, statistics_of_all};
pub use metrics::{metrics_json, metrics_prometheus};
