/* sensor: a device that publishes readings and takes commands.
 *
 *   sensor -i NAME [-h HOST] [-p PORT] [--interval MILLISECONDS] [--seconds N] ...
 *
 * sensors/NAME/status     "online", or "offline" (the will), retained
 * sensors/NAME/reading    {"sequence":1,"celsius":21.5}, QoS 1
 * sensors/NAME/command    to it: "interval 500", "status", "stop"
 * sensors/NAME/reply      what it says to that
 *
 * With -h rudp://HOST (reliable UDP, rudps:// with TLS inside) or quic://HOST the connection lives on when the sensor's address changes, in
 * another network or behind a NAT that forgot it: it says "path moved" then, and nothing is lost. A server that knows only the first generation
 * of reliable UDP knows a sensor by its address: there it says "fell back", and has to connect again when that changes.
 *
 * Readings go on while there is no connection: they wait in a bounded queue, and when that is full the oldest go. */
#define _POSIX_C_SOURCE 200809L
#include "arguments.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

struct sensor {
    nlmqtt_client *client;
    pthread_mutex_t lock;
    unsigned long interval_ms; /* under the lock: commands change it */
    char status[128];
    char reading[128];
    char command[128];
    char reply[128];
};

static const char usage[] =
    "usage: sensor [-i NAME] [--interval MILLISECONDS] [--seconds N] [options]\n"
    "  -h HOST|URI -p PORT -u NAME -P WORD -V 3.1|3.1.1|5 -k SECONDS -d\n";

/* Callbacks: on the library's thread, one at a time. */
static void on_connected(void *user_data, const nlmqtt_connected *connected)
{
    struct sensor *sensor = user_data;
    printf("connected%s\n", connected->session_present ? ", session resumed" : "");
    fflush(stdout);
    nlmqtt_client_publish(sensor->client, sensor->status, "online", 6, 1, true, NULL);
}

static void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    (void)user_data;
    if (disconnected->cause == NLMQTT_CAUSE_STOPPED)
        return;
    printf("not connected: %s; next try in %ld ms\n", disconnected->text.data, (long)disconnected->retry_in_ms);
    fflush(stdout);
}

/* The connection goes on over another path: nothing to do, but worth a line. */
static void on_path_moved(void *user_data, const nlmqtt_path_moved *moved)
{
    (void)user_data;
    printf("path moved: from %s, round trip %.1f ms, %lu of %lu datagrams lost, %lu moves\n", moved->local.data,
           (double)moved->statistics->round_trip_us / 1000.0, (unsigned long)moved->statistics->datagrams_lost,
           (unsigned long)moved->statistics->datagrams_sent, (unsigned long)moved->statistics->path_changes);
    fflush(stdout);
}

/* The connection is one that a change of address ends: worth a line, too, for whoever wonders why. */
static void on_fell_back(void *user_data, size_t server, int32_t protocol)
{
    (void)user_data, (void)server;
    printf("fell back: the server speaks %s\n", protocol == NLMQTT_DATAGRAMS_RUDP_1 ? "generation 1 of reliable UDP" : "an older protocol");
    fflush(stdout);
}

/* The callback of the subscription to the commands. */
static void on_command(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct sensor *sensor = user_data;
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    char command[64], answer[128];
    unsigned long interval_ms = 0;
    (void)ack;
    snprintf(command, sizeof command, "%.*s", (int)(payload.len < 63 ? payload.len : 63),
             payload.data ? (const char *)payload.data : "");
    pthread_mutex_lock(&sensor->lock);
    if (sscanf(command, "interval %lu", &interval_ms) == 1 && interval_ms >= 10 && interval_ms <= 86400000) {
        sensor->interval_ms = interval_ms;
        snprintf(answer, sizeof answer, "interval is %lu ms", interval_ms);
    } else if (strcmp(command, "status") == 0)
        snprintf(answer, sizeof answer, "interval is %lu ms", sensor->interval_ms);
    else if (strcmp(command, "stop") == 0) {
        snprintf(answer, sizeof answer, "stopping");
        kill(getpid(), SIGTERM);
    } else
        snprintf(answer, sizeof answer, "not understood: %s", command);
    pthread_mutex_unlock(&sensor->lock);
    printf("command %s: %s\n", command, answer);
    fflush(stdout);
    nlmqtt_client_publish(sensor->client, sensor->reply, answer, strlen(answer), 1, false, NULL);
}

