//! What a deciding hook answers: a code, and for some codes details in a decision.

use std::ffi::{c_char, c_void};

use super::message::qos_of;
use super::{Failure, NLMQTT_TOO_LARGE, Outcome, bytes, fence, fence_or, nlmqtt_status, reference_mut, string};
use crate::broker::{Answer, Decision, HookToken, Rewrite};
use crate::codec::{PAYLOAD_BYTES_MAX, Qos, Reason};
use crate::topic;

/// Go on, with what the decision changes (authentication data, filters).
pub const NLMQTT_ALLOW: i32 = 0;
/// Refuse, with the reason of the decision; without one, with 0x87 Not authorized.
pub const NLMQTT_DENY: i32 = 1;
/// Publish only: acknowledge as if accepted, deliver to nobody.
pub const NLMQTT_DROP: i32 = 2;
/// Publish only: go on with the topic, payload, QoS and retain flag of the decision; what it does not say stays.
pub const NLMQTT_REWRITE: i32 = 3;
/// Authentication only: send AUTH 0x18 with the decision's authentication data and wait for the client's (MQTT 5 section
/// 4.12).
pub const NLMQTT_CHALLENGE: i32 = 4;
/// Not known yet: nlmqtt_server_complete will be called with the token, within the option `hook_timeout_ms`. The client
/// waits so long, everybody else goes on. Without an answer in time it is refused with 0x83.
pub const NLMQTT_PENDING: i32 = 5;

/// Names one question to a hook. Plain data: copy it, hand it to any thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct nlmqtt_hook_token {
    /// Of the library.
    pub connection: u64,
    /// Of the library.
    pub serial: u64,
}

/// Details of an answer. In a hook it is lent until the hook returns; for a late answer make one with
/// nlmqtt_decision_new. Used by one thread at a time. Everything set is copied.
#[derive(Default)]
pub struct nlmqtt_decision {
    reason: Option<Reason>,
    rewrite: Rewrite,
    auth_data: Option<Vec<u8>>,
    filters: Vec<(usize, Result<(String, Qos), Reason>)>,
}

impl nlmqtt_decision {
    /// The answer a hook gave with its return code.
    pub(crate) fn answer(self, code: i32) -> Answer {
        match code {
            NLMQTT_PENDING => Answer::Pending,
            code => Answer::Now(self.decide(code).unwrap_or(Decision::Deny(Reason::IMPLEMENTATION_SPECIFIC_ERROR))),
        }
    }

    /// The decision a code stands for; `None`: no such code.
    pub(crate) fn decide(self, code: i32) -> Option<Decision> {
        Some(match code {
            NLMQTT_ALLOW if !self.filters.is_empty() => Decision::EditFilters(self.filters),
            NLMQTT_ALLOW => self.auth_data.map_or(Decision::Allow, Decision::AllowWith),
            NLMQTT_DENY => Decision::Deny(self.reason.unwrap_or(Reason::NOT_AUTHORIZED)),
            NLMQTT_DROP => Decision::Drop,
            NLMQTT_REWRITE => Decision::Rewrite(self.rewrite),
            NLMQTT_CHALLENGE => Decision::Challenge(self.auth_data.unwrap_or_default()),
            _ => return None,
        })
    }

    pub(crate) fn copy(&self) -> Self {
        Self { reason: self.reason, rewrite: self.rewrite.clone(), auth_data: self.auth_data.clone(), filters: self.filters.clone() }
    }

    fn edit(&mut self, index: usize, edit: Result<(String, Qos), Reason>) {
        self.filters.retain(|(known, _)| *known != index);
        self.filters.push((index, edit));
    }
}

impl nlmqtt_hook_token {
    pub(crate) fn of(token: HookToken) -> Self {
        let (connection, serial) = token.to_numbers();
        Self { connection, serial: serial.into() }
    }

    pub(crate) fn token(self) -> Outcome<HookToken> {
        let serial = u32::try_from(self.serial).map_err(|_| Failure::invalid("not a token of a hook"))?;
        Ok(HookToken::from_numbers(self.connection, serial))
    }
}

fn error_reason(reason: u8) -> Outcome<Reason> {
    if reason < 0x80 {
        return Err(Failure::invalid(format!("0x{reason:02X} is no reason to refuse: those are 0x80 and above")));
    }
    Ok(Reason(reason))
}

