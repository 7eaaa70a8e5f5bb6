/* The tables of keys, typed setters, JSON, the connection string, and every problem of a configuration at once. */
#include "check.h"

struct table {
    int keys, live, typed;
    char first[64];
};

static void check_key(const nlmqtt_key_info *key, struct table *table)
{
    size_t i;
    CHECK_EQ(key->struct_size, sizeof *key);
    CHECK(key->name.len > 0 && key->doc.len > 0 && key->expected.len > 0 && key->aliases.data != NULL && key->default_value.data != NULL);
    CHECK(strncmp(key->environment.data, "NLMQTT_", 7) == 0 && key->environment.len == key->name.len + 7);
    for (i = 0; i < key->name.len; i++)
        CHECK(key->environment.data[7 + i] == key->name.data[i] || key->environment.data[7 + i] == key->name.data[i] - 32);
    if (table->keys++ == 0)
        snprintf(table->first, sizeof table->first, "%s", key->name.data);
    table->live += key->live;
}

static void on_server_key(void *user_data, const nlmqtt_key_info *key)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    struct table *table = (struct table *)user_data;
    char text[128];
    uint64_t number;
    bool flag;
    check_key(key, table);
    /* Every default can be set, and read by its type. */
    OK(nlmqtt_server_config_set(config, key->name.data, key->default_value.data));
    OK(nlmqtt_server_config_get(config, key->name.data, text, sizeof text, NULL));
    CHECK_TEXT(text, key->default_value.data);
    if (key->kind == NLMQTT_KIND_BOOL) {
        OK(nlmqtt_server_config_get_bool(config, key->name.data, &flag));
        OK(nlmqtt_server_config_set_bool(config, key->name.data, !flag));
        CHECK_EQ(nlmqtt_server_config_get_number(config, key->name.data, &number), NLMQTT_CONFIG);
        table->typed++;
    } else if (key->kind == NLMQTT_KIND_NUMBER || key->kind == NLMQTT_KIND_BYTES || key->kind == NLMQTT_KIND_LIFETIME) {
        OK(nlmqtt_server_config_get_number(config, key->name.data, &number));
        OK(nlmqtt_server_config_set_number(config, key->name.data, number));
        CHECK_EQ(nlmqtt_server_config_set_bool(config, key->name.data, true), NLMQTT_CONFIG);
        CHECK_EQ(nlmqtt_server_config_set_number(config, key->name.data, UINT64_MAX), NLMQTT_CONFIG);
        table->typed++;
    }
    nlmqtt_server_config_free(config);
}

static void on_client_key(void *user_data, const nlmqtt_key_info *key)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    struct table *table = (struct table *)user_data;
    uint64_t number;
    bool flag;
    check_key(key, table);
    OK(nlmqtt_client_config_set(config, key->name.data, key->default_value.data));
    if (key->kind == NLMQTT_KIND_BOOL) {
        OK(nlmqtt_client_config_get_bool(config, key->name.data, &flag));
        OK(nlmqtt_client_config_set_bool(config, key->name.data, !flag));
        table->typed++;
    } else if (key->kind == NLMQTT_KIND_NUMBER || key->kind == NLMQTT_KIND_BYTES) {
        OK(nlmqtt_client_config_get_number(config, key->name.data, &number));
        OK(nlmqtt_client_config_set_number(config, key->name.data, number));
        CHECK_EQ(nlmqtt_client_config_set_bool(config, key->name.data, true), NLMQTT_CONFIG);
        table->typed++;
    }
    nlmqtt_client_config_free(config);
}