static double seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* A made-up day of a minute: up from 15 to 25 degrees and down again. */
static double celsius(double seconds)
{
    double part = seconds / 60.0 - (double)(long)(seconds / 60.0);
    return 15.0 + 20.0 * (part < 0.5 ? part : 1.0 - part);
}

/* Readings until a signal comes or the time is over. */
static void measure(struct sensor *sensor, const sigset_t *signals, unsigned long seconds)
{
    struct timespec start;
    unsigned long sequence = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (;;) {
        double at = seconds_since(&start);
        struct timespec wait;
        char text[96];
        int len;
        if (seconds && at >= (double)seconds)
            return;
        len = snprintf(text, sizeof text, "{\"sequence\":%lu,\"celsius\":%.1f}", ++sequence,
                       celsius(at));
        if (nlmqtt_client_publish(sensor->client, sensor->reading, text, (size_t)len, 1, false, NULL) != NLMQTT_OK) {
            char why[256];
            nlmqtt_last_error(why, sizeof why);
            fprintf(stderr, "sensor: reading %lu: %s\n", sequence, why);
        }
        pthread_mutex_lock(&sensor->lock);
        wait.tv_sec = (time_t)(sensor->interval_ms / 1000);
        wait.tv_nsec = (long)(sensor->interval_ms % 1000) * 1000000;
        pthread_mutex_unlock(&sensor->lock);
        if (sigtimedwait(signals, NULL, &wait) >= 0)
            return;
    }
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct sensor sensor;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_runtime *runtime;
    const char *name = "sensor";
    unsigned long seconds = 0;
    uint64_t token = 0;
    sigset_t signals;
    int i, used;

    memset(&sensor, 0, sizeof sensor);
    pthread_mutex_init(&sensor.lock, NULL);
    sensor.interval_ms = 1000;
    arguments_init(&arguments, "sensor");
    for (i = 1; i < argc; i += used) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value && (strcmp(argv[i], "-i") == 0 || strcmp(argv[i], "--id") == 0))
            name = value;
        if ((used = common_argument(&arguments, argc - i, argv + i)) != 0)
            continue;
        used = 2;
        if (value && strcmp(argv[i], "--interval") == 0)
            sensor.interval_ms = number_argument(&arguments, argv[i], value, 10, 86400000);
        else if (value && strcmp(argv[i], "--seconds") == 0)
            seconds = number_argument(&arguments, argv[i], value, 1, 1000000000);
        else {
            fprintf(stderr, "sensor: bad option %s\n%s", argv[i], usage);
            return 1;
        }
    }
    snprintf(sensor.status, sizeof sensor.status, "sensors/%.64s/status", name);
    snprintf(sensor.reading, sizeof sensor.reading, "sensors/%.64s/reading", name);
    snprintf(sensor.command, sizeof sensor.command, "sensors/%.64s/command", name);
    snprintf(sensor.reply, sizeof sensor.reply, "sensors/%.64s/reply", name);
    if (nlmqtt_client_config_set_will(arguments.config, sensor.status, "offline", 7, 1, true, NULL) != NLMQTT_OK) {
        complain(&arguments, "-i");
        return 1;
    }
    set_key(&arguments, "queue", "queue_overflow", "drop_oldest");

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &sensor;
    callbacks.connected = on_connected;
    callbacks.disconnected = on_disconnected;
    callbacks.path_moved = on_path_moved;
    callbacks.fell_back = on_fell_back;
    sensor.client = make_client(&arguments, &callbacks, &runtime);
    if (!sensor.client)
        return 1;
    if (nlmqtt_client_subscribe(sensor.client, sensor.command, 1, on_command, &sensor, NULL, NULL) != NLMQTT_OK
        || nlmqtt_client_start(sensor.client) != NLMQTT_OK) {
        complain(&arguments, "start");
        return 1;
    }
    measure(&sensor, &signals, seconds);
    /* An orderly end: the will is not published, so say it here. */
    if (nlmqtt_client_publish(sensor.client, sensor.status, "offline", 7, 1, true, &token) == NLMQTT_OK)
        nlmqtt_client_wait(sensor.client, token, 1000);
    nlmqtt_client_stop(sensor.client, 1000);
    nlmqtt_client_free(sensor.client);
    nlmqtt_runtime_free(runtime);
    arguments_free(&arguments);
    pthread_mutex_destroy(&sensor.lock);
    return 0;
}
