"""What the generator cannot know: a value for each parameter, which pointers may be NULL, which status is right inside a
callback. What is in the header and not here, or here and not in the header, fails."""

# By "function.parameter" without the prefix nlmqtt_, else by "type name". `a` is struct arguments of arguments.h.
VALUES = {
    # Objects: those that called back, while they live.
    "nlmqtt_client * client": "a->client", "const nlmqtt_client * client": "a->client",
    "nlmqtt_server * server": "a->server", "const nlmqtt_server * server": "a->server",
    "nlmqtt_runtime * runtime": "a->runtime", "const nlmqtt_runtime * runtime": "a->runtime",
    "nlmqtt_client_config * config": "a->client_config", "const nlmqtt_client_config * config": "a->client_config",
    "nlmqtt_server_config * config": "a->server_config", "const nlmqtt_server_config * config": "a->server_config",
    "nlmqtt_runtime_config * config": "a->runtime_config", "const nlmqtt_runtime_config * config": "a->runtime_config",
    "nlmqtt_listener_config * config": "a->listener_config", "const nlmqtt_listener_config * config": "a->listener_config",
    "const nlmqtt_listener_config * listener": "a->listener_config",
    "const nlmqtt_message * message": "a->message", "const nlmqtt_message * request": "a->message",
    "nlmqtt_message * message": "nlmqtt_message_ref(a->message)",
    "const nlmqtt_properties * properties": "a->properties",
    "nlmqtt_decision * decision": "a->decision", "const nlmqtt_decision * decision": "a->decision",
    "nlmqtt_credentials * credentials": "a->credentials",
    # What would end the objects that call back, or make them something else, goes to others of the same runtime.
    "client_stop.client": "a->spare_client", "client_stop_ex.client": "a->spare_client", "client_free.client": "a->spare_client",
    "client_next_message.client": "a->pull_client",
    "server_stop.server": "a->spare_server", "server_free.server": "a->spare_server", "server_reload.server": "a->spare_server",
    "server_start.server": "a->spare_server", "runtime_free.runtime": "a->spare_runtime",
    "client_config_free.config": "nlmqtt_client_config_new()", "server_config_free.config": "nlmqtt_server_config_new()",
    "listener_config_free.config": "nlmqtt_listener_config_new()",
    "runtime_config_free.config": "nlmqtt_runtime_config_new()", "properties_free.properties": "nlmqtt_properties_new()",
    "decision_free.decision": "nlmqtt_decision_new()",
    # Structs.
    "const nlmqtt_client_callbacks * callbacks": "&a->callbacks", "nlmqtt_client_callbacks * callbacks": "&a->callbacks",
    "const nlmqtt_server_hooks * hooks": "&a->hooks", "nlmqtt_server_hooks * hooks": "&a->hooks",
    "const nlmqtt_publish_options * options": "&a->publish_options", "nlmqtt_publish_options * options": "&a->publish_options",
    "const nlmqtt_stop_options * options": "&a->stop_options", "nlmqtt_stop_options * options": "&a->stop_options",
    "const nlmqtt_subscribe_options * options": "&a->subscribe_options", "nlmqtt_subscribe_options * options": "&a->subscribe_options",
    "const nlmqtt_subscription * subscriptions": "&a->subscription", "nlmqtt_subscription * subscription": "&a->init_subscription",
    "const nlmqtt_transport * transport": "NULL", "nlmqtt_transport * transport": "&a->transport",
    "nlmqtt_client_statistics * statistics": "&a->client_statistics", "nlmqtt_runtime_statistics * statistics": "&a->runtime_statistics",
    "nlmqtt_datagram_statistics * statistics": "&a->datagram_statistics",
    "nlmqtt_ack ack": "a->ack", "nlmqtt_hook_token token": "a->hook_token",
    # Outputs.
    "nlmqtt_client ** client_out": "&a->client_out", "nlmqtt_server ** server_out": "&a->server_out",
    "nlmqtt_runtime ** runtime_out": "&a->runtime_out", "nlmqtt_message ** message_out": "&a->message_out",
    "nlmqtt_ack * ack_out": "&a->ack_out", "nlmqtt_bytes * value_out": "&a->bytes_out", "nlmqtt_str * value_out": "&a->text_out",
    "nlmqtt_str * name_out": "&a->name_out", "bool * value_out": "&a->bool_out", "uint16_t * port_out": "&a->port_out",
    "uint32_t * value_out": "&a->u32_out", "uint64_t * value_out": "&a->u64_out", "uint64_t * token_out": "&a->token_out",
    "uint64_t * task_out": "&a->task_out", "uint64_t * subscription_out": "&a->subscription_out",
    "size_t * count_out": "&a->size_out", "size_t * len_out": "&a->size_out", "size_t * used_bytes_out": "&a->size_out",
    "size_t * limit_bytes_out": "&a->size_out", "char * buf": "a->buf", "size_t cap": "sizeof a->buf",
    # Texts and bytes.
    "const char * topic": '"matrix/none"', "const char * filter": '"matrix/none"', "const char * client_id": '"nobody"',
    "const char * uri": '"mqtt://127.0.0.1:1"', "const char * key": '"max_subscriptions"', "const char * value": '"10"',
    "const char * username": '"somebody"', "const char * device": '"lo"', "const char * address": '"127.0.0.1"',
    "const char * method": '"statistics"', "const char * parameters": '"{}"', "const char * module": '"mio"',
    "const char * name": '"matrix"', "const char * path": '"/dev/null"', "const char * response_topic": '"matrix/answers"',
    "const char * feature": '"server"', "const char * options": '"max_connections=10"', "const char * text": '"{}"',
    "const char *const * filters": "a->filters", "const char *const * addresses": "a->addresses", "const uint32_t * cpus": "a->cpus",
    "const char * pem": "ca_pem", "const char * cert_file": '"/dev/null"', "const char * key_file": '"/dev/null"',
    "const char * cert_pem": "client_pem", "const char * key_pem": "client_key", "const void * hash": "a->hash",
    "client_config_add_pin.len": "sizeof a->hash",
    "const void * payload": '"x"', "const void * data": '"x"', "const void * password": '"x"',
    "client_config_load_connstr.text": '"ClientId=matrix"', "server_config_load_connstr.text": '"max_connections=100"',
    "server_ban.text": '"nobody"', "server_unban.text": '"not banned"', "server_stat.name": '"clients_connected"',
    "server_remove_listener.address": '"127.0.0.1:1"', "client_config_set_bool.key": '"clean_start"',
    "client_config_get_bool.key": '"clean_start"', "server_config_set_bool.key": '"allow_anonymous"',
    "server_config_get_bool.key": '"allow_anonymous"', "server_add_listener.uri": '"mqtt://127.0.0.1:0"',
    "server_config_add_listener.uri": '"mqtt://127.0.0.1:0"', "server_config_set.key": '"max_connections"',
    "listener_config_set_uri.uri": '"mqtt://127.0.0.1:0"', "listener_config_set.key": '"max_connections"',
    "listener_config_get.key": '"max_connections"', "const char * mount_point": "NULL", "const char * allow": '"127.0.0.1"',
    "const char * deny": '"192.0.2.1"', "const char * ca_file": "NULL", "const char * crl_file": "NULL", "const char * alpn": "NULL",
    "const char * paths": "NULL", "const char * origins": "NULL", "const char * trusted": "NULL", "const char * owner": "NULL",
    # The listener goes on being one of plain TCP: its certificate and its file are those of another.
    "listener_config_set_certificate_files.config": "a->other_listener_config",
    "listener_config_set_client_certificates.config": "a->other_listener_config", "listener_config_set_tls.config": "a->other_listener_config",
    "listener_config_set_unix_file.config": "a->other_listener_config",
    "client_config_set_proxy.uri": "NULL", "const char * password": '"word"', "client_config_set_websocket_path.path": '"/matrix"', "client_config_set_proxy_protocol.version": "0",
    # Numbers.
    "size_t len": "1", "size_t password_len": "1", "size_t count": "1", "size_t index": "0", "uint8_t qos": "0", "bool retain": "false",
    "uint8_t id": "NLMQTT_PROPERTY_USER_PROPERTY", "int32_t timeout_ms": "10", "uint32_t timeout_ms": "50", "uint64_t token": "a->token_out",
    "uint64_t value": "10", "uint32_t value": "0", "bool value": "true", "bool allow_anonymous": "true", "bool clean_start": "true",
    "bool end_session": "false", "bool jitter": "true", "bool manual_ack": "false", "bool newest_per_topic": "false",
    "bool queue_qos0": "true", "int32_t cause": "NLMQTT_CAUSE_NETWORK", "int32_t code": "NLMQTT_ALLOW", "int32_t descriptor": "-1",
    "int32_t format": "NLMQTT_METRICS_JSON", "int32_t kind": "NLMQTT_BAN_USERNAME", "int32_t level_max": "NLMQTT_LOG_ERROR",
    "int32_t mode": "NLMQTT_MODE_LOOP", "int32_t overflow": "NLMQTT_OVERFLOW_DROP_OLDEST", "int32_t place": "NLMQTT_PLACE_PUBLISH",
    "int32_t policy": "NLMQTT_SCHEDULING_INHERITED", "int32_t resubscribe": "NLMQTT_RESUBSCRIBE_ALWAYS",
    "int32_t rule": "NLMQTT_RETRY_SOON", "nlmqtt_status status": "NLMQTT_OK", "size_t bytes_max": "1000", "size_t events_max": "10",
    "size_t limit_bytes": "2000000", "size_t max_packet_bytes": "1000", "size_t messages_max": "10", "size_t requests_max": "10",
    "size_t stack_bytes": "0", "size_t workers": "1", "uint16_t in_max": "1", "uint16_t keepalive_s": "10",
    "uint16_t max_inflight_messages": "10", "uint16_t out_max": "1", "uint16_t receive_maximum": "10", "uint32_t bytes_max": "1000",
    "uint32_t connect_timeout_ms": "1000", "uint32_t delay_ms": "10", "uint32_t drain_ms": "10", "uint32_t expiry_ms": "10",
    "uint32_t limit_bytes": "2000000", "uint32_t mark": "0", "uint32_t max_connections": "10", "uint32_t max_ms": "10",
    "uint32_t messages_max": "10", "uint32_t min_ms": "10", "uint32_t packet_bytes": "1000", "uint32_t period_ms": "0",
    "uint32_t ping_timeout_ms": "1000", "uint32_t priority": "0", "uint32_t seconds": "1", "uint32_t session_expiry_s": "10",
    "server_schedule.task_out": "&a->schedule_out", "server_cancel.task": "a->schedule_out", "uint64_t lookup": "0", "uint64_t subscription": "a->subscription_out", "uint64_t task": "a->task_out", "uint8_t priority": "0",
    "uint8_t oldest": "3", "uint8_t newest": "5", "uint8_t dscp": "0", "uint32_t backlog": "10", "uint32_t messages": "0", "uint32_t bytes": "0",
    "uint32_t connections": "0", "uint32_t user_timeout_ms": "0", "uint32_t interval_s": "0", "uint32_t mode": "0600", "uint32_t half_open_max": "0",
    "uint32_t half_open_per_source_max": "0", "uint32_t unproven_max": "0", "uint32_t newcomers": "50", "uint32_t resets": "100",
    "uint32_t gap_timeout_ms": "0", "uint32_t silent_timeout_s": "0", "bool enabled": "false", "int32_t identity": "NLMQTT_IDENTITY_NONE",
    "listener_config_set_client_certificates.mode": "NLMQTT_CLIENT_CERTIFICATE_NONE", "int32_t version_min": "NLMQTT_TLS_VERSION_1_2",
    "listener_config_set_proxy.policy": "NLMQTT_PROXY_POLICY_OFF",
    "uint8_t reason": "0", "uint8_t version": "5", "decision_set_reason.reason": "0x87", "decision_refuse_filter.reason": "0x87",
    "properties_add_u32.id": "NLMQTT_PROPERTY_PAYLOAD_FORMAT_INDICATOR", "properties_get_u32.id": "NLMQTT_PROPERTY_PAYLOAD_FORMAT_INDICATOR",
    "properties_add_string.id": "NLMQTT_PROPERTY_CONTENT_TYPE", "properties_get_string.id": "NLMQTT_PROPERTY_CONTENT_TYPE",
    "properties_add_binary.id": "NLMQTT_PROPERTY_CORRELATION_DATA", "properties_get_binary.id": "NLMQTT_PROPERTY_CORRELATION_DATA",
    "properties_remove.id": "NLMQTT_PROPERTY_RESPONSE_TOPIC", "properties_validate.properties": "a->no_properties",
    "properties_add_u32.properties": "a->more_properties",
    "properties_add_string.properties": "a->more_properties",
    "properties_add_binary.properties": "a->more_properties",
    "properties_add_user.properties": "a->more_properties",
    "properties_remove.properties": "a->more_properties",
    # A client's `connect` properties may hold few things.
    "client_config_set_connect_properties.properties": "a->no_properties",
    "client_authenticate.data": '"x"',
}

