//! Reads `cases.tsv`.

use crate::frames::{self, Frame};

pub struct Case {
    pub name: String,
    pub frames: Vec<Frame>,
    /// Bytes a write.
    pub pieces: Option<usize>,
    /// Bytes in data frames before the end.
    pub data_bytes: usize,
    /// Control frames that must come: opcode, and what must be their payload's beginning; of a Close, its code.
    pub answers: Vec<(u8, Vec<u8>)>,
    pub is_left_open: bool,
}

/// A stream that is MQTT as well: CONNECT (3.1.1), then PINGREQ again and again.
pub fn stream(from: usize, to: usize) -> Vec<u8> {
    let byte = |index: usize| CONNECT.get(index).copied().unwrap_or(if (index + CONNECT.len()) % 2 == 0 { 0xc0 } else { 0 });
    (from..to).map(byte).collect()
}

pub const CONNECT: [u8; 15] = [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 0, 0, 1, b'w'];

/// One after the other: together they are large.
pub fn cases() -> impl Iterator<Item = Case> {
    let lines = include_str!("cases.tsv").lines().filter(|line| !line.starts_with('#'));
    assert!(lines.clone().count() > 190, "the table is there");
    lines.map(parse)
}

fn parse(line: &str) -> Case {
    let columns: Vec<&str> = line.split('\t').collect();
    let [case, what, send, pieces, expect] = columns[..] else { panic!("five columns: {line}") };
    let mut found =
        Case { name: format!("{case} {what}"), frames: Vec::new(), pieces: pieces.parse().ok(), data_bytes: 0, answers: Vec::new(), is_left_open: false };
    let mut streamed = 0;
    for token in send.split(' ') {
        send_token(token, &mut streamed, &mut found.frames);
    }
    for token in expect.split(' ') {
        let (token, times) = repeated(token);
        let answers = (0..times).map(|_| match token.split_once([':', '=']) {
            Some(("data", bytes)) => {
                found.data_bytes = bytes.parse().expect("a number");
                None
            }
            Some(("pong", _)) if token.contains('=') => Some((frames::PONG, hex(&token[5..]))),
            Some(("pong", bytes)) => Some((frames::PONG, pattern(bytes.parse().expect("a number")))),
            Some(("close", code)) => Some((frames::CLOSE, code.parse::<u16>().expect("a code").to_be_bytes().to_vec())),
            None if token == "close" => Some((frames::CLOSE, Vec::new())),
            None if token == "open" => {
                found.is_left_open = true;
                None
            }
            _ => panic!("{token}?"),
        });
        let answers: Vec<_> = answers.flatten().collect();
        found.answers.extend(answers);
    }
    found
}

fn repeated(token: &str) -> (&str, usize) {
    token.split_once('*').map_or((token, 1), |(token, times)| (token, times.parse().expect("a number")))
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| b'a' + (index % 26) as u8).collect()
}

fn send_token(token: &str, streamed: &mut usize, frames: &mut Vec<Frame>) {
    let (token, times) = repeated(token);
    let (head, value) = token.split_once([':', '=']).unwrap_or((token, "0"));
    let (head, fragment) = head.split_once('/').map_or((head, None), |(head, fragment)| (head, Some(fragment.parse::<usize>().expect("a number"))));
    let mut words = head.split('+');
    let kind = words.next().expect("a kind");
    let mut frame = Frame { opcode: opcode(kind), ..Frame::default() };
    for flag in words {
        match flag {
            "more" => frame.is_unfinished = true,
            "mask" => frame.is_mask_wrong = true,
            "len16" => frame.length_bytes = Some(2),
            "len64" => frame.length_bytes = Some(8),
            "top" => (frame.length_bytes, frame.is_top_bit_set) = (Some(8), true),
            rsv => frame.reserved = rsv.strip_prefix("rsv").and_then(|number| number.parse().ok()).expect(rsv),
        }
    }
    for _ in 0..times {
        if token.contains('=') {
            frames.push(Frame { payload: hex(value), ..frame.clone() });
        } else if frame.opcode == frames::CLOSE {
            frames.push(Frame { payload: close_body(token.contains(':'), value), ..frame.clone() });
        } else if frame.opcode >= 8 {
            frames.push(Frame { payload: pattern(value.parse().expect("a number")), ..frame.clone() });
        } else {
            let bytes: usize = value.parse().expect("a number");
            let payload = stream(*streamed, *streamed + bytes);
            *streamed += bytes;
            push_fragments(&frame, &payload, fragment.unwrap_or(usize::MAX), frames);
        }
    }
}

fn push_fragments(frame: &Frame, payload: &[u8], fragment: usize, frames: &mut Vec<Frame>) {
    let mut chunks = payload.chunks(fragment);
    let mut piece = chunks.next().unwrap_or_default();
    let mut opcode = frame.opcode;
    loop {
        let next = chunks.next();
        frames.push(Frame { opcode, is_unfinished: frame.is_unfinished || next.is_some(), payload: piece.to_vec(), ..frame.clone() });
        opcode = frames::CONTINUATION;
        match next {
            Some(next) => piece = next,
            None => return,
        }
    }
}

fn close_body(has_code: bool, value: &str) -> Vec<u8> {
    if !has_code {
        return Vec::new();
    }
    let (code, reason) = value.split_once(':').unwrap_or((value, "0"));
    let mut body = code.parse::<u16>().expect("a code").to_be_bytes().to_vec();
    body.extend(pattern(reason.parse().expect("a number")));
    body
}

fn opcode(kind: &str) -> u8 {
    match kind {
        "cont" => frames::CONTINUATION,
        "text" => frames::TEXT,
        "binary" => frames::BINARY,
        "close" => frames::CLOSE,
        "ping" => frames::PING,
        "pong" => frames::PONG,
        other => other.strip_prefix("op").and_then(|number| number.parse().ok()).expect(other),
    }
}
