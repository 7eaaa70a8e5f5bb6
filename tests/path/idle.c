/* idle: so many clients that are connected and say nothing.
 *
 *   idle URI COUNT
 *
 * All on one runtime, without a keep-alive of MQTT. It says "ready" when all are connected, and ends with standard input. */
#define _POSIX_C_SOURCE 200809L
#include "meter.h"

#include <unistd.h>

#define CONNECT_MS 60000

int main(int argc, char **argv)
{
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_client **clients;
    uint64_t count = argc == 3 ? number("COUNT", argv[2]) : 0, i;
    char byte, name[64];
    if (!count || nlmqtt_runtime_new(NULL, &runtime) != NLMQTT_OK || !(clients = calloc(count, sizeof *clients)))
        die("idle: URI COUNT");
    for (i = 0; i < count; i++) {
        nlmqtt_client_config *config = config_of(argv[1]);
        snprintf(name, sizeof name, "idle-%llu-%ld", (unsigned long long)i, (long)getpid());
        if (nlmqtt_client_config_set(config, "client_id", name) != NLMQTT_OK || nlmqtt_client_config_set(config, "keepalive", "0") != NLMQTT_OK ||
            nlmqtt_client_new(runtime, config, NULL, &clients[i]) != NLMQTT_OK || nlmqtt_client_start(clients[i]) != NLMQTT_OK)
            die("%s", name);
        nlmqtt_client_config_free(config);
        /* One after the other: a burst would find the listener's limits for newcomers. */
        if (nlmqtt_client_connect_wait(clients[i], CONNECT_MS) != NLMQTT_OK)
            die("%s", name);
    }
    puts("ready");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    for (i = 0; i < count; i++)
        nlmqtt_client_free(clients[i]);
    nlmqtt_runtime_free(runtime);
    free(clients);
    return EXIT_SUCCESS;
}
