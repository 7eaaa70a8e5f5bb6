/*
 * storage: a broker that stores every publish before it is acknowledged and delivered.
 *
 * The publish hook copies the message into a bounded queue and answers PENDING. A writer thread
 * takes all that waits, appends it to a file, makes it safe with one fsync for the whole batch and
 * then completes every token. The slow disk never stalls the broker: only the client whose publish
 * is being written waits, and the more clients there are, the larger the batches become.
 *
 * A record is two lengths of four bytes, most significant first, then topic and payload.
 */
#define _POSIX_C_SOURCE 200809L

#include <nlmqtt.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUEUE_BYTES_MAX (8u << 20)
#define HEAD_BYTES 8

struct record {
    struct record *next;
    nlmqtt_hook_token token;
    size_t len;
    unsigned char bytes[]; /* head, topic, payload */
};

struct store {
    int file;
    nlmqtt_server *server;
    pthread_t writer;
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct record *first, **last;
    size_t queued_bytes;
    bool ending;
    unsigned long records, batches;
};

static void put_length(unsigned char *out, size_t len)
{
    out[0] = (unsigned char)(len >> 24);
    out[1] = (unsigned char)(len >> 16);
    out[2] = (unsigned char)(len >> 8);
    out[3] = (unsigned char)len;
}

static size_t take_length(const unsigned char *in)
{
    return (size_t)in[0] << 24 | (size_t)in[1] << 16 | (size_t)in[2] << 8 | (size_t)in[3];
}

/* Runs on the broker's thread: copy, queue, leave. */
static int32_t on_publish(void *user_data, const nlmqtt_client_info *client, const nlmqtt_publish_info *publish,
                          nlmqtt_hook_token token, nlmqtt_decision *decision)
{
    struct store *store = user_data;
    size_t len = HEAD_BYTES + publish->topic.len + publish->payload.len;
    struct record *record = malloc(sizeof *record + len);
    bool full;
    (void)client;
    if (record == NULL) {
        nlmqtt_decision_set_reason(decision, 0x97); /* Quota exceeded */
        return NLMQTT_DENY;
    }
    record->next = NULL;
    record->token = token;
    record->len = len;
    put_length(record->bytes, publish->topic.len);
    put_length(record->bytes + 4, publish->payload.len);
    memcpy(record->bytes + HEAD_BYTES, publish->topic.data, publish->topic.len);
    if (publish->payload.len > 0)
        memcpy(record->bytes + HEAD_BYTES + publish->topic.len, publish->payload.data, publish->payload.len);

    pthread_mutex_lock(&store->lock);
    /* One record is always taken, so that a large one cannot be refused for ever. */
    full = store->queued_bytes > 0 && store->queued_bytes + len > QUEUE_BYTES_MAX;
    if (!full) {
        *store->last = record;
        store->last = &record->next;
        store->queued_bytes += len;
        pthread_cond_signal(&store->filled);
    }
    pthread_mutex_unlock(&store->lock);
    if (full) {
        free(record);
        nlmqtt_decision_set_reason(decision, 0x97);
        return NLMQTT_DENY;
    }
    return NLMQTT_PENDING;
}

static bool write_all(int file, const unsigned char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t written = write(file, bytes, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        len -= (size_t)written;
    }
    return true;
}

static bool write_batch(struct store *store, const struct record *batch)
{
    const struct record *record;
    for (record = batch; record != NULL; record = record->next) {
        if (!write_all(store->file, record->bytes, record->len))
            return false;
        store->records++;
    }
    store->batches++;
    return fdatasync(store->file) == 0;
}

static void answer_batch(struct store *store, struct record *batch, bool stored)
{
    nlmqtt_decision *refusal = stored ? NULL : nlmqtt_decision_new();
    nlmqtt_decision_set_reason(refusal, 0x83); /* Implementation specific error; NULL is refused */
    while (batch != NULL) {
        struct record *next = batch->next;
        nlmqtt_server_complete(store->server, batch->token, stored ? NLMQTT_ALLOW : NLMQTT_DENY, refusal);
        free(batch);
        batch = next;
    }
    nlmqtt_decision_free(refusal);
}

