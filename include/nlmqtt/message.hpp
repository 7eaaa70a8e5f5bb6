/** @file
 * Properties and messages. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_MESSAGE_HPP
#define NLMQTT_MESSAGE_HPP

#include <nlmqtt/error.hpp>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Properties of MQTT 5 (section 2.2.2) that somebody else owns. Copy it freely; it lives as long as what lends it. */
class properties_view {
public:
    /** Borrows a list; NULL has nothing in it. */
    properties_view(const nlmqtt_properties *raw = nullptr) noexcept : raw_(raw) {}
    /** For C functions. */
    const nlmqtt_properties *get() const noexcept { return raw_; }
    /** The number `id` (NLMQTT_PROPERTY_*), the one at `index` if it repeats. NOT_FOUND: it is not there. */
    returns<uint32_t> number(uint8_t id, size_t index = 0) const
    {
        uint32_t value = 0;
        const nlmqtt_status code = nlmqtt_properties_get_u32(raw_, id, index, &value);
        return detail::answer(code, value);
    }
    /** The string `id`, borrowed from the list. NOT_FOUND: it is not there. */
    returns<text> string(uint8_t id, size_t index = 0) const
    {
        nlmqtt_str value = {nullptr, 0};
        const nlmqtt_status code = nlmqtt_properties_get_string(raw_, id, index, &value);
        return detail::answer(code, text(value));
    }
    /** The binary `id`, borrowed from the list. NOT_FOUND: it is not there. */
    returns<bytes> binary(uint8_t id, size_t index = 0) const
    {
        nlmqtt_bytes value = {nullptr, 0};
        const nlmqtt_status code = nlmqtt_properties_get_binary(raw_, id, index, &value);
        return detail::answer(code, bytes(value));
    }
    /** Name and value of the user property at `index`, borrowed from the list. NOT_FOUND: there are not so many. */
    returns<std::pair<text, text>> user(size_t index) const
    {
        nlmqtt_str name = {nullptr, 0}, value = {nullptr, 0};
        const nlmqtt_status code = nlmqtt_properties_get_user(raw_, index, &name, &value);
        return detail::answer(code, std::pair<text, text>(name, value));
    }
    /** How often `id` is there; 0 counts all. */
    size_t count(uint8_t id = 0) const noexcept { return nlmqtt_properties_count(raw_, id); }
    /** Which property is the one at `index` of all; 0 if there are not so many. */
    uint8_t id_at(size_t index) const noexcept { return nlmqtt_properties_id_at(raw_, index); }
    /** The list may be sent at `place` (NLMQTT_PLACE_*); else INVALID_ARGUMENT. */
    returns<void> validate(int32_t place) const { return detail::answer(nlmqtt_properties_validate(raw_, place)); }

private:
    const nlmqtt_properties *raw_;
};

/** Properties of MQTT 5 that are yours. Move-only; used by one thread at a time. */
class properties : public handle<nlmqtt_properties, nlmqtt_properties_free> {
public:
    /** An empty list; without memory one that owns nothing, and the first add says INVALID_ARGUMENT. */
    properties() noexcept : handle(nlmqtt_properties_new()) {}
    /** A copy of what is lent. */
    explicit properties(properties_view other) noexcept : handle(nlmqtt_properties_copy(other.get())) {}
    /** To read it. Borrowed from this object. */
    properties_view view() const noexcept { return properties_view(get()); }
    /** To read it. Borrowed from this object. */
    operator properties_view() const noexcept { return view(); }
    /** Appends a number. INVALID_ARGUMENT: `id` is no number, or the standard forbids the value. */
    returns<void> add_number(uint8_t id, uint32_t value) { return detail::answer(nlmqtt_properties_add_u32(get(), id, value)); }
    /** Appends a string. Copied. TOO_LARGE: more than 65,535 bytes. */
    returns<void> add_string(uint8_t id, c_text value) { return detail::answer(nlmqtt_properties_add_string(get(), id, value)); }
    /** Appends binary data. Copied. TOO_LARGE: more than 65,535 bytes. */
    returns<void> add_binary(uint8_t id, bytes value)
    {
        return detail::answer(nlmqtt_properties_add_binary(get(), id, value.data(), value.size()));
    }
    /** Appends a user property. Copied. TOO_LARGE: one has more than 65,535 bytes. */
    returns<void> add_user(c_text name, c_text value) { return detail::answer(nlmqtt_properties_add_user(get(), name, value)); }
    /** Takes every `id` out; 0 takes everything out. */
    returns<void> remove(uint8_t id) { return detail::answer(nlmqtt_properties_remove(get(), id)); }
};

