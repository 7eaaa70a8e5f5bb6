/* publish: sends messages to a broker, as mosquitto_pub does.
 *
 *   publish -h HOST -p PORT -t TOPIC (-m TEXT | -l | -n | -f FILE | -s) [-q QOS] [-r] [-v] [-W SECONDS] ...
 *
 * It ends with 0 only if every message was done: sent (QoS 0) or acknowledged (QoS 1 and 2). With -l every line of
 * standard input is a message; when the client's queue is full, reading waits. A connection that is lost is made again,
 * and what was not acknowledged is sent again. With -v "published N" tells that the Nth message is done. */
#define _POSIX_C_SOURCE 200809L
#include "arguments.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned long done_count;   /* completed, well or not */
static unsigned long failed_count;
static bool was_connected;
static bool is_hopeless;           /* the first connection could not be made */
static bool is_verbose;
static volatile sig_atomic_t is_interrupted;

static const char usage[] =
    "usage: publish -t TOPIC (-m TEXT | -l | -n | -f FILE | -s) [options]\n"
    "  -h HOST|URI -p PORT  broker, localhost:1883; or a URI such as wss://HOST/mqtt, without -p\n"
    "  --unix PATH          broker behind a Unix socket\n"
    "  -m TEXT              one message\n"
    "  -l                   each line of standard input is a message\n"
    "  -n                   one empty message\n"
    "  -f FILE, -s          one message, read from FILE or standard input\n"
    "  -q QOS -r            0, 1 or 2; retained\n"
    "  -v                   print 'published N' when message N is done\n"
    "  -W SECONDS           give up then\n"
    "  -i ID -u NAME -P WORD -V 3.1|3.1.1|5 -k SECONDS -c -x SECONDS -M COUNT -A ADDRESS -d\n"
    "  --cafile FILE | --tls-use-os-certs   TLS, port 8883; --cert FILE --key FILE --tls-alpn NAMES --tls-pins SHA256\n"
    "  --will-topic TOPIC --will-payload TEXT --will-qos QOS --will-retain\n"
    "  -D connect|publish NAME VALUE   a property of MQTT 5\n";

