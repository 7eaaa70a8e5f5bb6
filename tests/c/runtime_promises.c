/* What the library does to its host: nothing. Signals, descriptors, output, fork, two runtimes side by side. */
#include "runtime_bench.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const int32_t modes[3] = {NLMQTT_MODE_THREAD, NLMQTT_MODE_LOOP, NLMQTT_MODE_DISPATCH};

/* A server and a client that talk once, each on a runtime of every mode, and then everything is freed; `during` is called
 * while it all exists. */
struct everything {
    nlmqtt_runtime *runtimes[3];
    nlmqtt_server *servers[3];
    nlmqtt_client *clients[3];
    uint16_t ports[3];
};

static void turn(nlmqtt_runtime *runtime, int32_t mode)
{
    if (mode == NLMQTT_MODE_LOOP)
        OK(nlmqtt_runtime_poll(runtime, 10));
    else if (mode == NLMQTT_MODE_DISPATCH)
        OK(nlmqtt_runtime_dispatch(runtime, 10));
    else
        sleep_ms(10);
}

static void everything_make(struct everything *all)
{
    int i;
    for (i = 0; i < 3; i++) {
        all->runtimes[i] = runtime_of(modes[i]);
        all->servers[i] = serve(all->runtimes[i], NULL, &all->ports[i]);
        all->clients[i] = client_on(all->runtimes[i], all->ports[i], NULL);
        OK(nlmqtt_client_start(all->clients[i]));
        OK(nlmqtt_client_connect_wait(all->clients[i], 10000));
        OK(nlmqtt_client_publish(all->clients[i], "t", "x", 1, 1, false, NULL));
        OK(nlmqtt_client_flush(all->clients[i], 10000));
    }
}

static void everything_free(struct everything *all)
{
    int i;
    for (i = 0; i < 3; i++) {
        nlmqtt_client_free(all->clients[i]);
        nlmqtt_server_free(all->servers[i]);
        nlmqtt_runtime_free(all->runtimes[i]);
    }
}

static void every_descriptor_is_closed_on_exec(void)
{
    static bool before[65536];
    struct everything all;
    struct dirent *entry;
    DIR *folder;
    int count = 0;
    memset(before, 0, sizeof before);
    folder = opendir("/proc/self/fd");
    while ((entry = readdir(folder)) != NULL)
        before[atoi(entry->d_name) & 65535] = atoi(entry->d_name) != dirfd(folder);
    closedir(folder);
    everything_make(&all);
    folder = opendir("/proc/self/fd");
    while ((entry = readdir(folder)) != NULL) {
        int descriptor = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || before[descriptor & 65535] || descriptor == dirfd(folder))
            continue;
        if ((fcntl(descriptor, F_GETFD) & FD_CLOEXEC) == 0) {
            fprintf(stderr, "descriptor %d survives an exec\n", descriptor);
            exit(1);
        }
        count++;
    }
    closedir(folder);
    /* Three of each runtime, one more to dispatch, a listener and two ends of a connection each. */
    CHECK(count >= 3 * (3 + 3) + 1);
    everything_free(&all);
}

