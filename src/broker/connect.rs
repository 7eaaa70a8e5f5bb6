//! CONNECT, AUTH, take-over and CONNACK (MQTT 5 §3.1, §3.2, §3.15, §4.12).

use std::borrow::Cow;

use crate::base::{Duration, Instant};
use crate::codec::{self, Auth as AuthPacket, ConnAck, Connect, Message, PropertyId, PropertyList, Qos, Reason, Value, Version};
use crate::proto::{AliasIn, AliasOut, Receiver, Sender};
use crate::topic;

use super::ban::address_of;
use super::connection::{Auth, ConnKey, PACKET_BYTES_MAX, Resumed, Stage, State};
use super::directory::Name;
use super::ending::forwarded;
use super::hooks::{Access, Decision, SessionEvent};
use super::layers::named;
use super::mount::MountPoint;
use super::session::{Session, SessionKey, Will};
use super::shard::{Fault, Shard, client_info, protocol_error};
use super::tell::tell;

impl Shard {
    pub(super) fn on_connect(&mut self, now: Instant, key: ConnKey, connect: &Connect<'_>, whole: &[u8], mut resumed: Option<Resumed>) -> Result<(), Fault> {
        let about = self.connections[key].about.clone();
        let connect = &named(about.as_deref(), connect);
        self.connections[key].version = connect.version;
        self.connections[key].flags.no_problem_information = connect.properties.byte(PropertyId::RequestProblemInformation) == Some(0);
        let banned = self.is_banned(now, key, connect);
        if let Err(reason) = if banned { Err(Reason::BANNED) } else { self.check_connect(key, connect) } {
            self.refuse(now, key, reason);
            return Ok(());
        }
        if self.interest.connect {
            let decision = self.decide(now, key, Stage::Connect, whole, &mut resumed, |shard, token| {
                let client = client_info(&shard.connections[key], connect.client_id, connect.username);
                shard.hooks.connect(client, connect, token)
            });
            let refusal = match decision {
                None => return Ok(()),
                Some(Decision::Allow) => None,
                Some(Decision::Deny(reason)) => Some(reason),
                Some(_) => Some(Reason::NOT_AUTHORIZED),
            };
            if let Some(reason) = refusal {
                self.refuse(now, key, reason);
                return Ok(());
            }
        }
        let method = connect.properties.utf8(PropertyId::AuthenticationMethod);
        let decision = if self.interest.authenticate {
            let decision = self.decide(now, key, Stage::Authenticate, whole, &mut resumed, |shard, token| {
                let client = client_info(&shard.connections[key], connect.client_id, connect.username);
                shard.hooks.authenticate(client, connect, token)
            });
            let Some(decision) = decision else { return Ok(()) };
            decision
        } else if method.is_some() {
            Decision::Deny(Reason::BAD_AUTHENTICATION_METHOD)
        } else if connect.username.is_none() && !self.connections[key].flags.allow_anonymous.unwrap_or(self.options.allow_anonymous) {
            Decision::Deny(Reason::NOT_AUTHORIZED)
        } else {
            Decision::Allow
        };
        if let Some(method) = method {
            let auth = || Box::new(Auth { method: method.into(), connect: whole.to_vec(), again: false, last_data: None });
            self.connections[key].auth.get_or_insert_with(auth);
        }
        self.authenticated(now, key, connect, whole, decision, resumed);
        Ok(())
    }

    /// Goes on after a decision about a CONNECT, be it at once, late or after AUTH packets.
    fn authenticated(&mut self, now: Instant, key: ConnKey, connect: &Connect<'_>, whole: &[u8], decision: Decision, resumed: Option<Resumed>) {
        let auth = self.connections[key].auth.as_deref_mut();
        let auth_data = match decision {
            Decision::Allow => auth.and_then(|auth| auth.last_data.take()),
            Decision::AllowWith(data) => Some(data),
            Decision::Challenge(data) if auth.is_some() => {
                self.connections[key].state = State::Authenticating;
                return self.send_auth(key, Reason::CONTINUE_AUTHENTICATION, &data);
            }
            Decision::Deny(reason) => return self.refuse(now, key, reason),
            _ => return self.refuse(now, key, Reason::NOT_AUTHORIZED),
        };
        match self.authorize_will(now, key, connect, whole, resumed) {
            Some(Decision::Allow) => self.accept(now, key, connect, auth_data.as_deref()),
            Some(Decision::Deny(reason)) => self.refuse(now, key, reason),
            Some(_) => self.refuse(now, key, Reason::NOT_AUTHORIZED),
            // Kept for CONNACK: when the CONNECT goes on, nobody asks again who it is.
            None => {
                if let Some(auth) = &mut self.connections[key].auth {
                    auth.last_data = auth_data;
                }
            }
        }
    }

