/* After the callbacks of frees.c: makes the library call back at the place of a cell, where handles of the cell are freed; then frees the others. What
 * a client or server is asked for is asked for on the thread that runs callbacks, where nothing waits. */

enum { MODES = 3, THREADS = 32, CELLS = PLACES * COLUMNS * MODES, TURNS_MAX = 20000 };
static struct cell cells[CELLS]; /* never given back: a callback may still be at its last instruction */
static struct cell *volatile current[THREADS];
static int next_cell, cells_done;
static bool is_short; /* each cell in one mode, by turns */

static void print_cell(const struct cell *cell, const char *what)
{
    fprintf(stderr, "%s freed in %s (mode %d): %s\n", column_names[cell->column], place_names[cell->place], (int)cell->mode, what);
}

static void on_alarm(int number)
{
    int i;
    (void)number;
    for (i = 0; i < THREADS; i++)
        if (current[i])
            print_cell(current[i], "is not done");
    _exit(3);
}

/* One round of whoever runs callbacks. */
static void turn(struct cell *cell)
{
    bool is_helping = cell->mode != NLMQTT_MODE_THREAD && hold(cell, RUNTIME);
    if (is_helping) {
        OK(cell->mode == NLMQTT_MODE_LOOP ? nlmqtt_runtime_poll(RUNTIME_OF(cell), 5) : nlmqtt_runtime_dispatch(RUNTIME_OF(cell), 5));
        pthread_mutex_unlock(&cell->lock);
    }
    /* A callback on another thread may wait for the lock. */
    if (!is_helping || load(&cell->claimed) != load(&cell->visited))
        sleep_ms(1);
}

/* Until a place was called, or the callback of this cell has freed; whether the scene goes on. */
static bool await(struct cell *cell, int place)
{
    int turns;
    for (turns = 0; load(&cell->seen[place]) == 0 && !load(&cell->visited); turns++) {
        if (turns == TURNS_MAX) {
            print_cell(cell, "nobody called this:");
            fprintf(stderr, "%s\n", place_names[place]);
            exit(1);
        }
        turn(cell);
    }
    return !load(&cell->visited);
}

struct asked {
    struct cell *cell;
    enum handle handle;
    void (*act)(struct cell *cell);
};

static void run_asked(void *user_data)
{
    struct asked *asked = (struct asked *)user_data;
    if (!hold(asked->cell, asked->handle))
        return;
    asked->act(asked->cell);
    pthread_mutex_unlock(&asked->cell->lock);
}

/* Has something done where callbacks run, if the handle it needs is there. */
static void ask(struct cell *cell, enum handle handle, void (*act)(struct cell *cell))
{
    struct asked *asked = (struct asked *)calloc(1, sizeof *asked);
    asked->cell = cell;
    asked->handle = handle;
    asked->act = act;
    if (!hold(cell, RUNTIME)) {
        free(asked);
        return;
    }
    OK(nlmqtt_runtime_post(RUNTIME_OF(cell), run_asked, asked, free));
    pthread_mutex_unlock(&cell->lock);
}

/* --- What a session does. */

static void publish(struct cell *cell, const char *topic, const void *payload, size_t len, bool retain)
{
    nlmqtt_publish_options options;
    nlmqtt_publish_options_init(&options);
    fill_publish_options(&options);
    options.qos = 1;
    options.retain = retain;
    options.payload_free_fn = NULL;
    options.user_data = given(cell, OF_CLIENT);
    OK(nlmqtt_client_publish_ex(CLIENT_OF(cell), topic, payload, len, &options, NULL));
}

/* With more than its queue takes: none leaves before this returns. */
static void begin(struct cell *cell)
{
    int i;
    OK(nlmqtt_client_start(CLIENT_OF(cell)));
    for (i = 0; i < 8; i++)
        publish(cell, "matrix/waits", "x", 1, false);
}

