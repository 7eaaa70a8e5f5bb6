/* Encoding and decoding, see mqtt.h. */
#include "mqtt.h"

#include <string.h>

static uint16_t take16(const uint8_t *data)
{
    return (uint16_t)(data[0] << 8 | data[1]);
}

static uint32_t take32(const uint8_t *data)
{
    return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
}

/* Head of a PUBLISH from behind the fixed header; `remaining` is its remaining length. */
static int decode_publish(const uint8_t *body, size_t available, uint32_t remaining, Packet *packet)
{
    uint32_t head;
    if (available < 2)
        return 0;
    head = 2u + take16(body) + ((packet->flags & 6) ? 2u : 0u);
    if (head + MQTT_STAMP_BYTES > remaining || head > MQTT_HEAD_MAX - 16)
        return -1;
    if (available < head + MQTT_STAMP_BYTES)
        return 0;
    packet->id = (packet->flags & 6) ? take16(body + head - 2) : 0;
    packet->publisher = take32(body + head);
    packet->sequence = take32(body + head + 4);
    packet->payload_bytes = remaining - head;
    packet->rest = packet->payload_bytes - MQTT_STAMP_BYTES;
    return (int)(head + MQTT_STAMP_BYTES);
}

static int decode_other(const uint8_t *body, uint32_t remaining, Packet *packet)
{
    packet->rest = 0;
    packet->id = 0;
    switch (packet->type) {
    case MQTT_CONNACK:
        packet->code = remaining == 2 ? body[1] : 0xff;
        return remaining == 2 ? 0 : -1;
    case MQTT_PUBACK: case MQTT_PUBREC: case MQTT_PUBREL: case MQTT_PUBCOMP:
        if (remaining != 2)
            return -1;
        packet->id = take16(body);
        return 0;
    case MQTT_SUBACK:
        if (remaining < 3)
            return -1;
        packet->id = take16(body);
        packet->code = 0;
        for (uint32_t i = 2; i < remaining; i++)
            if (body[i] > packet->code)
                packet->code = body[i];
        return 0;
    case MQTT_PINGRESP:
        return remaining == 0 ? 0 : -1;
    default:
        return -1;
    }
}

int mqtt_decode(const uint8_t *data, size_t length, Packet *packet)
{
    uint32_t remaining = 0;
    size_t at = 1;
    int taken;

    if (length < 2)
        return 0;
    for (unsigned shift = 0;; shift += 7) {
        if (shift > 21)
            return -1;
        if (at == length)
            return 0;
        remaining |= (uint32_t)(data[at] & 0x7f) << shift;
        if (!(data[at++] & 0x80))
            break;
    }
    packet->type = data[0] >> 4;
    packet->flags = data[0] & 0x0f;
    if (packet->type == MQTT_PUBLISH) {
        taken = decode_publish(data + at, length - at, remaining, packet);
        return taken <= 0 ? taken : (int)at + taken;
    }
    if (remaining > MQTT_HEAD_MAX - 8)
        return -1;
    if (length - at < remaining)
        return 0;
    if (decode_other(data + at, remaining, packet) < 0)
        return -1;
    return (int)(at + remaining);
}

void mqtt_put16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

void mqtt_put32(uint8_t *out, uint32_t value)
{
    mqtt_put16(out, (uint16_t)(value >> 16));
    mqtt_put16(out + 2, (uint16_t)value);
}

static size_t put_fixed_header(uint8_t *out, unsigned first, uint32_t remaining)
{
    size_t at = 0;
    out[at++] = (uint8_t)first;
    do {
        out[at++] = (uint8_t)((remaining & 0x7f) | (remaining > 0x7f ? 0x80 : 0));
        remaining >>= 7;
    } while (remaining);
    return at;
}

static size_t put_string(uint8_t *out, const char *text)
{
    size_t length = strlen(text);
    mqtt_put16(out, (uint16_t)length);
    memcpy(out + 2, text, length);
    return 2 + length;
}

size_t mqtt_connect(uint8_t *out, const char *client_id, uint16_t keep_alive_s)
{
    size_t at = put_fixed_header(out, MQTT_CONNECT << 4, (uint32_t)(10 + 2 + strlen(client_id)));
    at += put_string(out + at, "MQTT");
    out[at++] = 4;    /* 3.1.1 */
    out[at++] = 2;    /* clean session */
    mqtt_put16(out + at, keep_alive_s);
    return at + 2 + put_string(out + at + 2, client_id);
}

size_t mqtt_publish(uint8_t *out, const char *topic, unsigned qos, unsigned retain, uint32_t payload_bytes)
{
    uint32_t remaining = (uint32_t)(2 + strlen(topic) + (qos ? 2 : 0)) + payload_bytes;
    size_t at = put_fixed_header(out, MQTT_PUBLISH << 4 | qos << 1 | retain, remaining);
    at += put_string(out + at, topic);
    if (qos) {
        mqtt_put16(out + at, 0);
        at += 2;
    }
    memset(out + at, 'x', payload_bytes);
    return at + payload_bytes;
}

size_t mqtt_acknowledge(uint8_t *out, unsigned type, uint16_t id)
{
    out[0] = (uint8_t)(type << 4 | (type == MQTT_PUBREL ? 2 : 0));
    out[1] = 2;
    mqtt_put16(out + 2, id);
    return MQTT_ACK_BYTES;
}

size_t mqtt_empty(uint8_t *out, unsigned type)
{
    out[0] = (uint8_t)(type << 4);
    out[1] = 0;
    return 2;
}

size_t mqtt_subscribe(uint8_t *out, uint16_t id, uint32_t filters_bytes)
{
    size_t at = put_fixed_header(out, MQTT_SUBSCRIBE << 4 | 2, 2 + filters_bytes);
    mqtt_put16(out + at, id);
    return at + 2;
}

size_t mqtt_filter(uint8_t *out, const char *filter, unsigned qos)
{
    size_t at = put_string(out, filter);
    out[at] = (uint8_t)qos;
    return at + 1;
}