    /// May the client publish to the topic of its will? Asked before the session is there, because the will comes when nobody
    /// can be told any more. `None`: the hook answers later.
    fn authorize_will(&mut self, now: Instant, key: ConnKey, connect: &Connect<'_>, whole: &[u8], mut resumed: Option<Resumed>) -> Option<Decision> {
        let Some(will) = connect.will.as_ref().filter(|_| self.interest.authorize) else { return Some(Decision::Allow) };
        let topic = self.will_topic(key, will.topic);
        self.decide(now, key, Stage::Authorize, whole, &mut resumed, |shard, token| {
            let client = client_info(&shard.connections[key], connect.client_id, connect.username);
            shard.hooks.authorize(client, Access::Publish, &topic, will.qos, will.retain, token)
        })
    }

    /// What can be refused without asking anybody.
    fn check_connect(&mut self, key: ConnKey, connect: &Connect<'_>) -> Result<(), Reason> {
        if self.connections[key].rules().is_some_and(|rules| !rules.versions.contains(connect.version)) {
            self.stats.versions_refused += 1;
            return Err(Reason::UNSUPPORTED_PROTOCOL_VERSION);
        }
        // Behind a proxy it is another address than the one that was let in.
        let connection = &self.connections[key];
        if connection.rules().zip(address_of(&connection.peer)).is_some_and(|(rules, address)| !rules.admits(address)) {
            self.stats.connections_denied += 1;
            return Err(Reason::NOT_AUTHORIZED);
        }
        // One who has a session comes to take what waits: that makes room.
        let name = Name { mount: connection.mount_point(), client_id: connect.client_id };
        let is_known = self.directory.find(&self.sessions, name).is_some();
        if self.budget.is_exhausted() || (self.budget.is_tight() && !is_known) {
            self.stats.connects_refused_busy += 1;
            self.tell_quota("memory_limit");
            return Err(Reason::SERVER_BUSY);
        }
        if connect.client_id.is_empty() {
            let allowed = match connect.version {
                Version::V5 => self.options.allow_zero_length_clientid,
                Version::V311 => self.options.allow_zero_length_clientid && connect.clean_start,
                Version::V31 => false,
            };
            if !allowed {
                return Err(Reason::CLIENT_IDENTIFIER_NOT_VALID);
            }
        }
        if let Some(will) = &connect.will {
            if !self.is_publishable(&self.will_topic(key, will.topic)) {
                return Err(Reason::TOPIC_NAME_INVALID);
            }
            if will.qos > self.options.maximum_qos {
                return Err(Reason::QOS_NOT_SUPPORTED);
            }
            if will.retain && !self.options.retain_available {
                return Err(Reason::RETAIN_NOT_SUPPORTED);
            }
        }
        Ok(())
    }