static void descriptors_above_1023_are_fine(void)
{
    static int spare[2000];
    struct rlimit limit;
    struct everything all;
    int i;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 3000) {
        CHECK(limit.rlim_max >= 3000);
        limit.rlim_cur = 3000;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    }
    for (i = 0; i < 2000; i++)
        CHECK((spare[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    everything_make(&all);
    CHECK(nlmqtt_runtime_fd(all.runtimes[1]) > 2000 && nlmqtt_runtime_fd(all.runtimes[2]) > 2000);
    everything_free(&all);
    for (i = 0; i < 2000; i++)
        close(spare[i]);
}

/* FIN, then RST: whoever writes now gets EPIPE. */
static void break_pipe(int socket_fd)
{
    struct linger now;
    now.l_onoff = 1;
    now.l_linger = 0;
    CHECK(shutdown(socket_fd, SHUT_WR) == 0);
    sleep_ms(20);
    CHECK(setsockopt(socket_fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0);
    close(socket_fd);
    sleep_ms(20);
}

/* On this very thread, with the disposition that ends the process. */
static void a_broken_pipe_does_not_end_the_host(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_LOOP);
    struct sigaction action;
    struct packet packet;
    nlmqtt_client *client;
    nlmqtt_server *server;
    uint16_t port, server_port;
    int listener = listen_anywhere(&port), peer, i;
    uint64_t connected = 1;
    CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    client = client_on(runtime, port, NULL);
    OK(nlmqtt_client_start(client));
    for (i = 0; i < 10; i++)
        OK(nlmqtt_runtime_poll(runtime, 10));
    peer = accept_client(listener);
    while (nlmqtt_client_state(client) != NLMQTT_CLIENT_ONLINE)
        OK(nlmqtt_runtime_poll(runtime, 10));
    break_pipe(peer);
    OK(nlmqtt_client_publish(client, "t", "x", 1, 1, false, NULL));
    OK(nlmqtt_runtime_poll(runtime, 0));
    while (nlmqtt_client_state(client) == NLMQTT_CLIENT_ONLINE)
        OK(nlmqtt_runtime_poll(runtime, 10));
    nlmqtt_client_free(client);
    close(listener);

    server = serve(runtime, NULL, &server_port);
    peer = dial(server_port);
    send_connect(peer, 4, "breaks", NULL, NULL);
    send_subscribe(peer, "t", 0);
    for (i = 0; i < 20; i++)
        OK(nlmqtt_runtime_poll(runtime, 10));
    CHECK_EQ(read_packet(peer, &packet), 0x20);
    CHECK_EQ(read_packet(peer, &packet), 0x90);
    break_pipe(peer);
    OK(nlmqtt_server_publish(server, "t", "x", 1, 0, false, NULL));
    OK(nlmqtt_runtime_poll(runtime, 0));
    while (connected > 0) {
        OK(nlmqtt_runtime_poll(runtime, 10));
        OK(nlmqtt_server_stat(server, "clients_connected", &connected));
    }
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
}

/* The peer's last bytes and its end come in one report of the system: both are seen, at both ends. */
static void an_end_behind_the_last_bytes_is_seen(void)
{
    nlmqtt_runtime *runtime = runtime_of(NLMQTT_MODE_LOOP);
    nlmqtt_client_statistics statistics;
    nlmqtt_client *client;
    nlmqtt_server *server;
    uint16_t port;
    int listener = listen_anywhere(&port), peer, i;
    uint64_t accepted = 0, connected = 1;
    client = client_on(runtime, port, NULL);
    OK(nlmqtt_client_start(client));
    for (i = 0; i < 10; i++)
        OK(nlmqtt_runtime_poll(runtime, 10));
    peer = accept_client(listener);
    CHECK(send(peer, "\x30\4\0\1tx", 6, MSG_NOSIGNAL) == 6);
    close(peer);
    sleep_ms(20);
    nlmqtt_client_statistics_init(&statistics);
    for (i = 0; i < 100 && statistics.disconnects == 0; i++) {
        OK(nlmqtt_runtime_poll(runtime, 10));
        OK(nlmqtt_client_stats(client, &statistics));
    }
    CHECK(statistics.messages_received == 1 && statistics.disconnects >= 1);
    nlmqtt_client_free(client);
    close(listener);

    server = serve(runtime, NULL, &port);
    peer = dial(port);
    OK(nlmqtt_runtime_poll(runtime, 100));
    send_connect(peer, 4, "ends", NULL, NULL);
    CHECK(shutdown(peer, SHUT_WR) == 0);
    sleep_ms(20);
    for (i = 0; i < 20; i++)
        OK(nlmqtt_runtime_poll(runtime, 10));
    OK(nlmqtt_server_stat(server, "connections_accepted", &accepted));
    OK(nlmqtt_server_stat(server, "clients_connected", &connected));
    CHECK(accepted == 1 && connected == 0);
    close(peer);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
}

static void signals_and_output_stay_the_hosts(void)
{
    struct sigaction before[32], after;
    sigset_t mask_before, mask_after;
    struct everything all;
    FILE *output = tmpfile();
    int signal_number, kept[2];
    CHECK(output != NULL);
    fflush(stdout);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_before) == 0);
    for (signal_number = 1; signal_number < 32; signal_number++)
        CHECK(sigaction(signal_number, NULL, &before[signal_number]) == 0);
    kept[0] = dup(1);
    kept[1] = dup(2);
    CHECK(dup2(fileno(output), 1) == 1 && dup2(fileno(output), 2) == 2);
    everything_make(&all);
    /* Mistakes are told by status and text only. */
    nlmqtt_runtime_new(NULL, NULL);
    nlmqtt_client_publish(all.clients[0], "#", NULL, 3, 9, false, NULL);
    nlmqtt_server_publish(all.servers[0], NULL, NULL, 0, 0, false, NULL);
    close(connect_client(all.ports[0], "goes"));
    everything_free(&all);
    CHECK(dup2(kept[0], 1) == 1 && dup2(kept[1], 2) == 2);
    close(kept[0]);
    close(kept[1]);
    CHECK_EQ(lseek(fileno(output), 0, SEEK_END), 0);
    fclose(output);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask_after) == 0);
    for (signal_number = 1; signal_number < 32; signal_number++) {
        CHECK(sigaction(signal_number, NULL, &after) == 0);
        CHECK(after.sa_handler == before[signal_number].sa_handler && after.sa_flags == before[signal_number].sa_flags);
        CHECK_EQ(sigismember(&mask_before, signal_number), sigismember(&mask_after, signal_number));
    }
}

static void *noted(const char *what, char *answer)
{
    strncat(answer, what, 60 - strlen(answer));
    return answer;
}

