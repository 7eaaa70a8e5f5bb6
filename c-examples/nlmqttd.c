/*
 * nlmqttd: a gateway's MQTT broker.
 *
 * Everything the broker does is in the library; this file reads options, waits for signals and
 * says what happened. Signals are blocked before the library starts its threads and then simply
 * waited for, so that no handler interrupts anything.
 */
#define _POSIX_C_SOURCE 200809L

#include "service.h"

#include <nlmqtt.h>

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define DRAIN_MS 2000
#define ARGUMENTS_MAX 64
/* The first descriptor systemd passes, see sd_listen_fds(3). */
#define LISTEN_FDS_START 3

/* What the command line said. SIGHUP builds the configuration again from it. */
struct arguments {
    const char *file;
    const char *ports[ARGUMENTS_MAX];
    const char *uris[ARGUMENTS_MAX];
    const char *settings[ARGUMENTS_MAX];
    size_t port_count, uri_count, setting_count;
    int verbosity;
    bool environment, check, keys;
    int passed_count; /* sockets systemd passed */
};

static void complain(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("nlmqttd: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
}

static void complain_of_last_error(const char *what)
{
    char text[512];
    nlmqtt_last_error(text, sizeof text);
    complain("%s%s%s", what, *what ? ": " : "", text);
}

static void print_help(void)
{
    puts("usage: nlmqttd [-p PORT] [-l URI]... [-c FILE] [--env] [--set KEY=VALUE]... [--check] [--keys] [-v] [--version] [-h]\n"
         "\n"
         "  -p PORT          listen on 127.0.0.1 and ::1; 0 takes a free port (default 1883)\n"
         "  -l URI           listen there too, such as mqtt://0.0.0.0:1883; may be repeated\n"
         "  -c FILE          read options and [[listener]] tables from a TOML file\n"
         "  --env            then set options that NLMQTT_KEY variables of the environment name\n"
         "  --set KEY=VALUE  set one option; keys bear the names mosquitto.conf gives them\n"
         "  --check          tell every problem of the configuration, and end\n"
         "  --keys           print every option with its default as a TOML file, and end\n"
         "  -v               tell on stderr who comes and goes; -vv tells more\n"
         "  --version        print the version, and end\n"
         "  -h               this help\n"
         "\n"
         "Clients without a user name are let in if every listener is on loopback and behind no proxy, unless\n"
         "allow_anonymous says otherwise. SIGHUP reads FILE again, SIGINT and SIGTERM stop.\n"
         "Sockets passed by systemd (LISTEN_FDS) are listened on, too.");
}

static void print_key(void *user_data, const nlmqtt_key_info *key)
{
    bool quoted = key->kind != NLMQTT_KIND_BOOL && key->kind != NLMQTT_KIND_NUMBER && key->kind != NLMQTT_KIND_BYTES;
    const char *quote = quoted ? "\"" : "";
    (void)user_data;
    printf("# %s.\n# %s%s; %s\n# %s = %s%s%s\n\n", key->doc.data, key->expected.data,
           key->live ? "" : "; takes effect after a restart", key->environment.data, key->name.data, quote,
           key->default_value.data, quote);
}

static void log_line(void *user_data, int32_t level, const char *module, const char *text)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug", "trace"};
    (void)user_data;
    fprintf(stderr, "nlmqttd: %s: %s: %s\n", level >= 1 && level <= 5 ? names[level] : "", module, text);
}

/* A machine without IPv6 has no ::1 to listen on; that is no reason not to serve IPv4. */
static bool has_ipv6_loopback(void)
{
    struct sockaddr_in6 address;
    int descriptor = socket(AF_INET6, SOCK_STREAM, 0);
    bool usable;
    if (descriptor < 0)
        return false;
    memset(&address, 0, sizeof address);
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    usable = bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0;
    close(descriptor);
    return usable;
}

static void print_problem(void *user_data, const nlmqtt_problem *problem)
{
    const char *file = (const char *)user_data;
    if (file != NULL && problem->line > 0)
        complain("%s:%lu: %s", file, (unsigned long)problem->line, problem->text.data);
    else
        complain("%s", problem->text.data);
}

static bool load_file(nlmqtt_server_config *config, const char *file)
{
    nlmqtt_status status = nlmqtt_server_config_load_file(config, file);
    if (status == NLMQTT_CONFIG)
        nlmqtt_server_config_check(config, print_problem, (void *)file);
    else if (status != NLMQTT_OK)
        complain_of_last_error("");
    return status == NLMQTT_OK;
}

static bool add_listener(nlmqtt_server_config *config, const char *uri)
{
    if (nlmqtt_server_config_add_listener(config, uri) == NLMQTT_OK)
        return true;
    complain_of_last_error("");
    return false;
}

