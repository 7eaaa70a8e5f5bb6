/* Stop and free return in their time, whatever the way to the server does: a connect without an answer, a peer that accepts
 * and says nothing, and (in a name space of its own) a name server that never answers. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "client_peer.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Beyond what the call was given: for a slow machine. */
#define SLACK_MS 8000

static struct record record;

static void stops_in_time(nlmqtt_client_config *config, int state, nlmqtt_runtime *runtime)
{
    long start;
    int frees_only;
    for (frees_only = 0; frees_only < 2; frees_only++) {
        record_init(&record);
        client_with(runtime, config, &record);
        CHECK_OK(nlmqtt_client_start(record.client));
        AWAIT(&record, states[state], 1);
        sleep_ms(100);
        CHECK(nlmqtt_client_state(record.client) == state);
        CHECK_STATUS(NLMQTT_TIMEOUT, nlmqtt_client_connect_wait(record.client, 10));
        start = now_ms();
        if (!frees_only) {
            CHECK_OK(nlmqtt_client_stop(record.client, 500));
            CHECK(now_ms() - start < 500 + SLACK_MS);
            CHECK(nlmqtt_client_state(record.client) == NLMQTT_CLIENT_STOPPED);
            start = now_ms();
        }
        nlmqtt_client_free(record.client);
        CHECK(now_ms() - start < SLACK_MS);
        CHECK(record.states[NLMQTT_CLIENT_STOPPED] == 1 && record.cause == NLMQTT_CAUSE_STOPPED);
        record_end(&record);
    }
}

/* With a full backlog the kernel does not answer at all. */
static void during_a_connect_without_an_answer(void)
{
    struct sockaddr_in address;
    uint16_t port;
    int listener = listen_any(&port, 0), fillers[4];
    size_t i;
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    for (i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(fcntl(fillers[i], F_SETFL, O_NONBLOCK) == 0);
        (void)!connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    sleep_ms(50);
    stops_in_time(config, NLMQTT_CLIENT_DIALING, NULL);
    for (i = 0; i < 4; i++)
        close(fillers[i]);
    close(listener);
    nlmqtt_client_config_free(config);
}

static void with_a_peer_that_says_nothing(void)
{
    uint16_t port;
    int listener = listen_any(&port, 8);
    nlmqtt_client_config *config = config_for(port, "5");
    stops_in_time(config, NLMQTT_CLIENT_CONNECTING, NULL);
    close(listener);
    nlmqtt_client_config_free(config);
}

/* In session, with a peer that acknowledges nothing and reads nothing: the time to drain is kept. */
static void with_a_peer_that_hangs_in_session(void)
{
    uint16_t port;
    int listener = listen_any(&port, 8), peer, i;
    long start;
    static char payload[100000];
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set(config, "max_queued_bytes", "64M"));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    peer = accept_session(listener, 0);
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    for (i = 0; i < 200; i++)
        CHECK_OK(nlmqtt_client_publish(record.client, "t", payload, sizeof payload, 1, false, NULL));
    start = now_ms();
    CHECK_OK(nlmqtt_client_stop(record.client, 700));
    CHECK(now_ms() - start >= 600 && now_ms() - start < 700 + SLACK_MS);
    CHECK(record.published == 200 && record.status == NLMQTT_CANCELLED);
    CHECK_OK(nlmqtt_client_stop(record.client, 700));
    nlmqtt_client_free(record.client);
    record_end(&record);
    close(peer);
    close(listener);
    nlmqtt_client_config_free(config);
}

/* Writes a line into a file of /proc; without effect where it is not allowed. */
static void write_line(const char *path, const char *line)
{
    int file = open(path, O_WRONLY);
    if (file >= 0) {
        (void)!write(file, line, strlen(line));
        close(file);
    }
}

/* A mount and network name space with a loopback device and a resolv.conf of its own. 0: not permitted here. */
static int own_name_space(const char *resolv_conf)
{
    char line[64];
    struct ifreq request;
    int control;
    unsigned uid = (unsigned)getuid(), gid = (unsigned)getgid();
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) != 0)
            return 0;
        write_line("/proc/self/setgroups", "deny");
        snprintf(line, sizeof line, "0 %u 1", uid);
        write_line("/proc/self/uid_map", line);
        snprintf(line, sizeof line, "0 %u 1", gid);
        write_line("/proc/self/gid_map", line);
    }
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(resolv_conf, "/etc/resolv.conf", "none", MS_BIND, NULL) != 0)
        return 0;
    control = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&request, 0, sizeof request);
    snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    CHECK(control >= 0);
    if (ioctl(control, SIOCSIFFLAGS, &request) != 0)
        return 0;
    close(control);
    return 1;
}

#define NOT_PERMITTED 77

/* Runs in a child process: the name space is of it alone. */
static int during_a_lookup_without_an_answer(const char *resolv_conf)
{
    struct sockaddr_in address;
    struct pollfd waiting;
    int server;
    nlmqtt_client_config *config;
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_client *other = NULL;
    uint16_t port;
    if (!own_name_space(resolv_conf))
        return NOT_PERMITTED;
    server = socket(AF_INET, SOCK_DGRAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(53); /* resolv.conf knows no other; nobody else is in this name space */
    CHECK(bind(server, (struct sockaddr *)&address, sizeof address) == 0);
    config = nlmqtt_client_config_new();
    CHECK_OK(nlmqtt_client_config_add_server(config, "mqtt://silent.nlmqtt.test:1883", 0));
    CHECK_OK(nlmqtt_client_config_set(config, "client_id", "bench"));
    CHECK_OK(nlmqtt_runtime_new(NULL, &runtime));
    stops_in_time(config, NLMQTT_CLIENT_DIALING, runtime);
    waiting.fd = server;
    waiting.events = POLLIN;
    CHECK(poll(&waiting, 1, 0) == 1); /* the resolver has asked */
    stops_in_time(config, NLMQTT_CLIENT_DIALING, NULL);
    nlmqtt_client_config_free(config);
    /* Its look-ups still run; nobody else on that runtime waits for them. */
    {
        nlmqtt_server *local = serve(NULL, NULL, &port);
        config = config_for(port, "5");
        CHECK_OK(nlmqtt_client_new(runtime, config, NULL, &other));
        CHECK_OK(nlmqtt_client_start(other));
        CHECK_OK(nlmqtt_client_connect_wait(other, 10000));
        nlmqtt_client_free(other);
        nlmqtt_server_free(local);
        nlmqtt_client_config_free(config);
    }
    nlmqtt_runtime_free(runtime);
    close(server);
    return 0;
}

static void during_dns(void)
{
    static const char text[] = "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n";
    char path[] = "/tmp/nlmqtt-resolv-XXXXXX";
    int file = mkstemp(path), status = 0;
    pid_t child;
    CHECK(file >= 0 && write(file, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
    CHECK(fchmod(file, 0644) == 0);
    close(file);
    child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(during_a_lookup_without_an_answer(path)); /* look-ups still run: nothing to clean up */
    CHECK(waitpid(child, &status, 0) == child);
    unlink(path);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == NOT_PERMITTED)
        fputs("SKIPPED: client_stop during DNS: this machine does not permit name spaces (unshare)\n", stderr);
    else
        CHECK(WEXITSTATUS(status) == 0);
}

int main(void)
{
    during_dns(); /* first: before there is a thread */
    during_a_connect_without_an_answer();
    with_a_peer_that_says_nothing();
    with_a_peer_that_hangs_in_session();
    printf("ok client_stop\n");
    return 0;
}
