/* Connections that the application makes: a pipe of 64 bytes in memory, with a thread at its other end that goes on over TCP. */
#include "check.h"
#include "runtime_bench.h"

#include <poll.h>
#include <sys/eventfd.h>

enum { ROOM = 64, MESSAGES = 300 };

/* What goes wrong, once. */
enum fault { NONE, OPEN_FAILS, NEVER_OPENED, OPENED_FAILS, READ_FAILS, READ_LIES, WRITE_FAILS, PEER_ENDS };

struct modem {
    uint16_t port;
    enum fault fault;
    struct counter opened, closed, freed, connected, received, failed;
    nlmqtt_client *client;
    int would_deadlock;
};

struct queue {
    unsigned char bytes[ROOM];
    size_t len;
};

struct line {
    struct modem *modem;
    pthread_mutex_t lock;
    pthread_t pump;
    int event, wake[2], broker;
    bool is_up, has_ended, must_stop;
    struct queue in, out;
    long reads;
};

static void tell(struct line *line)
{
    uint64_t one = 1;
    CHECK(write(line->event, &one, sizeof one) == sizeof one);
}

/* The other end: between the two queues and a socket of the broker. */
static void *pump(void *argument)
{
    struct line *line = (struct line *)argument;
    sleep_ms(5);
    line->broker = dial(line->modem->port);
    pthread_mutex_lock(&line->lock);
    line->is_up = true;
    while (!line->must_stop) {
        struct pollfd sources[2];
        char drained[64];
        memset(sources, 0, sizeof sources);
        sources[0].fd = line->wake[0];
        sources[0].events = POLLIN;
        sources[1].fd = line->broker;
        sources[1].events = line->in.len == 0 && !line->has_ended ? POLLIN : 0;
        tell(line);
        pthread_mutex_unlock(&line->lock);
        CHECK(poll(sources, 2, -1) >= 1);
        pthread_mutex_lock(&line->lock);
        if (sources[0].revents)
            CHECK(read(line->wake[0], drained, sizeof drained) > 0);
        if (sources[1].revents & POLLIN) {
            ssize_t count = recv(line->broker, line->in.bytes, ROOM, 0);
            line->in.len = count > 0 ? (size_t)count : 0;
            line->has_ended = count <= 0;
        }
        if (line->out.len > 0) {
            (void)!send(line->broker, line->out.bytes, line->out.len, MSG_NOSIGNAL);
            line->out.len = 0;
        }
    }
    pthread_mutex_unlock(&line->lock);
    close(line->broker);
    return NULL;
}

static bool fails(struct line *line, enum fault fault)
{
    if (line->modem->fault != fault)
        return false;
    line->modem->fault = NONE;
    return true;
}

static nlmqtt_status on_open(void *user_data, const char *host, uint16_t port, void **connection_out, int *descriptor_out)
{
    struct modem *modem = (struct modem *)user_data;
    struct line *line;
    CHECK_TEXT(host, "no.such.host");
    CHECK_EQ(port, 7);
    if (modem->fault == OPEN_FAILS) {
        modem->fault = NONE;
        return NLMQTT_NOT_FOUND;
    }
    line = (struct line *)calloc(1, sizeof *line);
    line->modem = modem;
    pthread_mutex_init(&line->lock, NULL);
    line->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(line->event >= 0 && pipe(line->wake) == 0);
    CHECK(pthread_create(&line->pump, NULL, pump, line) == 0);
    counter_add(&modem->opened);
    *connection_out = line;
    *descriptor_out = line->event;
    return NLMQTT_OK;
}

static nlmqtt_status on_opened(void *connection)
{
    struct line *line = (struct line *)connection;
    bool is_up;
    pthread_mutex_lock(&line->lock);
    is_up = line->is_up;
    pthread_mutex_unlock(&line->lock);
    if (line->modem->fault == NEVER_OPENED)
        return NLMQTT_IN_PROGRESS;
    if (is_up && fails(line, OPENED_FAILS))
        return NLMQTT_TIMEOUT;
    return is_up ? NLMQTT_OK : NLMQTT_IN_PROGRESS;
}

