//! nlmqtt