static void subscribe(struct cell *cell)
{
    nlmqtt_subscription subscription;
    nlmqtt_subscribe_options options;
    nlmqtt_subscription_init(&subscription);
    subscription.filter = "many";
    nlmqtt_subscribe_options_init(&options);
    fill_subscribe_options(&options);
    options.message_user_data = given(cell, OF_CLIENT);
    options.completion_user_data = given(cell, OF_CLIENT);
    OK(nlmqtt_client_subscribe(CLIENT_OF(cell), "plain", 1, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_subscribe(CLIENT_OF(cell), "own", 1, on_client_subscribe_message, given(cell, OF_CLIENT), on_client_subscribe_free_fn, NULL));
    OK(nlmqtt_client_subscribe_many(CLIENT_OF(cell), &subscription, 1, &options, NULL));
}

static void publish_to_all(struct cell *cell)
{
    static char payload[3000];
    nlmqtt_publish_options moved;
    nlmqtt_publish_options_init(&moved);
    moved.payload_free_fn = on_publish_options_payload_free_fn;
    moved.payload_user_data = given(cell, OF_CALL);
    OK(nlmqtt_client_publish_ex(CLIENT_OF(cell), "plain", payload, sizeof payload, &moved, NULL));
    publish(cell, "own", "x", 1, false);
    publish(cell, "many", "x", 1, false);
}

static void retain(struct cell *cell)
{
    publish(cell, "kept", "x", 1, true);
}

static void clear(struct cell *cell)
{
    publish(cell, "kept", "", 0, true);
}

static void request(struct cell *cell)
{
    OK(nlmqtt_client_request(CLIENT_OF(cell), "nobody", "x", 1, NULL, 20, on_client_request_response, given(cell, OF_CLIENT), on_client_request_free_fn,
                             &cell->request));
}

/* One more than a session may have. */
static void subscribe_too_much(struct cell *cell)
{
    OK(nlmqtt_client_subscribe(CLIENT_OF(cell), "few/1", 0, NULL, NULL, NULL, NULL));
    OK(nlmqtt_client_subscribe(CLIENT_OF(cell), "few/2", 0, NULL, NULL, NULL, NULL));
}

/* More than the client takes. */
static void publish_large(struct cell *cell)
{
    static char large[10000];
    nlmqtt_message *message = NULL;
    OK(nlmqtt_message_new("t", large, sizeof large, 0, false, NULL, &message));
    OK(nlmqtt_server_publish_to(SERVER_OF(cell), "matrix", message));
    nlmqtt_message_unref(message);
}

static void unsubscribe(struct cell *cell)
{
    OK(nlmqtt_client_unsubscribe(CLIENT_OF(cell), "own", NULL));
    OK(nlmqtt_client_unsubscribe(CLIENT_OF(cell), "many", NULL));
}

static void kick(struct cell *cell)
{
    OK(nlmqtt_server_kick(SERVER_OF(cell), "matrix", 0x8B, false));
}

static void end_session(struct cell *cell)
{
    OK(nlmqtt_server_kick(SERVER_OF(cell), "matrix", 0x8B, true));
}

static bool goes_online(struct cell *cell)
{
    ask(cell, CLIENT, begin);
    return await(cell, IN_CLIENT_CALLBACKS_CONNECTED);
}

static bool subscribes(struct cell *cell)
{
    ask(cell, CLIENT, subscribe);
    return await(cell, IN_SUBSCRIBE_OPTIONS_COMPLETION_FREE_FN) && await(cell, IN_SERVER_HOOKS_SUBSCRIBED);
}

static void a_session(struct cell *cell)
{
    if (!goes_online(cell) || !await(cell, IN_SERVER_HOOKS_TICK) || !subscribes(cell))
        return;
    ask(cell, CLIENT, publish_to_all);
    if (!await(cell, IN_CLIENT_CALLBACKS_MESSAGE) || !await(cell, IN_CLIENT_SUBSCRIBE_MESSAGE) || !await(cell, IN_SUBSCRIBE_OPTIONS_MESSAGE) ||
        !await(cell, IN_PUBLISH_OPTIONS_PAYLOAD_FREE_FN))
        return;
    ask(cell, CLIENT, retain);
    if (!await(cell, IN_SERVER_HOOKS_RETAINED_SET))
        return;
    ask(cell, CLIENT, clear);
    if (!await(cell, IN_SERVER_HOOKS_RETAINED_CLEARED))
        return;
    ask(cell, CLIENT, request);
    if (!await(cell, IN_CLIENT_REQUEST_RESPONSE) || !await(cell, IN_CLIENT_REQUEST_FREE_FN))
        return;
    ask(cell, SERVER, publish_large);
    if (!await(cell, IN_SERVER_HOOKS_DROPPED))
        return;
    ask(cell, CLIENT, subscribe_too_much);
    if (!await(cell, IN_SERVER_HOOKS_QUOTA))
        return;
    ask(cell, CLIENT, unsubscribe);
    if (!await(cell, IN_CLIENT_SUBSCRIBE_FREE_FN) || !await(cell, IN_SUBSCRIBE_OPTIONS_MESSAGE_FREE_FN) || !await(cell, IN_SERVER_HOOKS_UNSUBSCRIBED))
        return;
    ask(cell, SERVER, kick);
    if (!await(cell, IN_CLIENT_CALLBACKS_DISCONNECTED) || !await(cell, IN_SERVER_HOOKS_SESSION_RESUMED) || !await(cell, IN_SERVER_HOOKS_WILL))
        return;
    ask(cell, SERVER, end_session);
    if (await(cell, IN_SERVER_HOOKS_SESSION_EXPIRED))
        await(cell, IN_CLIENT_CALLBACKS_RESUBSCRIBED);
}

/* --- What others do. */

static int keeper(struct cell *cell)
{
    return peer_of(cell->port, "kept", false, "\x11\0\0\0\x3C", 5, NULL);
}

/* A message that is over after a second. */
static void publish_expiring(struct cell *cell)
{
    nlmqtt_properties *expiry = nlmqtt_properties_new();
    nlmqtt_message *message = NULL;
    OK(nlmqtt_properties_add_u32(expiry, NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL, 1));
    OK(nlmqtt_message_new("kept/late", "x", 1, 1, false, expiry, &message));
    OK(nlmqtt_server_publish_to(SERVER_OF(cell), "kept", message));
    nlmqtt_message_unref(message);
    nlmqtt_properties_free(expiry);
}

/* A session is taken over, and what waits for it while it is away is over when it comes back. */
static void peers(struct cell *cell)
{
    char answers[64];
    int second, peer = keeper(cell);
    bool goes_on = await(cell, IN_SERVER_HOOKS_SESSION_CREATED);
    second = goes_on ? keeper(cell) : -1;
    if (goes_on && await(cell, IN_SERVER_HOOKS_SESSION_TAKEN_OVER)) {
        CHECK(send(second, "\xE0\0", 2, MSG_NOSIGNAL) == 2);
        while (recv(second, answers, sizeof answers, MSG_DONTWAIT) != 0)
            turn(cell);
        close(peer);
        ask(cell, SERVER, publish_expiring);
        turn(cell);
        sleep_ms(1100);
        peer = keeper(cell);
        await(cell, IN_SERVER_HOOKS_EXPIRED);
    }
    close(peer);
    if (second >= 0)
        close(second);
}

static void publish_to_slow(struct cell *cell)
{
    enum { LARGE = 1 << 20 };
    char *large = (char *)calloc(1, LARGE);
    nlmqtt_message *message = NULL;
    OK(nlmqtt_message_new("t", large, LARGE, 0, false, NULL, &message));
    OK(nlmqtt_server_publish_to(SERVER_OF(cell), "slow", message));
    nlmqtt_message_unref(message);
    free(large);
}

static void a_slow_peer(struct cell *cell)
{
    int turns, peer = peer_of(cell->port, "slow", true, "", 0, NULL);
    for (turns = 0; turns < TURNS_MAX && await(cell, IN_SERVER_HOOKS_CONNECTED) && !load(&cell->visited); turns++) {
        if (turns % 8 == 0)
            ask(cell, SERVER, publish_to_slow);
        turn(cell);
    }
    close(peer);
}

static void publish_on_the_way(struct cell *cell)
{
    OK(nlmqtt_client_publish(CLIENT_OF(cell), "rover", "x", 1, 0, false, NULL));
}

static void a_path_moves(struct cell *cell)
{
    int turns;
    if (!goes_online(cell))
        return;
    udp_relay_move(&cell->relay);
    for (turns = 0; turns < TURNS_MAX && !load(&cell->visited); turns++) {
        if (turns % 20 == 0)
            ask(cell, CLIENT, publish_on_the_way);
        turn(cell);
    }
}

static void stop_client(struct cell *cell)
{
    CHECK_EQ(nlmqtt_client_stop(CLIENT_OF(cell), 1000), NLMQTT_IN_PROGRESS);
}

static void stop_server(struct cell *cell)
{
    CHECK_EQ(nlmqtt_server_stop(SERVER_OF(cell), 0, 100), NLMQTT_IN_PROGRESS);
}

static void post(struct cell *cell)
{
    OK(nlmqtt_runtime_post(RUNTIME_OF(cell), on_runtime_post_task, given(cell, OF_RUNTIME), on_runtime_post_free_fn));
    OK(nlmqtt_runtime_post_delayed(RUNTIME_OF(cell), 5, on_runtime_post_delayed_task, given(cell, OF_RUNTIME), on_runtime_post_delayed_free_fn, NULL));
}

static void schedule(struct cell *cell)
{
    OK(nlmqtt_server_schedule(SERVER_OF(cell), 5, 5, on_server_schedule_task, given(cell, OF_SERVER), on_server_schedule_free_fn, &cell->task));
    OK(nlmqtt_server_subscribe(SERVER_OF(cell), "local", on_server_subscribe_receive, given(cell, OF_SERVER), on_server_subscribe_free_fn,
                               &cell->subscription));
    OK(nlmqtt_server_publish(SERVER_OF(cell), "local", "x", 1, 0, false, NULL));
}

static void cancel(struct cell *cell)
{
    OK(nlmqtt_server_cancel(SERVER_OF(cell), cell->task));
    OK(nlmqtt_server_unsubscribe(SERVER_OF(cell), cell->subscription));
}

static void tasks(struct cell *cell)
{
    ask(cell, RUNTIME, post);
    if (!await(cell, IN_RUNTIME_POST_FREE_FN) || !await(cell, IN_RUNTIME_POST_DELAYED_FREE_FN))
        return;
    ask(cell, SERVER, schedule);
    if (!await(cell, IN_SERVER_SCHEDULE_TASK) || !await(cell, IN_SERVER_SUBSCRIBE_RECEIVE))
        return;
    ask(cell, SERVER, cancel);
    if (await(cell, IN_SERVER_SCHEDULE_FREE_FN))
        await(cell, IN_SERVER_SUBSCRIBE_FREE_FN);
}

static void ban(struct cell *cell)
{
    OK(nlmqtt_server_ban(SERVER_OF(cell), NLMQTT_BAN_USERNAME, "another", 0));
}

/* What is told on the thread of the call, which frees what it was called with. */
static void questions(struct cell *cell)
{
    nlmqtt_server *server = SERVER_OF(cell);
    struct registration *own;
    ask(cell, SERVER, ban);
    if (!goes_online(cell) || !subscribes(cell))
        return;
    ask(cell, CLIENT, retain);
    if (!await(cell, IN_SERVER_HOOKS_RETAINED_SET))
        return;
    own = registration_of(cell, OF_CALL, 0);
    switch (cell->place) {
    case IN_CLIENT_CONFIG_EACH_KEY_EACH: OK(nlmqtt_client_config_each_key(on_client_config_each_key_each, own)); break;
    case IN_SERVER_CONFIG_EACH_KEY_EACH: OK(nlmqtt_server_config_each_key(on_server_config_each_key_each, own)); break;
    case IN_CLIENT_CONFIG_CHECK_PROBLEM:
        CHECK_EQ(nlmqtt_client_config_load_json(CLIENT_CONFIG_OF(cell), "{\"no_such_key\": 1, \"nor_this\": 1}"), NLMQTT_CONFIG);
        CHECK_EQ(nlmqtt_client_config_check(CLIENT_CONFIG_OF(cell), on_client_config_check_problem, own), NLMQTT_CONFIG);
        break;
    case IN_SERVER_CONFIG_CHECK_PROBLEM:
        CHECK_EQ(nlmqtt_server_config_load_json(SERVER_CONFIG_OF(cell), "{\"no_such_key\": 1, \"nor_this\": 1}"), NLMQTT_CONFIG);
        CHECK_EQ(nlmqtt_server_config_check(SERVER_CONFIG_OF(cell), on_server_config_check_problem, own), NLMQTT_CONFIG);
        break;
    case IN_SERVER_RELOAD_CHANGE:
        OK(nlmqtt_server_config_load_connstr(SERVER_CONFIG_OF(cell), "max_keepalive=100;max_connections=10"));
        OK(nlmqtt_server_reload(server, SERVER_CONFIG_OF(cell), on_server_reload_change, own));
        break;
    case IN_SERVER_CLIENT_INFO_EACH: OK(nlmqtt_server_client_info(server, "matrix", on_server_client_info_each, own)); break;
    case IN_SERVER_EACH_SUBSCRIPTION_EACH: OK(nlmqtt_server_each_subscription(server, "matrix", on_server_each_subscription_each, own)); break;
    case IN_SERVER_EACH_BAN_EACH: OK(nlmqtt_server_each_ban(server, on_server_each_ban_each, own)); break;
    case IN_SERVER_METRICS_ANSWER: OK(nlmqtt_server_metrics(server, NLMQTT_METRICS_JSON, on_server_metrics_answer, own)); break;
    case IN_SERVER_CONTROL_ANSWER: OK(nlmqtt_server_control(server, "statistics", NULL, on_server_control_answer, own)); break;
    case IN_SERVER_EACH_RETAINED_EACH: OK(nlmqtt_server_each_retained(server, "#", on_server_each_retained_each, own)); break;
    case IN_SERVER_EACH_CLIENT_EACH: OK(nlmqtt_server_each_client(server, on_server_each_client_each, own)); break;
    case IN_SERVER_EACH_STAT_EACH: OK(nlmqtt_server_each_stat(server, on_server_each_stat_each, own)); break;
    default: print_cell(cell, "no question of it"); exit(1);
    }
}

static void play(struct cell *cell)
{
    switch (scene_of[cell->place]) {
    case SESSION: a_session(cell); break;
    case PEERS: peers(cell); break;
    case SLOW_PEER: a_slow_peer(cell); break;
    case PATH_MOVES: a_path_moves(cell); break;
    case QUESTIONS: questions(cell); break;
    case TASKS: tasks(cell); break;
    case STOPS:
        if (goes_online(cell)) {
            ask(cell, SERVER, stop_server);
            await(cell, IN_SERVER_HOOKS_STOPPED);
        }
        break;
    case TRANSPORT:
        if (goes_online(cell)) {
            ask(cell, CLIENT, stop_client);
            await(cell, IN_TRANSPORT_CLOSE);
        }
        break;
    case FALLS_BACK:
        ask(cell, CLIENT, begin);
        await(cell, IN_CLIENT_CALLBACKS_FELL_BACK);
        break;
    case SIGNS:
        ask(cell, CLIENT, begin);
        await(cell, IN_CLIENT_CONFIG_SET_SIGNER_SIGN);
        break;
    case RESOLVES:
        ask(cell, CLIENT, begin);
        await(cell, IN_RUNTIME_CONFIG_SET_RESOLVER_RESOLVE);
        break;
    case THREADS_COME:
        ask(cell, CLIENT, begin);
        await(cell, IN_RUNTIME_CONFIG_SET_THREAD_HOOKS_STOP);
        break;
    }
}

/* --- A cell from its beginning to its end. */

static void make_runtime(struct cell *cell)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    OK(nlmqtt_runtime_config_set_mode(config, cell->mode));
    OK(nlmqtt_runtime_config_set_log(config, NLMQTT_LOG_TRACE, on_runtime_config_set_log_log, given(cell, OF_RUNTIME), on_runtime_config_set_log_free_fn));
    if (scene_of[cell->place] == RESOLVES)
        OK(nlmqtt_runtime_config_set_resolver(config, on_runtime_config_set_resolver_resolve, given(cell, OF_RUNTIME),
                                              on_runtime_config_set_resolver_free_fn));
    if (scene_of[cell->place] == THREADS_COME)
        OK(nlmqtt_runtime_config_set_thread_hooks(config, on_runtime_config_set_thread_hooks_start, on_runtime_config_set_thread_hooks_stop,
                                                  given(cell, OF_RUNTIME), on_runtime_config_set_thread_hooks_free_fn));
    OK(nlmqtt_runtime_new(config, &runtime));
    cell->handles[RUNTIME_CONFIG] = config;
    cell->handles[RUNTIME] = runtime;
}

