// What the C++ tests share: checks, a broker on a free port, and a gate that one thread opens for another.
#ifndef BENCH_HPP
#define BENCH_HPP

#include <nlmqtt.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            std::fprintf(stderr, "%s:%d: not true: %s (last error: %s)\n", __FILE__, __LINE__, #condition,    \
                         nlmqtt::last_error().c_str());                                                       \
            std::exit(1);                                                                                     \
        }                                                                                                     \
    } while (0)

// A number that callbacks raise and the test waits for.
class counter {
public:
    void add()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        ++value_;
        changed_.notify_all();
    }
    int value() const
    {
        std::lock_guard<std::mutex> lock(mutex_);
        return value_;
    }
    // It is at least `wanted` within a minute.
    bool reaches(int wanted) const
    {
        std::unique_lock<std::mutex> lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return value_ >= wanted; });
    }

private:
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    int value_ = 0;
};

// Names that several threads note.
class notes {
public:
    void add(const std::string &name)
    {
        std::lock_guard<std::mutex> lock(mutex_);
        names_.push_back(name);
        changed_.notify_all();
    }
    // The name is noted within a minute, or `patience_ms`.
    bool has(const std::string &name, int patience_ms = 60000) const
    {
        std::unique_lock<std::mutex> lock(mutex_);
        return changed_.wait_for(lock, std::chrono::milliseconds(patience_ms), [&] {
            for (const std::string &each : names_)
                if (each == name)
                    return true;
            return false;
        });
    }

private:
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    std::vector<std::string> names_;
};

// Counts how often what a callback captured was destroyed.
class captured {
public:
    explicit captured(counter &destroyed) : destroyed_(&destroyed) {}
    captured(const captured &) = delete;
    captured &operator=(const captured &) = delete;
    ~captured() { destroyed_->add(); }

private:
    counter *destroyed_;
};

#endif
