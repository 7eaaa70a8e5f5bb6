/* Two Rust archives in one program: both work, and the other one unwinds. */
#include <nlmqtt.h>

#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

uint32_t second_catches(uint32_t count);

static sem_t received;

/* On the library's thread. */
static void on_message(void *user_data, const nlmqtt_message *message)
{
    (void)user_data;
    if (nlmqtt_message_payload(message).len == 2)
        sem_post(&received);
}

int main(void)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    struct timespec deadline;
    sem_init(&received, 0, 0);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    nlmqtt_server_config_add_listener(config, "mqtt://127.0.0.1:0");
    if (nlmqtt_server_new(NULL, config, NULL, &server) != NLMQTT_OK || nlmqtt_server_start(server) != NLMQTT_OK)
        return 1;
    if (second_catches(10) != 5)
        return 2;
    if (nlmqtt_server_subscribe(server, "a", on_message, NULL, NULL, NULL) != NLMQTT_OK)
        return 3;
    if (nlmqtt_server_publish(server, "a", "hi", 2, 0, false, NULL) != NLMQTT_OK || sem_timedwait(&received, &deadline) != 0)
        return 4;
    if (second_catches(7) != 3)
        return 5;
    nlmqtt_server_free(server);
    nlmqtt_server_config_free(config);
    return puts(nlmqtt_version_string()) < 0;
}
