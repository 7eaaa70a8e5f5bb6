//! Frames of an open connection (RFC 6455 §5), both roles.
//!
//! Every rule is checked when the header of a frame is whole, before its payload has come. What
//! the peer sent before it broke a rule, or said good-bye, still counts; after that nothing is
//! opened any more. Each ping is answered: a peer is not read while it does not take its answers.
//!
//! Two traits of the crate below are made up for here: it does not tell how a length was written,
//! so the bytes of a header are counted to see whether it took the shortest form; and its counter
//! of the mask's phase overflows, which is a panic in a debug build, for some pieces of payload whose
//! length is not a multiple of four, so pieces are cut to one.

use std::io::IoSlice;

use websocket_sans_io::{FrameInfo, Opcode, WebsocketFrameDecoder, WebsocketFrameEncoder, WebsocketFrameEvent};

use super::close::{self, CloseCode, Violation};
use crate::base::Rng;

/// The longest payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Who we are: a client masks what it sends, a server does not (RFC 6455 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Role {
    Client,
    Server,
}

/// Why nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer sent a Close, with this code; it was answered.
    ByPeer(Option<CloseCode>),
    /// The peer broke a rule; a Close says so.
    ByViolation(Violation),
}

/// A connection behind its handshake.
#[derive(Debug)]
pub struct WebSocket {
    role: Role,
    decoder: WebsocketFrameDecoder,
    rng: Rng,
    /// Bytes of the frame header that is coming.
    header_bytes: u8,
    /// The frame whose payload is coming.
    frame: Opcode,
    /// What of it has not come.
    payload_left: u64,
    /// A message was begun and not finished.
    is_in_message: bool,
    is_close_sent: bool,
    is_closed: bool,
    /// Payload of the control frame that is coming.
    control: Vec<u8>,
}

impl WebSocket {
    /// The handshake is done. `rng` gives the masks of a client.
    pub fn new(role: Role, rng: Rng) -> Self {
        Self {
            role,
            decoder: WebsocketFrameDecoder::new(),
            rng,
            header_bytes: 0,
            frame: Opcode::Binary,
            payload_left: 0,
            is_in_message: false,
            is_close_sent: false,
            is_closed: false,
            control: Vec::new(),
        }
    }

    /// Takes all of `bytes`. The payload of data frames is appended to `data`, answers to `out`.
    /// `Some`: the end, behind `data`; send what `out` holds and close the stream.
    pub fn open(&mut self, bytes: &[u8], data: &mut Vec<u8>, out: &mut Vec<u8>) -> Option<Closed> {
        // Payload is unmasked where it lies, and moved up over the headers before it.
        let (mut end, mut at) = (data.len(), data.len());
        data.extend_from_slice(bytes);
        let mut closed = None;
        while !self.is_closed {
            let piece = self.piece(data.len() - at);
            let Ok(step) = self.decoder.add_data(&mut data[at..at + piece]);
            let taken = at..at + step.consumed_bytes;
            at = taken.end;
            let outcome = match step.event {
                None if taken.is_empty() => break,
                None => {
                    self.header_bytes += taken.len() as u8;
                    continue;
                }
                Some(WebsocketFrameEvent::Start { frame_info, .. }) => {
                    let header_bytes = core::mem::take(&mut self.header_bytes) + taken.len() as u8;
                    self.begin(&frame_info, header_bytes).map(|()| None)
                }
                Some(WebsocketFrameEvent::PayloadChunk { .. }) => {
                    self.payload_left -= taken.len() as u64;
                    if self.frame.is_control() {
                        self.control.extend_from_slice(&data[taken]);
                    } else {
                        let length = taken.len();
                        data.copy_within(taken, end);
                        end += length;
                    }
                    continue;
                }
                Some(WebsocketFrameEvent::End { frame_info, .. }) => self.end(&frame_info, out),
            };
            closed = outcome.unwrap_or_else(|violation| {
                self.close(violation.code, violation.what, out);
                Some(Closed::ByViolation(violation))
            });
            self.is_closed = closed.is_some();
        }
        data.truncate(end);
        closed
    }