static void tables_are_told(void)
{
    struct table table;
    memset(&table, 0, sizeof table);
    OK(nlmqtt_server_config_each_key(on_server_key, &table));
    CHECK(table.keys > 25 && table.live > 20 && table.live < table.keys && table.typed > 20);
    CHECK_TEXT(table.first, "allow_anonymous");
    memset(&table, 0, sizeof table);
    OK(nlmqtt_client_config_each_key(on_client_key, &table));
    CHECK(table.keys > 40 && table.live == 0 && table.typed > 20);
    CHECK_TEXT(table.first, "client_id");
    CHECK_EQ(nlmqtt_server_config_each_key(NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_each_key(NULL, NULL), NLMQTT_INVALID_ARGUMENT);
}

static void expect_server(const nlmqtt_server_config *config, const char *key, const char *value)
{
    char text[128];
    OK(nlmqtt_server_config_get(config, key, text, sizeof text, NULL));
    CHECK_TEXT(text, value);
}

static void expect_client(const nlmqtt_client_config *config, const char *key, const char *value)
{
    char text[128];
    OK(nlmqtt_client_config_get(config, key, text, sizeof text, NULL));
    CHECK_TEXT(text, value);
}

static void setters_have_types(void)
{
    nlmqtt_server_config *server = nlmqtt_server_config_new();
    nlmqtt_client_config *client = nlmqtt_client_config_new();
    OK(nlmqtt_server_config_set_allow_anonymous(server, false));
    expect_server(server, "allow_anonymous", "false");
    OK(nlmqtt_server_config_set_max_connections(server, 7));
    expect_server(server, "max_connections", "7");
    CHECK_EQ(nlmqtt_server_config_set_max_connections(server, 0), NLMQTT_CONFIG);
    OK(nlmqtt_server_config_set_max_packet_bytes(server, 4096));
    expect_server(server, "max_packet_size", "4096");
    OK(nlmqtt_server_config_set_queue_limits(server, 10, 2000));
    expect_server(server, "max_queued_messages", "10");
    expect_server(server, "max_queued_bytes", "2000");
    OK(nlmqtt_server_config_set_max_keepalive_s(server, 60));
    expect_server(server, "max_keepalive", "60");
    OK(nlmqtt_server_config_set_session_expiry_max_s(server, 7200));
    expect_server(server, "persistent_client_expiration", "2h");
    OK(nlmqtt_server_config_set_hook_timeout_ms(server, 500));
    expect_server(server, "hook_timeout_ms", "500");
    OK(nlmqtt_server_config_set_memory_limit(server, 64u << 20));
    expect_server(server, "memory_limit", "67108864");

    OK(nlmqtt_client_config_set_number(client, "keepalive", 15));
    expect_client(client, "keepalive", "15");
    CHECK_EQ(nlmqtt_client_config_set_number(client, "keepalive", 65536), NLMQTT_CONFIG);
    OK(nlmqtt_client_config_set_bool(client, "clean_start", false));
    expect_client(client, "clean_start", "false");
    nlmqtt_server_config_free(server);
    nlmqtt_client_config_free(client);
}

struct problems {
    int count;
    size_t lines[16];
    char suggestions[512];
};

static void on_problem(void *user_data, const nlmqtt_problem *problem)
{
    struct problems *problems = (struct problems *)user_data;
    CHECK_EQ(problem->struct_size, sizeof *problem);
    CHECK(problem->text.len > 0 && problems->count < 16);
    problems->lines[problems->count++] = problem->line;
    if (problem->suggestion.data != NULL)
        strncat(problems->suggestions, problem->suggestion.data, sizeof problems->suggestions - strlen(problems->suggestions) - 1);
}

static void json_and_connection_strings_configure_too(void)
{
    nlmqtt_server_config *server = nlmqtt_server_config_new();
    nlmqtt_client_config *client = nlmqtt_client_config_new();
    struct problems problems;
    OK(nlmqtt_server_config_load_json(server, "{\"max_connections\": 9, \"listener\": [\"mqtt://127.0.0.1:0\", {\"address\": \"127.0.0.1\", \"port\": 0}]}"));
    CHECK_EQ(nlmqtt_server_config_listener_count(server), 2);
    expect_server(server, "max_connections", "9");
    CHECK_EQ(nlmqtt_server_config_load_json(server, "{\"max_connections\": 8,\n\"max_qos\": 3,\n\"max_conections\": 1}"), NLMQTT_CONFIG);
    expect_server(server, "max_connections", "9"); /* all or nothing */
    memset(&problems, 0, sizeof problems);
    CHECK_EQ(nlmqtt_server_config_check(server, on_problem, &problems), NLMQTT_CONFIG);
    CHECK(problems.count == 2 && problems.lines[0] == 2 && problems.lines[1] == 3);
    CHECK_TEXT(problems.suggestions, "use a number from 0 to 2did you mean 'max_connections'?");
    OK(nlmqtt_server_config_load_connstr(server, "max_connections=10; max_keepalive=5"));
    expect_server(server, "max_keepalive", "5");
    CHECK_EQ(nlmqtt_server_config_load_connstr(server, "max_connections=11;nonsense=1"), NLMQTT_CONFIG);
    expect_server(server, "max_connections", "10");

    OK(nlmqtt_client_config_load_json(client, "{\"server\": {\"uri\": \"mqtt://127.0.0.1:1\", \"priority\": 2}, \"keepalive\": 7}"));
    expect_client(client, "keepalive", "7");
    OK(nlmqtt_client_config_check(client, on_problem, &problems));
    CHECK_EQ(nlmqtt_client_config_load_json(client, "{\"keepalive\": 1,\n\"keepalives\": 7}"), NLMQTT_CONFIG);
    expect_client(client, "keepalive", "7");
    memset(&problems, 0, sizeof problems);
    CHECK_EQ(nlmqtt_client_config_check(client, on_problem, &problems), NLMQTT_CONFIG);
    CHECK(problems.count == 1 && problems.lines[0] == 2);
    nlmqtt_server_config_free(server);
    nlmqtt_client_config_free(client);
}

static void what_cannot_work_together_is_told_at_once(void)
{
    nlmqtt_server_config *server = nlmqtt_server_config_new();
    nlmqtt_client_config *client = nlmqtt_client_config_new();
    struct problems problems;
    memset(&problems, 0, sizeof problems);
    OK(nlmqtt_server_config_check(server, on_problem, &problems));
    OK(nlmqtt_server_config_load_connstr(server, "listener=mqtt://0.0.0.0:1883;listener=mqtt://127.0.0.1:1883;hook_timeout_ms=20000;memory_limit=1M;max_packet_size=2M"));
    CHECK_EQ(nlmqtt_server_config_check(server, on_problem, &problems), NLMQTT_CONFIG);
    CHECK_EQ(problems.count, 4); /* packet size, retained bytes, hook time, the two listeners */
    memset(&problems, 0, sizeof problems);
    OK(nlmqtt_client_config_set(client, "will_payload", "x"));
    OK(nlmqtt_client_config_set(client, "password", "x"));
    CHECK_EQ(nlmqtt_client_config_check(client, on_problem, &problems), NLMQTT_CONFIG);
    CHECK_EQ(problems.count, 3); /* no server, no topic, no user */
    CHECK_EQ(nlmqtt_client_config_check(client, NULL, NULL), NLMQTT_CONFIG);
    nlmqtt_server_config_free(server);
    nlmqtt_client_config_free(client);
}

static void null_is_refused(void)
{
    nlmqtt_server_config *server = nlmqtt_server_config_new();
    nlmqtt_client_config *client = nlmqtt_client_config_new();
    bool flag;
    uint64_t number;
    CHECK_EQ(nlmqtt_server_config_set_bool(NULL, "retain_available", true), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_bool(server, NULL, true), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_number(NULL, "max_keepalive", 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_number(server, NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get_bool(NULL, "retain_available", &flag), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get_bool(server, NULL, &flag), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get_bool(server, "retain_available", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get_number(NULL, "max_keepalive", &number), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get_number(server, NULL, &number), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get_number(server, "max_keepalive", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_load_json(NULL, "{}"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_load_json(server, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_load_connstr(NULL, ""), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_load_connstr(server, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_allow_anonymous(NULL, true), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_max_connections(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_max_packet_bytes(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_queue_limits(NULL, 1, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_max_keepalive_s(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_session_expiry_max_s(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_hook_timeout_ms(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set_memory_limit(NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_set_bool(NULL, "manual_ack", true), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_set_bool(client, NULL, true), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_set_number(NULL, "keepalive", 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_set_number(client, NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_get_bool(NULL, "manual_ack", &flag), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_get_bool(client, NULL, &flag), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_get_bool(client, "manual_ack", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_get_number(NULL, "keepalive", &number), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_get_number(client, NULL, &number), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_get_number(client, "keepalive", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_check(NULL, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_load_json(NULL, "{}"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_client_config_load_json(client, NULL), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_server_config_free(server);
    nlmqtt_client_config_free(client);
}

int main(void)
{
    tables_are_told();
    setters_have_types();
    json_and_connection_strings_configure_too();
    what_cannot_work_together_is_told_at_once();
    null_is_refused();
    puts("ok config_keys");
    return 0;
}
