//! SUBSCRIBE and UNSUBSCRIBE (MQTT 5 §3.8 to §3.11).

use std::borrow::Cow;

use crate::base::Instant;
use crate::codec::{Properties, PropertyId, Qos, Reason, SubAck, Subscribe, SubscribeOptions, UnsubAck, Unsubscribe, Version};
use crate::route::{RetainedCursor, Subscribed};
use crate::topic;

use super::connection::{ConnKey, Resumed, Stage};
use super::hooks::{Access, Answer, Decision};
use super::mount::MountPoint;
use super::session::SessionKey;
use super::shard::{Fault, Shard, client_info};

/// The filters of one packet, each with what is to become of it.
type Filters = Vec<Result<(String, SubscribeOptions), Reason>>;

impl Shard {
    pub(super) fn on_subscribe(&mut self, now: Instant, key: ConnKey, subscribe: &Subscribe<'_>, whole: &[u8], resumed: Option<Resumed>) -> Result<(), Fault> {
        let session = self.connections[key].session.expect("connected");
        let Some(filters) = self.judge_filters(now, key, session, subscribe, whole, resumed) else { return Ok(()) };
        let subscription_id = subscribe.properties.u32(PropertyId::SubscriptionIdentifier);
        let mut reasons = Vec::with_capacity(filters.len());
        for filter in filters {
            let granted = filter.and_then(|(filter, options)| {
                let (granted, cursor) = self.add_subscription(session, &filter, options, subscription_id)?;
                self.tell_subscribed(session, &filter, options);
                self.begin_retained(key, &filter, granted, options, subscription_id, cursor);
                Ok(options.qos as u8)
            });
            reasons.push(granted.unwrap_or_else(|reason| self.refusal(key, reason)));
        }
        let connection = &mut self.connections[key];
        let suback = SubAck { packet_id: subscribe.packet_id, properties: Properties::EMPTY, reasons: &reasons };
        suback.encode(connection.version, connection.out.tail());
        self.mark_dirty(key);
        self.pump(now, key);
        Ok(())
    }

    /// 3.x knows one refusal only.
    fn refusal(&self, key: ConnKey, reason: Reason) -> u8 {
        if self.connections[key].version == Version::V5 { reason.0 } else { 0x80 }
    }

