/* Options of a runtime: threads, helpers, memory, log, delayed functions. */
#include "runtime_bench.h"

#include <sched.h>
#include <signal.h>

struct hooks {
    pthread_mutex_t lock;
    int started, stopped, freed;
    char started_name[32], stopped_name[32];
    int policy;
    cpu_set_t cpus;
    sigset_t mask;
    size_t stack_bytes;
};

static void hooks_init(struct hooks *hooks)
{
    memset(hooks, 0, sizeof *hooks);
    pthread_mutex_init(&hooks->lock, NULL);
}

static void on_start(void *user_data, const char *name)
{
    struct hooks *hooks = (struct hooks *)user_data;
    pthread_attr_t attributes;
    struct sched_param parameter;
    pthread_mutex_lock(&hooks->lock);
    hooks->started++;
    snprintf(hooks->started_name, sizeof hooks->started_name, "%s", name);
    CHECK(pthread_getschedparam(pthread_self(), &hooks->policy, &parameter) == 0);
    CHECK(sched_getaffinity(0, sizeof hooks->cpus, &hooks->cpus) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &hooks->mask) == 0);
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstacksize(&attributes, &hooks->stack_bytes) == 0);
    pthread_attr_destroy(&attributes);
    pthread_mutex_unlock(&hooks->lock);
}

static void on_stop(void *user_data, const char *name)
{
    struct hooks *hooks = (struct hooks *)user_data;
    pthread_mutex_lock(&hooks->lock);
    hooks->stopped++;
    snprintf(hooks->stopped_name, sizeof hooks->stopped_name, "%s", name);
    pthread_mutex_unlock(&hooks->lock);
}

static void on_free(void *user_data)
{
    ((struct hooks *)user_data)->freed++;
}

/* A CPU this process may run on. */
static uint32_t some_cpu(void)
{
    cpu_set_t allowed;
    uint32_t cpu;
    CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    for (cpu = CPU_SETSIZE - 1; cpu > 0 && !CPU_ISSET(cpu, &allowed); cpu--)
        continue;
    return cpu;
}

/* The thread with this name has exactly this CPU, as the kernel tells. */
static bool task_has_cpu(const char *name, uint32_t cpu)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    bool found = false;
    char path[300], line[256], wanted[64];
    CHECK(tasks != NULL);
    snprintf(wanted, sizeof wanted, "Cpus_allowed_list:\t%u\n", (unsigned)cpu);
    while (!found && (entry = readdir(tasks)) != NULL) {
        FILE *status;
        bool is_named = false;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        status = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            if (strncmp(line, "Name:\t", 6) == 0)
                is_named = strncmp(line + 6, name, strlen(name)) == 0;
            found = found || (is_named && strcmp(line, wanted) == 0);
        }
        if (status != NULL)
            fclose(status);
    }
    closedir(tasks);
    return found;
}