    /// The whole topic of a will; empty: there is none.
    fn will_topic<'a>(&self, key: ConnKey, topic: &'a str) -> Cow<'a, str> {
        match self.connections[key].rules().and_then(|rules| rules.mount_point.as_ref()) {
            Some(mount) => mount.whole_topic(topic).unwrap_or_default().into(),
            None => topic.into(),
        }
    }

    /// A topic name (valid: the codec lets no other through; or empty: it had no place under a mount point) that clients may
    /// publish to: within the level limit, and not the server's own.
    pub(super) fn is_publishable(&self, name: &str) -> bool {
        debug_assert!(name.is_empty() || topic::is_valid_name(name));
        if name.is_empty() {
            return false;
        }
        // A name has at most one level more than it has bytes.
        (name.len() < self.options.max_topic_levels || topic::levels(name).take(self.options.max_topic_levels + 1).count() <= self.options.max_topic_levels)
            && !(name == "$SYS" || name.starts_with("$SYS/"))
    }

    /// CONNACK with an error, then close (§3.2.2.2, §3.1.4).
    fn refuse(&mut self, now: Instant, key: ConnKey, reason: Reason) {
        self.stats.connects_refused += 1;
        let connection = &mut self.connections[key];
        let refusal = ConnAck { session_present: false, reason, properties: codec::Properties::EMPTY };
        refusal.encode(connection.version, connection.out.tail());
        let peer = &connection.peer;
        self.hooks.log(3, &|| format!("{peer}: CONNECT refused: {} (0x{:02X})", reason.text(), reason.0));
        self.close(now, key, reason);
    }

    /// The client is who it says: session, take-over, CONNACK, and what waited for it.
    fn accept(&mut self, now: Instant, key: ConnKey, connect: &Connect<'_>, auth_data: Option<&[u8]>) {
        let assigned = connect.client_id.is_empty().then(|| self.invent_client_id());
        let client_id = assigned.as_deref().unwrap_or(connect.client_id);
        let (session, session_present) = self.claim_session(now, key, client_id, connect);
        let keep_alive_s = self.negotiated_keep_alive(key, connect);
        self.stats.keep_alives_shortened += u64::from(keep_alive_s != connect.keep_alive_s);
        let receive_maximum = connect.properties.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX);
        let expiry_s = self.granted_expiry(connect);
        let will = self.will_of(now, key, session, connect);
        let theirs_max = self.receive_maximum(key);

        let connection = &mut self.connections[key];
        connection.state = State::Connected;
        connection.session = Some(session);
        connection.keep_alive_s = keep_alive_s;
        connection.packet_bytes_max = connect.properties.u32(PropertyId::MaximumPacketSize).unwrap_or(u32::MAX).min(PACKET_BYTES_MAX);
        if connect.version == Version::V5 {
            connection.alias_in = AliasIn::new(self.options.max_topic_alias);
            let theirs = connect.properties.u16(PropertyId::TopicAliasMaximum).unwrap_or(0);
            connection.alias_out = AliasOut::new(theirs.min(self.options.max_topic_alias_broker));
        }

        let state = &mut self.sessions[session];
        state.connection = Some(key);
        state.version = connect.version;
        state.username = connect.username.map(Into::into);
        state.expiry_s = expiry_s;
        state.expires = None;
        state.will = will;
        state.sender.connected(receive_maximum);
        state.receiver.connected();
        // 3.x clients were told no limit: they are slowed down by not being read, not closed.
        let theirs = if connect.version == Version::V5 { theirs_max } else { u16::MAX };
        state.receiver.set_receive_maximum(theirs);
        state.recharge();

        self.send_connack(key, connect, session_present, assigned.as_deref(), auth_data);
        self.stats.clients_connected += 1;
        self.levels.clients.raise();
        self.arm_connection(key);
        self.set_shares_available(session, true);
        let (connection, state) = (&self.connections[key], &self.sessions[session]);
        let event = if session_present { SessionEvent::Resumed } else { SessionEvent::Created };
        tell!(self).session(state, Some(connection), event);
        self.hooks.connected(client_info(connection, &state.client_id, state.username.as_deref()), session_present);
        self.pump(now, key);
    }

    fn invent_client_id(&mut self) -> String {
        loop {
            let id = format!("{}{:016x}", self.options.auto_id_prefix, self.rng.u64());
            if self.home_of(&id) == self.id && self.directory.find(&self.sessions, Name::plain(&id)).is_none() {
                return id;
            }
        }
    }

    /// The session of this client id at this mount point: an old one taken over, or a new one (§3.1.2.4, §3.1.4-3).
    fn claim_session(&mut self, now: Instant, key: ConnKey, client_id: &str, connect: &Connect<'_>) -> (SessionKey, bool) {
        let mount = self.connections[key].rules().and_then(|rules| rules.mount_point.clone());
        let name = Name { mount: mount.as_deref().map(MountPoint::as_str), client_id };
        if let Some(old) = self.directory.find(&self.sessions, name) {
            if let Some(connection) = self.sessions[old].connection {
                self.stats.take_overs += 1;
                tell!(self).session(&self.sessions[old], self.connections.get(connection), SessionEvent::TakenOver);
                self.disconnect(now, connection, Reason::SESSION_TAKEN_OVER, None);
            }
            // Closing may have ended a session without expiry.
            if self.sessions.contains_key(old) {
                if !connect.clean_start {
                    return (old, true);
                }
                self.end_session(now, old);
            }
        }
        let charge = self.budget.charge(Session::own_bytes() + client_id.len());
        let publisher_number = self.router.read().expect("router lock").publisher_number(&name.to_text());
        let client_id = client_id.into();
        let session = self.sessions.insert(Session {
            client_id,
            publisher_number,
            username: None,
            version: connect.version,
            connection: None,
            expiry_s: 0,
            expires: None,
            timer: None,
            subscriptions: Default::default(),
            subscriptions_bytes: 0,
            sender: Sender::new(self.options.max_inflight_messages),
            receiver: Receiver::new(self.options.receive_maximum),
            queue: Default::default(),
            queue_bytes: 0,
            will: None,
            mount,
            local: None,
            charge,
        });
        self.directory.insert(&self.sessions, session);
        (session, false)
    }

    /// Keep-alive in force; a longer one than allowed is cut down and told (§3.2.2.3.14). 3.x
    /// clients cannot be told, so theirs is left as it is.
    fn negotiated_keep_alive(&self, key: ConnKey, connect: &Connect<'_>) -> u16 {
        let own = self.connections[key].rules().and_then(|rules| rules.max_keepalive_s);
        let max = [own, Some(self.options.max_keepalive_s)].into_iter().flatten().filter(|max| *max != 0).min().unwrap_or(0);
        let wanted = connect.keep_alive_s;
        let is_too_long = max != 0 && (wanted == 0 || wanted > max);
        if connect.version == Version::V5 && is_too_long && max != u16::MAX { max } else { wanted }
    }

    /// QoS 1 and 2 messages that may be on their way from a client of MQTT 5.
    fn receive_maximum(&self, key: ConnKey) -> u16 {
        let own = self.connections[key].rules().and_then(|rules| rules.receive_maximum);
        own.map_or(self.options.receive_maximum, |own| own.min(self.options.receive_maximum))
    }

    fn granted_expiry(&self, connect: &Connect<'_>) -> u32 {
        let wanted = match connect.version {
            Version::V5 => connect.properties.u32(PropertyId::SessionExpiryInterval).unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        wanted.min(self.options.persistent_client_expiration_s)
    }

    fn will_of(&self, now: Instant, key: ConnKey, session: SessionKey, connect: &Connect<'_>) -> Option<Box<Will>> {
        let will = connect.will.as_ref()?;
        let mut kept = PropertyList::new();
        kept.extend_filtered(will.properties, forwarded);
        if let Some(mount) = &self.sessions[session].mount {
            mount.whole_properties(&mut kept);
        }
        let message = Message::new(
            &self.budget,
            &self.will_topic(key, will.topic),
            will.payload,
            will.qos,
            will.retain,
            kept.as_properties(),
            None,
            self.sessions[session].publisher_number,
            now,
        );
        let seconds = |id| will.properties.u32(id).map(|seconds| Duration::from_secs(u64::from(seconds)));
        Some(Box::new(Will {
            message,
            delay: seconds(PropertyId::WillDelayInterval).unwrap_or(Duration::ZERO),
            expiry: seconds(PropertyId::MessageExpiryInterval),
            due: None,
        }))
    }

    fn send_connack(&mut self, key: ConnKey, connect: &Connect<'_>, session_present: bool, assigned: Option<&str>, auth_data: Option<&[u8]>) {
        let (receive_maximum, packet_max) = (self.receive_maximum(key), self.connections[key].packet_bytes_max(self.options.max_packet_size));
        let options = &self.options;
        let connection = &mut self.connections[key];
        let mut properties = PropertyList::new();
        if connection.version == Version::V5 {
            let wanted_expiry = connect.properties.u32(PropertyId::SessionExpiryInterval).unwrap_or(0);
            if wanted_expiry > options.persistent_client_expiration_s {
                properties.push(PropertyId::SessionExpiryInterval, Value::U32(options.persistent_client_expiration_s));
            }
            if receive_maximum != u16::MAX {
                properties.push(PropertyId::ReceiveMaximum, Value::U16(receive_maximum));
            }
            if options.maximum_qos != Qos::ExactlyOnce {
                properties.push(PropertyId::MaximumQos, Value::Byte(options.maximum_qos as u8));
            }
            if !options.retain_available {
                properties.push(PropertyId::RetainAvailable, Value::Byte(0));
            }
            let packet_max = u32::try_from(packet_max).unwrap_or(u32::MAX);
            properties.push(PropertyId::MaximumPacketSize, Value::U32(packet_max));
            if let Some(assigned) = assigned {
                properties.push(PropertyId::AssignedClientIdentifier, Value::Utf8(assigned));
            }
            if options.max_topic_alias > 0 {
                properties.push(PropertyId::TopicAliasMaximum, Value::U16(options.max_topic_alias));
            }
            if connection.keep_alive_s != connect.keep_alive_s {
                properties.push(PropertyId::ServerKeepAlive, Value::U16(connection.keep_alive_s));
            }
            if let Some(auth) = &connection.auth {
                properties.push(PropertyId::AuthenticationMethod, Value::Utf8(&auth.method));
            }
            if let Some(data) = auth_data {
                properties.push(PropertyId::AuthenticationData, Value::Binary(data));
            }
        }
        let connack = ConnAck { session_present, reason: Reason::SUCCESS, properties: properties.as_properties() };
        connack.encode(connection.version, connection.out.tail());
        self.mark_dirty(key);
    }

    fn send_auth(&mut self, key: ConnKey, reason: Reason, data: &[u8]) {
        let connection = &mut self.connections[key];
        let Some(auth) = &connection.auth else { return };
        let mut properties = PropertyList::new();
        properties.push(PropertyId::AuthenticationMethod, Value::Utf8(&auth.method));
        if !data.is_empty() {
            properties.push(PropertyId::AuthenticationData, Value::Binary(data));
        }
        AuthPacket { reason, properties: properties.as_properties() }.encode(connection.version, connection.out.tail());
        self.mark_dirty(key);
    }

    /// AUTH, while connecting or to authenticate again (§4.12, §4.12.1).
    pub(super) fn on_auth(&mut self, now: Instant, key: ConnKey, packet: &AuthPacket<'_>, whole: &[u8], mut resumed: Option<Resumed>) -> Result<(), Fault> {
        let connection = &mut self.connections[key];
        let connecting = connection.state == State::Authenticating;
        let Some(auth) = &mut connection.auth else {
            return Err(protocol_error("AUTH without an authentication method in CONNECT"));
        };
        let method = packet.properties.utf8(PropertyId::AuthenticationMethod);
        if method != Some(&*auth.method) {
            return Err(Fault::Reason(Reason::BAD_AUTHENTICATION_METHOD, "another authentication method"));
        }
        match packet.reason {
            Reason::CONTINUE_AUTHENTICATION if connecting || auth.again => {}
            Reason::REAUTHENTICATE if !connecting => auth.again = true,
            _ => return Err(protocol_error("AUTH out of turn")),
        }
        let data = packet.properties.binary(PropertyId::AuthenticationData).unwrap_or_default();
        let decision = self.decide(now, key, Stage::AuthExchange, whole, &mut resumed, |shard, token| {
            let connection = &shard.connections[key];
            let session = connection.session.map(|session| &shard.sessions[session]);
            let client_id = session.map_or("", |session| &session.client_id);
            let username = session.and_then(|session| session.username.as_deref());
            shard.hooks.auth_exchange(client_info(connection, client_id, username), method.unwrap_or_default(), data, token)
        });
        let Some(decision) = decision else { return Ok(()) };
        if connecting {
            let packet = self.connections[key].auth.as_mut().map(|auth| core::mem::take(&mut auth.connect)).unwrap_or_default();
            let result = self.go_on_connecting(now, key, &packet, decision);
            if let Some(auth) =
                self.connections.get_mut(key).filter(|connection| connection.state == State::Authenticating).and_then(|connection| connection.auth.as_mut())
            {
                auth.connect = packet;
            }
            return result;
        }
        match decision {
            Decision::Allow => self.reauthenticated(key, &[]),
            Decision::AllowWith(data) => self.reauthenticated(key, &data),
            Decision::Challenge(data) => self.send_auth(key, Reason::CONTINUE_AUTHENTICATION, &data),
            Decision::Deny(reason) => self.disconnect(now, key, reason, None),
            _ => self.disconnect(now, key, Reason::NOT_AUTHORIZED, None),
        }
        Ok(())
    }

    fn go_on_connecting(&mut self, now: Instant, key: ConnKey, packet: &[u8], decision: Decision) -> Result<(), Fault> {
        let (frame, _) = codec::split(packet, usize::MAX)?.expect("CONNECT was kept whole");
        match codec::decode(Version::V5, codec::Sender::Client, frame)? {
            codec::Packet::Connect(connect) => {
                let about = self.connections[key].about.clone();
                self.authenticated(now, key, &named(about.as_deref(), &connect), packet, decision, None);
            }
            _ => unreachable!("only CONNECT is kept"),
        }
        Ok(())
    }

    fn reauthenticated(&mut self, key: ConnKey, data: &[u8]) {
        if let Some(auth) = &mut self.connections[key].auth {
            auth.again = false;
        }
        self.send_auth(key, Reason::SUCCESS, data);
    }
}
