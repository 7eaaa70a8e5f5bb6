/* The same as client_cpu.c with libmosquitto: `mosquitto_cpu PORT COUNT` publishes at QoS 0 and 1 and receives at QoS 0, COUNT
 * messages of 64 bytes each, in the library's own thread, and prints the process's processor time for each. */
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 500, WAIT_MS = 20000 };

/* Written by the library's thread. */
static volatile long connections, published, subscribed, received;

static void on_connect(struct mosquitto *client, void *user_data, int code) {
    (void)client, (void)user_data;
    if (code == 0) connections++;
}

static void on_publish(struct mosquitto *client, void *user_data, int id) {
    (void)client, (void)user_data, (void)id;
    published++;
}

static void on_subscribe(struct mosquitto *client, void *user_data, int id, int count, const int *granted) {
    (void)client, (void)user_data, (void)id, (void)count, (void)granted;
    subscribed++;
}

static void on_message(struct mosquitto *client, void *user_data, const struct mosquitto_message *message) {
    (void)client, (void)user_data, (void)message;
    received++;
}

static double cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1e6 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void check(int status, const char *what) {
    if (status != MOSQ_ERR_SUCCESS) {
        fprintf(stderr, "%s: %s\n", what, mosquitto_strerror(status));
        exit(1);
    }
}

/* A look every 0.2 ms; what that costs is a thousandth of what is measured. */
static void wait_for(volatile long *counter, long value, const char *what) {
    for (long waited_us = 0; *counter < value; waited_us += 200) {
        if (waited_us > WAIT_MS * 1000L) {
            fprintf(stderr, "%s: %ld of %ld\n", what, *counter, value);
            exit(1);
        }
        usleep(200);
    }
}

static struct mosquitto *connected(int port) {
    struct mosquitto *client = mosquitto_new(NULL, true, NULL);
    if (!client) exit(1);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_publish_callback_set(client, on_publish);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_message_callback_set(client, on_message);
    /* Otherwise each small packet waits for the acknowledgement of the one before. */
    check(mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1), "TCP_NODELAY");
    long before = connections;
    check(mosquitto_connect(client, "127.0.0.1", port, 60), "connect");
    check(mosquitto_loop_start(client), "thread");
    wait_for(&connections, before + 1, "connected");
    return client;
}

static void publish(struct mosquitto *client, long count, int qos) {
    char payload[64];
    memset(payload, 'x', sizeof payload);
    for (long sent = 0; sent < count; sent += BATCH) {
        long before = published;
        for (int one = 0; one < BATCH; one++)
            check(mosquitto_publish(client, NULL, "bench/client", sizeof payload, payload, qos, false), "publish");
        wait_for(&published, before + BATCH, "published");
    }
}

static void leave(struct mosquitto *client) {
    mosquitto_disconnect(client);
    mosquitto_loop_stop(client, false);
    mosquitto_destroy(client);
}

static void measure_publish(int port, long count, int qos) {
    struct mosquitto *client = connected(port);
    publish(client, BATCH, qos);
    double start = cpu_us();
    publish(client, count, qos);
    printf(" publish%d_us=%.3f", qos, (cpu_us() - start) / (double)count);
    leave(client);
}

static void measure_receive(char *const *arguments, int port, long count) {
    struct mosquitto *client = connected(port);
    check(mosquitto_subscribe(client, NULL, "bench/client", 0), "subscribe");
    wait_for(&subscribed, 1, "subscribed");
    double start = cpu_us();
    pid_t sender = fork();
    if (sender == 0) execl(arguments[0], arguments[0], arguments[1], arguments[2], "send", (char *)NULL);
    if (sender < 0) exit(1);
    for (int waited_ms = 0; received < count && waited_ms < WAIT_MS; waited_ms += 10) usleep(10000);
    if (received != count) {
        fprintf(stderr, "%ld of %ld messages came\n", received, count);
        exit(1);
    }
    printf(" receive0_us=%.3f", (cpu_us() - start) / (double)count);
    waitpid(sender, NULL, 0);
    leave(client);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    int port = atoi(argv[1]);
    long count = atol(argv[2]) / BATCH * BATCH;
    mosquitto_lib_init();
    if (argc > 3) {
        struct mosquitto *client = connected(port);
        publish(client, count, 0);
        leave(client);
        return 0;
    }
    printf("result");
    fflush(stdout);
    measure_publish(port, count, 0);
    measure_publish(port, count, 1);
    measure_receive(argv, port, count);
    printf("\n");
    return 0;
}
