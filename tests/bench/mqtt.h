/* The few MQTT 3.1.1 packets a load generator needs, as bytes; no socket, no state.
 *
 * Payload of every message: publisher (4 bytes), sequence (4 bytes), both big endian, then filler. */
#ifndef BENCH_MQTT_H
#define BENCH_MQTT_H

#include <stddef.h>
#include <stdint.h>

enum {
    MQTT_CONNECT = 1, MQTT_CONNACK, MQTT_PUBLISH, MQTT_PUBACK, MQTT_PUBREC, MQTT_PUBREL, MQTT_PUBCOMP,
    MQTT_SUBSCRIBE, MQTT_SUBACK, MQTT_UNSUBSCRIBE, MQTT_UNSUBACK, MQTT_PINGREQ, MQTT_PINGRESP, MQTT_DISCONNECT
};

enum { MQTT_STAMP_BYTES = 8, MQTT_TOPIC_MAX = 128, MQTT_HEAD_MAX = 256, MQTT_ACK_BYTES = 4 };

/* What the generator wants to know of a received packet. */
typedef struct {
    uint8_t type;
    uint8_t flags;        /* low four bits of the first byte */
    uint8_t code;         /* CONNACK: return code; SUBACK: the highest of the codes */
    uint16_t id;          /* 0 when the packet has none */
    uint32_t publisher;   /* PUBLISH: stamp */
    uint32_t sequence;
    uint32_t payload_bytes;
    uint32_t rest;        /* bytes of the packet behind what was decoded: filler to skip */
} Packet;

/* Decodes the head of a packet: all of it, or for PUBLISH everything up to and including the stamp.
 * Returns the bytes taken, 0 when more are needed, -1 when they are no legal packet for a client. */
int mqtt_decode(const uint8_t *data, size_t length, Packet *packet);

/* Encoders return the number of bytes written; the caller knows that they fit. */
size_t mqtt_connect(uint8_t *out, const char *client_id, uint16_t keep_alive_s);
size_t mqtt_publish(uint8_t *out, const char *topic, unsigned qos, unsigned retain, uint32_t payload_bytes);
size_t mqtt_acknowledge(uint8_t *out, unsigned type, uint16_t id);
size_t mqtt_empty(uint8_t *out, unsigned type);
/* The head of a SUBSCRIBE whose filters take `filters_bytes`, each as mqtt_filter() writes it. */
size_t mqtt_subscribe(uint8_t *out, uint16_t id, uint32_t filters_bytes);
size_t mqtt_filter(uint8_t *out, const char *filter, unsigned qos);

void mqtt_put16(uint8_t *out, uint16_t value);
void mqtt_put32(uint8_t *out, uint32_t value);

#endif