static bool add_loopback(nlmqtt_server_config *config, const char *port)
{
    char uri[64];
    snprintf(uri, sizeof uri, "mqtt://127.0.0.1:%s", port);
    if (!add_listener(config, uri))
        return false;
    snprintf(uri, sizeof uri, "mqtt://[::1]:%s", port);
    return !has_ipv6_loopback() || add_listener(config, uri);
}

static bool apply_setting(nlmqtt_server_config *config, const char *setting)
{
    const char *equals = strchr(setting, '=');
    char key[128];
    if (equals == NULL || equals == setting || (size_t)(equals - setting) >= sizeof key) {
        complain("--set %s: expected KEY=VALUE", setting);
        return false;
    }
    memcpy(key, setting, (size_t)(equals - setting));
    key[equals - setting] = '\0';
    if (nlmqtt_server_config_set(config, key, equals + 1) == NLMQTT_OK)
        return true;
    complain_of_last_error("--set");
    return false;
}

/* The file first, so that the command line has the last word. NULL: said what is wrong. */
static nlmqtt_server_config *build_config(const struct arguments *arguments)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    bool usable = config != NULL;
    size_t i;
    if (usable && arguments->file != NULL)
        usable = load_file(config, arguments->file);
    if (usable && arguments->environment && nlmqtt_server_config_load_environment(config) != NLMQTT_OK) {
        complain_of_last_error("");
        usable = false;
    }
    for (i = 0; usable && i < arguments->setting_count; i++)
        usable = apply_setting(config, arguments->settings[i]);
    for (i = 0; usable && i < arguments->port_count; i++)
        usable = add_loopback(config, arguments->ports[i]);
    for (i = 0; usable && i < arguments->uri_count; i++)
        usable = add_listener(config, arguments->uris[i]);
    if (usable && arguments->passed_count == 0 && nlmqtt_server_config_listener_count(config) == 0)
        usable = add_loopback(config, "1883");
    if (!usable) {
        nlmqtt_server_config_free(config);
        return NULL;
    }
    return config;
}

static bool is_port(const char *text)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && port <= 65535;
}

/* 0: go on; else the exit code plus one. */
static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
    int i;
    for (i = 1; i < argc; i++) {
        const char *option = argv[i], *value = argv[i + 1];
        bool known = true;
        if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
            print_help();
            return EXIT_SUCCESS + 1;
        } else if (strcmp(option, "--version") == 0) {
            printf("nlmqttd %s\n", nlmqtt_version_string());
            return EXIT_SUCCESS + 1;
        } else if (strcmp(option, "-v") == 0) {
            arguments->verbosity++;
            continue;
        } else if (strcmp(option, "-vv") == 0) {
            arguments->verbosity += 2;
            continue;
        } else if (strcmp(option, "--env") == 0) {
            arguments->environment = true;
            continue;
        } else if (strcmp(option, "--check") == 0) {
            arguments->check = true;
            continue;
        } else if (strcmp(option, "--keys") == 0) {
            arguments->keys = true;
            continue;
        } else if (strcmp(option, "-p") != 0 && strcmp(option, "-l") != 0 &&
                   strcmp(option, "-c") != 0 && strcmp(option, "--set") != 0) {
            known = false;
        }
        if (!known) {
            complain("unknown option %s; nlmqttd -h tells which there are", option);
            return EXIT_USAGE + 1;
        }
        if (value == NULL) {
            complain("%s needs a value", option);
            return EXIT_USAGE + 1;
        }
        if (arguments->port_count == ARGUMENTS_MAX || arguments->uri_count == ARGUMENTS_MAX ||
            arguments->setting_count == ARGUMENTS_MAX) {
            complain("more than %d options of one kind", ARGUMENTS_MAX);
            return EXIT_USAGE + 1;
        }
        i++;
        if (strcmp(option, "-c") == 0) {
            arguments->file = value;
        } else if (strcmp(option, "-l") == 0) {
            arguments->uris[arguments->uri_count++] = value;
        } else if (strcmp(option, "--set") == 0) {
            arguments->settings[arguments->setting_count++] = value;
        } else if (is_port(value)) {
            arguments->ports[arguments->port_count++] = value;
        } else {
            complain("-p %s: expected a port from 0 to 65535", value);
            return EXIT_USAGE + 1;
        }
    }
    return 0;
}

