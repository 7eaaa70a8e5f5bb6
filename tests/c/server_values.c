/* Status, version, topics, properties and messages: everything that needs no runtime. */
#include "check.h"

static void statuses_have_names_and_texts(void)
{
    char text[64];
    CHECK_TEXT(nlmqtt_status_name(NLMQTT_OK), "OK");
    CHECK_TEXT(nlmqtt_status_name(NLMQTT_WOULD_DEADLOCK), "WOULD_DEADLOCK");
    CHECK_TEXT(nlmqtt_status_name(12345), "UNKNOWN");
    CHECK(strlen(nlmqtt_status_text(NLMQTT_ADDRESS_IN_USE)) > 5);
    CHECK(nlmqtt_status_is_transient(NLMQTT_TIMEOUT) && !nlmqtt_status_is_transient(NLMQTT_INVALID_ARGUMENT));
    CHECK_TEXT(nlmqtt_reason_text(0x87), "Not authorized");
    CHECK_TEXT(nlmqtt_reason_text(0xFE), "Unknown reason code");
    CHECK_EQ(nlmqtt_properties_add_u32(NULL, 1, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_last_error(text, sizeof text), strlen("properties is NULL"));
    CHECK_TEXT(text, "properties is NULL");
    CHECK_EQ(nlmqtt_last_error(text, 5), strlen("properties is NULL"));
    CHECK_TEXT(text, "prop");
    CHECK(nlmqtt_last_error(NULL, 0) > 0);
}

static void the_library_says_what_it_is(void)
{
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", NLMQTT_VERSION_MAJOR, NLMQTT_VERSION_MINOR, NLMQTT_VERSION_PATCH);
    CHECK_TEXT(nlmqtt_version_string(), text);
    CHECK_EQ(nlmqtt_version_number(), NLMQTT_VERSION_MAJOR * 1000000 + NLMQTT_VERSION_MINOR * 1000 + NLMQTT_VERSION_PATCH);
    CHECK(strstr(nlmqtt_build_info(), nlmqtt_version_string()) != NULL);
    CHECK(nlmqtt_has_feature("mqtt5") && !nlmqtt_has_feature("teleport") && !nlmqtt_has_feature(NULL));
    CHECK(nlmqtt_has_feature("tls") && nlmqtt_has_feature("websocket") && nlmqtt_has_feature("proxy") && nlmqtt_has_feature("rudp"));
}

static void topics_are_judged_as_the_standard_says(void)
{
    CHECK(nlmqtt_topic_is_valid_name("a/b") && !nlmqtt_topic_is_valid_name("a/+") && !nlmqtt_topic_is_valid_name(""));
    CHECK(nlmqtt_topic_is_valid_filter("a/+/#") && !nlmqtt_topic_is_valid_filter("a/#/b"));
    CHECK(nlmqtt_topic_is_valid_filter("$share/g/a") && !nlmqtt_topic_is_valid_name(NULL) && !nlmqtt_topic_is_valid_filter(NULL));
    CHECK(!nlmqtt_topic_is_valid_name("\xff\xfe"));
    CHECK(nlmqtt_topic_matches("a/#", "a") && nlmqtt_topic_matches("$share/g/a/+", "a/b"));
    CHECK(!nlmqtt_topic_matches("#", "$SYS/x") && !nlmqtt_topic_matches(NULL, "a") && !nlmqtt_topic_matches("a", NULL));
}

static void properties_keep_what_was_put_in(void)
{
    nlmqtt_properties *list = nlmqtt_properties_new(), *copy;
    nlmqtt_str name, value;
    nlmqtt_bytes bytes;
    uint32_t number = 0;
    OK(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 60));
    OK(nlmqtt_properties_add_string(list, NLMQTT_PROPERTY_CONTENT_TYPE, "text/plain"));
    OK(nlmqtt_properties_add_binary(list, NLMQTT_PROPERTY_CORRELATION_DATA, "\0\1\2", 3));
    OK(nlmqtt_properties_add_user(list, "k", "first"));
    OK(nlmqtt_properties_add_user(list, "k", "second"));
    OK(nlmqtt_properties_validate(list, NLMQTT_PLACE_PUBLISH));
    CHECK_EQ(nlmqtt_properties_validate(list, NLMQTT_PLACE_CONNECT), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_validate(list, 99), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_count(list, 0), 5);
    CHECK_EQ(nlmqtt_properties_count(list, NLMQTT_PROPERTY_USER_PROPERTY), 2);
    CHECK_EQ(nlmqtt_properties_id_at(list, 1), NLMQTT_PROPERTY_CONTENT_TYPE);
    CHECK_EQ(nlmqtt_properties_id_at(list, 5), 0);
    copy = nlmqtt_properties_copy(list);
    OK(nlmqtt_properties_remove(list, NLMQTT_PROPERTY_USER_PROPERTY));
    CHECK_EQ(nlmqtt_properties_count(list, 0), 3);
    OK(nlmqtt_properties_remove(list, 0));
    CHECK_EQ(nlmqtt_properties_count(list, 0), 0);
    nlmqtt_properties_free(list);
    OK(nlmqtt_properties_get_u32(copy, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 0, &number));
    CHECK_EQ(number, 60);
    OK(nlmqtt_properties_get_string(copy, NLMQTT_PROPERTY_CONTENT_TYPE, 0, &value));
    CHECK_TEXT(value.data, "text/plain");
    CHECK_EQ(value.len, 10);
    OK(nlmqtt_properties_get_binary(copy, NLMQTT_PROPERTY_CORRELATION_DATA, 0, &bytes));
    CHECK(bytes.len == 3 && memcmp(bytes.data, "\0\1\2", 3) == 0);
    OK(nlmqtt_properties_get_user(copy, 1, &name, &value));
    CHECK_TEXT(name.data, "k");
    CHECK_TEXT(value.data, "second");
    CHECK_EQ(nlmqtt_properties_get_user(copy, 2, &name, &value), NLMQTT_NOT_FOUND);
    nlmqtt_properties_free(copy);
}

