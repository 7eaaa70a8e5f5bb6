// The other half: failures are returned here.
#include <nlmqtt.hpp>

int returned_elsewhere();

int returned_elsewhere()
{
    nlmqtt::client_config config;
    return config.set("no such key", "1").code();
}
