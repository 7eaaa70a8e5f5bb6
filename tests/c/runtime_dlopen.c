/*
 * A hundred times dlopen and dlclose, each time with a runtime, a server, a client and a message between them: threads,
 * descriptors and heap stay what they were. The program is not linked with the library; LIBRARY_UNDER_TEST names it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <nlmqtt.h>

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 100
/* Rounds until everything that is made once has been made. */
#define WARM_UP 20
/* What the heap may have grown by in the other rounds. */
#define GROWTH_BYTES_MAX (32 << 10)

#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

/* ISO C knows no conversion from an object pointer to a function pointer; POSIX does. */
#define FUNCTION(type, name, parameters) \
    type(*name) parameters;              \
    *(void **)&name = dlsym(library, #name); \
    CHECK(name != NULL)

static int count_entries(const char *folder)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    int count = 0;
    CHECK(entries != NULL);
    while ((entry = readdir(entries)) != NULL)
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

static void use(void *library)
{
    FUNCTION(nlmqtt_status, nlmqtt_runtime_new, (const nlmqtt_runtime_config *, nlmqtt_runtime **));
    FUNCTION(void, nlmqtt_runtime_free, (nlmqtt_runtime *));
    FUNCTION(nlmqtt_server_config *, nlmqtt_server_config_new, (void));
    FUNCTION(void, nlmqtt_server_config_free, (nlmqtt_server_config *));
    FUNCTION(nlmqtt_status, nlmqtt_server_config_add_listener, (nlmqtt_server_config *, const char *));
    FUNCTION(nlmqtt_status, nlmqtt_server_new, (nlmqtt_runtime *, const nlmqtt_server_config *, const nlmqtt_server_hooks *, nlmqtt_server **));
    FUNCTION(nlmqtt_status, nlmqtt_server_start, (nlmqtt_server *));
    FUNCTION(nlmqtt_status, nlmqtt_server_listener_port, (const nlmqtt_server *, size_t, uint16_t *));
    FUNCTION(void, nlmqtt_server_free, (nlmqtt_server *));
    FUNCTION(nlmqtt_client_config *, nlmqtt_client_config_new, (void));
    FUNCTION(void, nlmqtt_client_config_free, (nlmqtt_client_config *));
    FUNCTION(nlmqtt_status, nlmqtt_client_config_add_server, (nlmqtt_client_config *, const char *, uint32_t));
    FUNCTION(nlmqtt_status, nlmqtt_client_new, (const nlmqtt_runtime *, const nlmqtt_client_config *, const nlmqtt_client_callbacks *, nlmqtt_client **));
    FUNCTION(nlmqtt_status, nlmqtt_client_start, (nlmqtt_client *));
    FUNCTION(nlmqtt_status, nlmqtt_client_publish, (nlmqtt_client *, const char *, const void *, size_t, uint8_t, bool, uint64_t *));
    FUNCTION(nlmqtt_status, nlmqtt_client_flush, (nlmqtt_client *, int32_t));
    FUNCTION(void, nlmqtt_client_free, (nlmqtt_client *));
    nlmqtt_server_config *server_config = nlmqtt_server_config_new();
    nlmqtt_client_config *client_config = nlmqtt_client_config_new();
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_server *server = NULL;
    nlmqtt_client *client = NULL;
    uint16_t port = 0;
    char uri[64];
    CHECK(nlmqtt_runtime_new(NULL, &runtime) == NLMQTT_OK);
    CHECK(nlmqtt_server_config_add_listener(server_config, "mqtt://127.0.0.1:0") == NLMQTT_OK);
    CHECK(nlmqtt_server_new(runtime, server_config, NULL, &server) == NLMQTT_OK);
    CHECK(nlmqtt_server_start(server) == NLMQTT_OK);
    CHECK(nlmqtt_server_listener_port(server, 0, &port) == NLMQTT_OK);
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%u", (unsigned)port);
    CHECK(nlmqtt_client_config_add_server(client_config, uri, 0) == NLMQTT_OK);
    CHECK(nlmqtt_client_new(NULL, client_config, NULL, &client) == NLMQTT_OK);
    CHECK(nlmqtt_client_start(client) == NLMQTT_OK);
    CHECK(nlmqtt_client_publish(client, "t", "x", 1, 1, false, NULL) == NLMQTT_OK);
    CHECK(nlmqtt_client_flush(client, 10000) == NLMQTT_OK);
    nlmqtt_client_free(client);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
    nlmqtt_server_config_free(server_config);
    nlmqtt_client_config_free(client_config);
}

int main(void)
{
    const char *path = getenv("LIBRARY_UNDER_TEST");
    int round, threads = 0, descriptors = 0, tries = 0;
    struct mallinfo2 warm, end;
    memset(&warm, 0, sizeof warm);
    CHECK(path != NULL);
    for (round = 0; round < ROUNDS; round++) {
        void *library;
        if (round == WARM_UP) {
            threads = count_entries("/proc/self/task");
            descriptors = count_entries("/proc/self/fd");
            warm = mallinfo2();
        }
        library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            fprintf(stderr, "%s\n", dlerror());
        CHECK(library != NULL);
        use(library);
        CHECK(dlclose(library) == 0);
    }
    /* A joined thread may be seen for a moment. */
    while (count_entries("/proc/self/task") > threads && ++tries < 100) {
        struct timespec wait = {0, 10000000};
        nanosleep(&wait, NULL);
    }
    CHECK(count_entries("/proc/self/task") == threads);
    CHECK(count_entries("/proc/self/fd") == descriptors);
    end = mallinfo2();
    printf("ok runtime_dlopen: heap %ld bytes, after %d rounds %ld\n", (long)warm.uordblks, ROUNDS - WARM_UP, (long)end.uordblks);
    CHECK(end.uordblks <= warm.uordblks + GROWTH_BYTES_MAX);
    return 0;
}
