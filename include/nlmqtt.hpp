/** @file
 * nlmqtt for C++11 and newer: RAII, std::function, exceptions, and nothing else. Header-only; all work is done by nlmqtt.h, whose
 * words on limits, threads and errors hold here, too. Licence: MIT.
 *
 * - Handles are move-only and free what they own. What C++ only borrows is a `..._view`, a `text` or `bytes`.
 * - Calls that fail throw nlmqtt::error; where a failure is nothing unusual (try_publish, next_message, wait, stop), it is returned.
 *   Under -fno-exceptions, and with NLMQTT_RETURN_ERRORS defined, every failure is returned: `returns<T>` is `result<T>` then.
 * - No exception enters the library: what a callback throws is told to `escaped`, see nlmqtt/callback.hpp.
 * - Of the constants of nlmqtt.h only the verdicts of hooks have other names.
 */
#ifndef NLMQTT_HPP
#define NLMQTT_HPP

#include <nlmqtt/client.hpp>
#include <nlmqtt/server.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** The name the standard gives a reason code (MQTT 5 section 2.4). Lives as long as the library. */
inline const char *reason_text(uint8_t reason) noexcept { return nlmqtt_reason_text(reason); }
/** `name` can be published to (MQTT 5 section 4.7). Any thread. */
inline bool is_valid_topic(c_text name) noexcept { return nlmqtt_topic_is_valid_name(name); }
/** `filter` can be subscribed to (MQTT 5 section 4.7). Any thread. */
inline bool is_valid_filter(c_text filter) noexcept { return nlmqtt_topic_is_valid_filter(filter); }
/** A message to `name` meets `filter` (MQTT 5 section 4.7.1). Any thread. */
inline bool matches(c_text filter, c_text name) noexcept { return nlmqtt_topic_matches(filter, name); }
/** The version of the library, such as "0.1.0". Lives as long as the library. */
inline const char *version_string() noexcept { return nlmqtt_version_string(); }
/** The version of the library as major * 1,000,000 + minor * 1,000 + patch. */
inline uint32_t version_number() noexcept { return nlmqtt_version_number(); }
/** How the library was built, in one line. Lives as long as the library. */
inline const char *build_info() noexcept { return nlmqtt_build_info(); }
/** This build has a feature, such as "server". Any thread. */
inline bool has_feature(c_text feature) noexcept { return nlmqtt_has_feature(feature); }

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
