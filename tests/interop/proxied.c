/* A broker that says of each client what its proxy has said of it. proxied URI */
#include <nlmqtt.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *text(nlmqtt_str value)
{
    return value.data ? value.data : "-";
}

static void on_connected(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    (void)user_data, (void)session_present;
    printf("peer=%s authority=%s version=%s cn=%s id=%.*s\n", text(client->peer), text(client->proxy_authority), text(client->proxy_tls_version),
           text(client->proxy_common_name), client->proxy_unique_id.data ? (int)client->proxy_unique_id.len : 1,
           client->proxy_unique_id.data ? (const char *)client->proxy_unique_id.data : "-");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    uint16_t port;
    nlmqtt_server_hooks_init(&hooks);
    hooks.connected = on_connected;
    if (argc != 2 || nlmqtt_server_config_add_listener(config, argv[1]) != NLMQTT_OK || nlmqtt_server_new(NULL, config, &hooks, &server) != NLMQTT_OK
        || nlmqtt_server_start(server) != NLMQTT_OK || nlmqtt_server_listener_port(server, 0, &port) != NLMQTT_OK)
        return 1;
    printf("ready %u\n", (unsigned)port);
    fflush(stdout);
    for (;;)
        pause();
}