    /// The rules for a frame by itself (§5.2, §5.5) and in its place (§5.4).
    fn begin(&mut self, frame: &FrameInfo, header_bytes: u8) -> Result<(), Violation> {
        let fail = |what| Err(Violation::protocol(what));
        let width = header_bytes - 2 - if frame.mask.is_some() { 4 } else { 0 };
        let needed = match frame.payload_length {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        match frame.opcode {
            _ if frame.reserved != 0 => return fail("a reserved bit is set"),
            _ if frame.mask.is_none() && self.role == Role::Server => return fail("a frame of a client without mask"),
            _ if frame.mask.is_some() && self.role == Role::Client => return fail("a masked frame of a server"),
            _ if frame.payload_length >> 63 != 0 => return fail("the top bit of a length is set"),
            _ if width != needed => return fail("a length longer than it needs to be"),
            Opcode::Continuation if !self.is_in_message => return fail("a continuation of nothing"),
            Opcode::Text | Opcode::Binary if self.is_in_message => return fail("a message begins inside another one"),
            Opcode::Text => return Err(Violation { code: CloseCode::UNSUPPORTED_DATA, what: "a text message; MQTT is binary" }),
            Opcode::Continuation | Opcode::Binary => self.is_in_message = !frame.fin,
            Opcode::ConnectionClose | Opcode::Ping | Opcode::Pong if !frame.fin => return fail("a fragmented control frame"),
            Opcode::ConnectionClose | Opcode::Ping | Opcode::Pong if frame.payload_length > CONTROL_BYTES_MAX as u64 => {
                return fail("a control frame of more than 125 bytes");
            }
            Opcode::ConnectionClose | Opcode::Ping | Opcode::Pong => {}
            _ => return fail("a reserved opcode"),
        }
        self.frame = frame.opcode;
        self.payload_left = frame.payload_length;
        Ok(())
    }

    /// How many of the `rest` bytes that are there the decoder gets at once.
    fn piece(&self, rest: usize) -> usize {
        match usize::try_from(self.payload_left).unwrap_or(usize::MAX).min(rest) {
            0 => rest,
            payload @ 1..=3 => payload,
            payload => payload - payload % 4,
        }
    }

    fn end(&mut self, frame: &FrameInfo, out: &mut Vec<u8>) -> Result<Option<Closed>, Violation> {
        if frame.opcode.is_data() {
            return Ok(None);
        }
        // Given back at once: an idle connection holds nothing.
        let body = core::mem::take(&mut self.control);
        match frame.opcode {
            Opcode::ConnectionClose => {
                let code = close::parse(&body)?;
                self.send_close(&body[..body.len().min(2)], out);
                return Ok(Some(Closed::ByPeer(code)));
            }
            Opcode::Ping if !self.is_close_sent => self.frame(Opcode::Pong, &body, out),
            _ => {}
        }
        Ok(None)
    }

    /// Appends `data` as one binary frame; nothing for no bytes, and nothing behind a Close.
    pub fn seal(&mut self, data: &[IoSlice<'_>], out: &mut Vec<u8>) {
        let length: usize = data.iter().map(|slice| slice.len()).sum();
        if length == 0 || self.is_close_sent {
            return;
        }
        let mut encoder = self.head(Opcode::Binary, length, out);
        for slice in data {
            let start = out.len();
            out.extend_from_slice(slice);
            encoder.transform_frame_payload(&mut out[start..]);
        }
    }

    /// Appends a Close, once. `reason` is cut to what fits.
    pub fn close(&mut self, code: CloseCode, reason: &str, out: &mut Vec<u8>) {
        let mut body = code.0.to_be_bytes().to_vec();
        let fitting = (0..=reason.len().min(CONTROL_BYTES_MAX - 2)).rev().find(|&end| reason.is_char_boundary(end));
        body.extend_from_slice(reason[..fitting.unwrap_or_default()].as_bytes());
        self.send_close(&body, out);
    }

    fn send_close(&mut self, body: &[u8], out: &mut Vec<u8>) {
        if !core::mem::replace(&mut self.is_close_sent, true) {
            self.frame(Opcode::ConnectionClose, body, out);
        }
    }

    fn frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
        let mut encoder = self.head(opcode, payload.len(), out);
        let start = out.len();
        out.extend_from_slice(payload);
        encoder.transform_frame_payload(&mut out[start..]);
    }

    /// Appends the header of a frame; the answer masks its payload.
    fn head(&mut self, opcode: Opcode, payload_bytes: usize, out: &mut Vec<u8>) -> WebsocketFrameEncoder {
        let mask = (self.role == Role::Client).then(|| (self.rng.u64() as u32).to_ne_bytes());
        let mut encoder = WebsocketFrameEncoder::new();
        let info = FrameInfo { opcode, payload_length: payload_bytes as u64, mask, fin: true, reserved: 0 };
        out.extend_from_slice(&encoder.start_frame(&info));
        encoder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (WebSocket, WebSocket) {
        (WebSocket::new(Role::Client, Rng::with_seed(1)), WebSocket::new(Role::Server, Rng::with_seed(2)))
    }

    #[test]
    fn bytes_come_through_in_any_frames_cut_anywhere() {
        let mut rng = Rng::with_seed(7);
        for round in 0..300_u32 {
            let (client, server) = pair();
            let (mut from, mut to) = if round % 2 == 0 { (client, server) } else { (server, client) };
            let (mut wire, mut sent, mut seen, mut answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for _ in 0..rng.below(20) {
                let bound = [10, 300, 70_000][rng.below(3) as usize];
                let data: Vec<u8> = (0..rng.below(bound)).map(|_| rng.u64() as u8).collect();
                let (left, right) = data.split_at(rng.below(data.len() as u64 + 1) as usize);
                from.seal(&[IoSlice::new(left), IoSlice::new(right)], &mut wire);
                sent.extend(data);
            }
            while !wire.is_empty() {
                let bound = [2, 9, 600, 65_536][rng.below(4) as usize];
                let count = (1 + rng.below(bound) as usize).min(wire.len());
                let piece: Vec<u8> = wire.drain(..count).collect();
                assert_eq!(to.open(&piece, &mut seen, &mut answers), None);
            }
            assert!(seen == sent && answers.is_empty(), "round {round}");
        }
    }

    #[test]
    fn a_seed_repeats_the_masks() {
        let sealed = || {
            let mut out = Vec::new();
            pair().0.seal(&[IoSlice::new(b"hello")], &mut out);
            out
        };
        assert_eq!(sealed(), sealed());
        assert_ne!(&sealed()[6..], b"hello");
    }

    #[test]
    fn a_close_is_sent_once_and_nothing_behind_it() {
        let (mut client, mut server) = pair();
        let (mut out, mut answer) = (Vec::new(), Vec::new());
        let going_away = CloseCode(1001);
        server.close(going_away, &"\u{e9}".repeat(100), &mut out);
        server.close(CloseCode::NORMAL, "", &mut out);
        server.seal(&[IoSlice::new(b"late")], &mut out);
        assert_eq!((out.len(), &out[..4]), (2 + 2 + 122, &[0x88, 124, 0x03, 0xe9][..]));
        assert_eq!(client.open(&out, &mut Vec::new(), &mut answer), Some(Closed::ByPeer(Some(going_away))));
        assert_eq!(answer.len(), 2 + 4 + 2);
        out.clear();
        assert_eq!(server.open(&answer, &mut Vec::new(), &mut out), Some(Closed::ByPeer(Some(going_away))));
        assert!(out.is_empty(), "an answer was not answered");
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<WebSocket>() <= 128, "{}", size_of::<WebSocket>());
    }
}