# Handles that a call returns, and what gives them back.
RELEASES = {
    "listener_config_new": "nlmqtt_listener_config_free",
    "client_config_new": "nlmqtt_client_config_free", "server_config_new": "nlmqtt_server_config_free",
    "runtime_config_new": "nlmqtt_runtime_config_free", "decision_new": "nlmqtt_decision_free",
    "properties_new": "nlmqtt_properties_free", "properties_copy": "nlmqtt_properties_free", "message_ref": "nlmqtt_message_unref",
}

# Places that are not, or not always, on the thread that runs the other callbacks: what waits may wait there, or refuse.
# Every free_fn is one.
ON_ANY_THREAD = {
    "runtime_config_set_log.log", "runtime_config_set_thread_hooks.start", "runtime_config_set_thread_hooks.stop",
    "client_config_each_key.each", "client_config_check.problem", "server_config_each_key.each", "server_config_check.problem",
    "server_reload.change", "server_client_info.each", "server_each_subscription.each", "server_each_ban.each",
    "client_config_set_signer.sign", "server_metrics.answer", "server_control.answer", "server_each_retained.each", "server_each_client.each", "server_each_stat.each",
}

# Tables that have a program of their own: a transport must move bytes, whatever it calls (client_transport.c).
NOT_PLACES = {"transport"}

