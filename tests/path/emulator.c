/* emulator: a lossy path between two network namespaces, in user space.
 *
 *   emulator [--rate BITS_PER_SECOND] [--delay-us N] [--queue BYTES] [--loss PERMILLE] [--duplicate PERMILLE]
 *            [--reorder PERMILLE] [--reorder-us N] [--seed N]
 *
 * It makes two namespaces of its own with a TUN device `path` in each, and carries the packets of one to the other: the kernel needs no
 * netem, and the machine's own network is not touched. The namespaces and devices go when this process has ended and nobody else is in them.
 *
 *      namespace "left"                                              namespace "right"
 *      path (TUN) ──read──> lost? ─> queue, rate ─> delay ─> twice? later? ──write──> path (TUN)         and the same way back
 *
 * Each way by itself: a packet is lost by the die, or because the line is down, or because the bytes before it and its own do not fit into
 * the queue; otherwise it leaves when the line has sent what came before, and is there after the delay. A packet that is reordered
 * comes up to --reorder-us later. A rate of 0 is no limit, and then there is no queue. The order is that of the world of tests/rudp, so that
 * one can be held beside the other. Only IPv4 is carried. The same seed draws the same lots for the n-th packet of each way.
 *
 * The first line it prints is "ready left=FILE right=FILE": files for nsenter --net=FILE. Then each line of standard input is a command,
 * answered by a line: "down", "up", "loss PERMILLE", "count" ("count left.carried=.. ..."). The end of standard input ends it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET_BYTES_MAX 65536
#define PACKETS_MAX 65536 /* under way; reached only without a rate */
#define BATCH 64
#define EXIT_NOT_PERMITTED 3
enum { LEFT, RIGHT, SIDES };

struct options {
    uint64_t rate, delay_us, queue_bytes, loss, duplicate, reorder, reorder_us, seed;
};

/* One that is under way: when it arrives, and which it was, so that those of one moment stay in order. */
struct packet {
    uint64_t due_ns, number;
    size_t len;
    int to;
    unsigned char bytes[];
};

/* What leaves one side. */
struct way {
    int tun, space;
    uint64_t random, free_at_ns;
    uint64_t carried, lost, overflowed, down, duplicated, reordered;
};

static struct options options = {10000000, 25000, 62500, 0, 0, 0, 20000, 1};
static struct way ways[SIDES];
static struct packet *heap[PACKETS_MAX];
static size_t heap_count;
static uint64_t packet_number;
static bool is_down;

