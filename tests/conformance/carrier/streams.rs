//! Connections over TCP with layers: TLS, WebSocket, both.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nlmqtt::base::Budget;
use nlmqtt::stack::{Ends, Recipe, Stack};

use super::line::{Line, WAITING_MAX, Wire, linger};

impl Wire for TcpStream {
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.read(buffer) {
            Ok(count) => Some(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    fn give(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        match self.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // It has ended, which is seen in what is taken.
            Err(_) => bytes.len(),
        }
    }

    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// From the judge to the broker, until both have ended.
pub fn carry_out(judge: TcpStream, broker: SocketAddr, recipe: &Recipe, seed: u64) -> io::Result<()> {
    let product = TcpStream::connect(broker)?;
    let ends = Ends { host: "127.0.0.1", port: broker.port(), seed, ..Ends::default() };
    carry(judge, product, recipe.stack(&Budget::new(usize::MAX), &ends).map_err(io::Error::other)?)
}

/// From clients that come to the answered address, to the judge, as long as the process lives.
pub fn carry_in(recipe: Recipe, judge: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for (number, product) in listener.incoming().flatten().enumerate() {
            let ends = Ends { source: product.peer_addr().ok(), seed: number as u64, ..Ends::default() };
            let stack = recipe.stack(&Budget::new(usize::MAX), &ends);
            // The row may be over. What fails is the end of both connections, and the judge sees it.
            std::thread::spawn(move || carry(TcpStream::connect(judge)?, product, stack.map_err(io::Error::other)?));
        }
    });
    Ok(address)
}

fn carry(judge: TcpStream, mut product: TcpStream, stack: Option<Box<Stack>>) -> io::Result<()> {
    let (mut poll, mut events, mut buffer) = (Poll::new()?, Events::with_capacity(8), vec![0; WAITING_MAX]);
    for stream in [&judge, &product] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // Both are looked at whenever something happens.
        poll.registry().register(&mut SourceFd(&stream.as_raw_fd()), Token(0), Interest::READABLE | Interest::WRITABLE)?;
    }
    let mut line = Line::new(judge, stack);
    line.opened();
    while !line.turn(&mut product, &mut buffer) {
        poll.poll(&mut events, None).or_else(|error| if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) })?;
    }
    drop(product);
    linger(line.end(), &mut poll)
}
