/* Options that publish, subscribe and sensor have in common, named as mosquitto's clients name them. */
#ifndef NLMQTT_EXAMPLE_ARGUMENTS_H
#define NLMQTT_EXAMPLE_ARGUMENTS_H

#include <nlmqtt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct arguments {
    nlmqtt_client_config *config;
    nlmqtt_properties *connect_properties;
    nlmqtt_properties *publish_properties;
    nlmqtt_properties *subscribe_properties;
    const char *program;
    const char *host;
    const char *port;
    const char *unix_path;
    const char *username;
    const char *password;
    bool is_tls;
    bool has_id;
    bool keeps_session;
    bool has_expiry;
    bool is_v5;
    bool is_debug;
};

static void complain(const struct arguments *arguments, const char *what)
{
    char text[1024];
    nlmqtt_last_error(text, sizeof text);
    fprintf(stderr, "%s: %s: %s\n", arguments->program, what, text);
}

static void arguments_init(struct arguments *arguments, const char *program)
{
    memset(arguments, 0, sizeof *arguments);
    arguments->program = program;
    arguments->host = "localhost";
    arguments->config = nlmqtt_client_config_new();
    arguments->connect_properties = nlmqtt_properties_new();
    arguments->publish_properties = nlmqtt_properties_new();
    arguments->subscribe_properties = nlmqtt_properties_new();
    if (!arguments->config || !arguments->connect_properties || !arguments->publish_properties
        || !arguments->subscribe_properties) {
        fprintf(stderr, "%s: out of memory\n", program);
        exit(1);
    }
    /* As mosquitto's clients: mosquitto itself loses QoS 2 messages of a 3.1.1 client that sends more at once. */
    nlmqtt_client_config_set(arguments->config, "max_inflight_messages", "20");
}

static void arguments_free(struct arguments *arguments)
{
    nlmqtt_client_config_free(arguments->config);
    nlmqtt_properties_free(arguments->connect_properties);
    nlmqtt_properties_free(arguments->publish_properties);
    nlmqtt_properties_free(arguments->subscribe_properties);
}

/* A number from min to max, or the program ends. */
static unsigned long number_argument(const struct arguments *arguments, const char *option, const char *text,
                                     unsigned long min, unsigned long max)
{
    char *end = NULL;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < min || value > max) {
        fprintf(stderr, "%s: %s: '%s' is not a number from %lu to %lu\n", arguments->program, option, text, min, max);
        exit(1);
    }
    return value;
}

static void set_key(const struct arguments *arguments, const char *option, const char *key, const char *value)
{
    if (nlmqtt_client_config_set(arguments->config, key, value) != NLMQTT_OK) {
        complain(arguments, option);
        exit(1);
    }
}

