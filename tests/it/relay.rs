//! A network between a client and a server of datagrams: it forwards, forgets some, and goes on from another address when told to.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub fn udp() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(2))).expect("a time-out");
    socket
}

pub struct Relay {
    front: SocketAddr,
    /// Of a thousand datagrams each way, so many do not arrive.
    pub loss_permille: Arc<AtomicUsize>,
    back: Arc<Mutex<UdpSocket>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Self {
        let (front, back) = (udp(), Arc::new(Mutex::new(udp())));
        let at = front.local_addr().expect("bound");
        let (ends, loss_permille) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (behind, over, loss) = (back.clone(), ends.clone(), loss_permille.clone());
        let run = move || {
            let (mut client, mut buffer, mut random) = (None, [0; 65_536], nlmqtt::base::Rng::with_seed(3));
            while !over.load(Ordering::Relaxed) {
                if let Ok((count, from)) = front.recv_from(&mut buffer) {
                    client = Some(from);
                    if !random.chance(loss.load(Ordering::Relaxed) as u32) {
                        let _ = behind.lock().expect("a lock").send_to(&buffer[..count], server);
                    }
                }
                let back = behind.lock().expect("a lock");
                back.set_nonblocking(true).expect("an option");
                while let (Ok((count, _)), Some(client)) = (back.recv_from(&mut buffer), client) {
                    if !random.chance(loss.load(Ordering::Relaxed) as u32) {
                        let _ = front.send_to(&buffer[..count], client);
                    }
                }
            }
        };
        Self { front: at, loss_permille, back, ends, thread: Some(std::thread::spawn(run)) }
    }

    pub fn uri(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.front)
    }

    /// From now on the server sees another address.
    pub fn move_on(&self) -> SocketAddr {
        let other = udp();
        let address = other.local_addr().expect("bound");
        *self.back.lock().expect("a lock") = other;
        address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}
