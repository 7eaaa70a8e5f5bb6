/* Administration of a running server: single clients, bans, scheduled tasks, retained messages; from outside and from hooks. */
#include "check.h"

struct seen {
    int count;
    char text[256];
    size_t subscriptions;
    bool connected;
    uint16_t keep_alive_s;
    uint32_t session_expiry_s;
};

static void on_entry(void *user_data, const nlmqtt_client_entry *client)
{
    struct seen *seen = (struct seen *)user_data;
    CHECK_EQ(client->struct_size, sizeof *client);
    seen->count++;
    snprintf(seen->text, sizeof seen->text, "%s", client->client_id.data);
    seen->subscriptions = client->subscriptions;
    seen->connected = client->connected;
    seen->keep_alive_s = client->keep_alive_s;
    seen->session_expiry_s = client->session_expiry_s;
    CHECK_EQ(client->output_bytes, 0);
}

static void append(struct seen *seen, const char *text)
{
    seen->count++;
    strncat(seen->text, text, sizeof seen->text - strlen(seen->text) - 1);
    strncat(seen->text, " ", sizeof seen->text - strlen(seen->text) - 1);
}

static void on_filter(void *user_data, nlmqtt_str filter)
{
    append((struct seen *)user_data, filter.data);
}

static void clients_are_looked_at_and_subscribed_for(void)
{
    uint16_t port;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    struct seen seen;
    int client = connect_client(port, "one");
    memset(&seen, 0, sizeof seen);
    OK(nlmqtt_server_publish(server, "s/kept", "k", 1, 0, true, NULL));
    OK(nlmqtt_server_subscribe_client(server, "one", "s/#", 0));
    EXPECT(client, 0x31, "\0\6s/keptk", 9);
    OK(nlmqtt_server_subscribe_client(server, "one", "a", 2));
    CHECK_EQ(nlmqtt_server_subscribe_client(server, "one", "#/a", 2), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_server_client_info(server, "one", on_entry, &seen));
    CHECK(seen.count == 1 && seen.connected && seen.subscriptions == 2 && seen.session_expiry_s == 0 && seen.keep_alive_s == 0);
    CHECK_TEXT(seen.text, "one");
    memset(&seen, 0, sizeof seen);
    OK(nlmqtt_server_each_subscription(server, "one", on_filter, &seen));
    CHECK_TEXT(seen.text, "a s/# ");
    OK(nlmqtt_server_publish(server, "s/live", "l", 1, 0, false, NULL));
    expect_publish(client, "s/live", "l");
    OK(nlmqtt_server_unsubscribe_client(server, "one", "s/#"));
    CHECK_EQ(nlmqtt_server_unsubscribe_client(server, "one", "s/#"), NLMQTT_NOT_FOUND);
    OK(nlmqtt_server_publish(server, "s/live", "l", 1, 0, false, NULL));
    ping(client);
    close(client);
    nlmqtt_server_free(server);
}

static void on_ban(void *user_data, const nlmqtt_ban_entry *ban)
{
    struct seen *seen = (struct seen *)user_data;
    char text[64];
    CHECK_EQ(ban->struct_size, sizeof *ban);
    CHECK((ban->kind == NLMQTT_BAN_USERNAME) == (ban->seconds_left > 0));
    snprintf(text, sizeof text, "%d:%s", (int)ban->kind, ban->text.data);
    append(seen, text);
}

