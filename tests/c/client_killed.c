/* A broker is killed again and again in the middle: what is published arrives in order, and nothing is lost. The broker is a
 * child process that tells what it got before it acknowledges it, and ends by SIGKILL. */
#include "client_peer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#define MESSAGES 3000
#define KILLS 12

static struct record record;

/* In the child: system calls only. */
static void be_a_broker(int listener, int told, int session_present)
{
    unsigned char body[4096], answer[4];
    for (;;) {
        size_t len;
        int first, peer = accept_session(listener, session_present);
        while ((first = read_mqtt(peer, body, sizeof body, &len)) > 0) {
            unsigned qos = (unsigned)first >> 1 & 3;
            size_t topic_len = (size_t)body[0] << 8 | body[1];
            const unsigned char *id = body;
            answer[1] = 2;
            if (first >> 4 == 3) {
                uint32_t number;
                id = body + 2 + topic_len;
                memcpy(&number, id + 2, sizeof number);
                if (write(told, &number, sizeof number) != sizeof number)
                    _exit(1);
                answer[0] = qos == 2 ? 0x50 : 0x40;
            } else if (first == 0x62) {
                answer[0] = 0x70;
            } else {
                continue;
            }
            answer[2] = id[0];
            answer[3] = id[1];
            send_bytes(peer, answer, sizeof answer);
        }
        close(peer);
    }
}

static pid_t start_broker(int listener, const int told[2], int session_present)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(told[0]);
        be_a_broker(listener, told[1], session_present);
    }
    return child;
}

static void run(int session_present, int qos)
{
    uint16_t port;
    int listener = listen_any(&port, 16), told[2], kills = 0;
    uint32_t published = 0, arrived = 0, number, until_kill = MESSAGES / (KILLS + 1);
    long deadline = now_ms() + 60000;
    pid_t broker;
    nlmqtt_client_statistics statistics;
    nlmqtt_client_config *config = config_for(port, "3.1.1");
    CHECK(pipe(told) == 0);
    broker = start_broker(listener, told, 0);
    record_init(&record);
    CHECK_OK(nlmqtt_client_config_set_clean_start(config, !session_present));
    CHECK_OK(nlmqtt_client_config_set_queue_limits(config, 100, 1 << 20));
    client_with(NULL, config, &record);
    nlmqtt_client_config_free(config);
    CHECK_OK(nlmqtt_client_start(record.client));
    while (arrived < MESSAGES) {
        struct pollfd waiting;
        CHECK(now_ms() < deadline);
        while (published < MESSAGES) {
            nlmqtt_status status = nlmqtt_client_publish(record.client, "t", &published, sizeof published, (uint8_t)qos, false, NULL);
            if (status == NLMQTT_QUEUE_FULL)
                break;
            CHECK_STATUS(NLMQTT_OK, status);
            published++;
        }
        waiting.fd = told[0];
        waiting.events = POLLIN;
        if (poll(&waiting, 1, 10) != 1)
            continue;
        CHECK(read(told[0], &number, sizeof number) == sizeof number);
        /* Again, perhaps; but never one before the one before it. */
        CHECK(number <= arrived);
        arrived += number == arrived;
        if (kills < KILLS && arrived >= until_kill) {
            CHECK(kill(broker, SIGKILL) == 0 && waitpid(broker, NULL, 0) == broker);
            broker = start_broker(listener, told, session_present);
            until_kill += MESSAGES / (KILLS + 1);
            kills++;
        }
    }
    CHECK(kills == KILLS);
    CHECK_OK(nlmqtt_client_flush(record.client, 20000));
    AWAIT(&record, published, MESSAGES);
    nlmqtt_client_statistics_init(&statistics);
    CHECK_OK(nlmqtt_client_stats(record.client, &statistics));
    CHECK(record.published == MESSAGES && record.status == NLMQTT_OK && statistics.dropped == 0);
    /* A broker may be killed before the client has come back to it. */
    CHECK(record.disconnected >= 2 && statistics.messages_resent + statistics.messages_sent > MESSAGES);
    nlmqtt_client_free(record.client);
    CHECK(kill(broker, SIGKILL) == 0 && waitpid(broker, NULL, 0) == broker);
    close(told[0]);
    close(told[1]);
    close(listener);
    record_end(&record);
}

int main(void)
{
    run(0, 1); /* every broker has forgotten the session */
    run(1, 1); /* every broker remembers it */
    run(0, 2);
    run(1, 2);
    printf("ok client_killed\n");
    return 0;
}
