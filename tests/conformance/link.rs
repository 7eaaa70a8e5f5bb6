//! A byte stream to the product: plain TCP, or WebSocket over TCP (RFC 6455,
//! as much of it as MQTT uses, and strict about that).

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What a read brought.
pub enum Arrival {
    Bytes,
    Closed,
    Silence,
}

/// One connection.
pub struct Link {
    stream: TcpStream,
    ws: Option<Ws>,
    /// MQTT bytes received and not yet consumed.
    pub inbox: Vec<u8>,
}

struct Ws {
    /// The judge is the WebSocket client: it masks, the product does not.
    masking: bool,
    raw: Vec<u8>,
}

impl Link {
    pub fn dial(address: SocketAddr, ws: bool) -> Result<Link, String> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(|error| format!("connect: {error}"))?;
        let mut link = Link::new(stream);
        if ws {
            // The key and its answer are the example of RFC 6455 §1.3.
            let request = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";
            link.write_raw(request.as_bytes());
            let head = link.read_head()?;
            expect_line(&head, "http/1.1 101")?;
            expect_line(&head, "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=")?;
            expect_line(&head, "sec-websocket-protocol: mqtt")?;
            let raw = std::mem::take(&mut link.inbox);
            link.ws = Some(Ws { masking: true, raw });
        }
        Ok(link)
    }

    /// Takes a connection from the client under test.
    pub fn accept(stream: TcpStream, ws: bool) -> Result<Link, String> {
        let mut link = Link::new(stream);
        if ws {
            let head = link.read_head()?;
            expect_line(&head, "get ")?;
            let offered = header(&head, "sec-websocket-protocol").unwrap_or_default();
            if !offered.split(',').any(|name| name.trim() == "mqtt") {
                return Err(format!("WebSocket protocols offered: {offered:?} (§6)"));
            }
            let key = header(&head, "sec-websocket-key").ok_or("no Sec-WebSocket-Key")?;
            let accept = base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()));
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            );
            link.write_raw(answer.as_bytes());
            let raw = std::mem::take(&mut link.inbox);
            link.ws = Some(Ws { masking: false, raw });
        }
        Ok(link)
    }

    fn new(stream: TcpStream) -> Link {
        // Rows are about order, so nothing may wait for Nagle.
        let _ = stream.set_nodelay(true);
        let _ = stream.set_nonblocking(false);
        Link { stream, ws: None, inbox: Vec::new() }
    }

    /// Sends MQTT bytes; on WebSocket as one frame, binary unless `text`. A
    /// failure shows at the next read, as it does for the product's peer.
    pub fn write(&mut self, bytes: &[u8], text: bool) {
        let masking = match &self.ws {
            None => return self.write_raw(bytes),
            Some(ws) => ws.masking,
        };
        let mut frame = vec![if text { 0x81 } else { 0x82 }];
        let mask_bit = if masking { 0x80 } else { 0 };
        if bytes.len() < 126 {
            frame.push(bytes.len() as u8 | mask_bit);
        } else if bytes.len() < 65_536 {
            frame.push(126 | mask_bit);
            frame.extend((bytes.len() as u16).to_be_bytes());
        } else {
            frame.push(127 | mask_bit);
            frame.extend((bytes.len() as u64).to_be_bytes());
        }
        if masking {
            let mask = [0x37, 0xfa, 0x21, 0x3d];
            frame.extend(mask);
            frame.extend(bytes.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]));
        } else {
            frame.extend(bytes);
        }
        self.write_raw(&frame);
    }

    fn write_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.set_write_timeout(Some(Duration::from_secs(5)));
        let _ = self.stream.write_all(bytes);
    }

    /// Waits for more bytes until `deadline`.
    pub fn read(&mut self, deadline: Instant) -> Result<Arrival, String> {
        loop {
            if let Some(arrival) = self.unwrap_frames()? {
                return Ok(arrival);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Arrival::Silence);
            }
            let _ = self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))));
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(Arrival::Closed),
                Ok(count) => match &mut self.ws {
                    None => {
                        self.inbox.extend_from_slice(&buffer[..count]);
                        return Ok(Arrival::Bytes);
                    }
                    Some(ws) => ws.raw.extend_from_slice(&buffer[..count]),
                },
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(Arrival::Silence),
                    ErrorKind::Interrupted => {}
                    // A reset is a close that was in a hurry.
                    _ => return Ok(Arrival::Closed),
                },
            }
        }
    }

    /// Moves the payload of one complete WebSocket frame into the inbox.
    fn unwrap_frames(&mut self) -> Result<Option<Arrival>, String> {
        let Some(ws) = &mut self.ws else {
            return Ok(None);
        };
        let raw = &ws.raw;
        if raw.len() < 2 {
            return Ok(None);
        }
        let masked = raw[1] & 0x80 != 0;
        if masked == ws.masking {
            return Err("WebSocket masking is the client's duty and only the client's".into());
        }
        let (mut at, short) = (2, usize::from(raw[1] & 0x7f));
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask_bytes = if masked { 4 } else { 0 };
        if raw.len() < at + wide + mask_bytes {
            return Ok(None);
        }
        let length = match wide {
            0 => short,
            _ => raw[at..at + wide].iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
        };
        at += wide;
        let mask = if masked { raw[at..at + 4].to_vec() } else { vec![0; 4] };
        at += mask_bytes;
        if raw.len() < at + length {
            return Ok(None);
        }
        let opcode = raw[0] & 0x0f;
        let payload: Vec<u8> = raw[at..at + length].iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
        ws.raw.drain(..at + length);
        match opcode {
            0 | 2 => {
                self.inbox.extend(payload);
                Ok(Some(Arrival::Bytes))
            }
            8 => Ok(Some(Arrival::Closed)),
            9 | 10 => self.unwrap_frames(),
            _ => Err(format!("WebSocket frame of type {opcode}, not binary (§6)")),
        }
    }

    fn read_head(&mut self) -> Result<String, String> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            if let Some(at) = self.inbox.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.inbox.drain(..at + 4).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            match self.read(deadline)? {
                Arrival::Bytes => {}
                _ => return Err("no WebSocket handshake".into()),
            }
        }
    }
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().filter_map(|line| line.split_once(':')).find(|pair| pair.0.eq_ignore_ascii_case(name)).map(|pair| pair.1.trim().to_string())
}