/* -D COMMAND NAME VALUE [VALUE]: a property of MQTT 5. Returns how many arguments belong to it, 0: wrong. */
static int property_argument(struct arguments *arguments, int argc, char **argv)
{
    static const struct { const char *name; uint8_t id; char kind; } known[] = {
        { "payload-format-indicator", NLMQTT_PROPERTY_PAYLOAD_FORMAT_INDICATOR, 'n' },
        { "message-expiry-interval", NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 'n' },
        { "content-type", NLMQTT_PROPERTY_CONTENT_TYPE, 's' },
        { "response-topic", NLMQTT_PROPERTY_RESPONSE_TOPIC, 's' },
        { "correlation-data", NLMQTT_PROPERTY_CORRELATION_DATA, 'b' },
        { "request-problem-information", NLMQTT_PROPERTY_REQUEST_PROBLEM_INFORMATION, 'n' },
        { "request-response-information", NLMQTT_PROPERTY_REQUEST_RESPONSE_INFORMATION, 'n' },
    };
    nlmqtt_properties *list = NULL;
    nlmqtt_status status = NLMQTT_INVALID_ARGUMENT;
    const char *value;
    size_t i;
    if (argc < 3)
        return 0;
    if (strcmp(argv[0], "connect") == 0 || strcmp(argv[0], "CONNECT") == 0)
        list = arguments->connect_properties;
    else if (strcmp(argv[0], "publish") == 0 || strcmp(argv[0], "PUBLISH") == 0)
        list = arguments->publish_properties;
    else if (strcmp(argv[0], "subscribe") == 0 || strcmp(argv[0], "SUBSCRIBE") == 0)
        list = arguments->subscribe_properties;
    else
        return 0;
    if (strcmp(argv[1], "user-property") == 0)
        return argc >= 4 && nlmqtt_properties_add_user(list, argv[2], argv[3]) == NLMQTT_OK ? 4 : 0;
    value = argv[2];
    if (strcmp(argv[1], "session-expiry-interval") == 0) {
        arguments->has_expiry = true;
        set_key(arguments, "-D", "session_expiry_s", value);
        return 3;
    }
    for (i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(argv[1], known[i].name) != 0)
            continue;
        if (known[i].kind == 'n')
            status = nlmqtt_properties_add_u32(list, known[i].id,
                                               (uint32_t)number_argument(arguments, argv[1], value, 0, 4294967295UL));
        else if (known[i].kind == 's')
            status = nlmqtt_properties_add_string(list, known[i].id, value);
        else
            status = nlmqtt_properties_add_binary(list, known[i].id, value, strlen(value));
    }
    return status == NLMQTT_OK ? 3 : 0;
}

/* Takes an option at argv[0] if it is a common one. Returns how many arguments were used; 0: not known here. */
static int common_argument(struct arguments *arguments, int argc, char **argv)
{
    static const struct { const char *option; const char *key; } keys[] = {
        { "-k", "keepalive" }, { "-M", "max_inflight_messages" }, { "--keepalive", "keepalive" }, { "-A", "bind_address" },
        { "--cafile", "ca_file" }, { "--cert", "cert_file" }, { "--key", "key_file" }, { "--tls-alpn", "tls_alpn" },
        { "--tls-pins", "tls_pins" }, { "--will-topic", "will_topic" }, { "--will-payload", "will_payload" }, { "--will-qos", "will_qos" },
    };
    const char *option = argv[0];
    const char *value = argc > 1 ? argv[1] : NULL;
    size_t i;
    if (strcmp(option, "-c") == 0 || strcmp(option, "--disable-clean-session") == 0) {
        arguments->keeps_session = true;
        set_key(arguments, option, "clean_start", "false");
        return 1;
    }
    if (strcmp(option, "-d") == 0 || strcmp(option, "--debug") == 0) {
        arguments->is_debug = true;
        return 1;
    }
    if (strcmp(option, "--tls-use-os-certs") == 0) {
        arguments->is_tls = true;
        return 1;
    }
    if (strcmp(option, "--will-retain") == 0) {
        set_key(arguments, option, "will_retain", "true");
        return 1;
    }
    if (!value)
        return 0;
    if (strcmp(option, "-D") == 0 || strcmp(option, "--property") == 0) {
        int used = property_argument(arguments, argc - 1, argv + 1);
        if (used == 0) {
            fprintf(stderr, "%s: -D COMMAND NAME VALUE: not understood\n", arguments->program);
            exit(1);
        }
        return used + 1;
    }
    if (strcmp(option, "-h") == 0 || strcmp(option, "--host") == 0)
        arguments->host = value;
    else if (strcmp(option, "-p") == 0 || strcmp(option, "--port") == 0) {
        number_argument(arguments, option, value, 1, 65535);
        arguments->port = value;
    } else if (strcmp(option, "--unix") == 0)
        arguments->unix_path = value;
    else if (strcmp(option, "-u") == 0 || strcmp(option, "--username") == 0)
        arguments->username = value;
    else if (strcmp(option, "-P") == 0 || strcmp(option, "--pw") == 0)
        arguments->password = value;
    else if (strcmp(option, "-i") == 0 || strcmp(option, "--id") == 0) {
        arguments->has_id = value[0] != '\0';
        set_key(arguments, option, "client_id", value);
    } else if (strcmp(option, "-V") == 0 || strcmp(option, "--protocol-version") == 0) {
        set_key(arguments, option, "version", value);
        arguments->is_v5 = strchr(value, '5') != NULL;
    } else if (strcmp(option, "-x") == 0) {
        arguments->has_expiry = true;
        set_key(arguments, option, "session_expiry_s", value);
    } else {
        for (i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            if (strcmp(option, keys[i].option) == 0) {
                set_key(arguments, option, keys[i].key, value);
                arguments->is_tls |= strcmp(keys[i].option, "--cafile") == 0;
                return 2;
            }
        }
        return 0;
    }
    return 2;
}