static void on_signal(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* On the library's thread. */
static void on_connected(void *user_data, const nlmqtt_connected *connected)
{
    (void)user_data;
    (void)connected;
    pthread_mutex_lock(&lock);
    was_connected = true;
    pthread_mutex_unlock(&lock);
}

static void on_disconnected(void *user_data, const nlmqtt_disconnected *disconnected)
{
    (void)user_data;
    if (disconnected->cause == NLMQTT_CAUSE_STOPPED)
        return;
    pthread_mutex_lock(&lock);
    fprintf(stderr, "publish: %s\n", disconnected->text.data);
    if (!was_connected)
        is_hopeless = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_done(void *user_data, const nlmqtt_completion *completion)
{
    unsigned long number = (unsigned long)(uintptr_t)user_data;
    pthread_mutex_lock(&lock);
    done_count++;
    if (completion->status != NLMQTT_OK) {
        failed_count++;
        fprintf(stderr, "publish: message %lu: %s%s%s\n", number, nlmqtt_status_text(completion->status),
                completion->has_reason ? ": " : "", completion->has_reason ? nlmqtt_reason_text(completion->reason) : "");
    } else if (is_verbose) {
        printf("published %lu\n", number);
        fflush(stdout);
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static time_t deadline;

/* Waits for a change, a tenth of a second at most. False: it makes no sense to go on. */
static bool wait_a_little(void)
{
    struct timespec until;
    bool goes_on;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&lock);
    pthread_cond_timedwait(&changed, &lock, &until);
    goes_on = !is_hopeless;
    pthread_mutex_unlock(&lock);
    if (deadline) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= deadline)
            goes_on = false;
    }
    return goes_on && !is_interrupted;
}

/* Queues one message; waits while the queue is full. */
static bool send_one(nlmqtt_client *client, const char *topic, const void *payload, size_t len,
                     nlmqtt_publish_options *options, unsigned long number)
{
    options->completion = on_done;
    options->user_data = (void *)(uintptr_t)number;
    for (;;) {
        nlmqtt_status status = nlmqtt_client_publish_ex(client, topic, payload, len, options, NULL);
        if (status == NLMQTT_OK)
            return true;
        if (status != NLMQTT_QUEUE_FULL) {
            char text[512];
            nlmqtt_last_error(text, sizeof text);
            fprintf(stderr, "publish: message %lu: %s\n", number, text);
            return false;
        }
        if (!wait_a_little())
            return false;
    }
}

/* A whole stream; *len_out bytes the caller frees. NULL: it cannot be read. */
static char *read_all(FILE *file, size_t *len_out)
{
    size_t len = 0, room = 65536;
    char *bytes = malloc(room);
    while (bytes) {
        size_t got = fread(bytes + len, 1, room - len, file);
        char *larger;
        len += got;
        if (got == 0)
            break;
        if (len < room)
            continue;
        larger = realloc(bytes, room * 2);
        if (!larger)
            free(bytes);
        bytes = larger;
        room *= 2;
    }
    if (bytes && ferror(file)) {
        free(bytes);
        bytes = NULL;
    }
    *len_out = len;
    return bytes;
}

/* Every line; answers how many were queued, and by *all whether none was left. */
static unsigned long send_lines(nlmqtt_client *client, const char *topic, nlmqtt_publish_options *options, bool *all)
{
    unsigned long number = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    *all = true;
    errno = 0;
    while ((len = getline(&line, &room, stdin)) >= 0) {
        if (len > 0 && line[len - 1] == '\n')
            len--;
        if (!send_one(client, topic, line, (size_t)len, options, number + 1)) {
            *all = false;
            break;
        }
        number++;
    }
    if (ferror(stdin) || is_interrupted)
        *all = false;
    free(line);
    return number;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    struct sigaction action;
    nlmqtt_client_callbacks callbacks;
    nlmqtt_publish_options options;
    nlmqtt_runtime *runtime;
    nlmqtt_client *client;
    const char *topic = NULL, *text = NULL, *path = NULL;
    bool has_lines = false, is_empty = false, reads_all = false, all = false;
    unsigned long count = 0, seconds = 0;
    char *content = NULL;
    size_t content_len = 0;
    int i, used, failed;

    arguments_init(&arguments, "publish");
    nlmqtt_publish_options_init(&options);
    for (i = 1; i < argc; i += used) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        used = 1;
        if (strcmp(argv[i], "-l") == 0 || strcmp(argv[i], "--stdin-line") == 0)
            has_lines = true;
        else if (strcmp(argv[i], "-n") == 0 || strcmp(argv[i], "--null-message") == 0)
            is_empty = true;
        else if (strcmp(argv[i], "-s") == 0 || strcmp(argv[i], "--stdin-file") == 0)
            reads_all = true;
        else if (strcmp(argv[i], "-r") == 0 || strcmp(argv[i], "--retain") == 0)
            options.retain = true;
        else if (strcmp(argv[i], "-v") == 0)
            is_verbose = true;
        else if ((used = common_argument(&arguments, argc - i, argv + i)) == 0) {
            used = 2;
            if (value && (strcmp(argv[i], "-t") == 0 || strcmp(argv[i], "--topic") == 0))
                topic = value;
            else if (value && (strcmp(argv[i], "-m") == 0 || strcmp(argv[i], "--message") == 0))
                text = value;
            else if (value && (strcmp(argv[i], "-f") == 0 || strcmp(argv[i], "--file") == 0))
                path = value;
            else if (value && (strcmp(argv[i], "-q") == 0 || strcmp(argv[i], "--qos") == 0))
                options.qos = (uint8_t)number_argument(&arguments, "-q", value, 0, 2);
            else if (value && strcmp(argv[i], "-W") == 0)
                seconds = number_argument(&arguments, "-W", value, 1, 1000000000);
            else {
                fprintf(stderr, "publish: bad option %s\n%s", argv[i], usage);
                return 1;
            }
        }
    }
    if (!topic || (text != NULL) + (path != NULL) + has_lines + is_empty + reads_all != 1) {
        fprintf(stderr, "publish: one -t, and one of -m -l -n -f -s\n%s", usage);
        return 1;
    }
    if (nlmqtt_properties_count(arguments.publish_properties, 0) > 0)
        options.properties = arguments.publish_properties;
    if (path || reads_all) {
        FILE *file = path ? fopen(path, "rb") : stdin;
        content = file ? read_all(file, &content_len) : NULL;
        if (!content) {
            fprintf(stderr, "publish: %s: %s\n", path ? path : "standard input", strerror(errno));
            return 1;
        }
        if (path)
            fclose(file);
        text = content;
    } else if (text)
        content_len = strlen(text);
    if (seconds) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        deadline = now.tv_sec + (time_t)seconds;
    }

    /* Without SA_RESTART: reading standard input ends, too. */
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    nlmqtt_client_callbacks_init(&callbacks);
    callbacks.connected = on_connected;
    callbacks.disconnected = on_disconnected;
    client = make_client(&arguments, &callbacks, &runtime);
    if (!client || nlmqtt_client_start(client) != NLMQTT_OK)
        return 1;
    if (has_lines)
        count = send_lines(client, topic, &options, &all);
    else {
        all = send_one(client, topic, text, content_len, &options, 1);
        count = all ? 1 : 0;
    }
    for (;;) {
        bool finished;
        pthread_mutex_lock(&lock);
        finished = done_count >= count;
        pthread_mutex_unlock(&lock);
        if (finished || !wait_a_little())
            break;
    }
    pthread_mutex_lock(&lock);
    failed = !all || failed_count > 0 || done_count < count;
    pthread_mutex_unlock(&lock);
    nlmqtt_client_stop(client, failed ? 0 : 2000);
    nlmqtt_client_free(client);
    nlmqtt_runtime_free(runtime);
    arguments_free(&arguments);
    free(content);
    return failed ? 1 : 0;
}