fn expect_line(head: &str, start: &str) -> Result<(), String> {
    if head.lines().any(|line| line.to_ascii_lowercase().starts_with(start)) {
        return Ok(());
    }
    Err(format!("WebSocket handshake without \"{start}\": {head}"))
}

/// SHA-1 (RFC 3174), for the handshake only.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut data = message.to_vec();
    data.push(0x80);
    while data.len() % 64 != 56 {
        data.push(0);
    }
    data.extend((message.len() as u64 * 8).to_be_bytes());
    for chunk in data.chunks(64) {
        let mut word = [0u32; 80];
        for (index, four) in chunk.chunks(4).enumerate() {
            word[index] = u32::from_be_bytes([four[0], four[1], four[2], four[3]]);
        }
        for t in 16..80 {
            word[t] = (word[t - 3] ^ word[t - 8] ^ word[t - 14] ^ word[t - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, value) in word.iter().enumerate() {
            let (f, k) = match t / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a.rotate_left(5).wrapping_add(f).wrapping_add(e).wrapping_add(k).wrapping_add(*value);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(add);
        }
    }
    let mut digest = [0; 20];
    for (four, word) in digest.chunks_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let sum = three.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte)) << (8 * (3 - three.len()));
        for index in 0..4 {
            if index <= three.len() {
                text.push(LETTERS[(sum >> (18 - 6 * index) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[test]
fn the_handshake_answer_is_that_of_rfc_6455() {
    let digest = sha1(b"dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    assert_eq!(base64(&digest), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}
