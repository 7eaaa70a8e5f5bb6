//! Reliable UDP as a machine: no socket, no clock. `world` is the network.
#![cfg(feature = "rudp")]

mod bare;
mod behaviour;
mod bench;
mod first;
mod hostile;
mod stream;
mod vectors;
mod world;
