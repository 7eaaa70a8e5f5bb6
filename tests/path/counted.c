/* counted: a broker that tells its counters.
 *
 *   counted URI...
 *
 * It says "ready ADDRESS..." and then answers each line of standard input with all its counters and gauges, "NAME=VALUE ...", in one line. It ends
 * with standard input. */
#define _POSIX_C_SOURCE 200809L
#include "meter.h"

static void on_stat(void *user_data, const char *name, uint64_t value)
{
    (void)user_data;
    printf("%s=%llu ", name, (unsigned long long)value);
}

int main(int argc, char **argv)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    char line[64];
    size_t index;
    int i;
    for (i = 1; i < argc; i++)
        if (nlmqtt_server_config_add_listener(config, argv[i]) != NLMQTT_OK)
            die("%s", argv[i]);
    if (nlmqtt_server_config_set(config, "allow_anonymous", "true") != NLMQTT_OK || nlmqtt_server_new(NULL, config, NULL, &server) != NLMQTT_OK ||
        nlmqtt_server_start(server) != NLMQTT_OK)
        die("counted");
    printf("ready");
    for (index = 0; nlmqtt_server_listener_address(server, index, line, sizeof line) == NLMQTT_OK; index++)
        printf(" %s", line);
    putchar('\n');
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        nlmqtt_server_each_stat(server, on_stat, NULL);
        putchar('\n');
        fflush(stdout);
    }
    nlmqtt_server_free(server);
    nlmqtt_server_config_free(config);
    return EXIT_SUCCESS;
}