class message;

/** A message that somebody else owns, in a callback until that returns. Copy it freely; any thread may read it. */
class message_view {
public:
    /** Borrows a message; NULL has nothing in it. */
    message_view(const nlmqtt_message *raw = nullptr) noexcept : raw_(raw) {}
    /** For C functions. */
    const nlmqtt_message *get() const noexcept { return raw_; }
    /** There is one. */
    explicit operator bool() const noexcept { return raw_ != nullptr; }
    /** The topic name, borrowed from the message. */
    text topic() const noexcept { return nlmqtt_message_topic(raw_); }
    /** The payload, borrowed from the message. */
    bytes payload() const noexcept { return nlmqtt_message_payload(raw_); }
    /** The QoS: of the delivery in a client, of the publish in a server. */
    uint8_t qos() const noexcept { return nlmqtt_message_qos(raw_); }
    /** The RETAIN flag (MQTT 5 section 3.3.1.3). */
    bool retain() const noexcept { return nlmqtt_message_retain(raw_); }
    /** The DUP flag (MQTT 5 section 3.3.1.1): it may have come before. */
    bool dup() const noexcept { return nlmqtt_message_dup(raw_); }
    /** The properties that travel with it, borrowed from the message. */
    properties_view properties() const noexcept { return nlmqtt_message_properties(raw_); }
    /** The subscription identifier at `index` (MQTT 5 section 3.3.2.3.8); 0 if there are not so many. */
    uint32_t subscription_id(size_t index = 0) const noexcept { return nlmqtt_message_subscription_id(raw_, index); }
    /** When it came, in microseconds since its runtime began; 0 for one of message::make. */
    uint64_t received_us() const noexcept { return nlmqtt_message_received_us(raw_); }
    /** Keeps it beyond the callback, without copying the payload. The caller owns the result. Any thread. */
    message keep() const noexcept;

private:
    const nlmqtt_message *raw_;
};

/** A reference to a message that is yours. Move-only, view().keep() makes another one; any thread may read and free it. */
class message : public handle<nlmqtt_message, nlmqtt_message_unref> {
public:
    using handle::handle;
    /** Owns nothing. */
    message() noexcept {}
    /** A new message. Everything is copied. INVALID_ARGUMENT: not a topic name, or no such QoS. Any thread. */
    static returns<message> make(c_text topic, bytes payload, uint8_t qos = 0, bool retain = false,
                                 properties_view properties = properties_view())
    {
        nlmqtt_message *raw = nullptr;
        const nlmqtt_status code =
            nlmqtt_message_new(topic, payload.data(), payload.size(), qos, retain, properties.get(), &raw);
        return detail::answer(code, message(raw));
    }
    /** To read it. Borrowed from this object. */
    message_view view() const noexcept { return message_view(get()); }
    /** To read it. Borrowed from this object. */
    operator message_view() const noexcept { return view(); }
    /** To read it: `message->topic()`. */
    struct arrow {
        /** What the arrow points to. */
        message_view view;
        /** To it. */
        const message_view *operator->() const noexcept { return &view; }
    };
    /** To read it: `message->topic()`. Borrowed from this object. */
    arrow operator->() const noexcept { return arrow{view()}; }
};

inline message message_view::keep() const noexcept { return message(nlmqtt_message_ref(raw_)); }

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