static void bans_close_and_keep_out(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    struct seen seen;
    struct packet packet;
    uint16_t port;
    uint64_t value = 0;
    int client, other;
    OK(nlmqtt_server_config_set_number(config, "max_bans", 2));
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_new(NULL, config, NULL, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &port));
    nlmqtt_server_config_free(config);

    client = dial(port);
    send_connect(client, 5, "bad", NULL, NULL);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    OK(nlmqtt_server_ban(server, NLMQTT_BAN_CLIENT_ID, "bad", 0));
    CHECK_EQ(read_packet(client, &packet), 0xE0);
    CHECK_EQ(packet.body[0], 0x8A);
    close(client);
    client = dial(port);
    send_connect(client, 5, "bad", NULL, NULL);
    CHECK_EQ(read_packet(client, &packet), 0x20);
    CHECK_EQ(packet.body[1], 0x8A);
    close(client);

    OK(nlmqtt_server_ban(server, NLMQTT_BAN_USERNAME, "mallory", 3600));
    client = dial(port);
    send_connect(client, 4, "good", "mallory", NULL);
    EXPECT(client, 0x20, "\0\5", 2);
    close(client);
    CHECK_EQ(nlmqtt_server_ban(server, NLMQTT_BAN_CLIENT_ID, "third", 0), NLMQTT_LIMIT);
    OK(nlmqtt_server_stat(server, "bans_refused", &value));
    CHECK_EQ(value, 1);
    OK(nlmqtt_server_stat(server, "bans", &value));
    CHECK_EQ(value, 2);
    memset(&seen, 0, sizeof seen);
    OK(nlmqtt_server_each_ban(server, on_ban, &seen));
    CHECK_TEXT(seen.text, "1:bad 2:mallory ");
    OK(nlmqtt_server_unban(server, NLMQTT_BAN_CLIENT_ID, "bad"));
    CHECK_EQ(nlmqtt_server_unban(server, NLMQTT_BAN_CLIENT_ID, "bad"), NLMQTT_NOT_FOUND);
    client = connect_client(port, "bad");
    OK(nlmqtt_server_ban(server, NLMQTT_BAN_ADDRESS, "127.0.0.1", 0));
    CHECK_EQ(read_packet(client, &packet), -1);
    other = dial(port);
    CHECK_EQ(read_packet(other, &packet), -1);
    close(other);
    OK(nlmqtt_server_unban(server, NLMQTT_BAN_ADDRESS, "127.0.0.1"));
    close(client);
    client = connect_client(port, "bad");
    /* For a second: then it is over. */
    OK(nlmqtt_server_ban(server, NLMQTT_BAN_CLIENT_ID, "bad", 1));
    CHECK_EQ(read_packet(client, &packet), -1);
    close(client);
    sleep_ms(1200);
    close(connect_client(port, "bad"));
    CHECK_EQ(nlmqtt_server_ban(server, NLMQTT_BAN_ADDRESS, "localhost", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_ban(server, NLMQTT_BAN_CLIENT_ID, "", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_ban(server, 0, "x", 0), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_server_stat(server, "connections_banned", &value));
    CHECK_EQ(value, 3);
    nlmqtt_server_free(server);
}

struct job {
    struct counter ran, freed;
    nlmqtt_server *server;
    uint64_t task;
    bool cancels_itself;
};

static void run_job(void *user_data)
{
    struct job *job = (struct job *)user_data;
    uint64_t value;
    CHECK_EQ(nlmqtt_server_stat(job->server, "clients_connected", &value), NLMQTT_WOULD_DEADLOCK);
    counter_add(&job->ran);
    if (job->cancels_itself)
        OK(nlmqtt_server_cancel(job->server, job->task));
}

static void free_job(void *user_data)
{
    counter_add(&((struct job *)user_data)->freed);
}

static void job_init(struct job *job, nlmqtt_server *server)
{
    memset(job, 0, sizeof *job);
    counter_init(&job->ran);
    counter_init(&job->freed);
    job->server = server;
}

static void tasks_run_when_they_are_due(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    struct job once, often, never, last;
    uint64_t value = 0;
    OK(nlmqtt_server_config_set_number(config, "max_scheduled_tasks", 2));
    OK(nlmqtt_server_new(NULL, config, NULL, &server));
    nlmqtt_server_config_free(config);
    job_init(&once, server);
    job_init(&often, server);
    job_init(&never, server);
    job_init(&last, server);
    OK(nlmqtt_server_schedule(server, 10, 0, run_job, &once, free_job, NULL));
    CHECK(counter_wait(&once.freed, 1));
    CHECK_EQ(counter_get(&once.ran), 1);
    OK(nlmqtt_server_schedule(server, 60000, 0, run_job, &never, free_job, &never.task));
    OK(nlmqtt_server_schedule(server, 0, 10, run_job, &often, free_job, &often.task));
    CHECK(counter_wait(&often.ran, 3));
    CHECK_EQ(nlmqtt_server_schedule(server, 0, 0, run_job, &last, free_job, NULL), NLMQTT_LIMIT);
    CHECK_EQ(counter_get(&last.freed), 1);
    OK(nlmqtt_server_stat(server, "scheduled_tasks_refused", &value));
    CHECK_EQ(value, 1);
    OK(nlmqtt_server_stat(server, "scheduled_tasks", &value));
    CHECK_EQ(value, 2);
    OK(nlmqtt_server_cancel(server, never.task));
    CHECK(counter_wait(&never.freed, 1));
    CHECK_EQ(nlmqtt_server_cancel(server, never.task), NLMQTT_NOT_FOUND);
    often.cancels_itself = true;
    CHECK(counter_wait(&often.freed, 1));
    CHECK_EQ(counter_get(&never.ran), 0);
    OK(nlmqtt_server_schedule(server, 60000, 60000, run_job, &last, free_job, NULL));
    CHECK_EQ(nlmqtt_server_schedule(server, 0, 0, NULL, &last, free_job, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(counter_get(&last.freed), 2);
    nlmqtt_server_free(server); /* what waits is released, not run */
    CHECK_EQ(counter_get(&last.freed), 3);
    CHECK_EQ(counter_get(&last.ran), 0);
}

static void on_retained(void *user_data, const nlmqtt_message *message)
{
    CHECK(nlmqtt_message_retain(message));
    append((struct seen *)user_data, nlmqtt_message_topic(message).data);
}

static void retained_messages_are_the_owners_too(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    nlmqtt_message *message = NULL;
    struct seen seen;
    size_t count = 0;
    OK(nlmqtt_server_config_set(config, "max_retained_messages", "3"));
    OK(nlmqtt_server_new(NULL, config, NULL, &server));
    nlmqtt_server_config_free(config);
    OK(nlmqtt_server_retained_set(server, "r/1", "one", 3, 1, NULL));
    OK(nlmqtt_server_retained_set(server, "r/2", "two", 3, 0, NULL));
    OK(nlmqtt_server_retained_set(server, "q", "q", 1, 0, NULL));
    CHECK_EQ(nlmqtt_server_retained_set(server, "r/4", "no room", 7, 0, NULL), NLMQTT_LIMIT);
    OK(nlmqtt_server_retained_set(server, "r/1", "new", 3, 1, NULL));
    OK(nlmqtt_server_retained_get(server, "r/1", &message));
    CHECK(nlmqtt_message_payload(message).len == 3 && memcmp(nlmqtt_message_payload(message).data, "new", 3) == 0);
    CHECK_EQ(nlmqtt_message_qos(message), 1);
    nlmqtt_message_unref(message);
    memset(&seen, 0, sizeof seen);
    OK(nlmqtt_server_each_retained(server, "r/+", on_retained, &seen));
    CHECK_TEXT(seen.text, "r/1 r/2 ");
    OK(nlmqtt_server_retained_set(server, "q", NULL, 0, 0, NULL));
    CHECK_EQ(nlmqtt_server_retained_get(server, "q", &message), NLMQTT_NOT_FOUND);
    OK(nlmqtt_server_retained_clear(server, "#", &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(nlmqtt_server_retained_get(server, "a/#", &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_retained(server, "$share/g/a", on_retained, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_clear(server, "#/a", NULL), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_server_free(server);
}

struct inside {
    nlmqtt_server *server;
    struct counter done;
};

static void on_text(void *user_data, const char *text, size_t len)
{
    (void)len;
    append((struct seen *)user_data, text);
}

static void run_later(void *user_data)
{
    counter_add(&((struct inside *)user_data)->done);
}

/* From a hook, what changes something is done after it; what has to wait says so. */
static void on_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    struct inside *inside = (struct inside *)user_data;
    nlmqtt_message *message = NULL;
    struct seen seen;
    nlmqtt_server_config *config;
    (void)session_present;
    if (strcmp(client->client_id.data, "first") != 0)
        return;
    memset(&seen, 0, sizeof seen);
    OK(nlmqtt_server_subscribe_client(inside->server, "first", "h/#", 0));
    OK(nlmqtt_server_retained_set(inside->server, "k/1", "x", 1, 0, NULL));
    OK(nlmqtt_server_ban(inside->server, NLMQTT_BAN_CLIENT_ID, "second", 0));
    CHECK_EQ(nlmqtt_server_client_info(inside->server, "first", on_entry, &seen), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_each_ban(inside->server, on_ban, &seen), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_each_subscription(inside->server, "first", on_filter, &seen), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_retained_get(inside->server, "k/1", &message), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_each_retained(inside->server, "#", on_retained, &seen), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_add_listener(inside->server, "mqtt://127.0.0.1:0", NULL), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_remove_listener(inside->server, "127.0.0.1:1"), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_adopt(inside->server, 0), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_metrics(inside->server, NLMQTT_METRICS_JSON, on_text, &seen), NLMQTT_WOULD_DEADLOCK);
    CHECK_EQ(nlmqtt_server_control(inside->server, "clients", NULL, on_text, &seen), NLMQTT_WOULD_DEADLOCK);
    OK(nlmqtt_server_schedule(inside->server, 1, 0, run_later, inside, NULL, NULL));
    OK(nlmqtt_server_unsubscribe_client(inside->server, "first", "none"));
    OK(nlmqtt_server_retained_clear(inside->server, "none", NULL));
    OK(nlmqtt_server_unban(inside->server, NLMQTT_BAN_CLIENT_ID, "nobody"));
    OK(nlmqtt_server_cancel(inside->server, 4711));
    config = nlmqtt_server_config_new();
    CHECK_EQ(nlmqtt_server_reload(inside->server, config, NULL, NULL), NLMQTT_WOULD_DEADLOCK);
    nlmqtt_server_config_free(config);
    counter_add(&inside->done);
}

static void hooks_administrate_too(void)
{
    struct inside inside;
    struct packet packet;
    nlmqtt_server_hooks hooks;
    nlmqtt_message *message = NULL;
    uint16_t port;
    int client, second;
    counter_init(&inside.done);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &inside;
    hooks.connected = on_connected;
    OK(nlmqtt_server_new(NULL, NULL, &hooks, &inside.server));
    OK(nlmqtt_server_add_listener(inside.server, "mqtt://127.0.0.1:0", &port));
    client = connect_client(port, "first");
    CHECK(counter_wait(&inside.done, 2)); /* the hook, and its task */
    OK(nlmqtt_server_publish(inside.server, "h/2", "y", 1, 0, false, NULL));
    expect_publish(client, "h/2", "y");
    OK(nlmqtt_server_retained_get(inside.server, "k/1", &message));
    nlmqtt_message_unref(message);
    second = dial(port);
    send_connect(second, 4, "second", NULL, NULL);
    EXPECT(second, 0x20, "\0\5", 2);
    CHECK_EQ(read_packet(second, &packet), -1);
    close(second);
    close(client);
    nlmqtt_server_free(inside.server);
}

static void null_and_strangers_are_refused(void)
{
    nlmqtt_server *server = NULL;
    nlmqtt_message *message = NULL;
    struct seen seen;
    memset(&seen, 0, sizeof seen);
    OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_EQ(nlmqtt_server_client_info(server, "nobody", on_entry, &seen), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_each_subscription(server, "nobody", on_filter, &seen), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_subscribe_client(server, "nobody", "a", 0), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_unsubscribe_client(server, "nobody", "a"), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_client_info(NULL, "a", on_entry, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_client_info(server, NULL, on_entry, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_client_info(server, "a", NULL, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_subscription(NULL, "a", on_filter, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_subscription(server, NULL, on_filter, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_subscription(server, "a", NULL, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe_client(NULL, "a", "a", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe_client(server, NULL, "a", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe_client(server, "a", NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_subscribe_client(server, "a", "a", 3), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_unsubscribe_client(NULL, "a", "a"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_unsubscribe_client(server, NULL, "a"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_unsubscribe_client(server, "a", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_ban(NULL, NLMQTT_BAN_CLIENT_ID, "a", 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_ban(server, NLMQTT_BAN_CLIENT_ID, NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_unban(NULL, NLMQTT_BAN_CLIENT_ID, "a"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_unban(server, NLMQTT_BAN_CLIENT_ID, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_ban(NULL, on_ban, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_ban(server, NULL, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_schedule(NULL, 0, 0, run_job, NULL, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_cancel(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_cancel(server, 4711), NLMQTT_NOT_FOUND);
    CHECK_EQ(nlmqtt_server_retained_get(NULL, "a", &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_get(server, NULL, &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_get(server, "a", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_retained(NULL, "a", on_retained, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_retained(server, NULL, on_retained, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_each_retained(server, "a", NULL, &seen), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_set(NULL, "a", "b", 1, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_set(server, NULL, "b", 1, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_set(server, "a", NULL, 1, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_clear(NULL, "a", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_retained_clear(server, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(seen.count, 0);
    nlmqtt_server_free(server);
}

int main(void)
{
    clients_are_looked_at_and_subscribed_for();
    bans_close_and_keep_out();
    tasks_run_when_they_are_due();
    retained_messages_are_the_owners_too();
    hooks_administrate_too();
    null_and_strangers_are_refused();
    puts("ok server_admin");
    return 0;
}