/* In the child of a fork every call says so, and free returns. */
static void a_child_of_fork_is_refused(void)
{
    struct everything all;
    nlmqtt_client *private_client;
    int answers[2], code, i;
    char answer[64] = "", came[64] = "";
    pid_t child;
    everything_make(&all);
    private_client = client_on(NULL, all.ports[0], NULL);
    CHECK(pipe(answers) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        nlmqtt_runtime_statistics statistics;
        nlmqtt_client *made = NULL;
        nlmqtt_server *served = NULL;
        nlmqtt_client_config *config = nlmqtt_client_config_new();
        nlmqtt_runtime_statistics_init(&statistics);
        nlmqtt_client_config_add_server(config, "mqtt://127.0.0.1", 0);
        for (i = 0; i < 3; i++) {
            nlmqtt_status statuses[12];
            int call;
            statuses[0] = nlmqtt_runtime_poll(all.runtimes[i], 0);
            statuses[1] = nlmqtt_runtime_dispatch(all.runtimes[i], 0);
            statuses[2] = nlmqtt_runtime_stats(all.runtimes[i], &statistics);
            statuses[3] = nlmqtt_runtime_post(all.runtimes[i], NULL, NULL, NULL);
            statuses[4] = nlmqtt_client_start(all.clients[i]);
            statuses[5] = nlmqtt_client_stop(all.clients[i], 1000);
            statuses[6] = nlmqtt_client_publish(all.clients[i], "t", NULL, 0, 0, false, NULL);
            statuses[7] = nlmqtt_client_connect_wait(all.clients[i], 1000);
            statuses[8] = nlmqtt_server_publish(all.servers[i], "t", NULL, 0, 0, false, NULL);
            statuses[9] = nlmqtt_server_stop(all.servers[i], 0, 1000);
            statuses[10] = nlmqtt_client_new(all.runtimes[i], config, NULL, &made);
            statuses[11] = nlmqtt_server_new(all.runtimes[i], NULL, NULL, &served);
            for (call = 0; call < 12; call++)
                if (statuses[call] != NLMQTT_FORKED)
                    noted(nlmqtt_status_name(statuses[call]), answer);
            if (nlmqtt_runtime_fd(all.runtimes[i]) != -1)
                noted("fd", answer);
        }
        nlmqtt_client_config_free(config);
        everything_free(&all);
        nlmqtt_client_free(private_client);
        /* A daemon begins anew. */
        private_client = client_on(NULL, all.ports[0], NULL);
        nlmqtt_client_start(private_client);
        if (nlmqtt_client_connect_wait(private_client, 10000) != NLMQTT_OK)
            noted("cannot begin anew", answer);
        nlmqtt_client_free(private_client);
        noted(" done", answer);
        /* Not by the exit code: memory of the thread that fork did not copy counts as a leak there. */
        _exit(write(answers[1], answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1);
    }
    CHECK(waitpid(child, &code, 0) == child && WIFEXITED(code));
    CHECK(read(answers[0], came, sizeof came) == (ssize_t)sizeof came);
    CHECK_TEXT(came, " done");
    close(answers[0]);
    close(answers[1]);
    /* The parent has not noticed. */
    for (i = 0; i < 3; i++) {
        OK(nlmqtt_client_publish(all.clients[i], "t", "x", 1, 1, false, NULL));
        OK(nlmqtt_client_flush(all.clients[i], 10000));
        turn(all.runtimes[i], modes[i]);
        CHECK_EQ(nlmqtt_client_state(all.clients[i]), NLMQTT_CLIENT_ONLINE);
    }
    nlmqtt_client_free(private_client);
    everything_free(&all);
}

static void block(void *user_data)
{
    struct counter *counters = (struct counter *)user_data;
    counter_add(&counters[0]);
    CHECK(counter_wait(&counters[1], 1));
}

static void two_runtimes_do_not_feel_each_other(void)
{
    struct counter counters[2];
    nlmqtt_runtime *hangs = runtime_of(NLMQTT_MODE_THREAD), *works = runtime_of(NLMQTT_MODE_THREAD);
    nlmqtt_server *server;
    nlmqtt_client *client;
    uint16_t port;
    counter_init(&counters[0]);
    counter_init(&counters[1]);
    OK(nlmqtt_runtime_post(hangs, block, counters, NULL));
    CHECK(counter_wait(&counters[0], 1));
    server = serve(works, NULL, &port);
    client = client_on(works, port, NULL);
    OK(nlmqtt_client_start(client));
    OK(nlmqtt_client_connect_wait(client, 10000));
    nlmqtt_client_free(client);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(works);
    counter_add(&counters[1]);
    server = serve(hangs, NULL, &port);
    close(connect_client(port, "later"));
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(hangs);
}

int main(void)
{
    int descriptors = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task"), tries = 0;
    every_descriptor_is_closed_on_exec();
    descriptors_above_1023_are_fine();
    a_broken_pipe_does_not_end_the_host();
    an_end_behind_the_last_bytes_is_seen();
    signals_and_output_stay_the_hosts();
    a_child_of_fork_is_refused();
    two_runtimes_do_not_feel_each_other();
    CHECK_EQ(count_entries("/proc/self/fd"), descriptors);
    /* A joined thread may be seen for a moment. */
    while (count_entries("/proc/self/task") > threads && ++tries < 100)
        sleep_ms(10);
    CHECK_EQ(count_entries("/proc/self/task"), threads);
    puts("ok runtime_promises");
    return 0;
}
