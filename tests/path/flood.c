/* flood: frames of reliable UDP that begin connections, under addresses that are not the sender's. For a namespace of a test only.
 *
 *   flood FROM/BITS TO:PORT --rate FRAMES_PER_SECOND --seconds S [--kinds WORDS] [--seed N]
 *
 * The source is any address of the network FROM/BITS and any port from 1024 on, by the die. Kinds, in turn:
 *   new       a CONNECT of generation 2 that wants an id
 *   guessed   a CONNECT of generation 2 that shows a made-up one
 *   bare      a CONNECT of generation 1
 *   data      a DATA of generation 1 with an MQTT CONNECT in it: the one that needs a place
 * Written from src/stack/rudp/WIRE.md. It prints: result frames=N refused=N seconds=S, refused by this kernel. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 32
#define FRAME_BYTES_MAX 64
#define KINDS_MAX 4

enum kind { NEW, GUESSED, BARE, DATA };

struct datagram {
    struct iphdr ip;
    struct udphdr udp;
    uint8_t frame[FRAME_BYTES_MAX];
};

static uint32_t table[256];
static uint64_t random_state = 1;

static void die(const char *what)
{
    fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static uint64_t draw(void)
{
    uint64_t mixed = random_state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void make_table(void)
{
    uint32_t i;
    int bit;
    for (i = 0; i < 256; i++) {
        table[i] = i;
        for (bit = 0; bit < 8; bit++)
            table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0x82f63b78u : 0);
    }
}

static uint32_t checksum(const uint8_t *bytes, size_t len)
{
    uint32_t sum = 0xffffffffu;
    while (len--)
        sum = sum >> 8 ^ table[(sum ^ *bytes++) & 255];
    return ~sum;
}

static void put(uint8_t *bytes, uint64_t value, int len)
{
    while (len--) {
        bytes[len] = (uint8_t)value;
        value >>= 8;
    }
}

/* Answers its length. */
static size_t make_frame(uint8_t *frame, enum kind kind)
{
    static const uint8_t first[] = {0x10, 0x10, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 2, 0x58, 0, 4};
    memset(frame, 0, FRAME_BYTES_MAX);
    if (kind == BARE) {
        frame[0] = 3;
        return 4;
    }
    if (kind == DATA) {
        frame[0] = 1;
        put(frame + 1, draw() & 0x7fff, 2);
        memcpy(frame + 4, first, sizeof first);
        snprintf((char *)frame + 4 + sizeof first, 5, "%04x", (unsigned)(draw() & 0xffff));
        return 4 + sizeof first + 4;
    }
    frame[0] = 3;
    frame[3] = 0x80;
    if (kind == GUESSED)
        put(frame + 4, draw(), 8);
    put(frame + 12, draw(), 8);
    frame[20] = 2;
    put(frame + 22, 1200, 2);
    put(frame + 24, 16384, 4);
    put(frame + 28, 120, 2);
    put(frame + 40, checksum(frame, 40), 4);
    return 44;
}

static size_t make_datagram(struct datagram *datagram, uint32_t network, uint32_t host_mask, const struct sockaddr_in *to, enum kind kind)
{
    size_t len = make_frame(datagram->frame, kind);
    memset(&datagram->ip, 0, sizeof datagram->ip + sizeof datagram->udp);
    datagram->ip.version = 4;
    datagram->ip.ihl = 5;
    datagram->ip.ttl = 64;
    datagram->ip.protocol = IPPROTO_UDP;
    /* Neither the first nor the last address of a network is anybody's. */
    datagram->ip.saddr = htonl(network | (uint32_t)(1 + draw() % (host_mask - 1)));
    datagram->ip.daddr = to->sin_addr.s_addr;
    /* Without a checksum, which UDP over IPv4 may be (RFC 768). */
    datagram->udp.source = htons((uint16_t)(1024 + draw() % (65536 - 1024)));
    datagram->udp.dest = to->sin_port;
    datagram->udp.len = htons((uint16_t)(sizeof datagram->udp + len));
    return sizeof datagram->ip + sizeof datagram->udp + len;
}

