/* Clients of MQTT 5 as bytes on a socket, for the programs of generate.py. */
#ifndef MATRIX_PEERS_H
#define MATRIX_PEERS_H

#include "check.h"

/* CONNECT of MQTT 5, see send_connect5. */
static MAYBE_UNUSED int peer_of(uint16_t port, const char *client_id, bool is_clean, const char *properties, size_t len, const char *will_topic)
{
    int peer = dial(port);
    send_connect5(peer, client_id, is_clean, properties, len, will_topic);
    return peer;
}

/* SUBSCRIBE (first 0x82) or UNSUBSCRIBE (0xA2) of MQTT 5 with `count` filters "FILTER0", "FILTER1", ... */
static MAYBE_UNUSED void peer_asks(int peer, unsigned first, const char *filter, int count)
{
    struct packet packet;
    char text[64];
    int i;
    packet.first = (unsigned char)first;
    packet.len = 0;
    put_u16(&packet, 9);
    put_u8(&packet, 0);
    for (i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%s%d", filter, i);
        put_text(&packet, text);
        if (first == 0x82)
            put_u8(&packet, 0);
    }
    send_packet(peer, &packet);
}

static MAYBE_UNUSED void peer_publishes(int peer, const char *topic, const char *payload, bool retain)
{
    struct packet packet;
    packet.first = retain ? 0x31 : 0x30;
    packet.len = 0;
    put_text(&packet, topic);
    put_u8(&packet, 0);
    put_bytes(&packet, payload, strlen(payload));
    send_packet(peer, &packet);
}

#endif
