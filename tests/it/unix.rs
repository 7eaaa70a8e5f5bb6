//! Unix sockets: listeners and clients, who is behind them, and their files.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nlmqtt::base::{Instant, PeerProcess};
use nlmqtt::broker::{ClientInfo, Hooks};
use nlmqtt::client::{Client, ClientParts, Event, Publish};
use nlmqtt::codec::{PropertyList, Qos, Reason, SubscribeOptions};
use nlmqtt::config::{ClientConfig, ServerConfig};
use nlmqtt::net::{ClientHandler, Endpoint, Runtime, RuntimeOptions};
use nlmqtt::server::Server;

use crate::wire::PATIENCE;

/// Who came, and from where.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<(String, Option<PeerProcess>)>>>);

impl Hooks for Watch {
    fn connected(&mut self, client: ClientInfo<'_>, _: bool) {
        self.0.lock().expect("alone").push((client.peer.to_owned(), client.process));
    }
}

struct Place {
    folder: PathBuf,
    path: PathBuf,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("nlmqtt-it-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("mqtt.sock");
        Self { folder, path }
    }

    fn uri(&self) -> String {
        format!("unix://{}", self.path.display())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Teller(std::sync::mpsc::Sender<Event>);

impl ClientHandler for Teller {
    fn event(&mut self, _now: Instant, event: Event) {
        // The test may be over.
        let _ = self.0.send(event);
    }
}

fn own_process(process: Option<PeerProcess>) -> bool {
    process.is_some_and(|process| process.pid == std::process::id() as i32)
}

#[test]
fn clients_come_over_unix_sockets_wherever_they_are_at_home() {
    for workers in [1, 3] {
        let place = Place::new(&format!("home{workers}"));
        let mut config = ServerConfig::default();
        config.add_listener_uri(&format!("{}?mode=0600&rate_bytes=100000000", place.uri())).expect("a listener");
        let runtime = Runtime::new(&RuntimeOptions { workers, ..RuntimeOptions::default() }).expect("a runtime");
        let watch = Watch::default();
        let server = Server::with_hooks(&runtime, config.options_in_force(), |_| Some(Box::new(watch.clone()))).expect("a server");
        let endpoint = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("a listener");
        assert_eq!(endpoint, Endpoint::Unix(place.path.clone()));
        assert_eq!(std::fs::metadata(&place.path).expect("a file").permissions().mode() & 0o777, 0o600);
        for number in 0..6 {
            let (teller, events) = std::sync::mpsc::channel();
            let mut config = ClientConfig::default();
            config.add_server(&format!("{}?client_id=c{number}", place.uri()), 0).expect("a server");
            let (options, servers, dial) = config.parts().expect("whole");
            let parts = ClientParts { options, servers, dial, ..ClientParts::default() };
            let client = Client::new(&runtime, parts, Box::new(Teller(teller))).expect("a client");
            client.start();
            client.subscribe(&[("t", SubscribeOptions::default())], &PropertyList::new(), None, None).expect("accepted");
            client.publish(Publish { topic: "t", payload: b"x", qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("accepted");
            loop {
                if let Event::Message(message) = events.recv_timeout(PATIENCE).expect("it comes back") {
                    assert_eq!(message.message.payload(), b"x");
                    break;
                }
            }
            let summary = server.client(&format!("c{number}")).expect("answered").expect("connected");
            assert!(own_process(summary.process) && summary.peer == "local", "{summary:?}");
            drop(client);
        }
        let came = watch.0.lock().expect("alone").clone();
        assert!(came.len() == 6 && came.iter().all(|(peer, process)| peer == "local" && own_process(*process)), "{came:?}");
        server.stop_and_wait(Reason::SERVER_SHUTTING_DOWN, std::time::Duration::from_secs(5)).expect("it ends");
        assert!(!place.path.exists(), "the file goes with the listener");
    }
}

#[test]
fn a_second_server_does_not_take_the_socket_of_the_first() {
    let place = Place::new("second");
    let mut config = ServerConfig::default();
    config.add_listener_uri(&place.uri()).expect("a listener");
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let make = || Server::new(&runtime, config.options_in_force(), None).expect("a server");
    let (first, second) = (make(), make());
    let endpoint = first.add_listener(config.listeners[0].clone()).expect("free");
    let error = second.add_listener(config.listeners[0].clone()).expect_err("in use").to_string();
    assert!(error.contains("in use"), "{error}");
    assert!(first.remove_listener(endpoint).expect("answered"));
    assert!(!place.path.exists());
    second.add_listener(config.listeners[0].clone()).expect("free again");
}

#[test]
fn a_passed_unix_socket_is_served_and_its_file_left_alone() {
    let place = Place::new("passed");
    let passed = UnixListener::bind(&place.path).expect("a socket");
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let server = Server::new(&runtime, Default::default(), None).expect("a server");
    let options = ServerConfig::listener_of_socket(Endpoint::Unix(place.path.clone()), "max_connections=1").expect("legal");
    assert!(ServerConfig::listener_of_socket(Endpoint::Unix(place.path.clone()), "dscp=1").is_err(), "of TCP");
    let endpoint = server.add_listener_socket(passed.into(), options).expect("it listens");
    let stream = UnixStream::connect(&place.path).expect("somebody listens");
    let mut wire = stream.try_clone().expect("a descriptor");
    std::io::Write::write_all(&mut wire, b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01p").expect("written");
    let mut connack = [0; 4];
    std::io::Read::read_exact(&mut wire, &mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    // One end of a pair is as good.
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    assert!(server.adopt(theirs.into(), None).expect("answered"));
    drop(ours);
    assert!(server.remove_listener(endpoint).expect("answered"));
    assert!(place.path.exists(), "it is whoever's who made it");
}
