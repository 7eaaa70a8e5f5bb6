//! Topic names and filters.

use std::ffi::c_char;

use super::{fence_or, string};
use crate::topic;

/// True if `name` can be published to (MQTT 5 section 4.7: not empty, no wildcards, at most 65,535 bytes of
/// UTF-8). NULL is false. Borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_topic_is_valid_name(name: *const c_char) -> bool {
    fence_or(false, || Ok(topic::is_valid_name(unsafe { string(name, "name") }?)))
}

/// True if `filter` can be subscribed to (MQTT 5 section 4.7, `$share/GROUP/FILTER` included). NULL is
/// false. Borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_topic_is_valid_filter(filter: *const c_char) -> bool {
    fence_or(false, || Ok(topic::is_valid_filter(unsafe { string(filter, "filter") }?)))
}

/// True if a message to `name` meets `filter` (MQTT 5 section 4.7.1; of a shared subscription, the part behind the
/// group is compared). False if one of them is NULL or not legal. Borrowed for the call. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_topic_matches(filter: *const c_char, name: *const c_char) -> bool {
    fence_or(false, || {
        let (filter, name) = unsafe { (string(filter, "filter")?, string(name, "name")?) };
        if !topic::is_valid_filter(filter) || !topic::is_valid_name(name) {
            return Ok(false);
        }
        let plain = topic::split_share(filter).map_or(filter, |(_, plain)| plain);
        Ok(topic::matches(plain, name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_and_shared_filters_match_as_the_standard_says() {
        let matches = |filter: &std::ffi::CStr, name: &std::ffi::CStr| unsafe { nlmqtt_topic_matches(filter.as_ptr(), name.as_ptr()) };
        assert!(matches(c"a/+/c", c"a/b/c") && matches(c"$share/g/a/#", c"a") && !matches(c"#", c"$SYS/x"));
        assert!(!matches(c"a/#/b", c"a/b") && !matches(c"a", c"+"));
        assert!(!unsafe { nlmqtt_topic_matches(core::ptr::null(), c"a".as_ptr()) });
    }
}