# What a deciding hook answers, where it is not NLMQTT_ALLOW.
REPLIES = {"authenticate": 'strcmp(client->client_id.data, "matrix") == 0 ? NLMQTT_CHALLENGE : NLMQTT_ALLOW'}

# What a callback does besides.
AFTER = {"client_callbacks_auth": "answer_auth(user_data, reason);"}

# What a function without a status returns for NULL: by name, else by result.
NOTHING = {
    "bool": "!{}", "size_t": "{} == 0", "uint8_t": "{} == 0", "uint32_t": "{} == 0", "uint64_t": "{} == 0",
    "nlmqtt_str": "{}.data == NULL", "nlmqtt_bytes": "{}.data == NULL", "const nlmqtt_properties *": "{} == NULL",
    "nlmqtt_message *": "{} == NULL", "nlmqtt_properties *": "{} == NULL",
    "runtime_fd": "{} == -1", "client_state": "{} == NLMQTT_CLIENT_STOPPED", "last_error": "{} < 1000000",
}

# Pointers that may be NULL, as the comment says; the generator looks for that word in it.
MAY_BE_NULL = {
    "client_new.runtime", "client_new.callbacks", "client_stop_ex.options", "client_config_get.len_out",
    "client_config_set_credentials.username", "client_config_set_will.topic", "client_config_set_will.properties",
    "client_config_set_connect_properties.properties", "client_config_set_authentication.method", "client_request.options",
    "client_request.response", "client_request.free_fn", "client_request.token_out", "client_respond.options",
    "client_respond.token_out", "client_next_message.ack_out", "client_publish.token_out", "client_publish_ex.options",
    "client_publish_ex.token_out", "client_publish_message.token_out", "client_subscribe.message", "client_subscribe.free_fn",
    "client_subscribe.token_out", "client_subscribe_many.options", "client_subscribe_many.token_out",
    "client_unsubscribe.token_out", "client_unsubscribe_many.token_out", "client_config_set_requests.response_topic",
    "client_config_set_bind.address", "client_config_set_transport.transport", "client_config_set_inproc_server.server", "client_config_set_bind.device",
    "client_config_set_signer.free_fn", "client_diagnostics.len_out",
    "client_config_check.problem", "message_new.properties", "runtime_new.config", "runtime_memory.used_bytes_out",
    "runtime_memory.limit_bytes_out", "runtime_config_set_thread_hooks.start", "runtime_config_set_thread_hooks.stop",
    "runtime_config_set_thread_hooks.free_fn", "runtime_config_set_resolver.resolve", "runtime_config_set_resolver.free_fn",
    "runtime_config_set_log.log", "runtime_config_set_log.free_fn", "runtime_post.free_fn", "runtime_post_delayed.free_fn",
    "runtime_post_delayed.task_out", "server_new.runtime", "server_new.config", "server_new.hooks", "server_reload.change",
    "server_schedule.free_fn", "server_schedule.task_out", "server_config_get.len_out", "server_config_check.problem",
    "listener_config_get.len_out", "listener_config_set_mount_point.mount_point", "listener_config_set_addresses.allow",
    "listener_config_set_addresses.deny", "listener_config_set_client_certificates.ca_file", "listener_config_set_client_certificates.crl_file",
    "listener_config_set_tls.alpn", "listener_config_set_websocket.paths", "listener_config_set_websocket.origins",
    "listener_config_set_proxy.trusted", "listener_config_set_rudp_bare.trusted", "listener_config_set_unix_file.owner", "server_add_listener_config.port_out",
    "client_config_set_proxy.uri", "client_config_set_proxy.username", "client_config_set_proxy.password", "client_config_set_websocket_path.path",
    "server_control.parameters", "server_add_listener.port_out", "server_retained_set.properties",
    "server_retained_clear.count_out", "server_publish.properties", "server_subscribe.free_fn",
    "server_subscribe.subscription_out", "server_complete.decision",
}

