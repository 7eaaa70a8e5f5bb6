// One half of a program that uses both styles: failures are thrown here.
#include <nlmqtt.hpp>

int returned_elsewhere();

int main()
{
    nlmqtt::client_config config;
    try {
        config.set("no such key", "1");
    } catch (const nlmqtt::error &error) {
        return error.status() == NLMQTT_CONFIG && returned_elsewhere() == NLMQTT_CONFIG ? 0 : 1;
    }
    return 1;
}