static void threads_are_as_the_options_say(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime;
    struct hooks hooks;
    uint32_t cpu = some_cpu(), beyond = 100000;
    int signal_number;
    hooks_init(&hooks);
    CHECK_EQ(nlmqtt_runtime_config_set_cpus(config, &beyond, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_cpus(config, NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_scheduling(config, NLMQTT_SCHEDULING_FIFO, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_scheduling(config, NLMQTT_SCHEDULING_ROUND_ROBIN, 100), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_scheduling(config, NLMQTT_SCHEDULING_IDLE, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_scheduling(config, 77, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_stack_bytes(config, 1024), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_thread_name(config, "gateway"));
    OK(nlmqtt_runtime_config_set_cpus(config, &cpu, 1));
    OK(nlmqtt_runtime_config_set_scheduling(config, NLMQTT_SCHEDULING_BATCH, 0));
    OK(nlmqtt_runtime_config_set_stack_bytes(config, 1 << 20));
    OK(nlmqtt_runtime_config_set_thread_hooks(config, on_start, on_stop, &hooks, on_free));
    runtime = runtime_from(config);
    CHECK(task_has_cpu("gateway", cpu));
    nlmqtt_runtime_free(runtime);
    CHECK(hooks.started == 1 && hooks.stopped == 1 && hooks.freed == 1);
    CHECK_TEXT(hooks.started_name, "gateway");
    CHECK_TEXT(hooks.stopped_name, "gateway");
    CHECK_EQ(hooks.policy, SCHED_BATCH);
    CHECK(CPU_COUNT(&hooks.cpus) == 1 && CPU_ISSET(cpu, &hooks.cpus));
    CHECK(hooks.stack_bytes >= 1 << 20 && hooks.stack_bytes < 2 << 20);
    for (signal_number = 1; signal_number < 32; signal_number++)
        if (signal_number != SIGKILL && signal_number != SIGSTOP)
            CHECK(sigismember(&hooks.mask, signal_number) == 1);
}

/* Real time, where it is allowed; else a clear refusal, and no thread. */
static void real_time_is_given_or_refused(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    struct hooks hooks;
    nlmqtt_status status;
    hooks_init(&hooks);
    OK(nlmqtt_runtime_config_set_scheduling(config, NLMQTT_SCHEDULING_ROUND_ROBIN, 1));
    OK(nlmqtt_runtime_config_set_thread_hooks(config, on_start, NULL, &hooks, NULL));
    status = nlmqtt_runtime_new(config, &runtime);
    nlmqtt_runtime_config_free(config);
    if (status == NLMQTT_OK) {
        nlmqtt_runtime_free(runtime);
        CHECK(hooks.started == 1 && hooks.policy == SCHED_RR);
    } else {
        CHECK_EQ(status, NLMQTT_IO);
        CHECK(runtime == NULL && hooks.started == 0);
    }
}

static void workers_are_counted_and_loop_mode_has_one(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    char text[128];
    OK(nlmqtt_runtime_config_set_workers(config, 257));
    CHECK_EQ(nlmqtt_runtime_new(config, &runtime), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_last_error(text, sizeof text);
    CHECK_TEXT(text, "257 workers are more than 256");
    OK(nlmqtt_runtime_config_set_workers(config, 2));
    OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_LOOP));
    CHECK_EQ(nlmqtt_runtime_new(config, &runtime), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_workers(config, 0));
    CHECK_EQ(nlmqtt_runtime_new(config, &runtime), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_workers(config, 1));
    OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_free(runtime);
    OK(nlmqtt_runtime_config_set_workers(config, 0));
    OK(nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_THREAD));
    runtime = runtime_from(config);
    nlmqtt_runtime_free(runtime);
}

struct resolver {
    nlmqtt_runtime *runtime;
    struct counter asked, freed;
    uint64_t lookup;
    bool answers;
};

static void on_resolve(void *user_data, const char *host, uint64_t lookup)
{
    struct resolver *resolver = (struct resolver *)user_data;
    const char *addresses[2] = {"127.0.0.1", "::1"};
    CHECK_TEXT(host, "broker.test");
    resolver->lookup = lookup;
    if (resolver->answers)
        OK(nlmqtt_runtime_resolved(resolver->runtime, lookup, addresses, 2));
    counter_add(&resolver->asked);
}

static void on_resolver_free(void *user_data)
{
    counter_add(&((struct resolver *)user_data)->freed);
}

static void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    if (disconnected->cause == NLMQTT_CAUSE_NAMES)
        counter_add((struct counter *)user_data);
}

static void names_are_looked_up_by_the_application(int32_t mode)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_client_config *client_config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    struct resolver resolver;
    struct counter not_found;
    const char *addresses[2] = {"127.0.0.1", "no address"};
    char uri[64];
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    int threads;
    counter_init(&resolver.asked);
    counter_init(&resolver.freed);
    counter_init(&not_found);
    resolver.answers = true;
    OK(nlmqtt_runtime_config_set_mode(config, mode));
    CHECK_EQ(nlmqtt_runtime_config_set_helper_threads(config, 65), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_helper_threads(config, 0));
    snprintf(uri, sizeof uri, "mqtt://broker.test:%u", (unsigned)port);
    OK(nlmqtt_client_config_add_server(client_config, uri, 0));
    OK(nlmqtt_client_config_set(client_config, "reconnect_delay_min_ms", "10"));
    OK(nlmqtt_client_config_set(client_config, "reconnect_delay_max_ms", "50"));
    /* Without a resolver it is said at once what cannot work. */
    OK(nlmqtt_runtime_new(config, &resolver.runtime));
    CHECK_EQ(nlmqtt_client_new(resolver.runtime, client_config, NULL, &client), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_runtime_free(resolver.runtime);
    OK(nlmqtt_runtime_config_set_resolver(config, on_resolve, &resolver, on_resolver_free));
    resolver.runtime = runtime_from(config);
    threads = count_entries("/proc/self/task");
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &not_found;
    callbacks.disconnected = on_disconnected;
    OK(nlmqtt_client_new(resolver.runtime, client_config, &callbacks, &client));
    OK(nlmqtt_client_start(client));
    OK(nlmqtt_client_connect_wait(client, 10000));
    CHECK_EQ(counter_get(&resolver.asked), 1);
    CHECK_EQ(count_entries("/proc/self/task"), threads);
    if (mode == NLMQTT_MODE_LOOP) {
        CHECK_EQ(nlmqtt_client_stop(client, 1000), NLMQTT_IN_PROGRESS);
        while (nlmqtt_client_state(client) != NLMQTT_CLIENT_STOPPED)
            OK(nlmqtt_runtime_poll(resolver.runtime, 100));
    } else {
        OK(nlmqtt_client_stop(client, 1000));
    }
    /* An answer from elsewhere, and one that is none. */
    resolver.answers = false;
    OK(nlmqtt_client_start(client));
    while (counter_get(&resolver.asked) < 2)
        nlmqtt_client_connect_wait(client, 10);
    CHECK_EQ(nlmqtt_runtime_resolved(resolver.runtime, resolver.lookup, addresses, 2), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_resolved(resolver.runtime, resolver.lookup, addresses, 65), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_resolved(resolver.runtime, resolver.lookup, NULL, 1), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_resolved(resolver.runtime, resolver.lookup + 1000, NULL, 0));
    OK(nlmqtt_runtime_resolved(resolver.runtime, resolver.lookup, NULL, 0));
    while (counter_get(&not_found) < 1 || counter_get(&resolver.asked) < 3)
        nlmqtt_client_connect_wait(client, 10);
    OK(nlmqtt_runtime_resolved(resolver.runtime, resolver.lookup, addresses, 1));
    OK(nlmqtt_client_connect_wait(client, 10000));
    nlmqtt_client_free(client);
    nlmqtt_client_config_free(client_config);
    nlmqtt_runtime_free(resolver.runtime);
    CHECK_EQ(counter_get(&resolver.freed), 1);
    nlmqtt_server_free(server);
}

struct order {
    struct counter ran;
    char text[8];
};

static void run_a(void *user_data)
{
    struct order *order = (struct order *)user_data;
    strcat(order->text, "a");
    counter_add(&order->ran);
}

static void run_b(void *user_data)
{
    struct order *order = (struct order *)user_data;
    strcat(order->text, "b");
    counter_add(&order->ran);
}

/* Turns what the mode turns until so many have run. */
static void turn_until(nlmqtt_runtime *runtime, int32_t mode, struct counter *counter, int wanted)
{
    int loop;
    if (mode == NLMQTT_MODE_THREAD) {
        CHECK(counter_wait(counter, wanted));
        return;
    }
    loop = host_loop(runtime);
    while (counter_get(counter) < wanted)
        host_turn(loop, runtime, mode);
    close(loop);
}

static void delayed_functions_run_in_order_or_are_cancelled(int32_t mode)
{
    nlmqtt_runtime *runtime = runtime_of(mode);
    struct order order;
    struct counter freed;
    struct timespec start, end;
    uint64_t task = 0, late = 0;
    memset(&order, 0, sizeof order);
    counter_init(&order.ran);
    counter_init(&freed);
    clock_gettime(CLOCK_MONOTONIC, &start);
    OK(nlmqtt_runtime_post_delayed(runtime, 60, run_b, &order, NULL, &late));
    OK(nlmqtt_runtime_post_delayed(runtime, 20, run_a, &order, NULL, NULL));
    OK(nlmqtt_runtime_post_delayed(runtime, 30, counter_free_fn, &freed, counter_free_fn, &task));
    OK(nlmqtt_runtime_cancel(runtime, task));
    CHECK_EQ(counter_get(&freed), 1);
    CHECK_EQ(nlmqtt_runtime_cancel(runtime, task), NLMQTT_NOT_FOUND);
    turn_until(runtime, mode, &order.ran, 2);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK_TEXT(order.text, "ab");
    CHECK((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 >= 60);
    CHECK_EQ(nlmqtt_runtime_cancel(runtime, late), NLMQTT_NOT_FOUND);
    CHECK_EQ(counter_get(&freed), 1);
    OK(nlmqtt_runtime_post(runtime, run_a, &order, NULL));
    turn_until(runtime, mode, &order.ran, 3);
    CHECK_EQ(nlmqtt_runtime_post(runtime, NULL, &freed, counter_free_fn), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_post_delayed(runtime, 1, NULL, &freed, counter_free_fn, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_post_delayed(NULL, 1, run_a, &freed, counter_free_fn, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&freed), 4);
    CHECK_EQ(nlmqtt_runtime_cancel(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_runtime_free(runtime);
}

static void functions_that_wait_are_limited(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_LOOP);
    nlmqtt_runtime_statistics statistics;
    struct counter ran;
    int i;
    counter_init(&ran);
    for (i = 0; i < 65536; i++)
        OK(nlmqtt_runtime_post(runtime, counter_free_fn, &ran, NULL));
    CHECK_EQ(nlmqtt_runtime_post(runtime, counter_free_fn, &ran, counter_free_fn), NLMQTT_LIMIT);
    CHECK_EQ(counter_get(&ran), 1);
    nlmqtt_runtime_statistics_init(&statistics);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    CHECK(statistics.tasks_waiting == 65536 && statistics.tasks_refused == 1);
    OK(nlmqtt_runtime_poll(runtime, 0));
    CHECK_EQ(counter_get(&ran), 65537);
    nlmqtt_runtime_free(runtime);
}

/* A receiver that takes nothing and a publisher: memory passes the marks, and both are counted and felt. */
static void memory_has_a_soft_and_a_hard_mark(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime_statistics statistics;
    nlmqtt_server_config *server_config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    nlmqtt_runtime *runtime = NULL;
    static char payload[64 << 10];
    uint64_t dropped = 0;
    uint16_t port;
    int slow, late, i, unfinished[2];
    OK(nlmqtt_runtime_config_set_memory_limit(config, 4 << 20));
    OK(nlmqtt_runtime_config_set_memory_soft_limit(config, 5 << 20));
    CHECK_EQ(nlmqtt_runtime_new(config, &runtime), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_config_set_memory_soft_limit(config, 2 << 20));
    runtime = runtime_from(config);
    /* The out-buffer alone would take all of it. */
    OK(nlmqtt_server_config_set(server_config, "max_output_bytes", "100M"));
    OK(nlmqtt_server_config_add_listener(server_config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(runtime, server_config, NULL, &server));
    nlmqtt_server_config_free(server_config);
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    slow = connect_client(port, "slow");
    send_subscribe(slow, "#", 0);
    EXPECT(slow, 0x90, "\0\1\0", 3);
    unfinished[0] = connect_client(port, "one");
    unfinished[1] = connect_client(port, "two");
    nlmqtt_runtime_statistics_init(&statistics);
    for (i = 0; i < 2000 && dropped == 0; i++) {
        OK(nlmqtt_server_publish(server, "t", payload, sizeof payload, 0, false, NULL));
        OK(nlmqtt_server_stat(server, "dropped_output_full", &dropped));
    }
    CHECK(dropped > 0);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    CHECK(statistics.memory_soft_bytes == 2 << 20 && statistics.memory_hard_bytes == 4 << 20);
    CHECK(statistics.memory_soft_reached >= 1 && statistics.memory_hard_reached == 0);
    CHECK(statistics.memory_peak_bytes > 2 << 20 && statistics.memory_peak_bytes <= 4 << 20);
    /* Packets that are not finished must be kept: beyond the hard mark, and then nobody is let in. */
    for (i = 0; i < 2; i++) {
        size_t sent = 0;
        CHECK(send(unfinished[i], "\x30\xF0\xBA\x79", 4, MSG_NOSIGNAL) == 4); /* 1,990,000 bytes would follow */
        while (sent < 1900000) {
            ssize_t count = send(unfinished[i], payload, sizeof payload, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count < 0)
                sleep_ms(10);
            sent += count < 0 ? (size_t)8192 : (size_t)count; /* what the server does not read any more is not sent */
        }
    }
    for (i = 0; i < 500 && statistics.memory_hard_reached == 0; i++) {
        sleep_ms(20);
        OK(nlmqtt_runtime_stats(runtime, &statistics));
    }
    CHECK(statistics.memory_hard_reached >= 1);
    late = dial(port);
    send_connect(late, 4, "late", NULL, NULL);
    EXPECT(late, 0x20, "\0\3", 2);
    close(late);
    close(unfinished[0]);
    close(unfinished[1]);
    close(slow);
    nlmqtt_server_free(server);
    OK(nlmqtt_runtime_stats(runtime, &statistics));
    CHECK_EQ(statistics.memory_used_bytes, 0);
    nlmqtt_runtime_free(runtime);
}

struct lines {
    struct counter server, mio, other;
};

static void on_line(void *user_data, int32_t level, const char *module, const char *text)
{
    struct lines *lines = (struct lines *)user_data;
    CHECK(text[0] != '\0' && level >= NLMQTT_LOG_ERROR && level <= NLMQTT_LOG_TRACE);
    counter_add(strcmp(module, "server") == 0 ? &lines->server : strcmp(module, "mio") == 0 ? &lines->mio : &lines->other);
}

/* Of two runtimes, each hears its own lines and those of the crates it runs, from the modules it asked for. */
static void the_log_is_chosen_by_module(void)
{
    struct lines first, second;
    struct lines *both[2] = {&first, &second};
    nlmqtt_runtime *runtimes[2];
    nlmqtt_server *servers[2];
    uint16_t ports[2];
    int i;
    for (i = 0; i < 2; i++) {
        nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
        counter_init(&both[i]->server);
        counter_init(&both[i]->mio);
        counter_init(&both[i]->other);
        CHECK_EQ(nlmqtt_runtime_config_set_log(config, 6, on_line, both[i], NULL), NLMQTT_INVALID_ARGUMENT);
        OK(nlmqtt_runtime_config_set_log(config, 0, on_line, both[i], NULL));
        CHECK_EQ(nlmqtt_runtime_config_set_log_level(config, "server", -1), NLMQTT_INVALID_ARGUMENT);
        CHECK_EQ(nlmqtt_runtime_config_set_log_level(config, NULL, 1), NLMQTT_INVALID_ARGUMENT);
        OK(nlmqtt_runtime_config_set_log_level(config, i == 0 ? "server" : "mio", NLMQTT_LOG_TRACE));
        runtimes[i] = runtime_from(config);
        servers[i] = serve(runtimes[i], NULL, &ports[i]);
    }
    for (i = 0; i < 2; i++)
        close(connect_client(ports[i], "logged"));
    CHECK(counter_wait(&first.server, 1));
    CHECK(counter_wait(&second.mio, 1));
    for (i = 0; i < 2; i++) {
        nlmqtt_server_free(servers[i]);
        nlmqtt_runtime_free(runtimes[i]);
    }
    CHECK_EQ(counter_get(&first.mio) + counter_get(&first.other), 0);
    CHECK_EQ(counter_get(&second.server) + counter_get(&second.other), 0);
}

static void null_is_refused(void)
{
    nlmqtt_runtime_statistics statistics;
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_THREAD);
    struct counter freed;
    counter_init(&freed);
    CHECK_EQ(nlmqtt_runtime_config_set_workers(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_scheduling(NULL, 0, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_cpus(NULL, NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_thread_hooks(NULL, on_start, on_stop, &freed, counter_free_fn), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_resolver(NULL, on_resolve, &freed, counter_free_fn), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&freed), 2);
    CHECK_EQ(nlmqtt_runtime_config_set_helper_threads(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_hook_threads(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_events_max(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_memory_soft_limit(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_log_level(NULL, "server", 1), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_runtime_statistics_init(NULL);
    nlmqtt_runtime_statistics_init(&statistics);
    CHECK_EQ(nlmqtt_runtime_stats(NULL, &statistics), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_stats(runtime, NULL), NLMQTT_INVALID_ARGUMENT);
    statistics.struct_size = 0;
    CHECK_EQ(nlmqtt_runtime_stats(runtime, &statistics), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_resolved(NULL, 1, NULL, 0), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_runtime_free(runtime);
}

int main(void)
{
    static const int32_t modes[3] = {NLMQTT_MODE_THREAD, NLMQTT_MODE_LOOP, NLMQTT_MODE_DISPATCH};
    int i;
    threads_are_as_the_options_say();
    real_time_is_given_or_refused();
    workers_are_counted_and_loop_mode_has_one();
    for (i = 0; i < 3; i++) {
        names_are_looked_up_by_the_application(modes[i]);
        delayed_functions_run_in_order_or_are_cancelled(modes[i]);
    }
    functions_that_wait_are_limited();
    memory_has_a_soft_and_a_hard_mark();
    the_log_is_chosen_by_module();
    null_is_refused();
    puts("ok runtime_options");
    return 0;
}