static void make_server(struct cell *cell)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_listener_config *listener = nlmqtt_listener_config_new();
    nlmqtt_server_hooks hooks;
    nlmqtt_server *server = NULL;
    const char *uri = "mqtt://127.0.0.1:0";
    if (scene_of[cell->place] == PATH_MOVES)
        uri = "rudp://127.0.0.1:0?rudp_generation=2";
    else if (scene_of[cell->place] == FALLS_BACK)
        uri = "rudp://127.0.0.1:0?rudp_generation=1";
    else if (scene_of[cell->place] == SIGNS) {
        write_server_files(&cell->files, "&client_cert=require");
        uri = cell->files.uri;
    }
    OK(nlmqtt_server_config_load_connstr(config, "tick_interval_ms=5;max_subscriptions_per_client=5;max_output_bytes=65536;slow_consumer_grace_ms=20;"
                                                 "allow_anonymous=true"));
    OK(nlmqtt_listener_config_set_uri(listener, uri));
    OK(nlmqtt_server_config_add_listener_config(config, listener));
    nlmqtt_server_hooks_init(&hooks);
    fill_server_hooks(&hooks);
    hooks.user_data = given(cell, OF_SERVER);
    OK(nlmqtt_server_new(RUNTIME_OF(cell), config, &hooks, &server));
    OK(nlmqtt_server_start(server));
    OK(nlmqtt_server_listener_port(server, 0, &cell->port));
    cell->handles[SERVER_CONFIG] = config;
    cell->handles[LISTENER_CONFIG] = listener;
    cell->handles[SERVER] = server;
}