static nlmqtt_runtime *make_runtime(int verbosity, const nlmqtt_server_config *server)
{
    nlmqtt_runtime *runtime = NULL;
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    uint64_t memory_limit = 0, workers = 1;
    int32_t level = verbosity == 0 ? NLMQTT_LOG_WARNING : NLMQTT_LOG_INFO + verbosity - 1;
    if (config == NULL)
        return NULL;
    nlmqtt_runtime_config_set_thread_name(config, "nlmqttd");
    nlmqtt_server_config_get_number(server, "memory_limit", &memory_limit);
    nlmqtt_server_config_get_number(server, "workers", &workers);
    nlmqtt_runtime_config_set_memory_limit(config, (size_t)memory_limit);
    nlmqtt_runtime_config_set_workers(config, (size_t)workers);
    nlmqtt_runtime_config_set_log(config, level, log_line, NULL, NULL);
    if (nlmqtt_runtime_new(config, &runtime) != NLMQTT_OK)
        complain_of_last_error("");
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static void print_ready(const nlmqtt_server *server)
{
    char address[64];
    size_t index;
    printf("nlmqttd %s ready on", nlmqtt_version_string());
    for (index = 0; nlmqtt_server_listener_address(server, index, address, sizeof address) == NLMQTT_OK; index++)
        printf(" %s", address);
    putchar('\n');
    fflush(stdout);
}

/* How many sockets systemd passed to this very process. */
static int count_passed(void)
{
    const char *process = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (process == NULL || count == NULL || strtol(process, NULL, 10) != (long)getpid())
        return 0;
    return (int)strtol(count, NULL, 10);
}

static bool listen_on_passed(nlmqtt_server *server, int count)
{
    int i;
    for (i = 0; i < count; i++) {
        if (nlmqtt_server_add_listener_fd(server, LISTEN_FDS_START + i, NULL, NULL) != NLMQTT_OK) {
            complain_of_last_error("LISTEN_FDS");
            return false;
        }
    }
    return true;
}

static void tell_change(void *user_data, int32_t change, const char *what)
{
    bool *has_failed = user_data;
    if (change == NLMQTT_CHANGE_APPLIED) {
        complain("reload: applied: %s", what);
    } else if (change == NLMQTT_CHANGE_NEEDS_RESTART) {
        complain("reload: takes effect only after a restart: %s", what);
    } else {
        complain("reload: failed: %s", what);
        *has_failed = true;
    }
}

static void reload(nlmqtt_server *server, const struct arguments *arguments)
{
    nlmqtt_server_config *config = build_config(arguments);
    bool has_failed = false;
    if (config == NULL) {
        complain("reload: nothing was changed");
        return;
    }
    if (nlmqtt_server_reload(server, config, tell_change, &has_failed) != NLMQTT_OK)
        complain_of_last_error("reload");
    else
        complain(has_failed ? "reload: done, but for what failed" : "reload: done");
    nlmqtt_server_config_free(config);
}

static void serve(nlmqtt_server *server, nlmqtt_runtime *runtime, const struct arguments *arguments,
                  const sigset_t *signals, struct service *service)
{
    print_ready(server);
    service_ready(service);
    while (service_wait(service, runtime, signals) == SIGHUP) {
        service_reloading(service);
        reload(server, arguments);
        service_ready(service);
    }
    service_notify(service, "STOPPING=1\nSTATUS=stopping");
    nlmqtt_server_stop(server, 0, DRAIN_MS);
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    nlmqtt_server_config *config;
    nlmqtt_runtime *runtime;
    nlmqtt_server *server = NULL;
    struct service service;
    sigset_t signals;
    int outcome, exit_code = EXIT_FAILURE;

    memset(&arguments, 0, sizeof arguments);
    outcome = parse_arguments(argc, argv, &arguments);
    if (outcome != 0)
        return outcome - 1;
    if (arguments.keys) {
        nlmqtt_server_config_each_key(print_key, NULL);
        return EXIT_SUCCESS;
    }
    arguments.passed_count = count_passed();
    config = build_config(&arguments);
    if (config == NULL)
        return EXIT_USAGE;
    if (arguments.check) {
        bool good = nlmqtt_server_config_check(config, print_problem, NULL) == NLMQTT_OK;
        nlmqtt_server_config_free(config);
        return good ? EXIT_SUCCESS : EXIT_USAGE;
    }
    if (!service_open(&service)) {
        complain("NOTIFY_SOCKET: %s: no socket to write to", getenv("NOTIFY_SOCKET"));
        nlmqtt_server_config_free(config);
        return EXIT_FAILURE;
    }

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    runtime = make_runtime(arguments.verbosity, config);
    if (runtime != NULL) {
        if (nlmqtt_server_new(runtime, config, NULL, &server) != NLMQTT_OK) {
            complain_of_last_error("");
        } else if (!listen_on_passed(server, arguments.passed_count)) {
            /* Said already. */
        } else if (nlmqtt_server_start(server) != NLMQTT_OK) {
            complain_of_last_error("");
        } else {
            serve(server, runtime, &arguments, &signals, &service);
            exit_code = EXIT_SUCCESS;
        }
    }
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
    service_close(&service);
    nlmqtt_server_config_free(config);
    return exit_code;
}
