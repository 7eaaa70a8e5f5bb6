/** @file
 * How calls of nlmqtt.hpp fail, and the views that texts and bytes travel in. Include nlmqtt.hpp, not this file.
 *
 * There are two styles of the same interface. With exceptions, `returns<T>` is T and a failure throws nlmqtt::error. Without
 * them (-fno-exceptions), or with NLMQTT_RETURN_ERRORS defined before the header is included, `returns<T>` is `result<T>`, which has
 * the status. The styles are different namespaces to the linker, so that one program may have both.
 */
#ifndef NLMQTT_ERROR_HPP
#define NLMQTT_ERROR_HPP

#include <nlmqtt.h>

#include <cstring>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
/** The compiler knows exceptions: trampolines catch them. */
#define NLMQTT_CATCHES 1
#else
/** The compiler knows no exceptions. */
#define NLMQTT_CATCHES 0
#endif
#if NLMQTT_CATCHES && !defined(NLMQTT_RETURN_ERRORS)
/** Calls that fail throw nlmqtt::error. */
#define NLMQTT_THROWS 1
/** The namespace of this style, for the linker's eyes only. */
#define NLMQTT_STYLE throwing
#else
/** Calls that fail return the status. */
#define NLMQTT_THROWS 0
/** The namespace of this style, for the linker's eyes only. */
#define NLMQTT_STYLE returning
#endif
#if __cplusplus >= 201703L
/** A result is to be looked at. */
#define NLMQTT_NODISCARD [[nodiscard]]
#else
/** C++11 has no word for it. */
#define NLMQTT_NODISCARD
#endif

/** Everything of nlmqtt.hpp. */
namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** An nlmqtt_status: NLMQTT_OK, or why not. Plain data. */
class status {
public:
    /** From the number the C functions return. */
    status(nlmqtt_status code = NLMQTT_OK) noexcept : code_(code) {}
    /** The number, one of the NLMQTT_ constants. */
    nlmqtt_status code() const noexcept { return code_; }
    /** It went well. */
    bool ok() const noexcept { return code_ == NLMQTT_OK; }
    /** It went well. */
    explicit operator bool() const noexcept { return ok(); }
    /** Such as "INVALID_ARGUMENT". Lives as long as the library. */
    const char *name() const noexcept { return nlmqtt_status_name(code_); }
    /** A short text. Lives as long as the library. */
    const char *text() const noexcept { return nlmqtt_status_text(code_); }
    /** The same call may succeed later without any change. */
    bool is_transient() const noexcept { return nlmqtt_status_is_transient(code_); }
    /** The same number. */
    friend bool operator==(status left, status right) noexcept { return left.code_ == right.code_; }
    /** Another number. */
    friend bool operator!=(status left, status right) noexcept { return left.code_ != right.code_; }

private:
    nlmqtt_status code_;
};

/** The text of this thread's last failure, copied. It stays until another call fails on this thread. */
inline std::string last_error()
{
    std::string text(nlmqtt_last_error(nullptr, 0), '\0');
    if (!text.empty())
        nlmqtt_last_error(&text[0], text.size() + 1); // the NUL lands on the string's own
    return text;
}

/** The category of nlmqtt::error::code(): its values are nlmqtt_status numbers. */
inline const std::error_category &category() noexcept
{
    struct statuses : std::error_category {
        const char *name() const noexcept override { return "nlmqtt"; }
        std::string message(int code) const override { return nlmqtt_status_text(code); }
    };
    static const statuses all;
    return all;
}

/** A call failed. what() is the library's last error: which argument, which line, which address. */
class error : public std::system_error {
public:
    /** Takes this thread's last error as its text. */
    explicit error(nlmqtt_status code) : std::system_error(code, nlmqtt::category(), nlmqtt::last_error()) {}
    /** Why. */
    nlmqtt::NLMQTT_STYLE::status status() const noexcept { return code().value(); }
};

/** A status, and a value if it is NLMQTT_OK. Owns the value. */
template <class T> class NLMQTT_NODISCARD result : public status {
public:
    /** A failure has a value that means nothing. */
    result(nlmqtt_status code, T value) : status(code), value_(std::move(value)) {}
    /** The value; look at the status first. */
    T &operator*() noexcept { return value_; }
    /** The value; look at the status first. */
    const T &operator*() const noexcept { return value_; }
    /** A member of the value; look at the status first. */
    T *operator->() noexcept { return &value_; }

private:
    T value_;
};

/** A status that is to be looked at. */
template <> class NLMQTT_NODISCARD result<void> : public status {
public:
    /** From the number the C functions return. */
    explicit result(nlmqtt_status code) noexcept : status(code) {}
};

#if NLMQTT_THROWS
/** What a call returns that can fail: here T, and a failure throws nlmqtt::error. */
template <class T> using returns = T;
#else
/** What a call returns that can fail: here the status and T. */
template <class T> using returns = result<T>;
#endif