static void set_transport(struct cell *cell, nlmqtt_client_config *config)
{
    nlmqtt_transport transport;
    nlmqtt_transport_init(&transport);
    fill_transport(&transport);
    transport.user_data = given(cell, OF_CALL);
    OK(nlmqtt_client_config_set_transport(config, &transport));
}

static void make_client(struct cell *cell)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    nlmqtt_client_callbacks callbacks;
    nlmqtt_client *client = NULL;
    const enum scene scene = scene_of[cell->place];
    bool has_method = scene != FALLS_BACK;
    const char *uri = "mqtt://127.0.0.1:%u";
    char text[64];
    unsigned port = cell->port;
    if (scene == PATH_MOVES) {
        udp_relay_begin(&cell->relay, cell->port);
        port = cell->relay.port;
        uri = "rudp://127.0.0.1:%u";
    } else if (scene == FALLS_BACK) {
        uri = "rudp://127.0.0.1:%u";
    } else if (scene == SIGNS) {
        uri = "mqtts://127.0.0.1:%u";
        OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
        OK(nlmqtt_client_config_set_signer(config, client_pem, on_client_config_set_signer_sign, given(cell, OF_CALL), on_client_config_set_signer_free_fn));
    } else if (scene == RESOLVES) {
        uri = "mqtt://name.invalid:%u";
    } else if (scene == THREADS_COME) {
        uri = "mqtt://localhost:%u";
    } else if (scene == TRANSPORT) {
        set_transport(cell, config);
    }
    snprintf(text, sizeof text, uri, port);
    OK(nlmqtt_client_config_add_server(config, text, 0));
    OK(nlmqtt_client_config_load_connstr(config, "reconnect_delay_min_ms=1;reconnect_delay_max_ms=5;max_packet_size=8000"));
    OK(nlmqtt_client_config_load_connstr(config, has_method ? "client_id=matrix;version=5;session_expiry_s=60" : "client_id=older;version=3.1.1"));
    if (has_method)
        OK(nlmqtt_client_config_set_authentication(config, "method", "this", 4));
    OK(nlmqtt_client_config_set_will(config, "last/words", "gone", 4, 0, false, NULL));
    OK(nlmqtt_client_config_set_queue_limits(config, 5, 1 << 20));
    OK(nlmqtt_client_config_set_queue_policy(config, NLMQTT_OVERFLOW_DROP_OLDEST, 0, false));
    nlmqtt_client_callbacks_init(&callbacks);
    fill_client_callbacks(&callbacks);
    callbacks.user_data = given(cell, OF_CLIENT);
    OK(nlmqtt_client_new(RUNTIME_OF(cell), config, &callbacks, &client));
    cell->handles[CLIENT_CONFIG] = config;
    cell->handles[CLIENT] = client;
}

