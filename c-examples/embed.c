/*
 * embed: broker and client in one process, on one event loop that belongs to somebody else.
 *
 * The loop here is a plain epoll with a timer of its own; it could as well be libuv, GLib or
 * systemd's. The library adds one descriptor to it, the same for the whole life of the runtime,
 * and no thread: all its work and all its callbacks happen inside nlmqtt_runtime_poll.
 */
#define _POSIX_C_SOURCE 200809L

#include <nlmqtt.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define READING_INTERVAL_MS 50

struct application {
    nlmqtt_runtime *runtime;
    nlmqtt_server *server;
    nlmqtt_client *client;
    unsigned wanted, sent, received;
    bool client_stopped, server_stopped;
};

static void die(const char *what)
{
    char text[256];
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "embed: %s: %s\n", what, text);
    exit(EXIT_FAILURE);
}

static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct application *application = user_data;
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    (void)ack;
    printf("%s %.*s\n", nlmqtt_message_topic(message).data, (int)payload.len, (const char *)payload.data);
    if (++application->received == application->wanted)
        nlmqtt_client_stop(application->client, 1000); /* in progress: on_state tells the end */
}

static void on_state(void *user_data, int32_t state)
{
    struct application *application = user_data;
    if (state == NLMQTT_CLIENT_STOPPED && application->received >= application->wanted) {
        application->client_stopped = true;
        nlmqtt_server_stop(application->server, 0, 1000);
    }
}

static void on_server_stopped(void *user_data)
{
    ((struct application *)user_data)->server_stopped = true;
}

static void make_runtime(struct application *application)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_LOOP);
    if (nlmqtt_runtime_new(config, &application->runtime) != NLMQTT_OK)
        die("runtime");
    nlmqtt_runtime_config_free(config);
}

static uint16_t start_server(struct application *application, const char *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    uint16_t bound = 0;
    char uri[64];
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%s", port);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = application;
    hooks.stopped = on_server_stopped;
    if (nlmqtt_server_config_add_listener(config, uri) != NLMQTT_OK ||
        nlmqtt_server_new(application->runtime, config, &hooks, &application->server) != NLMQTT_OK ||
        nlmqtt_server_start(application->server) != NLMQTT_OK ||
        nlmqtt_server_listener_port(application->server, 0, &bound) != NLMQTT_OK)
        die("server");
    nlmqtt_server_config_free(config);
    return bound;
}

static void start_client(struct application *application, uint16_t port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    char uri[64];
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)port);
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = application;
    callbacks.state = on_state;
    if (nlmqtt_client_config_add_server(config, uri, 0) != NLMQTT_OK ||
        nlmqtt_client_new(application->runtime, config, &callbacks, &application->client) != NLMQTT_OK ||
        nlmqtt_client_subscribe(application->client, "embed/#", 1, on_message, application, NULL, NULL) != NLMQTT_OK ||
        nlmqtt_client_start(application->client) != NLMQTT_OK)
        die("client");
    nlmqtt_client_config_free(config);
}

static int make_timer(void)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec every;
    memset(&every, 0, sizeof every);
    every.it_value.tv_nsec = every.it_interval.tv_nsec = READING_INTERVAL_MS * 1000000L;
    if (timer < 0 || timerfd_settime(timer, 0, &every, NULL) != 0) {
        perror("embed: timer");
        exit(EXIT_FAILURE);
    }
    return timer;
}

static void watch(int loop, int descriptor)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    if (epoll_ctl(loop, EPOLL_CTL_ADD, descriptor, &event) != 0) {
        perror("embed: epoll");
        exit(EXIT_FAILURE);
    }
}

static void send_reading(struct application *application)
{
    char text[32];
    if (application->sent >= application->wanted)
        return;
    snprintf(text, sizeof text, "reading %u", ++application->sent);
    if (nlmqtt_client_publish(application->client, "embed/reading", text, strlen(text), 1, false, NULL) != NLMQTT_OK)
        die("publish");
}

/* The application's own loop; it waits without a time-out. */
static void run(struct application *application)
{
    int loop = epoll_create1(EPOLL_CLOEXEC), timer = make_timer();
    struct epoll_event events[8];
    watch(loop, timer);
    watch(loop, nlmqtt_runtime_fd(application->runtime));
    while (!application->client_stopped || !application->server_stopped) {
        int i, count = epoll_wait(loop, events, 8, -1);
        if (count < 0 && errno != EINTR)
            break;
        for (i = 0; i < count; i++) {
            uint64_t expirations;
            if (events[i].data.fd != timer) {
                if (nlmqtt_runtime_poll(application->runtime, 0) != NLMQTT_OK)
                    die("poll");
            } else if (read(timer, &expirations, sizeof expirations) == sizeof expirations) {
                send_reading(application);
            }
        }
    }
    close(timer);
    close(loop);
}

static unsigned count_threads(void)
{
    DIR *tasks = opendir("/proc/self/task");
    unsigned count = 0;
    struct dirent *entry;
    while (tasks != NULL && (entry = readdir(tasks)) != NULL)
        count += entry->d_name[0] != '.';
    if (tasks != NULL)
        closedir(tasks);
    return count;
}

int main(int argc, char **argv)
{
    struct application application;
    const char *port = "0";
    int option;
    memset(&application, 0, sizeof application);
    application.wanted = 10;
    while ((option = getopt(argc, argv, "p:n:h")) != -1) {
        if (option == 'p') {
            port = optarg;
        } else if (option == 'n' && atoi(optarg) > 0) {
            application.wanted = (unsigned)atoi(optarg);
        } else {
            fputs("usage: embed [-p PORT] [-n READINGS]\n", stderr);
            return option == 'h' ? EXIT_SUCCESS : 2;
        }
    }
    make_runtime(&application);
    start_client(&application, start_server(&application, port));
    run(&application);
    printf("%u readings received on %u thread\n", application.received, count_threads());
    nlmqtt_client_free(application.client);
    nlmqtt_server_free(application.server);
    nlmqtt_runtime_free(application.runtime);
    return application.received == application.wanted ? EXIT_SUCCESS : EXIT_FAILURE;
}
