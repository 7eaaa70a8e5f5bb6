/* A thousand lost connections: memory, threads and descriptors stay what they were. */
#include "client_peer.h"

#include <dirent.h>
#include <malloc.h>

#define RECONNECTS 1000
#define WARM_UP 100

struct usage {
    unsigned long threads, descriptors, heap_bytes;
    size_t waiting_bytes;
};

static unsigned long entries(const char *path)
{
    DIR *folder = opendir(path);
    unsigned long count = 0;
    CHECK(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static struct usage usage_of(nlmqtt_runtime *runtime)
{
    struct usage usage;
    usage.threads = entries("/proc/self/task");
    usage.descriptors = entries("/proc/self/fd");
    usage.heap_bytes = 0;
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
    usage.heap_bytes = (unsigned long)mallinfo2().uordblks;
#endif
    CHECK_OK(nlmqtt_runtime_memory(runtime, &usage.waiting_bytes, NULL));
    return usage;
}

int main(void)
{
    struct record record;
    struct usage before, after;
    unsigned char body[4096];
    uint16_t port;
    size_t len;
    int listener = listen_any(&port, 16), i, packets;
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    CHECK_OK(nlmqtt_client_config_set_reconnect_delay(config, 1, 1, false));
    CHECK_OK(nlmqtt_runtime_new(NULL, &runtime));
    memset(&before, 0, sizeof before);
    record_init(&record);
    client_with(runtime, config, &record);
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_subscribe(record.client, "a/#", 1, on_own_message, &record, NULL, NULL));
    CHECK_OK(nlmqtt_client_start(record.client));
    CHECK_OK(nlmqtt_client_publish(record.client, "t", "never acknowledged", 18, 1, false, NULL));
    for (i = 1; i <= RECONNECTS; i++) {
        int peer = accept_session(listener, 0);
        /* SUBSCRIBE and the PUBLISH; every third time not even that. */
        for (packets = 0; packets < 2 && i % 3 != 0; packets++)
            CHECK(read_mqtt(peer, body, sizeof body, &len) > 0);
        AWAIT(&record, connected, i);
        if (i == WARM_UP)
            before = usage_of(runtime);
        if (i == RECONNECTS)
            after = usage_of(runtime);
        close(peer);
    }
    fprintf(stderr, "threads %lu -> %lu, descriptors %lu -> %lu, heap %lu -> %lu bytes\n", before.threads, after.threads,
            before.descriptors, after.descriptors, before.heap_bytes, after.heap_bytes);
    CHECK(after.threads == before.threads && after.descriptors == before.descriptors);
    CHECK(after.waiting_bytes == before.waiting_bytes);
    /* A buffer more or less may be in use at this moment; a leak of ten bytes each would be 9,000. */
    CHECK(after.heap_bytes < before.heap_bytes + 8000);
    nlmqtt_client_free(record.client);
    nlmqtt_runtime_free(runtime);
    close(listener);
    record_end(&record);
    printf("ok client_reconnects\n");
    return 0;
}
