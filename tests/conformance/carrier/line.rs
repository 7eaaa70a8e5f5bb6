//! The bytes of one connection between the judge, over TCP, and the product, over a transport; in both directions, with what has to wait.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use nlmqtt::base::OutBuffer;
use nlmqtt::stack::Stack;

/// Bytes that wait for one side before the other is not read any more.
pub const WAITING_MAX: usize = 64 << 10;
/// So long the judge may take to look at what came last.
const LINGER: Duration = Duration::from_secs(5);

/// The lowest part of the product's side: a stream of bytes that nobody waits for.
pub trait Wire {
    /// `None`: nothing now; `Some(0)`: it has ended.
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize>;
    /// Takes bytes to be sent; how many.
    fn give(&mut self, bytes: &[u8]) -> usize;
    /// No more is given.
    fn finish(&mut self);
}

/// One connection of the judge, and one of the transport. The end of one side is the end of the other.
pub struct Line {
    judge: TcpStream,
    stack: Option<Box<Stack>>,
    is_open: bool,
    /// From the judge to the product: plain, and as the machine takes it.
    plain: OutBuffer,
    up: Vec<u8>,
    judge_ended: bool,
    is_finished: bool,
    /// To the judge.
    down: Vec<u8>,
    product_ended: bool,
}

impl Line {
    pub fn new(judge: TcpStream, stack: Option<Box<Stack>>) -> Self {
        let (plain, up, down) = (OutBuffer::default(), Vec::new(), Vec::new());
        Self { judge, stack, is_open: false, plain, up, judge_ended: false, is_finished: false, down, product_ended: false }
    }

    /// The connection of the transport is there.
    pub fn opened(&mut self) {
        self.is_open = true;
        self.stack.iter_mut().for_each(|stack| drop(stack.begin()));
    }

    /// It is over; what came before is still the judge's.
    pub fn ended(&mut self, wire: &mut impl Wire, buffer: &mut [u8]) {
        self.lift(wire, buffer);
        self.product_ended = true;
    }

    /// Moves bytes as far as they go. True: the product has ended it, and the judge has got everything.
    pub fn turn(&mut self, wire: &mut impl Wire, buffer: &mut [u8]) -> bool {
        self.read_judge(buffer);
        self.lower(wire);
        self.lift(wire, buffer);
        // What a layer had to answer.
        self.lower(wire);
        self.write_judge();
        self.product_ended && self.down.is_empty()
    }

    /// The judge sees the end behind the last byte.
    pub fn end(self) -> TcpStream {
        // It may have gone already.
        let _ = self.judge.shutdown(Shutdown::Write);
        self.judge
    }

    fn read_judge(&mut self, buffer: &mut [u8]) {
        while !self.judge_ended && self.plain.len() < WAITING_MAX {
            match self.judge.read(buffer) {
                Ok(count) if count > 0 => self.plain.tail().extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.judge_ended = true,
            }
        }
    }

    /// Towards the product.
    fn lower(&mut self, to: &mut impl Wire) {
        if !self.is_open {
            return;
        }
        if self.up.len() < WAITING_MAX {
            match &mut self.stack {
                Some(stack) => {
                    let sealed = stack.seal(&self.plain);
                    self.plain.advance(sealed);
                    if self.judge_ended && self.plain.is_empty() {
                        stack.close();
                    }
                    let wire: Vec<u8> = stack.wire().slices().flatten().copied().collect();
                    stack.wrote(wire.len());
                    self.up.extend(wire);
                }
                None => {
                    let taken: Vec<u8> = self.plain.slices().flatten().copied().collect();
                    self.plain.advance(taken.len());
                    self.up.extend(taken);
                }
            }
        }
        let written = to.give(&self.up);
        self.up.drain(..written);
        if self.judge_ended && self.up.is_empty() && self.plain.is_empty() && !self.is_finished {
            self.is_finished = true;
            to.finish();
        }
    }

    /// Towards the judge.
    fn lift(&mut self, from: &mut impl Wire, buffer: &mut [u8]) {
        while !self.product_ended && self.down.len() < WAITING_MAX {
            let Some(count) = from.take(buffer) else { return };
            if count == 0 {
                self.product_ended = true;
                return;
            }
            let bytes = &buffer[..count];
            match &mut self.stack {
                None => self.down.extend(bytes),
                Some(stack) => match stack.open(bytes, &mut self.down) {
                    Ok(opened) => self.product_ended |= opened.is_ended,
                    Err(_) => self.product_ended = true,
                },
            }
        }
    }

    fn write_judge(&mut self) {
        while !self.down.is_empty() {
            match self.judge.write(&self.down) {
                Ok(count) => drop(self.down.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    (self.judge_ended, self.product_ended) = (true, true);
                    self.down.clear();
                }
            }
        }
    }
}

/// Keeps what has ended until the judge has looked at it; the stream is registered with the poll.
pub fn linger(mut judge: TcpStream, poll: &mut Poll) -> io::Result<()> {
    let (mut events, mut buffer) = (Events::with_capacity(8), [0; 4_096]);
    let end = Instant::now() + LINGER;
    while Instant::now() < end {
        match judge.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            Ok(_) => {}
            Err(_) => poll.poll(&mut events, Some(LINGER))?,
        }
    }
    Ok(())
}
