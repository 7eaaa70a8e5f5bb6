//! The facades over real sockets, where neither the conformance table nor the foreign clients look.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nlmqtt::config::ServerConfig;
use nlmqtt::net::{Runtime, RuntimeOptions};
use nlmqtt::server::Server;

/// CONNECT of 3.1.1 with a clean session; answers the CONNACK, empty if the server closed.
fn connect(address: SocketAddr, client_id: &str) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the listener is there");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    let length = u8::try_from(client_id.len()).expect("short");
    let mut packet = vec![0x10, 12 + length, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, length];
    packet.extend_from_slice(client_id.as_bytes());
    // A server that is full closes at once: then nothing can be written or read.
    let _ = stream.write_all(&packet);
    let mut answer = [0; 4];
    let count = stream.read(&mut answer).unwrap_or(0);
    (stream, answer[..count].to_vec())
}

#[test]
fn each_listener_has_rules_of_its_own() {
    let mut config = ServerConfig::default();
    config.add_listener_uri("mqtt://127.0.0.1:0").expect("a listener");
    config.add_listener_uri("mqtt://127.0.0.1:0?allow_anonymous=false").expect("a listener");
    config.add_listener_uri("mqtt://127.0.0.1:0?max_connections=1").expect("a listener");
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let server = Server::new(&runtime, config.options_in_force(), None).expect("a server");
    let listen = |index: usize| server.add_listener(config.listener_in_force(&config.listeners[index])).expect("open");
    let (open, named, single) = (listen(0), listen(1), listen(2));

    assert_eq!(connect(open, "a").1, [0x20, 2, 0, 0]);
    assert_eq!(connect(named, "b").1, [0x20, 2, 0, 5], "not authorised");
    let (first, connack) = connect(single, "c");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    assert_eq!(connect(single, "d").1, [0u8; 0], "the listener is full");
    assert_eq!(server.stats().expect("counters").connections_over_limit, 1);
    drop(first);
    let again = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        connect(single, "e").1 == [0x20, 2, 0, 0]
    });
    assert!(again, "there is room again when the first has gone");
}