static void *write_records(void *argument)
{
    struct store *store = argument;
    for (;;) {
        struct record *batch;
        off_t safe_end = lseek(store->file, 0, SEEK_END);
        bool stored;
        pthread_mutex_lock(&store->lock);
        while (store->first == NULL && !store->ending)
            pthread_cond_wait(&store->filled, &store->lock);
        batch = store->first;
        store->first = NULL;
        store->last = &store->first;
        store->queued_bytes = 0;
        pthread_mutex_unlock(&store->lock);
        if (batch == NULL)
            return NULL;
        stored = write_batch(store, batch);
        if (!stored) {
            fprintf(stderr, "storage: %s\n", strerror(errno));
            /* Half a record must not stay in front of the next. */
            if (ftruncate(store->file, safe_end) != 0)
                fprintf(stderr, "storage: the file ends with half a record\n");
        }
        answer_batch(store, batch, stored);
    }
}

static int dump(const char *path)
{
    FILE *file = fopen(path, "rb");
    unsigned char head[HEAD_BYTES];
    if (file == NULL) {
        fprintf(stderr, "storage: %s: %s\n", path, strerror(errno));
        return EXIT_FAILURE;
    }
    while (fread(head, 1, sizeof head, file) == sizeof head) {
        size_t topic = take_length(head), payload = take_length(head + 4);
        char *text = malloc(topic + payload + 1);
        if (text == NULL || fread(text, 1, topic + payload, file) != topic + payload) {
            free(text);
            fclose(file);
            fprintf(stderr, "storage: %s ends with half a record\n", path);
            return EXIT_FAILURE;
        }
        printf("%.*s ", (int)topic, text);
        fwrite(text + topic, 1, payload, stdout);
        putchar('\n');
        free(text);
    }
    fclose(file);
    return EXIT_SUCCESS;
}

static nlmqtt_server *start_server(struct store *store, const char *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    char uri[64];
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = store;
    hooks.publish = on_publish;
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%s", port);
    if (nlmqtt_server_config_add_listener(config, uri) == NLMQTT_OK &&
        nlmqtt_server_new(NULL, config, &hooks, &server) == NLMQTT_OK) {
        store->server = server;
        if (nlmqtt_server_start(server) != NLMQTT_OK) {
            nlmqtt_server_free(server);
            server = NULL;
        }
    }
    nlmqtt_server_config_free(config);
    return server;
}

static int serve(struct store *store, const char *port)
{
    sigset_t signals;
    int signal_number;
    char address[64];
    nlmqtt_server *server;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    server = start_server(store, port);
    if (server == NULL) {
        char text[256];
        nlmqtt_last_error(text, sizeof text);
        fprintf(stderr, "storage: %s\n", text);
        return EXIT_FAILURE;
    }
    if (pthread_create(&store->writer, NULL, write_records, store) != 0) {
        fprintf(stderr, "storage: no thread\n");
        nlmqtt_server_free(server);
        return EXIT_FAILURE;
    }
    nlmqtt_server_listener_address(server, 0, address, sizeof address);
    printf("storage ready on %s\n", address);
    fflush(stdout);
    sigwait(&signals, &signal_number);
    /* No hook runs after the stop; the writer finishes what waits; only then the handle goes. */
    nlmqtt_server_stop(server, 0, 1000);
    pthread_mutex_lock(&store->lock);
    store->ending = true;
    pthread_cond_signal(&store->filled);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->writer, NULL);
    nlmqtt_server_free(server);
    printf("storage stored %lu messages in %lu batches\n", store->records, store->batches);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct store store;
    const char *port = "1883", *path = "storage.log";
    int option, exit_code;
    memset(&store, 0, sizeof store);
    while ((option = getopt(argc, argv, "p:f:d:h")) != -1) {
        switch (option) {
        case 'p': port = optarg; break;
        case 'f': path = optarg; break;
        case 'd': return dump(optarg);
        default:
            fputs("usage: storage [-p PORT] [-f FILE]   serve, and append every publish to FILE\n"
                  "       storage -d FILE               print what is in FILE\n", stderr);
            return option == 'h' ? EXIT_SUCCESS : 2;
        }
    }
    store.file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (store.file < 0) {
        fprintf(stderr, "storage: %s: %s\n", path, strerror(errno));
        return EXIT_FAILURE;
    }
    store.last = &store.first;
    pthread_mutex_init(&store.lock, NULL);
    pthread_cond_init(&store.filled, NULL);
    exit_code = serve(&store, port);
    pthread_cond_destroy(&store.filled);
    pthread_mutex_destroy(&store.lock);
    close(store.file);
    return exit_code;
}