    /// Which filters are taken. `None`: a hook answers later.
    fn judge_filters(
        &mut self,
        now: Instant,
        key: ConnKey,
        session: SessionKey,
        subscribe: &Subscribe<'_>,
        whole: &[u8],
        mut resumed: Option<Resumed>,
    ) -> Option<Filters> {
        let mut verdicts = Vec::new();
        let mut given = None;
        let mut acting = None;
        if let Some(resumed) = resumed.take() {
            verdicts = resumed.verdicts;
            if resumed.stage == Stage::Act { acting = Some(resumed.decision) } else { given = Some(resumed.decision) }
        }
        let mount = self.sessions[session].mount.clone();
        for (filter, options) in subscribe.filters.iter().skip(verdicts.len()) {
            if verdicts.len() >= self.options.max_subscribe_filters {
                self.refuse_filters_beyond(session, verdicts.len());
                verdicts.push(Reason::QUOTA_EXCEEDED);
                continue;
            }
            let verdict = match given.take() {
                Some(decision) => reason_of(&decision),
                None => match self.authorize_filter(key, session, &whole_filter(mount.as_deref(), filter), options) {
                    Ok(reason) => reason,
                    Err(token) => {
                        self.park(now, token, Stage::Authorize, whole, verdicts);
                        return None;
                    }
                },
            };
            verdicts.push(verdict);
        }
        let asked: Vec<(String, SubscribeOptions)> = subscribe
            .filters
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| !verdict.is_error())
            .map(|((filter, options), _)| (whole_filter(mount.as_deref(), filter).into_owned(), self.granted(options)))
            .collect();
        let answered = self.ask_subscribe(now, key, session, asked, &verdicts, whole, acting)?;
        let mut answered = answered.into_iter();
        let merged =
            verdicts.into_iter().map(|verdict| if verdict.is_error() { Err(verdict) } else { answered.next().unwrap_or(Err(Reason::UNSPECIFIED_ERROR)) });
        Some(merged.collect())
    }

    /// One packet asks for more than it may: counted for each filter, told once.
    fn refuse_filters_beyond(&mut self, session: SessionKey, index: usize) {
        self.stats.subscriptions_refused += 1;
        if index == self.options.max_subscribe_filters {
            self.tell_client_quota(session, "max_subscribe_filters");
        }
    }

    fn granted(&self, options: SubscribeOptions) -> SubscribeOptions {
        SubscribeOptions { qos: options.qos.min(self.options.maximum_qos), ..options }
    }

    /// Syntax, limits, then the hook. `Err`: the hook answers later, with this token.
    fn authorize_filter(&mut self, key: ConnKey, session: SessionKey, filter: &str, options: SubscribeOptions) -> Result<Reason, super::HookToken> {
        let levels_max = self.options.max_topic_levels;
        let is_too_deep = topic::levels(filter).take(levels_max + 1).count() > levels_max;
        self.stats.subscriptions_refused += u64::from(is_too_deep);
        if is_too_deep || !topic::is_valid_filter(filter) {
            return Ok(Reason::TOPIC_FILTER_INVALID);
        }
        if !self.interest.authorize {
            return Ok(Reason::SUCCESS);
        }
        let token = self.next_token(key);
        let state = &self.sessions[session];
        let client = client_info(&self.connections[key], &state.client_id, state.username.as_deref());
        let plain = topic::split_share(filter).map_or(filter, |(_, plain)| plain);
        match self.hooks.authorize(client, Access::Subscribe, plain, options.qos, false, token) {
            Answer::Now(decision) => Ok(reason_of(&decision)),
            Answer::Pending => Err(token),
        }
    }

    /// The subscribe hook, which may rewrite each filter.
    #[allow(clippy::too_many_arguments)]
    fn ask_subscribe(
        &mut self,
        now: Instant,
        key: ConnKey,
        session: SessionKey,
        asked: Vec<(String, SubscribeOptions)>,
        verdicts: &[Reason],
        whole: &[u8],
        acting: Option<Decision>,
    ) -> Option<Filters> {
        let decision = match acting {
            Some(decision) => decision,
            None if !self.interest.subscribe || asked.is_empty() => Decision::Allow,
            None => {
                let token = self.next_token(key);
                let state = &self.sessions[session];
                let client = client_info(&self.connections[key], &state.client_id, state.username.as_deref());
                match self.hooks.subscribe(client, &asked, token) {
                    Answer::Now(decision) => decision,
                    Answer::Pending => {
                        self.park(now, token, Stage::Act, whole, verdicts.to_vec());
                        return None;
                    }
                }
            }
        };
        Some(match decision {
            Decision::Allow => asked.into_iter().map(Ok).collect(),
            Decision::Filters(filters) if filters.len() == asked.len() => {
                filters.into_iter().map(|filter| checked(filter).map(|(filter, options)| (filter, self.granted(options)))).collect()
            }
            Decision::EditFilters(edits) => edited(asked, edits, self.options.maximum_qos),
            Decision::Deny(reason) => asked.into_iter().map(|_| Err(reason)).collect(),
            _ => asked.into_iter().map(|_| Err(Reason::IMPLEMENTATION_SPECIFIC_ERROR)).collect(),
        })
    }

    /// Puts a subscription into session and router. The cursor is for what was retained before.
    pub(super) fn add_subscription(
        &mut self,
        key: SessionKey,
        filter: &str,
        options: SubscribeOptions,
        id: Option<u32>,
    ) -> Result<(Subscribed, RetainedCursor), Reason> {
        let target = self.target(key);
        let session = &mut self.sessions[key];
        let is_full = session.local.is_none() && (session.subscriptions.len() >= self.options.max_subscriptions_per_client || self.budget.is_tight());
        let (outcome, cursor) = match is_full && !session.subscriptions.contains(filter) {
            true => (Subscribed::Full, RetainedCursor::default()),
            false => {
                let mut router = self.router.write().expect("router lock");
                let outcome = router.subscribe(filter, target, options, id);
                (outcome, router.retained().cursor())
            }
        };
        if outcome == Subscribed::Full {
            self.stats.subscriptions_refused += 1;
            self.tell_client_quota(key, "max_subscriptions_per_client");
            return Err(Reason::QUOTA_EXCEEDED);
        }
        session.add_filter(filter);
        Ok((outcome, cursor))
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        key: ConnKey,
        now: Instant,
        unsubscribe: &Unsubscribe<'_>,
        whole: &[u8],
        mut resumed: Option<Resumed>,
    ) -> Result<(), Fault> {
        let session = self.connections[key].session.expect("connected");
        let filters_max = self.options.max_subscribe_filters;
        let mount = self.sessions[session].mount.clone();
        let filters = unsubscribe.filters.iter().take(filters_max + 1).map(|filter| whole_filter(mount.as_deref(), filter));
        let filters: Vec<Cow<'_, str>> = filters.collect();
        let filters: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
        if filters.len() > filters_max {
            // 3.x could not be told that some of them were not looked at.
            self.tell_client_quota(session, "max_subscribe_filters");
            return Err(Fault::Reason(Reason::QUOTA_EXCEEDED, "more filters in one UNSUBSCRIBE than max_subscribe_filters"));
        }
        let decision = if self.interest.unsubscribe {
            let decision = self.decide(now, key, Stage::Act, whole, &mut resumed, |shard, token| {
                let state = &shard.sessions[session];
                let client = client_info(&shard.connections[key], &state.client_id, state.username.as_deref());
                shard.hooks.unsubscribe(client, &filters, token)
            });
            let Some(decision) = decision else { return Ok(()) };
            decision
        } else {
            Decision::Allow
        };
        let verdict = reason_of(&decision);
        let mut reasons = Vec::with_capacity(filters.len());
        for filter in filters {
            reasons.push(if verdict.is_error() { verdict.0 } else { self.remove_subscription(session, filter).0 });
        }
        let connection = &mut self.connections[key];
        let unsuback = UnsubAck { packet_id: unsubscribe.packet_id, properties: Properties::EMPTY, reasons: &reasons };
        unsuback.encode(connection.version, connection.out.tail());
        self.mark_dirty(key);
        Ok(())
    }

    pub(super) fn remove_subscription(&mut self, key: SessionKey, filter: &str) -> Reason {
        let target = self.target(key);
        if !topic::is_valid_filter(filter) {
            return Reason::TOPIC_FILTER_INVALID;
        }
        let session = &mut self.sessions[key];
        if !session.remove_filter(filter) {
            return Reason::NO_SUBSCRIPTION_EXISTED;
        }
        self.router.write().expect("router lock").unsubscribe(filter, target);
        if let Some(jobs) = session.connection.and_then(|connection| self.connections.get_mut(connection)).and_then(|connection| connection.retained.as_mut()) {
            jobs.remove(filter);
        }
        self.tell_unsubscribed(key, filter);
        Reason::SUCCESS
    }
}