static bool is_released(struct cell *cell, enum owner owner)
{
    int i, registered = load(&cell->registered);
    for (i = 0; i < registered; i++)
        if (cell->registrations[i].owner == owner && load(&cell->registrations[i].released) < cell->registrations[i].wanted)
            return false;
    return true;
}

static void await_release(struct cell *cell, enum owner owner)
{
    int turns;
    for (turns = 0; !is_released(cell, owner); turns++) {
        if (turns == TURNS_MAX) {
            print_cell(cell, "something was not released");
            exit(1);
        }
        turn(cell);
    }
}

/* What was freed in the callback ends while the rest lives on. */
static void it_takes_effect(struct cell *cell)
{
    int turns;
    if (!is_there(cell, CLIENT))
        await_release(cell, OF_CLIENT);
    if (!is_there(cell, SERVER))
        await_release(cell, OF_SERVER);
    for (turns = 0; cell->column == ITS_REGISTRATION && turns < TURNS_MAX && !load(&cell->freed_in->released); turns++)
        turn(cell);
    if (cell->column == ITS_REGISTRATION && !load(&cell->freed_in->released))
        tell_wrong(cell, cell->place, "it was not released");
}

static void run(struct cell *cell)
{
    static const enum handle rest[HANDLES] = {CLIENT, SERVER, RUNTIME, CLIENT_CONFIG, SERVER_CONFIG, LISTENER_CONFIG, RUNTIME_CONFIG};
    pthread_mutexattr_t recursive;
    int i, owner;
    CHECK(pthread_mutexattr_init(&recursive) == 0 && pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE) == 0);
    CHECK(pthread_mutex_init(&cell->lock, &recursive) == 0);
    make_runtime(cell);
    make_server(cell);
    make_client(cell);
    store(&cell->is_armed, 1);
    play(cell);
    if (load(&cell->visited))
        it_takes_effect(cell);
    for (i = 0; i < HANDLES; i++)
        free_handle(cell, rest[i]);
    for (owner = 0; owner < OWNERS; owner++)
        await_release(cell, (enum owner)owner);
    if (!load(&cell->visited))
        tell_wrong(cell, cell->place, "was never called");
    if (cell->kept) {
        CHECK(nlmqtt_message_topic(cell->kept).len > 0);
        nlmqtt_message_unref((nlmqtt_message *)cell->kept);
    }
    if (scene_of[cell->place] == PATH_MOVES)
        udp_relay_end(&cell->relay);
    if (scene_of[cell->place] == SIGNS)
        remove_server_files(&cell->files);
}

static void *work(void *argument)
{
    struct cell *volatile *mine = (struct cell *volatile *)argument;
    int number;
    while ((number = __sync_fetch_and_add(&next_cell, 1)) < CELLS) {
        struct cell *cell = &cells[number];
        cell->mode = number % MODES;
        cell->column = number / MODES % COLUMNS;
        cell->place = number / MODES / COLUMNS;
        if ((cell->column == ITS_REGISTRATION && !has_registration[cell->place]) || (is_short && cell->mode != (cell->place + cell->column) % MODES))
            continue;
        *mine = cell;
        run(cell);
        *mine = NULL;
        __sync_fetch_and_add(&cells_done, 1);
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int i;
    is_short = getenv("MATRIX_SHORT") != NULL;
    signal(SIGALRM, on_alarm);
    alarm(240);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, work, (void *)&current[i]) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_EQ(wrong, 0);
    printf("ok frees: %d times something was freed in one of %d places\n", cells_done, (int)PLACES);
    return 0;
}
