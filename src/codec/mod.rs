//! MQTT bytes: one codec for 3.1, 3.1.1 and 5.0, the version an argument.
//!
//! ```text
//!   input bytes --frame::split--> Frame (fixed header checked, size limit applied)
//!               --decode--------> Packet<'a>, borrowed from the frame; what exists is legal
//!   Packet<'a>  --encode--------> appended to the caller's vector
//! ```
//! Nothing is allocated on the way in. A packet that breaks the standard is an [`Error`] that
//! knows its MQTT 5 reason code (§4.13).
