//! UDP sockets among the other sockets of a worker.

use std::io;
use std::sync::Arc;

use mio::Interest;
use socket2::Socket;

use super::{DialPlan, bind};
use crate::base::Charge;
use crate::net::mio::MioNet;
use crate::net::places::Slot;
use crate::net::{DialOptions, Endpoint, LinkId, ListenerId, Net, SocketOptions, UdpPlace};
use crate::stack::{About, Birth, DatagramLimits, DatagramWatch, MakeDatagrams};

impl MioNet {
    fn insert_udp(&mut self, socket: &Socket) -> io::Result<u32> {
        let index = self.register(socket, Interest::READABLE | Interest::WRITABLE)?;
        self.sockets[index as usize] = Slot::Udp;
        Ok(index)
    }

    /// As [`Net::listen_datagrams`].
    pub fn listen_udp(
        &mut self,
        place: UdpPlace,
        options: &SocketOptions,
        make: &dyn MakeDatagrams,
        (seed, limits, charge): (u64, DatagramLimits, Charge),
    ) -> io::Result<(ListenerId, Endpoint)> {
        // A configuration may drop a listener and bring it back, and somebody may have stayed.
        if let Some(index) = self.datagrams.listen_again(place.address, make, limits, options.backlog) {
            return Ok((ListenerId(index), Endpoint::Udp(place)));
        }
        let mut bound = bind(place.address, &DialOptions::default())?;
        bound.set_fragment(make.may_fragment())?;
        let local = UdpPlace { address: bound.local(), ..place };
        let machine = make.make(&Birth { seed, epoch: self.epoch, limits: Some(limits) });
        let index = self.insert_udp(bound.socket())?;
        self.datagrams.listen(index, (bound, charge), machine, options.backlog);
        Ok((ListenerId(index), Endpoint::Udp(local)))
    }

    /// As [`Net::about`].
    pub fn about_udp(&mut self, link: LinkId) -> Option<Box<About>> {
        match self.sockets.get(link.0 as usize)? {
            Slot::Datagram(stream) => stream.take_about(),
            _ => None,
        }
    }

    /// As [`Net::watched`].
    pub fn watched_udp(&self, link: LinkId) -> Option<Arc<dyn DatagramWatch>> {
        match self.sockets.get(link.0 as usize)? {
            Slot::Datagram(stream) => Some(stream.watched()),
            _ => None,
        }
    }

    /// As [`Net::dial_datagrams`].
    pub fn dial_udp(&mut self, plan: DialPlan, make: &dyn MakeDatagrams, (seed, charge): (u64, Charge)) -> io::Result<LinkId> {
        let mut bound = plan.bind()?;
        bound.set_fragment(make.may_fragment())?;
        let machine = make.make(&Birth { seed, epoch: self.epoch, limits: None });
        let place = self.insert_udp(bound.socket())?;
        match self.datagrams.dial(self.now(), place, (bound, charge), machine, plan) {
            Ok(stream) => Ok(self.insert_datagram(stream)),
            Err(error) => {
                self.remove(place);
                Err(error)
            }
        }
    }
}
