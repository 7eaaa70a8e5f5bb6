//! Frames of an open connection (RFC 6455 §5), both roles.
//!
//! Every rule is checked when the header of a frame is whole, before its payload has come. What
//! the peer sent before it broke a rule still counts: [`Opened::data`] may come together with
//! [`Opened::closed`]. After that nothing is opened any more.
//!
//! Two traits of the crate below are made up for here: it does not tell how a length was written,
//! so the bytes of a header are counted to see whether it took the shortest form; and its counter
//! of the mask's phase overflows, which is a panic in a debug build, for some pieces of payload whose
//! length is not a multiple of four, so pieces are cut to one.

use websocket_sans_io::{FrameInfo, Opcode, WebsocketFrameDecoder, WebsocketFrameEncoder, WebsocketFrameEvent};

use super::close::{self, CloseCode, Violation};
use crate::base::Rng;

/// While more than this waits to be sent, only the latest ping is remembered, as RFC 6455 §5.5.3
/// allows; it is answered when there is room again.
pub const HELD_BYTES_MAX: usize = 65_536;

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

/// What was in some bytes.
#[derive(Debug)]
pub struct Opened<'a> {
    /// Payload of data frames.
    pub data: &'a [u8],
    /// The end, behind `data`: send what `out` holds and close the stream.
    pub closed: Option<Closed>,
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
    /// The latest ping that was not answered.
    held_ping: Option<Box<[u8]>>,
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
            held_ping: None,
        }
    }

    /// Takes all of `input`, which is overwritten; answers are appended to `out`, which holds all
    /// that waits to be sent.
    pub fn open<'a>(&mut self, input: &'a mut [u8], out: &mut Vec<u8>) -> Opened<'a> {
        self.answer_held(out);
        let (mut start, mut length, mut at, mut closed) = (0, 0, 0, None);
        while !self.is_closed {
            let piece = self.piece(input.len() - at);
            let Ok(step) = self.decoder.add_data(&mut input[at..at + piece]);
            let taken = at..at + step.consumed_bytes;
            at = taken.end;
            let outcome = match step.event {
                None => {
                    self.header_bytes += taken.len() as u8;
                    if taken.is_empty() {
                        break;
                    }
                    Ok(None)
                }
                Some(WebsocketFrameEvent::Start { frame_info, .. }) => {
                    let header_bytes = core::mem::take(&mut self.header_bytes) + taken.len() as u8;
                    self.begin(&frame_info, header_bytes).map(|()| None)
                }
                Some(WebsocketFrameEvent::PayloadChunk { .. }) if self.frame.is_control() => {
                    self.payload_left -= taken.len() as u64;
                    self.control.extend_from_slice(&input[taken]);
                    Ok(None)
                }
                Some(WebsocketFrameEvent::PayloadChunk { .. }) => {
                    self.payload_left -= taken.len() as u64;
                    if length == 0 {
                        start = taken.start;
                    } else if start + length != taken.start {
                        input.copy_within(taken.clone(), start + length);
                    }
                    length += taken.len();
                    Ok(None)
                }
                Some(WebsocketFrameEvent::End { frame_info, .. }) => self.end(&frame_info, out),
            };
            closed = outcome.unwrap_or_else(|violation| {
                self.close(violation.code, violation.what, out);
                Some(Closed::ByViolation(violation))
            });
            self.is_closed = closed.is_some();
        }
        Opened { data: &input[start..start + length], closed }
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
            Opcode::Ping => {
                self.held_ping = Some(body.into_boxed_slice());
                self.answer_held(out);
            }
            _ => {}
        }
        Ok(None)
    }

    /// Answers the latest ping, if there is room.
    fn answer_held(&mut self, out: &mut Vec<u8>) {
        if out.len() >= HELD_BYTES_MAX || self.is_close_sent {
            return;
        }
        if let Some(body) = self.held_ping.take() {
            self.frame(Opcode::Pong, &body, out);
        }
    }

    /// Appends `data` as one binary frame; nothing for no bytes, and nothing behind a Close.
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.answer_held(out);
        if !data.is_empty() && !self.is_close_sent {
            self.frame(Opcode::Binary, data, out);
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
        let mask = (self.role == Role::Client).then(|| (self.rng.u64() as u32).to_ne_bytes());
        let mut encoder = WebsocketFrameEncoder::new();
        let info = FrameInfo { opcode, payload_length: payload.len() as u64, mask, fin: true, reserved: 0 };
        out.extend_from_slice(&encoder.start_frame(&info));
        let start = out.len();
        out.extend_from_slice(payload);
        encoder.transform_frame_payload(&mut out[start..]);
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
                from.seal(&data, &mut wire);
                sent.extend(data);
            }
            while !wire.is_empty() {
                let bound = [2, 9, 600, 65_536][rng.below(4) as usize];
                let count = (1 + rng.below(bound) as usize).min(wire.len());
                let mut piece: Vec<u8> = wire.drain(..count).collect();
                let opened = to.open(&mut piece, &mut answers);
                assert_eq!(opened.closed, None);
                seen.extend_from_slice(opened.data);
            }
            assert!(seen == sent && answers.is_empty(), "round {round}");
        }
    }

    #[test]
    fn a_seed_repeats_the_masks() {
        let sealed = || {
            let mut out = Vec::new();
            pair().0.seal(b"hello", &mut out);
            out
        };
        assert_eq!(sealed(), sealed());
        assert_ne!(&sealed()[6..], b"hello");
    }

    #[test]
    fn while_much_waits_only_the_latest_ping_is_answered() {
        let (_, mut server) = pair();
        let ping = |body: u8| [0x89, 0x81, 0, 0, 0, 0, body];
        let mut out = vec![0; HELD_BYTES_MAX];
        for body in 0..200 {
            server.open(&mut ping(body), &mut out);
        }
        assert_eq!(out.len(), HELD_BYTES_MAX);
        out.clear();
        server.open(&mut [], &mut out);
        assert_eq!(out, [0x8a, 1, 199]);
    }

    #[test]
    fn a_close_is_sent_once_and_nothing_behind_it() {
        let (mut client, mut server) = pair();
        let (mut out, mut answer) = (Vec::new(), Vec::new());
        server.close(CloseCode::GOING_AWAY, &"\u{e9}".repeat(100), &mut out);
        server.close(CloseCode::NORMAL, "", &mut out);
        server.seal(b"late", &mut out);
        assert_eq!((out.len(), &out[..4]), (2 + 2 + 122, &[0x88, 124, 0x03, 0xe9][..]));
        assert_eq!(client.open(&mut out, &mut answer).closed, Some(Closed::ByPeer(Some(CloseCode::GOING_AWAY))));
        assert_eq!(answer.len(), 2 + 4 + 2);
        out.clear();
        assert_eq!(server.open(&mut answer, &mut out).closed, Some(Closed::ByPeer(Some(CloseCode::GOING_AWAY))));
        assert!(out.is_empty(), "an answer was not answered");
    }

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<WebSocket>() <= 128, "{}", size_of::<WebSocket>());
    }
}
