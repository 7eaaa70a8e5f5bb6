/*
 * dispatch: a chat. Lines from stdin are published, what comes is printed, and both happen on the
 * thread that sits in poll(2): in DISPATCH mode the library does its work on a thread of its own,
 * and callbacks wait until the application calls for them. So nothing here needs a lock.
 */
#define _POSIX_C_SOURCE 200809L

#include <nlmqtt.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOPIC "chat"

static void die(const char *what)
{
    char text[256];
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "dispatch: %s: %s\n", what, text);
    exit(EXIT_FAILURE);
}

static void on_message(void *user_data, const nlmqtt_message *message, nlmqtt_ack ack)
{
    nlmqtt_bytes payload = nlmqtt_message_payload(message);
    unsigned *heard = user_data;
    (void)ack;
    printf("%u: %.*s\n", ++*heard, (int)payload.len, (const char *)payload.data);
    fflush(stdout);
}

static void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    (void)user_data;
    if (disconnected->retry_in_ms >= 0)
        fprintf(stderr, "dispatch: %s, again in %lld ms\n", disconnected->text.data, (long long)disconnected->retry_in_ms);
}

static nlmqtt_runtime *make_runtime(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_runtime_config_set_mode(config, NLMQTT_MODE_DISPATCH);
    if (nlmqtt_runtime_new(config, &runtime) != NLMQTT_OK)
        die("runtime");
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static nlmqtt_client *start_client(nlmqtt_runtime *runtime, const char *uri, unsigned *heard)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.disconnected = on_disconnected;
    if (nlmqtt_client_config_add_server(config, uri, 0) != NLMQTT_OK ||
        nlmqtt_client_new(runtime, config, &callbacks, &client) != NLMQTT_OK ||
        nlmqtt_client_subscribe(client, TOPIC, 1, on_message, heard, NULL, NULL) != NLMQTT_OK ||
        nlmqtt_client_start(client) != NLMQTT_OK)
        die(uri);
    nlmqtt_client_config_free(config);
    return client;
}

/* Publishes the next line of stdin. False: that was the last. */
static bool say_line(nlmqtt_client *client)
{
    char line[256];
    size_t len;
    if (fgets(line, sizeof line, stdin) == NULL)
        return false;
    len = strcspn(line, "\n");
    if (nlmqtt_client_publish(client, TOPIC, line, len, 1, false, NULL) != NLMQTT_OK)
        die("publish");
    return true;
}

int main(int argc, char **argv)
{
    const char *uri = argc == 2 ? argv[1] : "mqtt://127.0.0.1";
    unsigned said = 0, heard = 0;
    struct pollfd watched[2];
    nlmqtt_runtime *runtime;
    nlmqtt_client *client;
    bool is_open = true;
    if (argc > 2 || uri[0] == '-') {
        fputs("usage: dispatch [URI]\n", stderr);
        return 2;
    }
    runtime = make_runtime();
    client = start_client(runtime, uri, &heard);
    /* What poll(2) cannot see must not hide in a buffer. */
    setvbuf(stdin, NULL, _IONBF, 0);
    memset(watched, 0, sizeof watched);
    watched[0].fd = nlmqtt_runtime_fd(runtime);
    watched[1].fd = STDIN_FILENO;
    watched[0].events = watched[1].events = POLLIN;
    while (is_open || heard < said) {
        if (poll(watched, is_open ? 2 : 1, -1) < 0)
            break;
        if (watched[0].revents != 0 && nlmqtt_runtime_dispatch(runtime, 0) != NLMQTT_OK)
            die("dispatch");
        if (is_open && watched[1].revents != 0) {
            is_open = say_line(client);
            said += is_open;
        }
    }
    nlmqtt_client_stop(client, 1000);
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
    return EXIT_SUCCESS;
}
