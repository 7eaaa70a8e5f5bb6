/* Configuration: keys, listeners, files, reload. */
#include "check.h"

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
}

static void keys_are_set_and_read(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    char text[64];
    size_t len = 0;
    OK(nlmqtt_server_config_set(config, "max_connections", "17"));
    OK(nlmqtt_server_config_get(config, "max_connections", text, sizeof text, &len));
    CHECK_TEXT(text, "17");
    CHECK_EQ(len, 2);
    OK(nlmqtt_server_config_get(config, "max_connections", NULL, 0, &len));
    OK(nlmqtt_server_config_get(config, "max_connections", text, 2, NULL));
    CHECK_TEXT(text, "1");
    CHECK_EQ(nlmqtt_server_config_set(config, "max_conections", "1"), NLMQTT_CONFIG);
    nlmqtt_last_error(text, sizeof text);
    CHECK(strstr(text, "max_conections") != NULL);
    CHECK_EQ(nlmqtt_server_config_set(config, "max_connections", "many"), NLMQTT_CONFIG);
    CHECK_EQ(nlmqtt_server_config_get(config, "nonsense", text, sizeof text, NULL), NLMQTT_CONFIG);
    setenv("NLMQTT_MAX_KEEPALIVE", "77", 1);
    OK(nlmqtt_server_config_load_environment(config));
    OK(nlmqtt_server_config_get(config, "max_keepalive", text, sizeof text, NULL));
    CHECK_TEXT(text, "77");
    setenv("NLMQTT_MAX_KEEPALIVE", "soon", 1);
    CHECK_EQ(nlmqtt_server_config_load_environment(config), NLMQTT_CONFIG);
    unsetenv("NLMQTT_MAX_KEEPALIVE");
    nlmqtt_server_config_free(config);
}

static void listeners_are_uris(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    OK(nlmqtt_server_config_add_listener(config, "tcp://localhost:0"));
    CHECK_EQ(nlmqtt_server_config_listener_count(config), 3);
    CHECK_EQ(nlmqtt_server_config_add_listener(config, "quic://127.0.0.1"), nlmqtt_has_feature("quic") ? NLMQTT_CONFIG : NLMQTT_UNSUPPORTED); /* no certificate */
    CHECK_EQ(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:99999"), NLMQTT_CONFIG);
    CHECK_EQ(nlmqtt_server_config_listener_count(config), 3);
    nlmqtt_server_config_free(config);
}

static void on_problem(void *user_data, const nlmqtt_problem *problem)
{
    size_t *lines = (size_t *)user_data;
    CHECK_EQ(problem->struct_size, sizeof *problem);
    CHECK(problem->text.len > 0 && problem->text.len == strlen(problem->text.data));
    lines[0]++;
    lines[lines[0]] = problem->line;
}

static void a_file_is_all_or_nothing_and_tells_every_problem(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    size_t lines[8] = {0};
    char path[64], text[32];
    snprintf(path, sizeof path, "/tmp/nlmqtt-test-%ld.toml", (long)getpid());
    write_file(path, "max_connections = 5\nmax_keepalive = \"x\"\nunknown = 1\n");
    CHECK_EQ(nlmqtt_server_config_load_file(config, path), NLMQTT_CONFIG);
    CHECK_EQ(nlmqtt_server_config_check(config, on_problem, lines), NLMQTT_CONFIG);
    CHECK(lines[0] == 2 && lines[1] == 2 && lines[2] == 3);
    CHECK_EQ(nlmqtt_server_config_check(config, NULL, NULL), NLMQTT_CONFIG);
    OK(nlmqtt_server_config_get(config, "max_connections", text, sizeof text, NULL));
    CHECK(strcmp(text, "5") != 0);
    write_file(path, "max_connections = 5\n[[listener]]\naddress = \"127.0.0.1\"\nport = 0\n");
    OK(nlmqtt_server_config_load_file(config, path));
    OK(nlmqtt_server_config_check(config, on_problem, lines));
    OK(nlmqtt_server_config_get(config, "max_connections", text, sizeof text, NULL));
    CHECK_TEXT(text, "5");
    CHECK_EQ(nlmqtt_server_config_listener_count(config), 1);
    CHECK(unlink(path) == 0);
    CHECK_EQ(nlmqtt_server_config_load_file(config, path), NLMQTT_IO);
    nlmqtt_server_config_free(config);
}

struct changes {
    int applied, restart, failed;
};

static void on_change(void *user_data, int32_t change, const char *what)
{
    struct changes *changes = (struct changes *)user_data;
    CHECK(strlen(what) > 0);
    changes->applied += change == NLMQTT_CHANGE_APPLIED;
    changes->restart += change == NLMQTT_CHANGE_NEEDS_RESTART;
    changes->failed += change == NLMQTT_CHANGE_FAILED;
}

static void a_running_server_takes_what_can_change(void)
{
    uint16_t port, other_port;
    nlmqtt_server *server = serve(NULL, NULL, &port), *other = serve(NULL, NULL, &other_port);
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    struct changes changes = {0, 0, 0};
    char uri[64];
    int client = connect_client(port, "stays"), refused;
    /* allow_anonymous off, a store limit that needs a restart, the old listener gone, a taken one. */
    OK(nlmqtt_server_config_set(config, "allow_anonymous", "false"));
    OK(nlmqtt_server_config_set(config, "max_retained_messages", "3"));
    OK(nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0"));
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)other_port);
    OK(nlmqtt_server_config_add_listener(config, uri));
    OK(nlmqtt_server_reload(server, config, on_change, &changes));
    CHECK_EQ(changes.applied, 1);
    CHECK_EQ(changes.restart, 1);
    CHECK_EQ(changes.failed, 1);
    ping(client);
    refused = dial(port);
    send_connect(refused, 4, "anonymous", NULL, NULL);
    EXPECT(refused, 0x20, "\0\5", 2);
    close(refused);
    OK(nlmqtt_server_reload(server, config, NULL, NULL));
    nlmqtt_server_free(other);
    changes.applied = changes.restart = changes.failed = 0;
    OK(nlmqtt_server_reload(server, config, on_change, &changes));
    CHECK_EQ(changes.applied, 1); /* the port is free now */
    CHECK_EQ(changes.failed, 0);
    close(dial(other_port));
    nlmqtt_server_config_free(config);
    config = nlmqtt_server_config_new();
    OK(nlmqtt_server_reload(server, config, NULL, NULL));
    CHECK_EQ(nlmqtt_server_listener_port(server, 0, &port), NLMQTT_NOT_FOUND);
    nlmqtt_server_config_free(config);
    close(client);
    nlmqtt_server_free(server);
}

static void null_is_refused(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    char text[8];
    nlmqtt_server_config_free(NULL);
    CHECK_EQ(nlmqtt_server_config_set(NULL, "a", "b"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set(config, NULL, "b"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_set(config, "a", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get(NULL, "a", text, sizeof text, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get(config, NULL, text, sizeof text, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_get(config, "max_connections", NULL, 9, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_load_environment(NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_add_listener(NULL, "mqtt://127.0.0.1"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_add_listener(config, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_listener_count(NULL), 0);
    CHECK_EQ(nlmqtt_server_config_load_file(NULL, "x"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_load_file(config, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_server_config_check(NULL, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_server_config_free(config);
}

int main(void)
{
    keys_are_set_and_read();
    listeners_are_uris();
    a_file_is_all_or_nothing_and_tells_every_problem();
    a_running_server_takes_what_can_change();
    null_is_refused();
    puts("ok server_config");
    return 0;
}
