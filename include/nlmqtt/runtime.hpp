/** @file
 * The runtime: whose threads do the work. Include nlmqtt.hpp, not this file.
 */
#ifndef NLMQTT_RUNTIME_HPP
#define NLMQTT_RUNTIME_HPP

#include <nlmqtt/callback.hpp>

#include <vector>

namespace nlmqtt {
inline namespace NLMQTT_STYLE {

/** Options of a runtime to be made. Move-only; used by one thread at a time. Everything is copied, functions are moved. */
class runtime_config : public handle<nlmqtt_runtime_config, nlmqtt_runtime_config_free> {
public:
    /** The defaults; without memory it owns nothing, and the first call says INVALID_ARGUMENT. */
    runtime_config() noexcept : handle(nlmqtt_runtime_config_new()) {}
    /** Who is told of exceptions in what is set and posted from now on, and in tasks of the runtime. */
    void set_escaped(escaped_function escaped) { escaped_ = detail::share(std::move(escaped)); }
    /** NLMQTT_MODE_THREAD, _LOOP or _DISPATCH. */
    returns<void> set_mode(int32_t mode) { return detail::answer(nlmqtt_runtime_config_set_mode(get(), mode)); }
    /**
     * How many workers, each with a thread, share the work; 0 = one for each core. With more than one, hooks and callbacks of different
     * clients are called at the same time, unless the mode is DISPATCH.
     */
    returns<void> set_workers(size_t workers) { return detail::answer(nlmqtt_runtime_config_set_workers(get(), workers)); }
    /** The name of the first worker's thread; those of others have "-1" and so on behind it. The system shows its first 15 bytes. */
    returns<void> set_thread_name(c_text name) { return detail::answer(nlmqtt_runtime_config_set_thread_name(get(), name)); }
    /** The stack of each thread; 0 = 2 MiB. */
    returns<void> set_stack_bytes(size_t stack_bytes)
    {
        return detail::answer(nlmqtt_runtime_config_set_stack_bytes(get(), stack_bytes));
    }
    /** One of NLMQTT_SCHEDULING_*, and 1 to 99 for real time, else 0. */
    returns<void> set_scheduling(int32_t policy, uint8_t priority)
    {
        return detail::answer(nlmqtt_runtime_config_set_scheduling(get(), policy, priority));
    }
    /** The CPUs the threads may run on; none = all. */
    returns<void> set_cpus(const std::vector<uint32_t> &cpus)
    {
        return detail::answer(nlmqtt_runtime_config_set_cpus(get(), cpus.data(), cpus.size()));
    }
    /** Told of a thread's begin and end, on that thread. Either may be empty. An exception is told to `escaped`. */
    returns<void> set_thread_hooks(std::function<void(const char *name)> start, std::function<void(const char *name)> stop)
    {
        using boxed = detail::box<thread_hooks>;
        thread_hooks hooks{std::move(start), std::move(stop)};
        nlmqtt_thread_fn start_fn = nullptr, stop_fn = nullptr;
        detail::fill(start_fn, hooks.start,
                     &detail::tell<thread_hooks, decltype(hooks.start), &thread_hooks::start, detail::names::thread_start>);
        detail::fill(stop_fn, hooks.stop,
                     &detail::tell<thread_hooks, decltype(hooks.stop), &thread_hooks::stop, detail::names::thread_stop>);
        return detail::answer(nlmqtt_runtime_config_set_thread_hooks(
            get(), start_fn, stop_fn, new boxed{std::move(hooks), escaped_}, detail::release<boxed>));
    }
    /** How many threads may look names up, 0 to 64. */
    returns<void> set_helper_threads(size_t count)
    {
        return detail::answer(nlmqtt_runtime_config_set_helper_threads(get(), count));
    }
    /** 1: hooks of servers run on a thread of their own, one at a time. 0: on the workers. */
    returns<void> set_hook_threads(size_t count)
    {
        return detail::answer(nlmqtt_runtime_config_set_hook_threads(get(), count));
    }
    /**
     * Looks names up in place of the system; answers with runtime::resolved. Where callbacks run. An exception is told to
     * `escaped`, and there is no answer: the client tries again when its time for connecting is over.
     */
    returns<void> set_resolver(std::function<void(const char *host, uint64_t lookup)> resolve)
    {
        auto boxed = detail::registration<decltype(resolve)>(std::move(resolve), escaped_);
        return detail::answer(nlmqtt_runtime_config_set_resolver(
            get(), boxed.template call<nlmqtt_resolve_fn, detail::names::resolve>(), boxed.hand_over(), boxed.free_fn));
    }
    /** DISPATCH mode, and the hook thread: how many calls may wait. */
    returns<void> set_events_max(size_t events_max)
    {
        return detail::answer(nlmqtt_runtime_config_set_events_max(get(), events_max));
    }
    /** Bytes of everything that waits. */
    returns<void> set_memory_limit(size_t limit_bytes)
    {
        return detail::answer(nlmqtt_runtime_config_set_memory_limit(get(), limit_bytes));
    }
    /** From where on servers spare memory. */
    returns<void> set_memory_soft_limit(size_t limit_bytes)
    {
        return detail::answer(nlmqtt_runtime_config_set_memory_soft_limit(get(), limit_bytes));
    }
    /**
     * Where log lines up to `level_max` (NLMQTT_LOG_*) go. On the thread that has something to say; it must not block. An
     * exception is told to `escaped`; the line is gone.
     */
    returns<void> set_log(int32_t level_max, std::function<void(int32_t level, const char *module, const char *text)> log)
    {
        auto boxed = detail::registration<decltype(log)>(std::move(log), escaped_);
        return detail::answer(nlmqtt_runtime_config_set_log(
            get(), level_max, boxed.template call<nlmqtt_log_fn, detail::names::log>(), boxed.hand_over(), boxed.free_fn));
    }
    /** Another level for the lines of one module. */
    returns<void> set_log_level(c_text module, int32_t level_max)
    {
        return detail::answer(nlmqtt_runtime_config_set_log_level(get(), module, level_max));
    }

private:
    friend class runtime;
    struct thread_hooks {
        std::function<void(const char *)> start, stop;
    };
    detail::escaped_pointer escaped_;
};

/**
 * One event loop for any number of clients and servers. Move-only. Any thread may call its functions. It lives on inside the
 * library until its clients and servers are freed, too.
 */
class runtime : public handle<nlmqtt_runtime, nlmqtt_runtime_free> {
public:
    /** Owns nothing; make() makes one. */
    runtime() noexcept {}
    /** A runtime. `config` is borrowed for the call. Errors as nlmqtt_runtime_new. */
    static returns<runtime> make(const runtime_config &config)
    {
        runtime made;
        nlmqtt_runtime *raw = nullptr;
        const nlmqtt_status code = nlmqtt_runtime_new(config.get(), &raw);
        made.reset(raw);
        made.escaped_ = config.escaped_;
        return detail::answer(code, std::move(made));
    }
    /** A runtime in this mode, and else with the defaults. */
    static returns<runtime> make(int32_t mode = NLMQTT_MODE_THREAD)
    {
        runtime_config config;
#if NLMQTT_THROWS
        config.set_mode(mode);
#else
        const status set = config.set_mode(mode);
        if (!set.ok())
            return returns<runtime>(set.code(), runtime());
#endif
        return make(config);
    }
    /** The one descriptor to watch for reading, the same for ever; the library closes it. -1 in THREAD mode. */
    int fd() const noexcept { return nlmqtt_runtime_fd(get()); }
    /** LOOP mode: does what there is to do and runs callbacks; waits at most `timeout_ms` (negative: for ever). One thread. */
    returns<void> poll(int32_t timeout_ms) { return detail::answer(nlmqtt_runtime_poll(get(), timeout_ms)); }
    /** DISPATCH mode: runs the callbacks that wait, on this thread; waits as poll() does. */
    returns<void> dispatch(int32_t timeout_ms) { return detail::answer(nlmqtt_runtime_dispatch(get(), timeout_ms)); }
    /** Bytes that wait, and how many may. Never waits. Any thread. */
    returns<std::pair<size_t, size_t>> memory() const
    {
        size_t used_bytes = 0, limit_bytes = 0;
        const nlmqtt_status code = nlmqtt_runtime_memory(get(), &used_bytes, &limit_bytes);
        return detail::answer(code, std::make_pair(used_bytes, limit_bytes));
    }
    /** Levels and counters. Never waits. Any thread. */
    returns<nlmqtt_runtime_statistics> statistics() const
    {
        nlmqtt_runtime_statistics statistics;
        nlmqtt_runtime_statistics_init(&statistics);
        const nlmqtt_status code = nlmqtt_runtime_stats(get(), &statistics);
        return detail::answer(code, statistics);
    }
    /** Runs `task` soon where callbacks run. Any thread. An exception of it is told to `escaped`. LIMIT: 65,536 wait. */
    returns<void> post(std::function<void()> task)
    {
        auto boxed = detail::registration<decltype(task)>(std::move(task), escaped_);
        return detail::answer(nlmqtt_runtime_post(get(), boxed.template call<nlmqtt_task_fn, detail::names::task>(),
                                                  boxed.hand_over(), boxed.free_fn));
    }
    /** As post(), in `delay_ms`. Returns what cancel() wants. */
    returns<uint64_t> post_delayed(uint32_t delay_ms, std::function<void()> task)
    {
        auto boxed = detail::registration<decltype(task)>(std::move(task), escaped_);
        uint64_t token = 0;
        const nlmqtt_status code = nlmqtt_runtime_post_delayed(
            get(), delay_ms, boxed.template call<nlmqtt_task_fn, detail::names::task>(), boxed.hand_over(), boxed.free_fn, &token);
        return detail::answer(code, token);
    }
    /** Takes a task of post_delayed() back; what it captured is freed now. NOT_FOUND: it has run, runs, or was cancelled. */
    returns<void> cancel(uint64_t task) { return detail::answer(nlmqtt_runtime_cancel(get(), task)); }
    /** Answers the resolver, from any thread. No addresses: there is no such name. Copied. */
    returns<void> resolved(uint64_t lookup, const std::vector<std::string> &addresses)
    {
        std::vector<const char *> texts;
        for (const std::string &address : addresses)
            texts.push_back(c_text(address));
        return detail::answer(nlmqtt_runtime_resolved(get(), lookup, texts.data(), texts.size()));
    }

private:
    detail::escaped_pointer escaped_;
};

} // namespace NLMQTT_STYLE
} // namespace nlmqtt

#endif
