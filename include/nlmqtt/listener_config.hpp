/** @file
 * Options of one listener. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_LISTENER_CONFIG_HPP
#define NLMQTT_LISTENER_CONFIG_HPP

#include <nlmqtt/client_config.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Where one listener listens, and how. Move-only; used by one thread at a time. Everything is copied, also into what it is added to. */
class listener_config : public handle<nlmqtt_listener_config, nlmqtt_listener_config_free> {
public:
    /** MQTT over TCP at every address, port 1883; without memory it owns nothing, and the first call says INVALID_ARGUMENT. */
    listener_config() noexcept : handle(nlmqtt_listener_config_new()) {}
    /** Where: a URI, such as "wss://0.0.0.0:8084/mqtt". */
    returns<void> set_uri(c_text uri) { return detail::answer(nlmqtt_listener_config_set_uri(get(), uri)); }
    /** One option by its key; the README lists them. Also protocol, address, port and uri. */
    returns<void> set(c_text key, c_text value) { return detail::answer(nlmqtt_listener_config_set(get(), key, value)); }
    /** The value of an option as text; empty: not set. */
    returns<std::string> value(c_text key) const
    {
        return detail::copied(
            [&](char *buf, size_t cap, size_t *len) { return nlmqtt_listener_config_get(get(), key, buf, cap, len); });
    }
    /** Key allow_anonymous. */
    returns<void> set_allow_anonymous(bool allow_anonymous)
    {
        return detail::answer(nlmqtt_listener_config_set_allow_anonymous(get(), allow_anonymous));
    }
    /** Key versions: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. */
    returns<void> set_versions(uint8_t oldest, uint8_t newest)
    {
        return detail::answer(nlmqtt_listener_config_set_versions(get(), oldest, newest));
    }
    /** Key mount_point; nullptr: none. */
    returns<void> set_mount_point(c_text mount_point)
    {
        return detail::answer(nlmqtt_listener_config_set_mount_point(get(), mount_point));
    }
    /** Key max_connections; 0: only the server's limit. */
    returns<void> set_max_connections(uint32_t max_connections)
    {
        return detail::answer(nlmqtt_listener_config_set_max_connections(get(), max_connections));
    }
    /** Key max_packet_size; 0: the server's limit. */
    returns<void> set_max_packet_bytes(uint32_t packet_bytes)
    {
        return detail::answer(nlmqtt_listener_config_set_max_packet_bytes(get(), packet_bytes));
    }
    /** Key receive_maximum; 0: the server's limit. */
    returns<void> set_receive_maximum(uint16_t receive_maximum)
    {
        return detail::answer(nlmqtt_listener_config_set_receive_maximum(get(), receive_maximum));
    }
    /** Key max_keepalive; 0: the server's limit. */
    returns<void> set_max_keepalive_s(uint16_t keepalive_s)
    {
        return detail::answer(nlmqtt_listener_config_set_max_keepalive_s(get(), keepalive_s));
    }
    /** Keys rate_messages, rate_bytes and rate_connections, in a second; 0: any number. */
    returns<void> set_rates(uint32_t messages, uint32_t bytes, uint32_t connections)
    {
        return detail::answer(nlmqtt_listener_config_set_rates(get(), messages, bytes, connections));
    }
    /** Keys allow and deny; nullptr: none are named. */
    returns<void> set_addresses(c_text allow, c_text deny)
    {
        return detail::answer(nlmqtt_listener_config_set_addresses(get(), allow, deny));
    }
    /** Keys cert and key. */
    returns<void> set_certificate_files(c_text cert_file, c_text key_file)
    {
        return detail::answer(nlmqtt_listener_config_set_certificate_files(get(), cert_file, key_file));
    }
    /** Keys client_cert (NLMQTT_CLIENT_CERTIFICATE_*), identity (NLMQTT_IDENTITY_*), ca and crl. */
    returns<void> set_client_certificates(int32_t mode, int32_t identity, c_text ca_file, c_text crl_file = nullptr)
    {
        return detail::answer(nlmqtt_listener_config_set_client_certificates(get(), mode, identity, ca_file, crl_file));
    }
    /** Keys tls_min (NLMQTT_TLS_VERSION_*) and alpn. */
    returns<void> set_tls(int32_t version_min, c_text alpn = nullptr)
    {
        return detail::answer(nlmqtt_listener_config_set_tls(get(), version_min, alpn));
    }
    /** Keys paths and origins; nullptr: all. */
    returns<void> set_websocket(c_text paths, c_text origins)
    {
        return detail::answer(nlmqtt_listener_config_set_websocket(get(), paths, origins));
    }
    /** Keys proxy (NLMQTT_PROXY_POLICY_*) and proxy_trusted. */
    returns<void> set_proxy(int32_t policy, c_text trusted)
    {
        return detail::answer(nlmqtt_listener_config_set_proxy(get(), policy, trusted));
    }
    /** Key backlog. */
    returns<void> set_backlog(uint32_t backlog) { return detail::answer(nlmqtt_listener_config_set_backlog(get(), backlog)); }
    /** Keys tcp_keepalive_s and tcp_user_timeout_ms; 0: as the kernel does. */
    returns<void> set_tcp(uint16_t keepalive_s, uint32_t user_timeout_ms)
    {
        return detail::answer(nlmqtt_listener_config_set_tcp(get(), keepalive_s, user_timeout_ms));
    }
    /** Keys rudp_max_half_open, rudp_max_half_open_per_source and rudp_max_unproven; 0: the default. */
    returns<void> set_rudp_newcomers(uint32_t half_open_max, uint32_t half_open_per_source_max, uint32_t unproven_max)
    {
        return detail::answer(nlmqtt_listener_config_set_rudp_newcomers(get(), half_open_max, half_open_per_source_max, unproven_max));
    }
    /** Keys rudp_rate_newcomers and rudp_rate_resets. */
    returns<void> set_rudp_rates(uint32_t newcomers, uint32_t resets)
    {
        return detail::answer(nlmqtt_listener_config_set_rudp_rates(get(), newcomers, resets));
    }
    /** Keys rudp_gap_timeout_ms and rudp_silent_timeout_s; 0: the default. */
    returns<void> set_rudp_patience(uint32_t gap_timeout_ms, uint32_t silent_timeout_s)
    {
        return detail::answer(nlmqtt_listener_config_set_rudp_patience(get(), gap_timeout_ms, silent_timeout_s));
    }
    /** Keys rudp_bare and rudp_bare_trusted. */
    returns<void> set_rudp_bare(bool enabled, c_text trusted = nullptr)
    {
        return detail::answer(nlmqtt_listener_config_set_rudp_bare(get(), enabled, trusted));
    }
    /** Key dscp. */
    returns<void> set_dscp(uint8_t dscp) { return detail::answer(nlmqtt_listener_config_set_dscp(get(), dscp)); }
    /** Keys mode and owner of a Unix socket's file. */
    returns<void> set_unix_file(uint32_t mode, c_text owner = nullptr)
    {
        return detail::answer(nlmqtt_listener_config_set_unix_file(get(), mode, owner));
    }
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
