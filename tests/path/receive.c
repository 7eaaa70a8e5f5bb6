/* receive: judges what `send` sends.
 *
 *   receive URI TOPIC [--seconds S] [--wait S] [--delays FILE]
 *
 * It says "ready" when it is subscribed. With --seconds it counts what arrives until so long after the first message was sent, and ends; else it ends
 * with the last message. --wait: it gives up then. --delays: the delay of every message in microseconds, a line each, in the order of arrival.
 *
 * It prints: result messages=N missing=N disorder=N bytes=N seconds=S. Disorder: messages that did not have the number after that of the one
 * before. Missing is known only when the last message has come. */
#define _POSIX_C_SOURCE 200809L
#include "meter.h"

#include <pthread.h>
#include <stdbool.h>

#define LAST UINT64_MAX

struct judge {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_over;
    uint64_t first_sent_ns, window_ns, expected, messages, disorder, bytes, total;
    bool has_total;
    FILE *delays;
};

static uint64_t get(const uint8_t *bytes)
{
    uint64_t value = 0;
    int i;
    for (i = 0; i < 8; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* On the library's thread. */
static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct judge *judge = user_data;
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    uint64_t now = now_ns(), sent_ns, sequence;
    (void)ack;
    if (payload.len < 16)
        return;
    sent_ns = get(payload.data);
    sequence = get(payload.data + 8);
    pthread_mutex_lock(&judge->lock);
    if (!judge->first_sent_ns)
        judge->first_sent_ns = sent_ns;
    if (judge->is_over)
        ;
    else if (sequence == LAST) {
        judge->total = get(payload.data + 16);
        judge->has_total = judge->is_over = true;
    } else if (judge->window_ns && now > judge->first_sent_ns + judge->window_ns)
        judge->is_over = true;
    else {
        judge->disorder += sequence != judge->expected;
        judge->expected = sequence + 1;
        judge->messages++;
        judge->bytes += payload.len;
        if (judge->delays)
            fprintf(judge->delays, "%llu\n", (unsigned long long)(now - sent_ns) / 1000);
    }
    if (judge->is_over)
        pthread_cond_signal(&judge->changed);
    pthread_mutex_unlock(&judge->lock);
}

/* A sender that falls silent does not end the window: the clock does. */
static void wait_for_end(struct judge *judge, uint64_t until_ns)
{
    pthread_mutex_lock(&judge->lock);
    while (!judge->is_over && now_ns() < until_ns) {
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 100000000;
        soon.tv_sec += soon.tv_nsec / 1000000000;
        soon.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&judge->changed, &judge->lock, &soon);
        if (judge->window_ns && judge->first_sent_ns && now_ns() > judge->first_sent_ns + judge->window_ns)
            judge->is_over = true;
    }
    if (!judge->is_over)
        fprintf(stderr, "receive: no end came in time\n");
    pthread_mutex_unlock(&judge->lock);
}

int main(int argc, char **argv)
{
    static struct judge judge = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    nlmqtt_client_config *config;
    nlmqtt_client *client = NULL;
    uint64_t token, wait_s = 600;
    int i;
    if (argc < 3)
        die("receive: URI TOPIC");
    for (i = 3; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seconds") == 0)
            judge.window_ns = number(argv[i], argv[i + 1]) * 1000000000u;
        else if (strcmp(argv[i], "--wait") == 0)
            wait_s = number(argv[i], argv[i + 1]);
        else if (strcmp(argv[i], "--delays") != 0 || !(judge.delays = fopen(argv[i + 1], "w")))
            die("receive: bad option %s %s", argv[i], argv[i + 1]);
    }
    /* Whoever waits for the first message looks into it. */
    if (judge.delays)
        setvbuf(judge.delays, NULL, _IOLBF, 0);
    config = config_of(argv[1]);
    if (nlmqtt_client_new(NULL, config, NULL, &client) != NLMQTT_OK ||
        nlmqtt_client_subscribe(client, argv[2], 1, on_message, &judge, NULL, &token) != NLMQTT_OK || nlmqtt_client_start(client) != NLMQTT_OK ||
        nlmqtt_client_wait(client, token, 30000) != NLMQTT_OK)
        die("%s", argv[1]);
    puts("ready");
    fflush(stdout);
    wait_for_end(&judge, now_ns() + wait_s * 1000000000u);
    nlmqtt_client_stop(client, 1000);
    nlmqtt_client_free(client);
    nlmqtt_client_config_free(config);
    printf("result messages=%llu missing=%llu disorder=%llu bytes=%llu seconds=%.3f\n", (unsigned long long)judge.messages,
           (unsigned long long)(judge.has_total ? judge.total - judge.messages : 0), (unsigned long long)judge.disorder, (unsigned long long)judge.bytes,
           (double)judge.window_ns / 1e9);
    if (judge.delays)
        fclose(judge.delays);
    return judge.is_over ? EXIT_SUCCESS : EXIT_FAILURE;
}
