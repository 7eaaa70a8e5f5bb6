/* subscribe: prints messages from a broker, as mosquitto_sub does.
 *
 *   subscribe -h HOST -p PORT -t FILTER [-t FILTER ...] [-q QOS] [-v] [-C COUNT] [-W SECONDS] ...
 *
 * It connects for ever: a broker that is not there, or goes away, is tried again, and the subscriptions come back by
 * themselves. One line for each message, at once: its payload, with -v "topic payload". */
#define _POSIX_C_SOURCE 200809L
#include "arguments.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#define FILTERS_MAX 256
/* As mosquitto_sub: the time of -W was over. */
#define EXIT_TIMEOUT 27

struct output {
    bool is_verbose;
    bool skips_retained;
    unsigned long count;      /* messages so far; the library's thread only */
    unsigned long count_max;  /* 0: any number */
    volatile sig_atomic_t is_refused;
};

static const char usage[] =
    "usage: subscribe -t FILTER [-t FILTER ...] [options]\n"
    "  -h HOST|URI -p PORT  broker, localhost:1883; or a URI such as wss://HOST/mqtt, without -p\n"
    "  --unix PATH          broker behind a Unix socket\n"
    "  -q QOS               0, 1 or 2\n"
    "  -v                   print the topic, too\n"
    "  -R                   not the retained messages\n"
    "  -C COUNT             end after COUNT messages\n"
    "  -W SECONDS           end then\n"
    "  -i ID -u NAME -P WORD -V 3.1|3.1.1|5 -k SECONDS -c -x SECONDS -A ADDRESS -d\n"
    "  --cafile FILE | --tls-use-os-certs   TLS, port 8883; --cert FILE --key FILE --tls-alpn NAMES --tls-pins SHA256\n"
    "  --will-topic TOPIC --will-payload TEXT --will-qos QOS --will-retain\n"
    "  -D connect|subscribe NAME VALUE   a property of MQTT 5\n";

/* Callbacks: on the library's thread, one at a time. */
static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct output *output = user_data;
    nlmqtt_str topic = nlmqtt_message_topic(message);
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    (void)ack;
    if (output->count_max && output->count >= output->count_max)
        return;
    if (output->skips_retained && nlmqtt_message_retain(message))
        return;
    if (output->is_verbose)
        printf("%s ", topic.data);
    if (payload.len > 0)
        fwrite(payload.data, 1, payload.len, stdout);
    putchar('\n');
    fflush(stdout);
    output->count++;
    if (output->count == output->count_max)
        kill(getpid(), SIGUSR1);
}

static void on_subscribed(void *user_data, const nlmqtt_completion *completion)
{
    struct output *output = user_data;
    size_t i, refused = 0;
    for (i = 0; i < completion->reasons_len; i++) {
        if (completion->reasons[i] >= 0x80) {
            refused++;
            fprintf(stderr, "subscribe: filter %lu: %s\n", (unsigned long)i + 1,
                    nlmqtt_reason_text(completion->reasons[i]));
        }
    }
    if (completion->status != NLMQTT_OK && refused == completion->reasons_len) {
        if (refused == 0 && completion->status != NLMQTT_CANCELLED)
            fprintf(stderr, "subscribe: %s\n", nlmqtt_status_text(completion->status));
        output->is_refused = 1;
        kill(getpid(), SIGUSR1);
    }
}

static void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    (void)user_data;
    if (disconnected->cause != NLMQTT_CAUSE_STOPPED)
        fprintf(stderr, "subscribe: %s\n", disconnected->text.data);
}

int main(int argc, char **argv)
{
    static nlmqtt_subscription subscriptions[FILTERS_MAX];
    struct arguments arguments;
    struct output output;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_subscribe_options options;
    nlmqtt_runtime *runtime;
    nlmqtt_client *client;
    unsigned long seconds = 0;
    size_t filters = 0, f;
    uint8_t qos = 0;
    sigset_t signals;
    int i, used, got;

    memset(&output, 0, sizeof output);
    arguments_init(&arguments, "subscribe");
    for (i = 1; i < argc; i += used) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        used = 1;
        if (strcmp(argv[i], "-v") == 0 || strcmp(argv[i], "--verbose") == 0)
            output.is_verbose = true;
        else if (strcmp(argv[i], "-R") == 0)
            output.skips_retained = true;
        else if ((used = common_argument(&arguments, argc - i, argv + i)) == 0) {
            used = 2;
            if (value && (strcmp(argv[i], "-t") == 0 || strcmp(argv[i], "--topic") == 0) && filters < FILTERS_MAX) {
                nlmqtt_subscription_init(&subscriptions[filters]);
                subscriptions[filters++].filter = value;
            } else if (value && (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--qos") == 0))
                qos = (uint8_t)number_argument(&arguments, "-q", value, 0, 2);
            else if (value && strcmp(argv[i], "-C") == 0)
                output.count_max = number_argument(&arguments, "-C", value, 1, 4294967295UL);
            else if (value && strcmp(argv[i], "-W") == 0)
                seconds = number_argument(&arguments, "-W", value, 1, 1000000000);
            else {
                fprintf(stderr, "subscribe: bad option %s\n%s", argv[i], usage);
                return 1;
            }
        }
    }
    if (filters == 0) {
        fprintf(stderr, "subscribe: at least one -t\n%s", usage);
        return 1;
    }
    for (f = 0; f < filters; f++)
        subscriptions[f].qos = qos;

    /* Signals wait until they are asked for below. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &output;
    callbacks.message = on_message;
    callbacks.subscribed = on_subscribed;
    callbacks.disconnected = on_disconnected;
    client = make_client(&arguments, &callbacks, &runtime);
    if (!client)
        return 1;
    nlmqtt_subscribe_options_init(&options);
    if (nlmqtt_properties_count(arguments.subscribe_properties, 0) > 0)
        options.properties = arguments.subscribe_properties;
    if (nlmqtt_client_subscribe_many(client, subscriptions, filters, &options, NULL) != NLMQTT_OK
        || nlmqtt_client_start(client) != NLMQTT_OK) {
        complain(&arguments, "subscribe");
        nlmqtt_client_free(client);
        return 1;
    }
    if (seconds) {
        struct timespec wait;
        wait.tv_sec = (time_t)seconds;
        wait.tv_nsec = 0;
        do
            got = sigtimedwait(&signals, NULL, &wait);
        while (got < 0 && errno == EINTR);
    } else
        sigwait(&signals, &got);

    nlmqtt_client_stop(client, 1000);
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
    arguments_free(&arguments);
    if (output.is_refused)
        return 1;
    return got < 0 ? EXIT_TIMEOUT : 0;
}
