//! The vectors of `src/stack/rudp/WIRE.md`: what is in the files is what this implementation reads and writes.
//!
//! `UPDATE_VECTORS=1` writes the dialogue anew.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use nlmqtt::base::{Duration, Instant};
use nlmqtt::stack::DatagramEvent as Event;
use nlmqtt::stack::rudp::Options;
use nlmqtt::stack::rudp::frame::{AckBlock, Data, Frame, One};

use crate::first::{Table, hex};
use crate::world::{CLIENT, HELLO, SERVER, Way, World};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rudp/vectors").join(name)
}

fn lines(name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{}: {error}", path(name).display()));
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn block(block: &AckBlock) -> String {
    format!("largest={} bitmap={:016x} delay={} next={} limit={}", block.largest, block.bitmap, block.delay_ms, block.next, block.limit)
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A frame in the words of the files.
fn words(frame: &Frame<'_>) -> String {
    match frame {
        Frame::One(One::Data { sequence, payload }) => format!("1 DATA sequence={sequence} payload={}", to_hex(payload)),
        Frame::One(One::Ack { sequence }) => format!("1 ACK sequence={sequence}"),
        Frame::One(One::Connect) => "1 CONNECT".to_owned(),
        Frame::One(One::Connack) => "1 CONNACK".to_owned(),
        Frame::One(One::Close) => "1 CLOSE".to_owned(),
        Frame::Connect(hello) | Frame::Connack { hello, .. } => {
            let name = match frame {
                Frame::Connack { exists: true, .. } => "CONNACK exists",
                Frame::Connack { .. } => "CONNACK",
                _ => "CONNECT",
            };
            format!(
                "2 {name} receiver={:016x} sender={:016x} version={} features={} frame={} limit={} idle={} token={:016x}",
                hello.receiver, hello.sender, hello.version, hello.features, hello.frame_bytes_max, hello.limit, hello.idle_s, hello.token
            )
        }
        Frame::Data(Data { id, number, offset, answer_at_once, ack, bytes }) => {
            let ack = ack.as_ref().map_or_else(String::new, |ack| format!(" ack[{}]", block(ack)));
            let at_once = if *answer_at_once { " at_once" } else { "" };
            format!("2 DATA receiver={id:016x} number={number} offset={offset}{at_once}{ack} bytes={}", to_hex(bytes))
        }
        Frame::Ack { id, block: acked } => format!("2 ACK receiver={id:016x} {}", block(acked)),
        Frame::Close(close) => {
            let answer = if close.is_answer { " answer" } else { "" };
            format!("2 CLOSE{answer} receiver={:016x} reason={} offset={}", close.id, close.reason, close.offset)
        }
        Frame::Ping { id, opaque, is_answer } => format!("2 {} receiver={id:016x} opaque={opaque:016x}", if *is_answer { "PONG" } else { "PING" }),
        Frame::Reset { id, token } => format!("2 RESET receiver={id:016x} token={token:016x}"),
    }
}

#[test]
fn the_frames_of_the_vectors_are_read_and_written() {
    let rows = lines("frames.tsv");
    assert!(rows.len() >= 24, "{} rows", rows.len());
    for row in &rows {
        let bytes = hex(&row[0]);
        match row[1].strip_prefix("dropped ") {
            Some(flaw) => assert_eq!(Frame::read(&bytes).map_err(|flaw| format!("{flaw:?}").to_lowercase()).err().as_deref(), Some(flaw), "{}", row[0]),
            None => {
                let frame = Frame::read(&bytes).unwrap_or_else(|flaw| panic!("{}: {flaw:?}", row[0]));
                assert_eq!(words(&frame), row[1]);
                let mut written = Vec::new();
                frame.write(&mut written);
                assert_eq!(to_hex(&written), to_hex(&bytes));
            }
        }
    }
}

#[test]
fn what_arrives_is_acknowledged_as_the_vectors_say() {
    for row in lines("acks.tsv") {
        let mut table = Table::new(&Options::default(), true);
        let hello = nlmqtt::stack::rudp::frame::Hello { sender: 7, version: 2, frame_bytes_max: 1_200, limit: 16_384, idle_s: 120, ..Default::default() };
        let written = |frame: Frame<'_>| {
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            bytes
        };
        let answers = table.comes(&written(Frame::Connect(hello)));
        let Ok(Frame::Connack { hello: answer, .. }) = Frame::read(&answers[0]) else { panic!("a CONNACK") };
        let id = answer.sender;
        table.comes(&written(Frame::Connect(nlmqtt::stack::rudp::frame::Hello { receiver: id, ..hello })));
        let mut answers = Vec::new();
        for frame in row[0].split(' ') {
            let numbers: Vec<u32> = frame.split([':', '+']).map(|number| number.parse().expect("a number")).collect();
            let bytes = vec![0; numbers[2] as usize];
            answers.extend(table.comes(&written(Frame::Data(Data {
                id,
                number: numbers[0],
                offset: numbers[1],
                answer_at_once: false,
                ack: None,
                bytes: &bytes,
            }))));
        }
        answers.extend(table.after(Duration::from_millis(25)));
        let Ok(Frame::Ack { block: last, .. }) = Frame::read(answers.last().expect("an answer")) else { panic!("an ACK") };
        assert_eq!(format!("largest={} bitmap={:x} next={}", last.largest, last.bitmap, last.next), row[1], "{}", row[0]);
    }
}

/// A whole connection, one of whose frames is lost each way, as it is in `dialogue.tsv`.
fn dialogue() -> String {
    let mut world = World::new(2026, Way::default(), [&Options::default(), &Options::default()]);
    let (start, text) = (world.now, Rc::new(RefCell::new(String::new())));
    let clock = Rc::new(RefCell::new(world.now));
    let (tape, time, mut count) = (Rc::clone(&text), Rc::clone(&clock), [0; 2]);
    world.tap = Some(Box::new(move |side, datagram| {
        count[side] += 1;
        let is_lost = count[side] == 5;
        let at: Instant = *time.borrow();
        let words = Frame::read(datagram).map(|frame| words(&frame)).unwrap_or_default();
        let (way, lost) = (["C->L", "L->C"][side], if is_lost { "lost" } else { "" });
        let _ = writeln!(tape.borrow_mut(), "{}\t{way}\t{lost}\t{}\t{words}", at.since(start).as_millis(), to_hex(datagram));
        !is_lost
    }));
    let run = |world: &mut World, millis: u64| {
        for _ in 0..millis {
            *clock.borrow_mut() = world.now;
            world.run(Duration::from_millis(1));
        }
    };
    let client = world.connect();
    run(&mut world, 60);
    world.write(CLIENT, client, HELLO);
    run(&mut world, 40);
    let (server, _) = world.wait(SERVER, |event| matches!(event, Event::Accepted { .. }));
    let mut buffer = [0; 100];
    world.read(SERVER, server, &mut buffer);
    world.write(SERVER, server, &[0x20, 2, 0, 0]);
    run(&mut world, 60);
    for tag in 0..3 {
        world.write(CLIENT, client, &[0x30, 5, 0, 1, b't', b'0' + tag, tag]);
        run(&mut world, 10);
    }
    world.write(SERVER, server, &[0xD0, 0]);
    run(&mut world, 400);
    world.finish(CLIENT, client);
    run(&mut world, 200);
    assert!(world.endpoints.iter().all(|endpoint| endpoint.counters().malformed == 0));
    text.take()
}

#[test]
fn the_dialogue_of_the_vectors_is_what_is_spoken() {
    let spoken = dialogue();
    let file = path("dialogue.tsv");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        let head =
            "# A whole connection; the fifth datagram of each side is lost. Made by UPDATE_VECTORS=1 cargo test --test rudp.\n# ms\tway\tlost\tbytes\tframe\n";
        fs::write(&file, format!("{head}{spoken}")).expect("it can be written");
    }
    let rows = lines("dialogue.tsv").iter().map(|row| row.join("\t") + "\n").collect::<String>();
    assert_eq!(rows, spoken, "UPDATE_VECTORS=1 writes it anew");
}

