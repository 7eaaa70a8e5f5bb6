/* What a message costs the client library: `client_cpu URI COUNT` publishes at QoS 0 and 1 and receives at QoS 0,
 * COUNT messages of 64 bytes each, and prints the process's processor time for each, publisher thread included.
 * Sender and receiver are two processes: this one starts itself again to send. */
#include <nlmqtt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 500, WAIT_MS = 20000 };

static volatile long received;

static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack) {
    (void)user_data, (void)message, (void)ack;
    received++;
}

static double cpu_us(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return 1e6 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void check(nlmqtt_status status, const char *what) {
    if (status != NLMQTT_OK) {
        fprintf(stderr, "%s: status %d\n", what, (int)status);
        exit(1);
    }
}

static nlmqtt_client *connected(const char *uri) {
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    check(nlmqtt_client_config_add_server(config, uri, 0), "server");
    check(nlmqtt_client_new(NULL, config, NULL, &client), "client");
    nlmqtt_client_config_free(config);
    check(nlmqtt_client_start(client), "start");
    check(nlmqtt_client_connect_wait(client, WAIT_MS), "connect");
    return client;
}

/* Batches that fit the queue; each waits until the one before it is sent (QoS 1: acknowledged). */
static void publish(nlmqtt_client *client, long count, int qos) {
    char payload[64];
    memset(payload, 'x', sizeof payload);
    for (long sent = 0; sent < count; sent += BATCH) {
        for (int one = 0; one < BATCH; one++)
            check(nlmqtt_client_publish(client, "bench/client", payload, sizeof payload, qos, false, NULL), "publish");
        check(nlmqtt_client_flush(client, WAIT_MS), "flush");
    }
}

static void measure_publish(const char *uri, long count, int qos) {
    nlmqtt_client *client = connected(uri);
    publish(client, BATCH, qos);
    double start = cpu_us();
    publish(client, count, qos);
    printf(" publish%d_us=%.3f", qos, (cpu_us() - start) / (double)count);
    nlmqtt_client_stop(client, 1000);
    nlmqtt_client_free(client);
}

static void measure_receive(char *const *arguments, const char *uri, long count) {
    nlmqtt_client *client = connected(uri);
    check(nlmqtt_client_subscribe(client, "bench/client", 0, on_message, NULL, NULL, NULL), "subscribe");
    check(nlmqtt_client_flush(client, WAIT_MS), "subscribed");
    double start = cpu_us();
    pid_t sender = fork();
    if (sender == 0) execl(arguments[0], arguments[0], uri, arguments[2], "send", (char *)NULL);
    if (sender < 0) exit(1);
    for (int waited_ms = 0; received < count && waited_ms < WAIT_MS; waited_ms += 10) usleep(10000);
    if (received != count) {
        fprintf(stderr, "%ld of %ld messages came\n", received, count);
        exit(1);
    }
    printf(" receive0_us=%.3f", (cpu_us() - start) / (double)count);
    waitpid(sender, NULL, 0);
    nlmqtt_client_stop(client, 1000);
    nlmqtt_client_free(client);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    long count = atol(argv[2]) / BATCH * BATCH;
    if (argc > 3) {
        nlmqtt_client *client = connected(argv[1]);
        publish(client, count, 0);
        nlmqtt_client_stop(client, 1000);
        nlmqtt_client_free(client);
        return 0;
    }
    printf("result");
    fflush(stdout);
    measure_publish(argv[1], count, 0);
    measure_publish(argv[1], count, 1);
    measure_receive(argv, argv[1], count);
    printf("\n");
    return 0;
}