static void properties_refuse_what_is_not_legal(void)
{
    nlmqtt_properties *list = nlmqtt_properties_new();
    char *large = (char *)malloc(70001);
    memset(large, 'x', 70000);
    large[70000] = 0;
    CHECK_EQ(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_CONTENT_TYPE, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_TOPIC_ALIAS, 65536), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_MAXIMUM_QOS, 2), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_u32(list, 0x7F, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_string(list, NLMQTT_PROPERTY_CONTENT_TYPE, "\xc3"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_string(list, NLMQTT_PROPERTY_CONTENT_TYPE, large), NLMQTT_TOO_LARGE);
    CHECK_EQ(nlmqtt_properties_add_binary(list, NLMQTT_PROPERTY_CORRELATION_DATA, large, 70000), NLMQTT_TOO_LARGE);
    CHECK_EQ(nlmqtt_properties_add_string(list, NLMQTT_PROPERTY_RESPONSE_TOPIC, "a/#"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_count(list, 0), 0);
    OK(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_TOPIC_ALIAS, 3));
    OK(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_TOPIC_ALIAS, 4));
    CHECK_EQ(nlmqtt_properties_validate(list, NLMQTT_PLACE_PUBLISH), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_properties_free(list);
    free(large);
}

static void every_place_knows_user_properties(void)
{
    static const int32_t places[] = {
        NLMQTT_PLACE_WILL, NLMQTT_PLACE_CONNECT, NLMQTT_PLACE_CONNACK, NLMQTT_PLACE_PUBLISH, NLMQTT_PLACE_PUBACK,
        NLMQTT_PLACE_PUBREC, NLMQTT_PLACE_PUBREL, NLMQTT_PLACE_PUBCOMP, NLMQTT_PLACE_SUBSCRIBE, NLMQTT_PLACE_SUBACK,
        NLMQTT_PLACE_UNSUBSCRIBE, NLMQTT_PLACE_UNSUBACK, NLMQTT_PLACE_DISCONNECT, NLMQTT_PLACE_AUTH};
    nlmqtt_properties *list = nlmqtt_properties_new();
    size_t i;
    OK(nlmqtt_properties_add_user(list, "a", "b"));
    for (i = 0; i < sizeof places / sizeof *places; i++)
        OK(nlmqtt_properties_validate(list, places[i]));
    nlmqtt_properties_free(list);
}

