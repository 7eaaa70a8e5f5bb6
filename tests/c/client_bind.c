/* Where a connection leaves: address, device and mark (options bind_address, bind_device, socket_mark). */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "client_peer.h"

#include <errno.h>
#include <net/if.h>

static struct record record;

/* The client's end of its connection to `port`: a socket of this very process. -1: there is none. */
static int client_socket(uint16_t port)
{
    int candidate;
    for (candidate = 3; candidate < 256; candidate++) {
        struct sockaddr_in address;
        socklen_t len = sizeof address;
        memset(&address, 0, sizeof address);
        if (getpeername(candidate, (struct sockaddr *)&address, &len) == 0 && ntohs(address.sin_port) == port)
            return candidate;
    }
    return -1;
}

static int may_mark(void)
{
    int probe = socket(AF_INET, SOCK_STREAM, 0), mark = 7, allowed;
    CHECK(probe >= 0);
    allowed = setsockopt(probe, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
    /* Not without the privilege; and an emulator of user programs knows no marks. */
    CHECK(allowed || errno == EPERM || errno == ENOPROTOOPT || errno == EINVAL);
    close(probe);
    return allowed;
}

static void a_connection_leaves_where_it_shall(uint16_t port, nlmqtt_client_config *config)
{
    char device[IFNAMSIZ];
    socklen_t len = sizeof device;
    int mark = 0, link;
    uint32_t wanted = may_mark() ? 7 : 0;
    struct sockaddr_in address;
    if (!wanted)
        fputs("SKIPPED: client_bind: SO_MARK is not permitted here\n", stderr);
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set_bind(config, "127.0.0.9", "lo", wanted));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 10000));
    link = client_socket(port);
    CHECK(link >= 0);
    /* An emulator of user programs sets the device, and does not tell it. */
    if (getsockopt(link, SOL_SOCKET, SO_BINDTODEVICE, device, &len) == 0)
        CHECK(strcmp(device, "lo") == 0);
    else
        CHECK(errno == ENOPROTOOPT || errno == EOPNOTSUPP || errno == EINVAL);
    len = sizeof mark;
    CHECK(!wanted || (getsockopt(link, SOL_SOCKET, SO_MARK, &mark, &len) == 0 && (uint32_t)mark == wanted));
    len = sizeof address;
    CHECK(getsockname(link, (struct sockaddr *)&address, &len) == 0);
    CHECK(address.sin_addr.s_addr == inet_addr("127.0.0.9"));
    nlmqtt_client_free(record.client);
    record_end(&record);
}

static void a_device_that_is_not_there_is_a_failure_of_the_network(nlmqtt_client_config *config)
{
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set_bind(config, NULL, "nlmqtt-none", 0));
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 2);
    CHECK(record.cause == NLMQTT_CAUSE_NETWORK && record.retry_in_ms >= 0 && record.connected == 0);
    nlmqtt_client_free(record.client);
    record_end(&record);
}

int main(void)
{
    uint16_t port = 0;
    nlmqtt_server *server = serve(NULL, NULL, &port);
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    a_connection_leaves_where_it_shall(port, config);
    a_device_that_is_not_there_is_a_failure_of_the_network(config);
    nlmqtt_client_config_free(config);
    nlmqtt_server_free(server);
    printf("ok client_bind\n");
    return 0;
}