# What a function answers in a callback, where it is neither OK nor the WOULD_DEADLOCK that its comment promises.
STATUSES = {
    # Begun; a callback tells the end.
    "client_stop": ["IN_PROGRESS"], "client_stop_ex": ["IN_PROGRESS"], "server_stop": ["IN_PROGRESS"],
    # There are credentials in before_connect only, and elsewhere none to give.
    "credentials_set": ["OK", "INVALID_ARGUMENT"],
    # The message is no request, or nothing says that it is.
    "client_respond": ["OK", "UNSUPPORTED"],
    # The message has nothing to acknowledge.
    "client_ack": ["NOT_FOUND"],
    # In the modes that have it.
    "runtime_poll": ["WOULD_DEADLOCK", "UNSUPPORTED"], "runtime_dispatch": ["WOULD_DEADLOCK", "UNSUPPORTED"],
    # -1 is no descriptor: seen before anything is waited for.
    "server_add_listener_fd": ["INVALID_ARGUMENT"], "server_adopt": ["INVALID_ARGUMENT"],
    "server_adopt_at": ["INVALID_ARGUMENT"],
    # The client is on TCP.
    "client_datagram_stats": ["NOT_FOUND"],
    # The server may not listen yet.
    "server_listener_port": ["OK", "NOT_FOUND"], "server_listener_address": ["OK", "NOT_FOUND"],
}

