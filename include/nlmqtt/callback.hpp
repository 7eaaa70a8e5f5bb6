/** @file
 * The trampolines between C callbacks and std::function. Include nlmqtt.hpp, not this file.
 *
 * A std::function (or a table of them) is moved into a box on the heap; the C function gets the box as its `user_data`, a
 * trampoline as its function, and deletes the box by its `free_fn`. Each trampoline catches everything: no exception enters
 * the library. What becomes of it stands at each callback; there are three ways:
 *
 * - callbacks that only hear: `escaped` is told, and the library goes on as if the callback had returned;
 * - hooks that decide: `escaped` is told, and the answer is DENY with 0x83 Implementation specific error;
 * - functions that are called during one call of the application (`each...`, `check`, `reload`): the exception waits inside, the
 *   function is not called any more, and the call throws it when the C function has returned.
 *
 * Destructors of what a callback has captured must not throw.
 */
#ifndef NLMQTT_CALLBACK_HPP
#define NLMQTT_CALLBACK_HPP

#include <nlmqtt/error.hpp>

#include <exception>
#include <functional>
#include <memory>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/**
 * Is told of an exception that left a callback: the name of the callback, and the exception. On the thread of the callback,
 * right behind it. What it throws itself is ignored.
 */
using escaped_function = std::function<void(const char *callback, std::exception_ptr exception)>;

/** What a hook that decides says, see NLMQTT_ALLOW and its neighbours. */
enum class verdict : int32_t {
    allow = NLMQTT_ALLOW,         ///< Go on.
    deny = NLMQTT_DENY,           ///< Refuse.
    drop = NLMQTT_DROP,           ///< Acknowledge, deliver to nobody.
    rewrite = NLMQTT_REWRITE,     ///< Go on with what the decision says.
    challenge = NLMQTT_CHALLENGE, ///< Ask for more authentication data.
    pending = NLMQTT_PENDING      ///< server::complete will be called.
};

