/*
 * request: asks a question and gets the answer (MQTT 5 section 4.10).
 *
 * Two clients in one program: one answers on the topic "example/thermometer", the other asks it. Neither
 * knows of the other but that topic: where the answer goes and which question it belongs to is arranged by
 * the library, in the properties Response Topic and Correlation Data.
 *
 *   request [-h HOST] [-p PORT]
 */
#define _POSIX_C_SOURCE 200809L

#include <nlmqtt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void die(const char *what)
{
    char text[256];
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "request: %s: %s\n", what, text);
    exit(EXIT_FAILURE);
}

/* The answering side, on the library's thread. `user_data` is its client. */
static void on_question(void *user_data, const nlmqtt_message *question, nlmqtt_ack ack)
{
    nlmqtt_bytes room = nlmqtt_message_payload(question);
    char text[64];
    (void)ack;
    snprintf(text, sizeof text, "%.*s: 21.5 degrees", (int)(room.len < 32 ? room.len : 32), (const char *)room.data);
    if (nlmqtt_client_respond(*(nlmqtt_client **)user_data, question, text, strlen(text), NULL, NULL) != NLMQTT_OK)
        die("respond");
}

/* The asking side: exactly once for each question, with the answer or with the reason why there is none. */
static void on_answer(void *user_data, const nlmqtt_completion *completion, const nlmqtt_message *answer)
{
    nlmqtt_bytes text = nlmqtt_message_payload(answer);
    (void)user_data;
    if (answer != NULL)
        printf("%.*s\n", (int)text.len, (const char *)text.data);
    else
        printf("no answer: %s\n", completion->has_reason ? nlmqtt_reason_text(completion->reason) : nlmqtt_status_text(completion->status));
}

static nlmqtt_client *make_client(nlmqtt_runtime *runtime, const char *host, const char *port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client *client = NULL;
    char uri[256];
    snprintf(uri, sizeof uri, "mqtt://%s:%s", host, port);
    if (nlmqtt_client_config_add_server(config, uri, 0) != NLMQTT_OK || nlmqtt_client_config_set_version(config, 5) != NLMQTT_OK ||
        nlmqtt_client_new(runtime, config, NULL, &client) != NLMQTT_OK || nlmqtt_client_start(client) != NLMQTT_OK)
        die("client");
    nlmqtt_client_config_free(config);
    return client;
}

static void ask(nlmqtt_client *client, const char *topic, const char *room)
{
    nlmqtt_publish_options options;
    uint64_t token;
    nlmqtt_publish_options_init(&options);
    options.qos = 1;
    if (nlmqtt_client_request(client, topic, room, strlen(room), &options, 5000, on_answer, NULL, NULL, &token) != NLMQTT_OK)
        die("ask");
    nlmqtt_client_wait(client, token, -1); /* on_answer has told how it ended */
}

int main(int argc, char **argv)
{
    const char *host = "localhost", *port = "1883";
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_client *thermometer, *display;
    uint64_t token;
    int option;
    while ((option = getopt(argc, argv, "h:p:")) != -1) {
        if (option == 'h') {
            host = optarg;
        } else if (option == 'p') {
            port = optarg;
        } else {
            fputs("usage: request [-h HOST] [-p PORT]\n", stderr);
            return 2;
        }
    }
    if (nlmqtt_runtime_new(NULL, &runtime) != NLMQTT_OK)
        die("runtime");
    thermometer = make_client(runtime, host, port);
    display = make_client(runtime, host, port);
    if (nlmqtt_client_subscribe(thermometer, "example/thermometer", 1, on_question, &thermometer, NULL, &token) != NLMQTT_OK ||
        nlmqtt_client_wait(thermometer, token, 5000) != NLMQTT_OK)
        die("subscribe");
    ask(display, "example/thermometer", "kitchen");
    ask(display, "example/thermometer", "attic");
    ask(display, "example/barometer", "attic"); /* nobody answers there */
    nlmqtt_client_free(display);
    nlmqtt_client_free(thermometer);
    nlmqtt_runtime_free(runtime);
    return EXIT_SUCCESS;
}