/** @cond */
namespace detail {
#if NLMQTT_THROWS
inline void answer(nlmqtt_status code)
{
    if (code != NLMQTT_OK)
        throw error(code);
}
template <class T> T answer(nlmqtt_status code, T value)
{
    answer(code);
    return value;
}
#else
inline result<void> answer(nlmqtt_status code) noexcept { return result<void>(code); }
template <class T> result<T> answer(nlmqtt_status code, T value) { return result<T>(code, std::move(value)); }
#endif
} // namespace detail
/** @endcond */

/** A borrowed text, UTF-8, with a NUL behind it. How long it lives says whoever hands it out. */
class text {
public:
    /** What the C structs have. */
    text(nlmqtt_str value) noexcept : value_(value) {}
    /** The bytes; NULL where there is no text at all. */
    const char *data() const noexcept { return value_.data; }
    /** How many. */
    size_t size() const noexcept { return value_.len; }
    /** There is a text, be it empty. */
    explicit operator bool() const noexcept { return value_.data != nullptr; }
    /** A copy; empty where there is none. */
    std::string str() const { return value_.data == nullptr ? std::string() : std::string(value_.data, value_.len); }
    /** A copy; empty where there is none. */
    operator std::string() const { return str(); }
    /** The same bytes. */
    friend bool operator==(const text &left, const char *right) noexcept { return left.is(right, std::strlen(right)); }
    /** The same bytes. */
    friend bool operator==(const text &left, const std::string &right) noexcept { return left.is(right.data(), right.size()); }

private:
    bool is(const char *other, size_t len) const noexcept
    {
        return len == value_.len && (len == 0 || std::memcmp(other, value_.data, len) == 0);
    }
    nlmqtt_str value_;
};

/** Borrowed bytes: a payload on its way in (borrowed for the call) or out (as long as whoever hands it out says). */
class bytes {
public:
    /** None. */
    bytes() noexcept : data_(nullptr), size_(0) {}
    /** `size` bytes at `data`. */
    bytes(const void *data, size_t size) noexcept : data_(data), size_(size) {}
    /** A text without its NUL. */
    bytes(const char *text) noexcept : data_(text), size_(text == nullptr ? 0 : std::strlen(text)) {}
    /** What the C structs have. */
    bytes(nlmqtt_bytes value) noexcept : data_(value.data), size_(value.len) {}
    /** The inside of a std::string, std::vector, std::array, std::string_view, std::span. */
    template <class Container, class = decltype(std::declval<const Container &>().data() + std::declval<const Container &>().size())>
    bytes(const Container &container) noexcept
        : data_(container.data()), size_(container.size() * sizeof(*container.data()))
    {
    }
    /** The bytes; may be NULL if there are none. */
    const void *data() const noexcept { return data_; }
    /** How many. */
    size_t size() const noexcept { return size_; }
    /** The first. */
    const uint8_t *begin() const noexcept { return static_cast<const uint8_t *>(data_); }
    /** Behind the last. */
    const uint8_t *end() const noexcept { return data_ == nullptr ? nullptr : begin() + size_; }
    /** A copy. */
    std::string str() const { return data_ == nullptr ? std::string() : std::string(static_cast<const char *>(data_), size_); }

private:
    const void *data_;
    size_t size_;
};

/**
 * A text on its way in, borrowed for the call. The C functions take texts that end with a NUL; one that has a NUL inside is not
 * cut but becomes a text that is not UTF-8, which no call accepts.
 */
class c_text {
public:
    /** As it is; NULL where a call says that it may be. */
    c_text(const char *text) noexcept : text_(text) {}
    /** The inside of a string. */
    c_text(const std::string &text) noexcept : text_(text.find('\0') == std::string::npos ? text.c_str() : "\xFF") {}
    /** What a callback was lent. */
    c_text(const text &text) noexcept : text_(text.data()) {}
    /** For the C functions. */
    operator const char *() const noexcept { return text_; }

private:
    const char *text_;
};

/**
 * Owns what a C function made, and frees it. Move-only. Moving and resetting are for one thread at a time; what may be
 * called from where is the affair of the class that is one.
 */
template <class Raw, void (*Free)(Raw *)> class handle {
public:
    /** Owns nothing; calls then fail with INVALID_ARGUMENT. */
    handle() noexcept : raw_(nullptr) {}
    /** Takes over what a C function made. */
    explicit handle(Raw *raw) noexcept : raw_(raw) {}
    /** The other one owns nothing then. */
    handle(handle &&other) noexcept : raw_(other.release()) {}
    /** Frees what it had; the other one owns nothing then. */
    handle &operator=(handle &&other) noexcept
    {
        if (this != &other)
            reset(other.release());
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    /** Frees what it owns. */
    ~handle() { reset(); }
    /** For C functions; stays the property of the handle. */
    Raw *get() const noexcept { return raw_; }
    /** Gives it away: the caller frees it. */
    Raw *release() noexcept
    {
        Raw *raw = raw_;
        raw_ = nullptr;
        return raw;
    }
    /** Frees what it owns and takes `raw` over. */
    void reset(Raw *raw = nullptr) noexcept
    {
        Raw *old = raw_;
        raw_ = raw; // first: a callback that runs meanwhile sees the new state
        Free(old);
    }
    /** Owns something. */
    explicit operator bool() const noexcept { return raw_ != nullptr; }

private:
    Raw *raw_;
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