/// A client's filter as the router knows it; empty: there is none.
fn whole_filter<'a>(mount: Option<&MountPoint>, filter: &'a str) -> Cow<'a, str> {
    match mount {
        Some(mount) => mount.whole_filter(filter).unwrap_or_default().into(),
        None => filter.into(),
    }
}

/// What a plain yes or no means for one filter.
fn reason_of(decision: &Decision) -> Reason {
    match decision {
        Decision::Allow => Reason::SUCCESS,
        Decision::Deny(reason) => *reason,
        _ => Reason::NOT_AUTHORIZED,
    }
}

/// A hook's filter is checked like a client's.
fn checked(filter: Result<(String, SubscribeOptions), Reason>) -> Result<(String, SubscribeOptions), Reason> {
    filter.and_then(|(filter, options)| if topic::is_valid_filter(&filter) { Ok((filter, options)) } else { Err(Reason::TOPIC_FILTER_INVALID) })
}

/// Filters with a hook's edits; an edit for a filter that is not there changes nothing.
fn edited(asked: Vec<(String, SubscribeOptions)>, edits: Vec<(usize, Result<(String, Qos), Reason>)>, qos_max: Qos) -> Filters {
    let mut filters: Filters = asked.into_iter().map(Ok).collect();
    for (index, edit) in edits {
        let Some(Ok((_, options))) = filters.get(index) else { continue };
        let options = *options;
        filters[index] = edit.and_then(|(filter, qos)| checked(Ok((filter, SubscribeOptions { qos: qos.min(qos_max), ..options }))));
    }
    filters
}
