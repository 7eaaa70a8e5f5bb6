/* Runtimes: both modes, posts, memory, log, NULL. */
#include "check.h"

#include <poll.h>
#include <sys/wait.h>

static nlmqtt_runtime *make(int32_t mode)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    OK(nlmqtt_runtime_config_set_mode(config, mode));
    OK(nlmqtt_runtime_config_set_thread_name(config, "test"));
    OK(nlmqtt_runtime_config_set_stack_bytes(config, 256 << 10));
    OK(nlmqtt_runtime_config_set_memory_limit(config, 1 << 20));
    OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static void options_are_checked(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    CHECK_EQ(nlmqtt_runtime_config_set_mode(config, 7), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_mode(NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_thread_name(NULL, "x"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_thread_name(config, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_stack_bytes(NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_stack_bytes(config, 1000), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_memory_limit(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_config_set_memory_limit(config, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_new(config, NULL), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_runtime_new(NULL, &runtime));
    nlmqtt_runtime_free(runtime);
    nlmqtt_runtime_config_free(config);
    nlmqtt_runtime_config_free(NULL);
    nlmqtt_runtime_free(NULL);
}

static void null_is_refused(void)
{
    CHECK_EQ(nlmqtt_runtime_fd(NULL), -1);
    CHECK_EQ(nlmqtt_runtime_poll(NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_post(NULL, NULL, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_runtime_memory(NULL, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
}

static void thread_mode_runs_posts_on_its_thread(void)
{
    nlmqtt_runtime *runtime = make(NLMQTT_MODE_THREAD);
    struct counter ran, freed;
    size_t used = 1, limit = 0;
    int i;
    counter_init(&ran);
    counter_init(&freed);
    for (i = 0; i < 3; i++)
        OK(nlmqtt_runtime_post(runtime, counter_free_fn, &ran, NULL));
    CHECK(counter_wait(&ran, 3));
    OK(nlmqtt_runtime_post(runtime, counter_free_fn, &freed, counter_free_fn));
    CHECK(counter_wait(&freed, 2));
    CHECK_EQ(nlmqtt_runtime_post(runtime, NULL, &freed, counter_free_fn), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&freed), 3);
    CHECK_EQ(nlmqtt_runtime_fd(runtime), -1);
    CHECK_EQ(nlmqtt_runtime_poll(runtime, 0), NLMQTT_UNSUPPORTED);
    OK(nlmqtt_runtime_memory(runtime, &used, &limit));
    CHECK(used == 0 && limit == 1 << 20);
    OK(nlmqtt_runtime_memory(runtime, NULL, NULL));
    nlmqtt_runtime_free(runtime);
}

struct nested {
    nlmqtt_runtime *runtime;
    nlmqtt_status status;
};

static void poll_inside(void *user_data)
{
    struct nested *nested = (struct nested *)user_data;
    nested->status = nlmqtt_runtime_poll(nested->runtime, 0);
}

static void loop_mode_works_only_inside_poll(void)
{
    nlmqtt_runtime *runtime = make(NLMQTT_MODE_LOOP);
    struct counter ran;
    struct nested nested;
    struct pollfd watched;
    counter_init(&ran);
    watched.fd = nlmqtt_runtime_fd(runtime);
    watched.events = POLLIN;
    CHECK(watched.fd >= 0);
    OK(nlmqtt_runtime_poll(runtime, 0));
    OK(nlmqtt_runtime_post(runtime, counter_free_fn, &ran, NULL));
    CHECK_EQ(counter_get(&ran), 0);
    CHECK_EQ(poll(&watched, 1, 5000), 1);
    while (counter_get(&ran) == 0)
        OK(nlmqtt_runtime_poll(runtime, 100));
    nested.runtime = runtime;
    nested.status = NLMQTT_OK;
    OK(nlmqtt_runtime_post(runtime, poll_inside, &nested, NULL));
    OK(nlmqtt_runtime_poll(runtime, 100));
    OK(nlmqtt_runtime_poll(runtime, 0));
    CHECK_EQ(nested.status, NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_runtime_fd(runtime), watched.fd);
    /* What was never run is released with the runtime. */
    OK(nlmqtt_runtime_post(runtime, poll_inside, &ran, counter_free_fn));
    nlmqtt_runtime_free(runtime);
    CHECK_EQ(counter_get(&ran), 2);
}

static void free_inside(void *user_data)
{
    nlmqtt_runtime_free((nlmqtt_runtime *)user_data);
}

static void a_runtime_may_be_freed_by_its_own_callback(void)
{
    nlmqtt_runtime *runtime = make(NLMQTT_MODE_LOOP);
    struct counter freed;
    counter_init(&freed);
    OK(nlmqtt_runtime_post(runtime, free_inside, runtime, NULL));
    nlmqtt_runtime_poll(runtime, 0);
    runtime = make(NLMQTT_MODE_THREAD);
    OK(nlmqtt_runtime_post(runtime, free_inside, runtime, NULL));
    sleep_ms(100);
}

struct lines {
    struct counter counter;
    char last[256];
};

static void on_line(void *user_data, int32_t level, const char *module, const char *text)
{
    struct lines *lines = (struct lines *)user_data;
    CHECK(level >= NLMQTT_LOG_ERROR && level <= NLMQTT_LOG_INFO);
    CHECK_TEXT(module, "server");
    snprintf(lines->last, sizeof lines->last, "%s", text);
    counter_add(&lines->counter);
}

static void the_log_goes_to_its_runtime(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_server *server;
    struct lines lines;
    struct counter freed;
    uint16_t port;
    int client;
    counter_init(&lines.counter);
    counter_init(&freed);
    CHECK_EQ(nlmqtt_runtime_config_set_log(NULL, 3, on_line, &freed, counter_free_fn), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&freed), 1);
    OK(nlmqtt_runtime_config_set_log(config, 3, NULL, &freed, counter_free_fn));
    CHECK_EQ(counter_get(&freed), 2);
    OK(nlmqtt_runtime_config_set_log(config, NLMQTT_LOG_INFO, on_line, &lines, NULL));
    OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    server = serve(runtime, NULL, &port);
    CHECK(counter_wait(&lines.counter, 1));
    client = connect_client(port, "logged");
    CHECK(counter_wait(&lines.counter, 2));
    CHECK(strstr(lines.last, "logged") != NULL);
    close(client);
    CHECK(counter_wait(&lines.counter, 3));
    nlmqtt_runtime_free(runtime);
    nlmqtt_server_free(server);
}

static void a_child_of_fork_is_refused_and_may_free(void)
{
    nlmqtt_runtime *runtime = make(NLMQTT_MODE_THREAD);
    uint16_t port;
    nlmqtt_server *server = serve(runtime, NULL, &port);
    int answer[2], code = -1;
    char refused = 0;
    pid_t child;
    CHECK(pipe(answer) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        refused = nlmqtt_runtime_memory(runtime, NULL, NULL) == NLMQTT_FORKED &&
                       nlmqtt_server_publish(server, "a", NULL, 0, 0, false, NULL) == NLMQTT_FORKED;
        nlmqtt_server_free(server);
        nlmqtt_runtime_free(runtime);
        /* Not by the exit code: memory of the thread that fork did not copy counts as a leak there. */
        _exit(write(answer[1], &refused, 1) == 1 ? 0 : 1);
    }
    CHECK(waitpid(child, &code, 0) == child);
    CHECK(WIFEXITED(code));
    CHECK(read(answer[0], &refused, 1) == 1 && refused == 1);
    close(answer[0]);
    close(answer[1]);
    close(connect_client(port, "parent-goes-on"));
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
}

int main(void)
{
    options_are_checked();
    null_is_refused();
    thread_mode_runs_posts_on_its_thread();
    loop_mode_works_only_inside_poll();
    a_runtime_may_be_freed_by_its_own_callback();
    the_log_goes_to_its_runtime();
    a_child_of_fork_is_refused_and_may_free();
    puts("ok server_runtime");
    return 0;
}