static void log_line(void *user_data, int32_t level, const char *module, const char *text)
{
    (void)user_data;
    fprintf(stderr, "[%d] %s: %s\n", (int)level, module, text);
}

/* What has a meaning in a URI is escaped. */
static void unix_uri(char *uri, size_t room, const char *path)
{
    size_t used = (size_t)snprintf(uri, room, "unix://");
    for (; *path && used + 4 < room; path++)
        used += (size_t)snprintf(uri + used, room - used, strchr("%?#@", *path) ? "%%%02X" : "%c", (unsigned char)*path);
}

/* Makes the client, on a runtime with a log if -d was given. *runtime is NULL or to be freed after the client. */
static nlmqtt_client *make_client(struct arguments *arguments, const nlmqtt_client_callbacks *callbacks,
                                  nlmqtt_runtime **runtime)
{
    char text[512];
    nlmqtt_client *client = NULL;
    bool is_v6 = strchr(arguments->host, ':') != NULL && arguments->host[0] != '[';
    *runtime = NULL;
    if (!arguments->has_id) {
        if (arguments->keeps_session) {
            fprintf(stderr, "%s: -c needs -i: a session belongs to a client identifier\n", arguments->program);
            return NULL;
        }
        snprintf(text, sizeof text, "%s-%ld", arguments->program, (long)getpid());
        set_key(arguments, "-i", "client_id", text);
    }
    if (arguments->keeps_session && !arguments->has_expiry)
        set_key(arguments, "-c", "session_expiry_s", "4294967295");
    /* Without a port it is the usual one of the transport. */
    if (arguments->unix_path)
        unix_uri(text, sizeof text, arguments->unix_path);
    else
        snprintf(text, sizeof text, is_v6 ? "%s://[%s]%s%s" : "%s://%s%s%s", arguments->is_tls ? "mqtts" : "mqtt", arguments->host,
                 arguments->port ? ":" : "", arguments->port ? arguments->port : "");
    /* -h may be a whole URI: ws://broker.example/mqtt. */
    if (strstr(arguments->host, "://") && arguments->port) {
        fprintf(stderr, "%s: -p: the port is in the URI of -h\n", arguments->program);
        return NULL;
    }
    if (nlmqtt_client_config_add_server(arguments->config, strstr(arguments->host, "://") ? arguments->host : text, 0) != NLMQTT_OK
        || ((arguments->username || arguments->password)
            && nlmqtt_client_config_set_credentials(arguments->config, arguments->username, arguments->password,
                                                    arguments->password ? strlen(arguments->password) : 0) != NLMQTT_OK)
        || (nlmqtt_properties_count(arguments->connect_properties, 0) > 0
            && nlmqtt_client_config_set_connect_properties(arguments->config, arguments->connect_properties)
                != NLMQTT_OK)) {
        complain(arguments, "options");
        return NULL;
    }
    if (arguments->is_debug) {
        nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
        nlmqtt_runtime_config_set_log(config, NLMQTT_LOG_TRACE, log_line, NULL, NULL);
        if (nlmqtt_runtime_new(config, runtime) != NLMQTT_OK)
            complain(arguments, "log");
        nlmqtt_runtime_config_free(config);
    }
    if (nlmqtt_client_new(*runtime, arguments->config, callbacks, &client) != NLMQTT_OK) {
        complain(arguments, "client");
        return NULL;
    }
    return client;
}

#endif