static size_t kinds_of(const char *words, enum kind *kinds)
{
    static const char *const names[KINDS_MAX] = {"new", "guessed", "bare", "data"};
    size_t count = 0;
    char copy[64], *word;
    snprintf(copy, sizeof copy, "%s", words);
    for (word = strtok(copy, ","); word; word = strtok(NULL, ",")) {
        int kind = 0;
        while (kind < KINDS_MAX && strcmp(names[kind], word) != 0)
            kind++;
        if (kind == KINDS_MAX || count == KINDS_MAX) {
            fprintf(stderr, "flood: --kinds: new,guessed,bare,data\n");
            exit(2);
        }
        kinds[count++] = (enum kind)kind;
    }
    return count;
}

int main(int argc, char **argv)
{
    static struct datagram datagrams[BATCH];
    struct mmsghdr messages[BATCH];
    struct iovec pieces[BATCH];
    struct sockaddr_in to = {.sin_family = AF_INET};
    enum kind kinds[KINDS_MAX] = {NEW, GUESSED, BARE};
    size_t kind_count = 3;
    char from_text[64], to_text[64];
    struct in_addr from;
    unsigned bits = 16, port = 0, i;
    double rate = 10000, seconds = 1, start, now;
    unsigned long long frames = 0, refused = 0;
    int raw, argument;
    if (argc < 3 || sscanf(argv[1], "%63[0-9.]/%u", from_text, &bits) != 2 || sscanf(argv[2], "%63[0-9.]:%u", to_text, &port) != 2 || bits < 8 || bits > 24 ||
        !inet_aton(from_text, &from) || !inet_aton(to_text, &to.sin_addr)) {
        fprintf(stderr, "flood: FROM/BITS TO:PORT\n");
        return 2;
    }
    to.sin_port = htons((uint16_t)port);
    for (argument = 3; argument + 1 < argc; argument += 2) {
        if (strcmp(argv[argument], "--rate") == 0)
            rate = strtod(argv[argument + 1], NULL);
        else if (strcmp(argv[argument], "--seconds") == 0)
            seconds = strtod(argv[argument + 1], NULL);
        else if (strcmp(argv[argument], "--seed") == 0)
            random_state = strtoull(argv[argument + 1], NULL, 10);
        else if (strcmp(argv[argument], "--kinds") == 0)
            kind_count = kinds_of(argv[argument + 1], kinds);
        else {
            fprintf(stderr, "flood: bad option %s\n", argv[argument]);
            return 2;
        }
    }
    make_table();
    if ((raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW)) < 0)
        die("a raw socket");
    start = now_s();
    while ((now = now_s()) < start + seconds) {
        int sent;
        if ((double)frames > (now - start) * rate) {
            usleep(500);
            continue;
        }
        memset(messages, 0, sizeof messages);
        for (i = 0; i < BATCH; i++) {
            enum kind kind = kinds[(frames + i) % kind_count];
            pieces[i].iov_base = &datagrams[i];
            pieces[i].iov_len = make_datagram(&datagrams[i], ntohl(from.s_addr), (1u << (32 - bits)) - 1, &to, kind);
            messages[i].msg_hdr.msg_name = &to;
            messages[i].msg_hdr.msg_namelen = sizeof to;
            messages[i].msg_hdr.msg_iov = &pieces[i];
            messages[i].msg_hdr.msg_iovlen = 1;
        }
        sent = sendmmsg(raw, messages, BATCH, 0);
        if (sent < 0 && errno != ENOBUFS && errno != EAGAIN)
            die("sending");
        frames += BATCH;
        refused += (unsigned long long)(BATCH - (sent > 0 ? sent : 0));
    }
    printf("result frames=%llu refused=%llu seconds=%.3f\n", frames, refused, now - start);
    return EXIT_SUCCESS;
}