static int64_t on_read(void *connection, void *buffer, size_t room)
{
    struct line *line = (struct line *)connection;
    int64_t count = NLMQTT_IN_PROGRESS;
    pthread_mutex_lock(&line->lock);
    if (line->in.len > 0) {
        /* Little at a time. */
        count = line->reads++ % 7 + 1;
        if ((size_t)count > line->in.len)
            count = (int64_t)line->in.len;
        if ((size_t)count > room)
            count = (int64_t)room;
        memcpy(buffer, line->in.bytes, (size_t)count);
        line->in.len -= (size_t)count;
        memmove(line->in.bytes, line->in.bytes + count, line->in.len);
        if (line->in.len == 0)
            CHECK(write(line->wake[1], "", 1) == 1);
    } else if (line->has_ended) {
        count = 0;
    }
    if (line->reads > 20 && fails(line, READ_FAILS))
        count = NLMQTT_INTERNAL;
    if (line->reads > 20 && fails(line, READ_LIES))
        count = (int64_t)room + 1;
    if (line->reads > 20 && fails(line, PEER_ENDS))
        shutdown(line->broker, SHUT_RDWR);
    pthread_mutex_unlock(&line->lock);
    /* As in any callback, what would wait says so, and what is asked for is done later. */
    if (line->reads == 20 && line->modem->client)
        line->modem->would_deadlock += nlmqtt_client_flush(line->modem->client, 1000) == NLMQTT_WOULD_DEADLOCK;
    return count;
}

static int64_t on_write(void *connection, const void *bytes, size_t len)
{
    struct line *line = (struct line *)connection;
    int64_t count = NLMQTT_IN_PROGRESS;
    pthread_mutex_lock(&line->lock);
    if (line->out.len < ROOM) {
        count = (int64_t)(len < ROOM - line->out.len ? len : ROOM - line->out.len);
        memcpy(line->out.bytes + line->out.len, bytes, (size_t)count);
        line->out.len += (size_t)count;
        CHECK(write(line->wake[1], "", 1) == 1);
    }
    if (line->reads > 20 && fails(line, WRITE_FAILS))
        count = NLMQTT_INTERNAL;
    pthread_mutex_unlock(&line->lock);
    return count;
}

static void on_close(void *connection)
{
    struct line *line = (struct line *)connection;
    struct modem *modem = line->modem;
    pthread_mutex_lock(&line->lock);
    line->must_stop = true;
    pthread_mutex_unlock(&line->lock);
    CHECK(write(line->wake[1], "", 1) == 1);
    CHECK(pthread_join(line->pump, NULL) == 0);
    close(line->wake[0]);
    close(line->wake[1]);
    close(line->event);
    pthread_mutex_destroy(&line->lock);
    free(line);
    counter_add(&modem->closed);
}

static void on_modem_free(void *user_data)
{
    counter_add(&((struct modem *)user_data)->freed);
}

static void on_modem_connected(void *user_data, const nlmqtt_connected *connected)
{
    (void)connected;
    counter_add(&((struct modem *)user_data)->connected);
}

static void on_modem_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    (void)disconnected;
    counter_add(&((struct modem *)user_data)->failed);
}

static void on_modem_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    struct modem *modem = (struct modem *)user_data;
    (void)ack;
    CHECK_EQ(atoi((const char *)nlmqtt_message_payload(message).data), counter_get(&modem->received));
    counter_add(&modem->received);
}

static void modem_init(struct modem *modem, nlmqtt_transport *transport)
{
    struct counter *counters[] = {&modem->opened, &modem->closed, &modem->freed, &modem->connected, &modem->received, &modem->failed};
    size_t i;
    for (i = 0; i < sizeof counters / sizeof counters[0]; i++)
        counter_init(counters[i]);
    modem->client = NULL;
    modem->would_deadlock = 0;
    nlmqtt_transport_init(transport);
    transport->user_data = modem;
    transport->free_fn = on_modem_free;
    transport->open = on_open;
    transport->opened = on_opened;
    transport->read = on_read;
    transport->write = on_write;
    transport->close = on_close;
}

