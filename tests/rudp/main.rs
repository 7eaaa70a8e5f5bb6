//! Reliable UDP as a machine: no socket, no clock. `world` is the network.
#![cfg(feature = "rudp")]

mod first;
mod stream;
mod world;
