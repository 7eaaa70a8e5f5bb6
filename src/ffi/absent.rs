//! The functions of the server in a build without the feature `server`: they are there, and answer UNSUPPORTED.
//!
//! The header generator does not look into macros: for it there is one definition of each. Those that only answer take no arguments; in every
//! C calling convention of Linux the caller cleans up what it passed.

use std::ffi::{c_char, c_void};

use super::{Failure, NLMQTT_UNSUPPORTED, UserData, fence, nlmqtt_free_fn, nlmqtt_server_hooks, nlmqtt_status, sized};

fn unsupported() -> Failure {
    Failure::new(NLMQTT_UNSUPPORTED, "this build has no server")
}

macro_rules! types {
    ($($item:item)*) => { $($item)* };
}

types! {
    /// Never made.
    pub enum nlmqtt_decision {}

    /// Of no use.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct nlmqtt_hook_token {
        /// Of the library.
        pub connection: u64,
        /// Of the library.
        pub serial: u64,
    }

    /// What was handed over is released.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn nlmqtt_server_new(_: *mut c_void, _: *const c_void, hooks: *const nlmqtt_server_hooks, _: *mut *mut c_void) -> nlmqtt_status {
        fence(|| {
            let calls = unsafe { sized(hooks, nlmqtt_server_hooks::NONE, "hooks") }?;
            drop(UserData::new(calls.user_data, calls.free_fn));
            Err(unsupported())
        })
    }

    /// What was handed over is released.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn nlmqtt_server_subscribe(_: *mut c_void, _: *const c_char, _: *const c_void, user_data: *mut c_void, free_fn: nlmqtt_free_fn, _: *mut u64) -> nlmqtt_status {
        drop(UserData::new(user_data, free_fn));
        fence(|| Err(unsupported()))
    }

    /// What was handed over is released.
    #[unsafe(no_mangle)]
    pub unsafe extern "C" fn nlmqtt_server_schedule(_: *mut c_void, _: u32, _: u32, _: *const c_void, user_data: *mut c_void, free_fn: nlmqtt_free_fn, _: *mut u64) -> nlmqtt_status {
        drop(UserData::new(user_data, free_fn));
        fence(|| Err(unsupported()))
    }

    /// There are none.
    #[unsafe(no_mangle)]
    pub extern "C" fn nlmqtt_server_config_listener_count() -> usize {
        0
    }
}

macro_rules! absent {
    ($($name:ident,)*) => { $(
        /// UNSUPPORTED.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> nlmqtt_status {
            fence(|| Err(unsupported()))
        }
    )* };
}

macro_rules! absent_new {
    ($($name:ident,)*) => { $(
        /// NULL.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() -> *mut c_void {
            core::ptr::null_mut()
        }
    )* };
}

macro_rules! absent_free {
    ($($name:ident,)*) => { $(
        /// Nothing was made, nothing is freed.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name() {}
    )* };
}

absent_new! {
    nlmqtt_decision_new,
    nlmqtt_listener_config_new,
    nlmqtt_server_config_new,
}

absent_free! {
    nlmqtt_decision_free,
    nlmqtt_listener_config_free,
    nlmqtt_server_config_free,
    nlmqtt_server_free,
}

absent! {
    nlmqtt_client_config_set_inproc_server,
    nlmqtt_decision_refuse_filter,
    nlmqtt_decision_set_auth_data,
    nlmqtt_decision_set_filter,
    nlmqtt_decision_set_payload,
    nlmqtt_decision_set_qos,
    nlmqtt_decision_set_reason,
    nlmqtt_decision_set_retain,
    nlmqtt_decision_set_topic,
    nlmqtt_listener_config_get,
    nlmqtt_listener_config_set,
    nlmqtt_listener_config_set_addresses,
    nlmqtt_listener_config_set_allow_anonymous,
    nlmqtt_listener_config_set_backlog,
    nlmqtt_listener_config_set_certificate_files,
    nlmqtt_listener_config_set_client_certificates,
    nlmqtt_listener_config_set_dscp,
    nlmqtt_listener_config_set_max_connections,
    nlmqtt_listener_config_set_max_keepalive_s,
    nlmqtt_listener_config_set_max_packet_bytes,
    nlmqtt_listener_config_set_mount_point,
    nlmqtt_listener_config_set_proxy,
    nlmqtt_listener_config_set_rates,
    nlmqtt_listener_config_set_receive_maximum,
    nlmqtt_listener_config_set_rudp_newcomers,
    nlmqtt_listener_config_set_rudp_patience,
    nlmqtt_listener_config_set_rudp_rates,
    nlmqtt_listener_config_set_rudp_bare,
    nlmqtt_listener_config_set_tcp,
    nlmqtt_listener_config_set_tls,
    nlmqtt_listener_config_set_unix_file,
    nlmqtt_listener_config_set_uri,
    nlmqtt_listener_config_set_versions,
    nlmqtt_listener_config_set_websocket,
    nlmqtt_server_add_listener,
    nlmqtt_server_add_listener_config,
    nlmqtt_server_add_listener_fd,
    nlmqtt_server_adopt,
    nlmqtt_server_adopt_at,
    nlmqtt_server_ban,
    nlmqtt_server_cancel,
    nlmqtt_server_client_info,
    nlmqtt_server_complete,
    nlmqtt_server_config_add_listener,
    nlmqtt_server_config_add_listener_config,
    nlmqtt_server_config_check,
    nlmqtt_server_config_each_key,
    nlmqtt_server_config_get,
    nlmqtt_server_config_get_bool,
    nlmqtt_server_config_get_number,
    nlmqtt_server_config_load_connstr,
    nlmqtt_server_config_load_environment,
    nlmqtt_server_config_load_file,
    nlmqtt_server_config_load_json,
    nlmqtt_server_config_set,
    nlmqtt_server_config_set_allow_anonymous,
    nlmqtt_server_config_set_bool,
    nlmqtt_server_config_set_hook_timeout_ms,
    nlmqtt_server_config_set_max_connections,
    nlmqtt_server_config_set_max_keepalive_s,
    nlmqtt_server_config_set_max_packet_bytes,
    nlmqtt_server_config_set_queue_limits,
    nlmqtt_server_config_set_memory_limit,
    nlmqtt_server_config_set_number,
    nlmqtt_server_config_set_session_expiry_max_s,
    nlmqtt_server_control,
    nlmqtt_server_each_ban,
    nlmqtt_server_each_client,
    nlmqtt_server_each_retained,
    nlmqtt_server_each_stat,
    nlmqtt_server_each_subscription,
    nlmqtt_server_kick,
    nlmqtt_server_listener_address,
    nlmqtt_server_listener_port,
    nlmqtt_server_metrics,
    nlmqtt_server_publish,
    nlmqtt_server_publish_message,
    nlmqtt_server_publish_to,
    nlmqtt_server_reload,
    nlmqtt_server_remove_listener,
    nlmqtt_server_retained_clear,
    nlmqtt_server_retained_get,
    nlmqtt_server_retained_set,
    nlmqtt_server_start,
    nlmqtt_server_stat,
    nlmqtt_server_stop,
    nlmqtt_server_subscribe_client,
    nlmqtt_server_unban,
    nlmqtt_server_unsubscribe,
    nlmqtt_server_unsubscribe_client,
}