/* Everything arrives once and in order, whatever goes wrong in between. */
static void messages_go_and_come(int32_t mode, enum fault fault)
{
    nlmqtt_runtime *runtime = runtime_of(mode);
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_transport transport;
    struct modem modem;
    nlmqtt_server *server = serve(NULL, NULL, &modem.port);
    char payload[200];
    int i, loop = mode == NLMQTT_MODE_THREAD ? -1 : host_loop(runtime);
    modem_init(&modem, &transport);
    modem.fault = fault;
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.user_data = &modem;
    callbacks.connected = on_modem_connected;
    callbacks.disconnected = on_modem_disconnected;
    callbacks.message = on_modem_message;
    OK(nlmqtt_client_config_add_server(config, "mqtt://no.such.host:7", 0));
    OK(nlmqtt_client_config_set(config, "client_id", "modem"));
    OK(nlmqtt_client_config_set(config, "version", "3.1.1"));
    OK(nlmqtt_client_config_set(config, "clean_start", "false"));
    OK(nlmqtt_client_config_set(config, "reconnect_delay_min_ms", "10"));
    OK(nlmqtt_client_config_set(config, "reconnect_delay_max_ms", "50"));
    if (fault == NEVER_OPENED)
        OK(nlmqtt_client_config_set(config, "connect_timeout_ms", "100"));
    OK(nlmqtt_client_config_set_transport(config, &transport));
    OK(nlmqtt_client_new(runtime, config, &callbacks, &modem.client));
    nlmqtt_client_config_free(config);
    OK(nlmqtt_client_subscribe(modem.client, "t", 2, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_start(modem.client));
    memset(payload, 'x', sizeof payload);
    for (i = 0; i < MESSAGES; i++) {
        snprintf(payload, sizeof payload, "%d", i);
        OK(nlmqtt_client_publish(modem.client, "t", payload, sizeof payload, 2, false, NULL));
    }
    while (counter_get(&modem.received) < MESSAGES) {
        if (fault == NEVER_OPENED && counter_get(&modem.failed) > 0)
            modem.fault = NONE;
        if (loop < 0)
            sleep_ms(1);
        else
            host_turn(loop, runtime, mode);
    }
    CHECK_EQ(modem.fault, NONE);
    CHECK(modem.would_deadlock >= 1);
    CHECK(counter_get(&modem.connected) >= (fault >= READ_FAILS ? 2 : 1));
    nlmqtt_client_free(modem.client);
    nlmqtt_runtime_free(runtime);
    CHECK_EQ(counter_get(&modem.opened), counter_get(&modem.closed));
    CHECK_EQ(counter_get(&modem.freed), 1);
    nlmqtt_server_free(server);
    if (loop >= 0)
        close(loop);
}

static void a_table_is_whole_or_refused(void)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_transport transport, partial;
    struct modem modem;
    modem_init(&modem, &transport);
    CHECK_EQ(transport.struct_size, sizeof transport);
    partial = transport;
    partial.write = NULL;
    CHECK_EQ(nlmqtt_client_config_set_transport(config, &partial), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&modem.freed), 1);
    CHECK_EQ(nlmqtt_client_config_set_transport(NULL, &transport), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&modem.freed), 2);
    OK(nlmqtt_client_config_set_transport(config, &transport));
    OK(nlmqtt_client_config_set_transport(config, NULL));
    CHECK_EQ(counter_get(&modem.freed), 3);
    OK(nlmqtt_client_config_set_transport(config, &transport));
    nlmqtt_client_config_free(config);
    CHECK_EQ(counter_get(&modem.freed), 4);
    nlmqtt_transport_init(NULL);
}

/* Without a thread that looks names up: what needs none is taken all the same. */
static void no_name_is_looked_up_for_nothing(void)
{
    static const char *const uris[] = {"unix:///run/none.sock", "inproc://none", "mqtt://no.such.host", "mqtt://no.such.host"};
    nlmqtt_runtime_config *options = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime;
    size_t i;
    OK(nlmqtt_runtime_config_set_mode(options, NLMQTT_MODE_LOOP));
    OK(nlmqtt_runtime_config_set_helper_threads(options, 0));
    runtime = runtime_from(options);
    for (i = 0; i < sizeof uris / sizeof uris[0]; i++) {
        nlmqtt_client_config *config = nlmqtt_client_config_new();
        nlmqtt_client *client = NULL;
        nlmqtt_transport transport;
        struct modem modem;
        modem_init(&modem, &transport);
        OK(nlmqtt_client_config_add_server(config, uris[i], 0));
        if (i == 2)
            OK(nlmqtt_client_config_set_transport(config, &transport));
        CHECK_EQ(nlmqtt_client_new(runtime, config, NULL, &client), i == 3 ? NLMQTT_INVALID_ARGUMENT : NLMQTT_OK);
        nlmqtt_client_config_free(config);
        nlmqtt_client_free(client);
    }
    nlmqtt_runtime_free(runtime);
}

int main(void)
{
    enum fault fault;
    a_table_is_whole_or_refused();
    no_name_is_looked_up_for_nothing();
    messages_go_and_come(NLMQTT_MODE_LOOP, NONE);
    messages_go_and_come(NLMQTT_MODE_DISPATCH, NONE);
    for (fault = NONE; fault <= PEER_ENDS; fault = (enum fault)(fault + 1))
        messages_go_and_come(NLMQTT_MODE_THREAD, fault);
    puts("ok client_transport");
    return 0;
}