# --- frees.c: who is freed in a callback, in this order.
COLUMNS = {
    "its client": ["client_free"],
    "its server": ["server_free"],
    "its runtime": ["runtime_free"],
    "what they were made from": ["client_config_free", "server_config_free", "listener_config_free", "runtime_config_free"],
    "everything": ["client_free", "server_free", "runtime_free", "client_config_free", "server_config_free", "listener_config_free", "runtime_config_free"],
    "everything, the runtime first": ["runtime_config_free", "runtime_free", "server_free", "client_free"],
}

# Nothing uses these behind a call: freed in a callback by matrix.c.
FREED_BY_MATRIX = {"decision_free", "properties_free"}

# What ends the registration whose callback is running.
REGISTRATIONS = {
    "client_subscribe.message": 'nlmqtt_client_unsubscribe(CLIENT_OF(cell), "own", NULL)',
    "subscribe_options.message": 'nlmqtt_client_unsubscribe(CLIENT_OF(cell), "many", NULL)',
    "client_request.response": "nlmqtt_client_cancel(CLIENT_OF(cell), cell->request)",
    "server_subscribe.receive": "nlmqtt_server_unsubscribe(SERVER_OF(cell), cell->subscription)",
    "server_schedule.task": "nlmqtt_server_cancel(SERVER_OF(cell), cell->task)",
}

