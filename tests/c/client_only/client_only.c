/* A build without features: every function is there, what has no feature says UNSUPPORTED, and the client works over TCP. */
#include "check.h"

static void on_problem(void *user_data, const nlmqtt_problem *problem)
{
    (void)user_data, (void)problem;
}

static void nothing(void *user_data)
{
    (void)user_data;
}

static void the_server_is_not_there(void)
{
    struct counter freed;
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    uint16_t port;
    uint64_t number;
    size_t count;
    counter_init(&freed);
    CHECK(config == NULL && !nlmqtt_has_feature("server") && !nlmqtt_has_feature("toml") && !nlmqtt_has_feature("json"));
    CHECK(!nlmqtt_has_feature("websocket") && !nlmqtt_has_feature("rudp") && !nlmqtt_has_feature("quic"));
    CHECK(nlmqtt_has_feature("client") && nlmqtt_has_feature("tcp"));
    nlmqtt_server_config_free(config);
    nlmqtt_server_hooks_init(&hooks);
    hooks.user_data = &freed;
    hooks.free_fn = counter_free_fn;
    CHECK_EQ(nlmqtt_server_new(NULL, config, &hooks, &server), NLMQTT_UNSUPPORTED);
    CHECK(server == NULL && counter_get(&freed) == 1);
    CHECK_EQ(nlmqtt_server_subscribe(server, "#", NULL, &freed, counter_free_fn, NULL), NLMQTT_UNSUPPORTED);
    CHECK_EQ(counter_get(&freed), 2);
    CHECK_EQ(nlmqtt_server_schedule(server, 0, 0, nothing, &freed, counter_free_fn, NULL), NLMQTT_UNSUPPORTED);
    CHECK_EQ(counter_get(&freed), 3);
    CHECK_EQ(nlmqtt_server_config_set(config, "max_connections", "1"), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_config_load_file(config, "x"), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_config_check(config, on_problem, NULL), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_config_listener_count(config), 0);
    CHECK_EQ(nlmqtt_server_start(server), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_listener_port(server, 0, &port), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_stat(server, "x", &number), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_retained_clear(server, "#", &count), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_adopt(server, 0), NLMQTT_UNSUPPORTED);
    CHECK_EQ(nlmqtt_server_stop(server, 0, 0), NLMQTT_UNSUPPORTED);
    CHECK(nlmqtt_decision_new() == NULL);
    nlmqtt_decision_free(NULL);
    nlmqtt_server_free(server);
}

static void files_are_not_there(void)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char path[64];
    FILE *file;
    snprintf(path, sizeof path, "/tmp/nlmqtt-client-only-%ld.toml", (long)getpid());
    file = fopen(path, "w");
    CHECK(file != NULL && fclose(file) == 0);
    CHECK_EQ(nlmqtt_client_config_load_file(config, path), NLMQTT_UNSUPPORTED);
    CHECK(unlink(path) == 0);
    CHECK_EQ(nlmqtt_client_config_load_json(config, "{}"), NLMQTT_UNSUPPORTED);
    nlmqtt_client_config_free(config);
}

/* Against the broker at the port given. */
static void the_client_works(const char *port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    char connection[128];
    uint64_t token;
    snprintf(connection, sizeof connection, "Server=tcp://127.0.0.1:%s;ClientId=client-only;version=5", port);
    OK(nlmqtt_client_config_load_connstr(config, connection));
    OK(nlmqtt_client_config_check(config, on_problem, NULL));
    OK(nlmqtt_client_new(NULL, config, NULL, &client));
    OK(nlmqtt_client_start(client));
    OK(nlmqtt_client_connect_wait(client, 10000));
    OK(nlmqtt_client_publish(client, "client/only", "works", 5, 1, false, &token));
    OK(nlmqtt_client_wait(client, token, 10000));
    OK(nlmqtt_client_stop(client, 1000));
    nlmqtt_client_free(client);
    nlmqtt_client_config_free(config);
}

int main(int argc, char **argv)
{
    the_server_is_not_there();
    files_are_not_there();
    CHECK_EQ(argc, 2);
    the_client_works(argv[1]);
    puts("ok client_only");
    return 0;
}