static void die(const char *what)
{
    bool is_forbidden = errno == EPERM || errno == EACCES || errno == ENOENT || errno == ENODEV;
    fprintf(stderr, "emulator: %s: %s\n", what, strerror(errno));
    exit(is_forbidden ? EXIT_NOT_PERMITTED : EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* splitmix64: small, and good enough for dice. */
static uint64_t draw(struct way *way)
{
    uint64_t mixed = way->random += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

static bool is_before(const struct packet *one, const struct packet *other)
{
    return one->due_ns != other->due_ns ? one->due_ns < other->due_ns : one->number < other->number;
}

static void heap_push(struct packet *packet)
{
    size_t at = heap_count++;
    for (; at > 0 && is_before(packet, heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = packet;
}

static struct packet *heap_pop(void)
{
    struct packet *first = heap[0], *last = heap[--heap_count];
    size_t at = 0, child;
    while ((child = 2 * at + 1) < heap_count) {
        if (child + 1 < heap_count && is_before(heap[child + 1], heap[child]))
            child++;
        if (!is_before(heap[child], last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

static void send_later(struct way *way, int to, uint64_t due_ns, const unsigned char *bytes, size_t len)
{
    struct packet *packet;
    if (heap_count == PACKETS_MAX) {
        way->overflowed++;
        return;
    }
    packet = malloc(sizeof *packet + len);
    if (!packet)
        die("memory");
    packet->due_ns = due_ns;
    packet->number = packet_number++;
    packet->len = len;
    packet->to = to;
    memcpy(packet->bytes, bytes, len);
    heap_push(packet);
}

/* All lots are drawn for every packet, so that what happens to one does not change those of the next. */
static void take(int from, const unsigned char *bytes, size_t len)
{
    struct way *way = &ways[from];
    bool is_lost = draw(way) % 1000 < options.loss;
    bool is_twice = draw(way) % 1000 < options.duplicate;
    bool is_late = draw(way) % 1000 < options.reorder;
    uint64_t late_ns = is_late ? draw(way) % (options.reorder_us * 1000 + 1) : 0;
    uint64_t now = now_ns(), leaves_at = now;
    if (is_down || is_lost) {
        *(is_down ? &way->down : &way->lost) += 1;
        return;
    }
    if (options.rate) {
        uint64_t wait_ns = way->free_at_ns > now ? way->free_at_ns - now : 0;
        if ((double)wait_ns * (double)options.rate / 8e9 + (double)len > (double)options.queue_bytes) {
            way->overflowed++;
            return;
        }
        leaves_at = now + wait_ns + len * 8000000000u / options.rate;
        way->free_at_ns = leaves_at;
    }
    way->carried++;
    way->reordered += is_late;
    send_later(way, SIDES - 1 - from, leaves_at + options.delay_us * 1000 + late_ns, bytes, len);
    if (is_twice) {
        way->duplicated++;
        send_later(way, SIDES - 1 - from, leaves_at + options.delay_us * 1000, bytes, len);
    }
}

static void take_all(int from)
{
    static unsigned char bytes[PACKET_BYTES_MAX];
    int count;
    for (count = 0; count < BATCH; count++) {
        ssize_t len = read(ways[from].tun, bytes, sizeof bytes);
        if (len <= 0)
            return;
        if (bytes[0] >> 4 == 4)
            take(from, bytes, (size_t)len);
    }
}

/* What was on its way when the line went down is lost with it. A full or absent receiver is a loss like any other. */
static void deliver_due(uint64_t now)
{
    while (heap_count && heap[0]->due_ns <= now) {
        struct packet *packet = heap_pop();
        if (is_down)
            ways[SIDES - 1 - packet->to].down++;
        else if (write(ways[packet->to].tun, packet->bytes, packet->len) < 0)
            ways[SIDES - 1 - packet->to].overflowed++;
        free(packet);
    }
}

static void tell_counts(void)
{
    static const char *const names[SIDES] = {"left", "right"};
    int side;
    printf("count");
    for (side = 0; side < SIDES; side++) {
        const struct way *way = &ways[side];
        printf(" %s.carried=%llu %s.lost=%llu %s.overflowed=%llu %s.down=%llu %s.duplicated=%llu %s.reordered=%llu", names[side],
               (unsigned long long)way->carried, names[side], (unsigned long long)way->lost, names[side], (unsigned long long)way->overflowed,
               names[side], (unsigned long long)way->down, names[side], (unsigned long long)way->duplicated, names[side],
               (unsigned long long)way->reordered);
    }
    putchar('\n');
}

static void obey(const char *command)
{
    unsigned long long value;
    if (strcmp(command, "count") == 0) {
        tell_counts();
        return;
    }
    if (strcmp(command, "down") == 0 || strcmp(command, "up") == 0)
        is_down = command[0] == 'd';
    else if (sscanf(command, "loss %llu", &value) == 1 && value <= 1000)
        options.loss = value;
    else {
        printf("not understood: %s\n", command);
        return;
    }
    puts("ok");
}

/* False: there are no more. */
static bool read_commands(void)
{
    static char line[128];
    static size_t used;
    char *end;
    ssize_t got = read(STDIN_FILENO, line + used, sizeof line - 1 - used);
    if (got <= 0)
        return false;
    used += (size_t)got;
    line[used] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        used -= (size_t)(end + 1 - line);
        memmove(line, end + 1, used + 1);
    }
    return used < sizeof line - 1;
}

static void carry(void)
{
    struct pollfd polled[3] = {{STDIN_FILENO, POLLIN, 0}, {ways[LEFT].tun, POLLIN, 0}, {ways[RIGHT].tun, POLLIN, 0}};
    for (;;) {
        struct timespec wait = {0, 0};
        uint64_t now = now_ns();
        deliver_due(now);
        if (heap_count && heap[0]->due_ns > now) {
            wait.tv_sec = (time_t)((heap[0]->due_ns - now) / 1000000000u);
            wait.tv_nsec = (long)((heap[0]->due_ns - now) % 1000000000u);
        }
        if (ppoll(polled, 3, heap_count ? &wait : NULL, NULL) < 0 && errno != EINTR)
            die("poll");
        if (polled[1].revents)
            take_all(LEFT);
        if (polled[2].revents)
            take_all(RIGHT);
        if (polled[0].revents && !read_commands())
            return;
        fflush(stdout);
    }
}

/* In a namespace that is made for it. */
static void open_side(struct way *way, uint64_t seed)
{
    struct ifreq request;
    memset(&request, 0, sizeof request);
    if (unshare(CLONE_NEWNET) < 0)
        die("a network namespace");
    way->space = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    way->tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (way->space < 0 || way->tun < 0)
        die("/dev/net/tun");
    strcpy(request.ifr_name, "path");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(way->tun, TUNSETIFF, &request) < 0)
        die("a TUN device");
    way->random = seed;
}

static void parse_options(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint64_t *value;
    } known[] = {{"--rate", &options.rate},           {"--delay-us", &options.delay_us}, {"--queue", &options.queue_bytes},   {"--loss", &options.loss},
                 {"--duplicate", &options.duplicate}, {"--reorder", &options.reorder},   {"--reorder-us", &options.reorder_us}, {"--seed", &options.seed}};
    int i;
    for (i = 1; i < argc; i += 2) {
        size_t k = 0;
        char *end = NULL;
        while (k < sizeof known / sizeof *known && strcmp(known[k].name, argv[i]) != 0)
            k++;
        if (k < sizeof known / sizeof *known && i + 1 < argc)
            *known[k].value = strtoull(argv[i + 1], &end, 10);
        if (!end || end == argv[i + 1] || *end) {
            fprintf(stderr, "emulator: bad option %s\n", argv[i]);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    open_side(&ways[LEFT], options.seed * 2);
    open_side(&ways[RIGHT], options.seed * 2 + 1);
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    printf("ready left=/proc/%ld/fd/%d right=/proc/%ld/fd/%d\n", (long)getpid(), ways[LEFT].space, (long)getpid(), ways[RIGHT].space);
    fflush(stdout);
    carry();
    return EXIT_SUCCESS;
}