# What a client still tells when it was freed in a callback: the end of what it was asked for.
MAY_FOLLOW = {
    "client_callbacks.published", "client_callbacks.subscribed", "client_callbacks.unsubscribed",
    "publish_options.completion", "subscribe_options.completion", "client_request.response",
}

# What makes the library call there (frees_scenes.h), where it is not a client's session from its beginning to its end.
SCENES = {
    "client_callbacks.path_moved": "PATH_MOVES", "server_hooks.path_moved": "PATH_MOVES", "client_callbacks.fell_back": "FALLS_BACK",
    "server_hooks.session_taken_over": "PEERS", "server_hooks.expired": "PEERS", "server_hooks.slow_client": "SLOW_PEER", "server_hooks.stopped": "STOPS",
    "client_config_set_signer.sign": "SIGNS", "client_config_set_signer.free_fn": "SIGNS",
    "runtime_config_set_thread_hooks.start": "THREADS_COME", "runtime_config_set_thread_hooks.stop": "THREADS_COME",
    "runtime_config_set_thread_hooks.free_fn": "THREADS_COME",
    "runtime_config_set_resolver.resolve": "RESOLVES", "runtime_config_set_resolver.free_fn": "RESOLVES",
    **{f"transport.{name}": "TRANSPORT" for name in ("free_fn", "open", "opened", "read", "write", "shutdown", "close")},
    **{f"{name}.{told}": "QUESTIONS" for name, told in (
        ("client_config_each_key", "each"), ("client_config_check", "problem"), ("server_config_each_key", "each"), ("server_config_check", "problem"),
        ("server_reload", "change"), ("server_client_info", "each"), ("server_each_subscription", "each"), ("server_each_ban", "each"),
        ("server_metrics", "answer"), ("server_control", "answer"), ("server_each_retained", "each"), ("server_each_client", "each"),
        ("server_each_stat", "each"))},
    **{f"{name}.{called}": "TASKS" for name, called in (
        ("runtime_post", "task"), ("runtime_post", "free_fn"), ("runtime_post_delayed", "task"), ("runtime_post_delayed", "free_fn"),
        ("server_schedule", "task"), ("server_schedule", "free_fn"), ("server_subscribe", "receive"), ("server_subscribe", "free_fn"))},
}

# What a transport does, which moves bytes besides.
LINES = {
    "transport.open": "return line_open(own, connection_out, descriptor_out);", "transport.opened": "return NLMQTT_OK;",
    "transport.read": "return line_read(connection, buffer, room);", "transport.write": "return line_write(connection, bytes, len);",
    "transport.shutdown": "shutdown(((struct line *)connection)->descriptor, SHUT_WR);", "transport.close": "line_close(connection);",
}


def answer(place):
    """How a callback ends that has nothing of its own to answer."""
    if place.result == "int32_t":
        return f"    return {REPLIES.get(place.name, 'NLMQTT_ALLOW')};\n"
    if place.result == "bool":
        return "    return false;\n"
    assert place.result == "void", place
    return ""