/// An empty decision, for a late answer. The caller frees it with nlmqtt_decision_free.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_decision_new() -> *mut nlmqtt_decision {
    fence_or(core::ptr::null_mut(), || Ok(Box::into_raw(Box::default())))
}

/// Frees a decision made by nlmqtt_decision_new. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_free(decision: *mut nlmqtt_decision) {
    fence_or((), || {
        if !decision.is_null() {
            drop(unsafe { Box::from_raw(decision) });
        }
        Ok(())
    });
}

/// For DENY: the reason, 0x80 and above (MQTT 5 section 2.4); 3.x clients are told the nearest they know.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_reason(decision: *mut nlmqtt_decision, reason: u8) -> nlmqtt_status {
    fence(|| {
        unsafe { reference_mut(decision, "decision") }?.reason = Some(error_reason(reason)?);
        Ok(())
    })
}

/// For REWRITE: another topic name. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_topic(decision: *mut nlmqtt_decision, topic: *const c_char) -> nlmqtt_status {
    fence(|| {
        let decision = unsafe { reference_mut(decision, "decision") }?;
        decision.rewrite.topic = Some(unsafe { super::message::topic_name(topic) }?.to_owned());
        Ok(())
    })
}

/// For REWRITE: another payload. Copied; NULL is fine if `len` is 0. TOO_LARGE: more than a packet can hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_payload(decision: *mut nlmqtt_decision, payload: *const c_void, len: usize) -> nlmqtt_status {
    fence(|| {
        let decision = unsafe { reference_mut(decision, "decision") }?;
        let payload = unsafe { bytes(payload, len, "payload") }?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Failure::new(NLMQTT_TOO_LARGE, "payload larger than a packet"));
        }
        decision.rewrite.payload = Some(payload.to_vec());
        Ok(())
    })
}

/// For REWRITE: another QoS for the subscribers; the publisher's handshake stays as it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_qos(decision: *mut nlmqtt_decision, qos: u8) -> nlmqtt_status {
    fence(|| {
        unsafe { reference_mut(decision, "decision") }?.rewrite.qos = Some(qos_of(qos)?);
        Ok(())
    })
}

/// For REWRITE: another RETAIN flag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_retain(decision: *mut nlmqtt_decision, retain: bool) -> nlmqtt_status {
    fence(|| {
        unsafe { reference_mut(decision, "decision") }?.rewrite.retain = Some(retain);
        Ok(())
    })
}

/// For CHALLENGE and ALLOW in authentication: the Authentication Data of AUTH or CONNACK (MQTT 5 section 4.12). Copied; NULL is
/// fine if `len` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_auth_data(decision: *mut nlmqtt_decision, data: *const c_void, len: usize) -> nlmqtt_status {
    fence(|| {
        let decision = unsafe { reference_mut(decision, "decision") }?;
        let data = unsafe { bytes(data, len, "data") }?;
        if data.len() > usize::from(u16::MAX) {
            return Err(Failure::invalid("authentication data of more than 65,535 bytes"));
        }
        decision.auth_data = Some(data.to_vec());
        Ok(())
    })
}

/// For ALLOW in the subscribe hook: use this filter and QoS for the one at `index`. Copied. The others stay as they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_set_filter(decision: *mut nlmqtt_decision, index: usize, filter: *const c_char, qos: u8) -> nlmqtt_status {
    fence(|| {
        let decision = unsafe { reference_mut(decision, "decision") }?;
        let filter = unsafe { string(filter, "filter") }?;
        if !topic::is_valid_filter(filter) {
            return Err(Failure::invalid(format!("not a topic filter: {filter:?}")));
        }
        decision.edit(index, Ok((filter.to_owned(), qos_of(qos)?)));
        Ok(())
    })
}

/// For ALLOW in the subscribe hook: refuse the filter at `index`, with a reason of 0x80 and above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_decision_refuse_filter(decision: *mut nlmqtt_decision, index: usize, reason: u8) -> nlmqtt_status {
    fence(|| {
        let decision = unsafe { reference_mut(decision, "decision") }?;
        decision.edit(index, Err(error_reason(reason)?));
        Ok(())
    })
}