static void messages_are_shared_by_reference(void)
{
    nlmqtt_properties *list = nlmqtt_properties_new();
    nlmqtt_message *message = NULL, *second;
    uint32_t expiry = 0;
    nlmqtt_bytes payload;
    OK(nlmqtt_properties_add_user(list, "k", "v"));
    OK(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 9));
    OK(nlmqtt_message_new("a/b", "pay\0load", 8, 2, true, list, &message));
    nlmqtt_properties_free(list);
    second = nlmqtt_message_ref(message);
    CHECK(second == message);
    nlmqtt_message_unref(message);
    CHECK_TEXT(nlmqtt_message_topic(second).data, "a/b");
    payload = nlmqtt_message_payload(second);
    CHECK(payload.len == 8 && memcmp(payload.data, "pay\0load", 8) == 0);
    CHECK_EQ(nlmqtt_message_qos(second), 2);
    CHECK(nlmqtt_message_retain(second) && !nlmqtt_message_dup(second));
    CHECK_EQ(nlmqtt_properties_count(nlmqtt_message_properties(second), 0), 2);
    OK(nlmqtt_properties_get_u32(nlmqtt_message_properties(second), NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 0, &expiry));
    CHECK_EQ(expiry, 9);
    CHECK_EQ(nlmqtt_message_subscription_id(second, 0), 0);
    CHECK_EQ(nlmqtt_message_received_us(second), 0);
    nlmqtt_message_unref(second);
    OK(nlmqtt_message_new("a", NULL, 0, 0, false, NULL, &message));
    CHECK_EQ(nlmqtt_message_payload(message).len, 0);
    nlmqtt_message_unref(message);
}

static void messages_refuse_what_cannot_be_sent(void)
{
    nlmqtt_message *message = NULL;
    nlmqtt_properties *list = nlmqtt_properties_new();
    CHECK_EQ(nlmqtt_message_new("a/#", "", 0, 0, false, NULL, &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_message_new("a", "", 0, 3, false, NULL, &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_message_new("a", NULL, 4, 0, false, NULL, &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_message_new(NULL, "", 0, 0, false, NULL, &message), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_message_new("a", "", 0, 0, false, NULL, NULL), NLMQTT_INVALID_ARGUMENT);
    OK(nlmqtt_properties_add_u32(list, NLMQTT_PROPERTY_TOPIC_ALIAS, 3));
    CHECK_EQ(nlmqtt_message_new("a", "", 0, 0, false, list, &message), NLMQTT_INVALID_ARGUMENT);
    CHECK(message == NULL);
    nlmqtt_properties_free(list);
}

static void null_is_refused_everywhere(void)
{
    nlmqtt_properties *list = nlmqtt_properties_new();
    nlmqtt_str text;
    nlmqtt_bytes bytes;
    uint32_t number;
    nlmqtt_properties_free(NULL);
    CHECK(nlmqtt_properties_copy(NULL) == NULL);
    CHECK_EQ(nlmqtt_properties_add_string(NULL, 3, "x"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_string(list, 3, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_binary(NULL, 9, "x", 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_binary(list, 9, NULL, 1), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_user(NULL, "a", "b"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_user(list, NULL, "b"), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_add_user(list, "a", NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_u32(NULL, 2, 0, &number), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_u32(list, 2, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_string(NULL, 3, 0, &text), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_string(list, 3, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_binary(NULL, 9, 0, &bytes), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_binary(list, 9, 0, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_user(NULL, 0, &text, &text), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_user(list, 0, NULL, &text), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_get_user(list, 0, &text, NULL), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_count(NULL, 0), 0);
    CHECK_EQ(nlmqtt_properties_id_at(NULL, 0), 0);
    CHECK_EQ(nlmqtt_properties_remove(NULL, 0), NLMQTT_INVALID_ARGUMENT);
    CHECK_EQ(nlmqtt_properties_validate(NULL, 3), NLMQTT_INVALID_ARGUMENT);
    nlmqtt_properties_free(list);
    CHECK(nlmqtt_message_ref(NULL) == NULL);
    nlmqtt_message_unref(NULL);
    CHECK(nlmqtt_message_topic(NULL).data == NULL && nlmqtt_message_payload(NULL).data == NULL);
    CHECK_EQ(nlmqtt_message_qos(NULL), 0);
    CHECK(!nlmqtt_message_retain(NULL) && !nlmqtt_message_dup(NULL) && nlmqtt_message_properties(NULL) == NULL);
    CHECK_EQ(nlmqtt_message_subscription_id(NULL, 0), 0);
    CHECK_EQ(nlmqtt_message_received_us(NULL), 0);
}

int main(void)
{
    statuses_have_names_and_texts();
    the_library_says_what_it_is();
    topics_are_judged_as_the_standard_says();
    properties_keep_what_was_put_in();
    properties_refuse_what_is_not_legal();
    every_place_knows_user_properties();
    messages_are_shared_by_reference();
    messages_refuse_what_cannot_be_sent();
    null_is_refused_everywhere();
    puts("ok server_values");
    return 0;
}