/// The dialogue as a capture of tcpdump: a header, then datagrams behind headers of IPv4 and UDP.
fn capture() -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        out.extend(word.to_le_bytes());
    }
    for row in lines("dialogue.tsv") {
        let (payload, millis) = (hex(&row[3]), row[0].parse::<u32>().expect("a number"));
        let (from, to): (u16, u16) = if row[1] == "C->L" { (50_000, 14_567) } else { (14_567, 50_000) };
        let length = payload.len() as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((28 + length).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        for half in [from, to, 8 + length, 0] {
            packet.extend(half.to_be_bytes());
        }
        packet.extend(payload);
        for word in [millis / 1_000, millis % 1_000 * 1_000, packet.len() as u32, packet.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(packet);
    }
    out
}

#[test]
fn a_reader_written_from_the_document_reads_the_same() {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/interop/rudp_dissect.py");
    let run = |arguments: &[&str]| std::process::Command::new("python3").arg("-B").arg(&script).args(arguments).output();
    for name in ["frames.tsv", "dialogue.tsv"] {
        let told = run(&["--vectors", &path(name).to_string_lossy()]).expect("python3 is there");
        assert!(told.status.success(), "{name}: {}", String::from_utf8_lossy(&told.stderr));
    }
    let file = std::env::temp_dir().join(format!("nlmqtt-rudp-{}.pcap", std::process::id()));
    fs::write(&file, capture()).expect("written");
    let told = run(&[&file.to_string_lossy()]).expect("it runs");
    fs::remove_file(&file).expect("removed");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let rows = lines("dialogue.tsv");
    assert_eq!(text.lines().count(), rows.len(), "{}", String::from_utf8_lossy(&told.stderr));
    for (line, row) in text.lines().zip(&rows) {
        assert!(line.ends_with(&format!(": {}", row[4])), "{line}");
    }
}
