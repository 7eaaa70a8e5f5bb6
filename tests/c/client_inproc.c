/* A client and a server of one process, by name, without sockets: in every mode, with and without somebody else's thread. */
#include "client_bench.h"

#include <dirent.h>

static unsigned long descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned long count = 0;
    CHECK(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* Lends a runtime a thread, where it has none of its own. */
static void turn(nlmqtt_runtime *runtime, int32_t mode)
{
    struct timespec tick;
    tick.tv_sec = 0;
    tick.tv_nsec = 1000000;
    if (mode == NLMQTT_MODE_LOOP)
        CHECK_OK(nlmqtt_runtime_poll(runtime, 20));
    else if (mode == NLMQTT_MODE_DISPATCH)
        CHECK_OK(nlmqtt_runtime_dispatch(runtime, 20));
    else
        nanosleep(&tick, NULL);
}

static int read_count(struct record *record, const int *count)
{
    int value;
    pthread_mutex_lock(&record->lock);
    value = *count;
    pthread_mutex_unlock(&record->lock);
    return value;
}

static void in_mode(int32_t mode)
{
    enum { COUNT = 300, SIZE = 3000 };
    struct record record;
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_runtime_config *runtime_config = nlmqtt_runtime_config_new();
    nlmqtt_server *server = NULL;
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    char address[64], payload[SIZE];
    uint16_t port = 1;
    uint64_t token = 0;
    unsigned long before;
    int i;
    record_init(&record);
    memset(payload, 'x', sizeof payload);
    CHECK_OK(nlmqtt_runtime_config_set_mode(runtime_config, mode));
    CHECK_OK(nlmqtt_runtime_new(runtime_config, &runtime));
    nlmqtt_runtime_config_free(runtime_config);
    CHECK_OK(nlmqtt_server_new(runtime, NULL, NULL, &server));
    CHECK_OK(nlmqtt_server_add_listener(server, "inproc://gateway", &port));
    CHECK(port == 0);
    CHECK_STATUS(NLMQTT_ADDRESS_IN_USE, nlmqtt_server_add_listener(server, "inproc://gateway", NULL));
    CHECK_STATUS(NLMQTT_CONFIG, nlmqtt_server_add_listener(server, "inproc://other?dscp=1", NULL));
    CHECK_OK(nlmqtt_server_listener_address(server, 0, address, sizeof address));
    CHECK(strcmp(address, "inproc://gateway") == 0);
    before = descriptors();
    CHECK_OK(nlmqtt_client_config_add_server(config, "inproc://gateway?client_id=near&version=5", 0));
    CHECK_OK(nlmqtt_client_config_set(config, "max_queued_messages", "1000"));
    callbacks = callbacks_for(&record);
    CHECK_OK(nlmqtt_client_new(runtime, config, &callbacks, &record.client));
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_connect_wait(record.client, 10000));
    CHECK(descriptors() == before); /* no socket */
    CHECK_OK(nlmqtt_client_subscribe(record.client, "a/#", 1, on_own_message, &record, NULL, &token));
    CHECK_OK(nlmqtt_client_wait(record.client, token, 10000));
    for (i = 0; i < COUNT; i++)
        CHECK_OK(nlmqtt_client_publish(record.client, "a/b", payload, sizeof payload, 1, false, &token));
    CHECK_OK(nlmqtt_client_wait(record.client, token, 20000));
    for (i = 0; i < 10000 && read_count(&record, &record.own_messages) < COUNT; i++)
        turn(runtime, mode);
    CHECK(read_count(&record, &record.own_messages) == COUNT);
    CHECK_OK(nlmqtt_server_kick(server, "near", 0, false));
    for (i = 0; i < 10000 && read_count(&record, &record.connected) < 2; i++)
        turn(runtime, mode);
    CHECK(read_count(&record, &record.connected) == 2);
    nlmqtt_client_free(record.client);
    CHECK_OK(nlmqtt_server_remove_listener(server, address));
    nlmqtt_server_free(server);
    nlmqtt_client_config_free(config);
    nlmqtt_runtime_free(runtime);
    record_end(&record);
}

int main(void)
{
    in_mode(NLMQTT_MODE_THREAD);
    in_mode(NLMQTT_MODE_LOOP);
    in_mode(NLMQTT_MODE_DISPATCH);
    printf("ok client_inproc\n");
    return 0;
}