/** @cond */
namespace detail {

using escaped_pointer = std::shared_ptr<const escaped_function>;

inline escaped_pointer share(escaped_function escaped)
{
    return escaped ? std::make_shared<const escaped_function>(std::move(escaped)) : escaped_pointer();
}

#if NLMQTT_CATCHES
/** Runs `body`; false if it threw. */
template <class Body> bool guarded(const escaped_pointer &escaped, const char *callback, const Body &body) noexcept
{
    try {
        body();
        return true;
    } catch (...) {
        try {
            if (escaped)
                (*escaped)(callback, std::current_exception());
        } catch (...) { // there is nobody left to tell
        }
        return false;
    }
}
#else
template <class Body> bool guarded(const escaped_pointer &, const char *, const Body &body) noexcept
{
    body();
    return true;
}
#endif

/** A struct that is lent: a reference or a pointer, as the callback wants it. */
template <class T> struct lent {
    const T *value;
    operator const T &() const noexcept { return *value; }
    operator const T *() const noexcept { return value; }
};
template <class T> struct lending {
    static T lend(T value) noexcept { return value; }
};
template <class T> struct lending<const T *> {
    static lent<T> lend(const T *value) noexcept { return lent<T>{value}; }
};
/** Opaque: becomes a message_view. */
template <> struct lending<const nlmqtt_message *> {
    static const nlmqtt_message *lend(const nlmqtt_message *value) noexcept { return value; }
};

/** The decision is the last argument of every hook that decides. */
inline void refuse(nlmqtt_decision *decision) noexcept { nlmqtt_decision_set_reason(decision, 0x83); }
template <class First, class... Rest> void refuse(First, Rest... rest) noexcept { refuse(rest...); }

template <class Table> struct box {
    Table functions;
    escaped_pointer escaped;
};
template <class Boxed> void release(void *user_data) noexcept { delete static_cast<Boxed *>(user_data); }

/** Calls the member of a boxed table that only hears. The last parameters follow from the C type. */
template <class Table, class Function, Function Table::*Member, class Name, class... Arguments>
void tell(void *user_data, Arguments... arguments)
{
    const box<Table> &boxed = *static_cast<box<Table> *>(user_data);
    guarded(boxed.escaped, Name::text(), [&] { (boxed.functions.*Member)(lending<Arguments>::lend(arguments)...); });
}

/** Calls the member of a boxed table that decides. */
template <class Table, class Function, Function Table::*Member, class Name, class... Arguments>
int32_t decide(void *user_data, Arguments... arguments)
{
    const box<Table> &boxed = *static_cast<box<Table> *>(user_data);
    verdict answer = verdict::deny;
    if (!guarded(boxed.escaped, Name::text(),
                 [&] { answer = (boxed.functions.*Member)(lending<Arguments>::lend(arguments)...); }))
        refuse(arguments...);
    return static_cast<int32_t>(answer);
}

/** Fills the slot of a C table if there is a function for it. */
template <class Slot, class Function>
void fill(Slot &slot, const Function &function, typename std::common_type<Slot>::type trampoline)
{
    if (function)
        slot = trampoline;
}

/** A function alone. */
template <class Function> struct single {
    Function function;
};

/** A function, boxed for a C function that takes it over: also when that fails. Everything is NULL for an empty one. */
template <class Function> class registration {
public:
    registration(Function function, const escaped_pointer &escaped)
    {
        if (function)
            boxed_.reset(new boxed{{std::move(function)}, escaped});
        free_fn = boxed_ ? release<boxed> : nullptr;
    }
    /** What the C function calls. */
    template <class Slot, class Name> Slot call() const
    {
        Slot slot = nullptr;
        if (free_fn != nullptr)
            slot = &tell<single<Function>, Function, &single<Function>::function, Name>;
        return slot;
    }
    /** The box is the C function's from now on. */
    void *hand_over() noexcept { return boxed_.release(); }
    nlmqtt_free_fn free_fn;

private:
    using boxed = box<single<Function>>;
    std::unique_ptr<boxed> boxed_;
};

/** A function that is called during one call of a C function; an exception waits for its end. */
template <class Function> class visitor {
public:
    explicit visitor(const Function &function) : function_(function) {}
    template <class Slot> Slot call() const
    {
        Slot slot = nullptr;
        if (function_)
            slot = &visit;
        return slot;
    }
    /** The end of the C function. */
    returns<void> answer(nlmqtt_status code) const
    {
        rethrow();
        return detail::answer(code);
    }
    void rethrow() const
    {
#if NLMQTT_CATCHES
        if (thrown_)
            std::rethrow_exception(thrown_);
#endif
    }

private:
    template <class... Arguments> static void visit(void *user_data, Arguments... arguments) noexcept
    {
        visitor &self = *static_cast<visitor *>(user_data);
#if NLMQTT_CATCHES
        if (self.thrown_)
            return;
        try {
            self.function_(lending<Arguments>::lend(arguments)...);
        } catch (...) {
            self.thrown_ = std::current_exception();
        }
#else
        self.function_(lending<Arguments>::lend(arguments)...);
#endif
    }
    const Function &function_;
    std::exception_ptr thrown_;
};

/** What `escaped` calls the callbacks. */
namespace names {
#define NLMQTT_NAME(name)                                       \
    struct name {                                               \
        static const char *text() noexcept { return #name; }    \
    };
NLMQTT_NAME(state)
NLMQTT_NAME(connected)
NLMQTT_NAME(disconnected)
NLMQTT_NAME(before_connect)
NLMQTT_NAME(message)
NLMQTT_NAME(published)
NLMQTT_NAME(subscribed)
NLMQTT_NAME(resubscribed)
NLMQTT_NAME(unsubscribed)
NLMQTT_NAME(queue_level)
NLMQTT_NAME(auth)
NLMQTT_NAME(dropped)
NLMQTT_NAME(path_moved)
NLMQTT_NAME(fell_back)
NLMQTT_NAME(completion)
NLMQTT_NAME(response)
NLMQTT_NAME(accept)
NLMQTT_NAME(connect)
NLMQTT_NAME(authenticate)
NLMQTT_NAME(auth_exchange)
NLMQTT_NAME(session_created)
NLMQTT_NAME(session_resumed)
NLMQTT_NAME(session_expired)
NLMQTT_NAME(session_taken_over)
NLMQTT_NAME(authorize)
NLMQTT_NAME(subscribe)
NLMQTT_NAME(unsubscribe)
NLMQTT_NAME(publish)
NLMQTT_NAME(publish_out)
NLMQTT_NAME(delivered)
NLMQTT_NAME(expired)
NLMQTT_NAME(retained_set)
NLMQTT_NAME(retained_cleared)
NLMQTT_NAME(will)
NLMQTT_NAME(quota)
NLMQTT_NAME(slow_client)
NLMQTT_NAME(tick)
NLMQTT_NAME(stopped)
NLMQTT_NAME(task)
NLMQTT_NAME(thread_start)
NLMQTT_NAME(thread_stop)
NLMQTT_NAME(resolve)
NLMQTT_NAME(log)
#undef NLMQTT_NAME
} // namespace names

} // namespace detail
/** @endcond */

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
